//! What stands behind a flag or, shorter, as a word: `--instance counter`, or `counter`.
//!
//! Words fill, in their order, what no flag has given: `send counter add '[2]'` and `send --instance counter add '[2]'` are the same.

use std::{
    ffi::OsString,
    fmt::{self, Display},
    ops::Deref,
    path::PathBuf,
    str::FromStr,
};

use ambrosia_core::InstanceName;
use clap::{
    Arg, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint,
    error::{ErrorKind, Result},
    value_parser,
};
use clap_complete::ArgValueCandidates;

use crate::{argument_source::ArgumentSource, completion::instances};

/// One such value.
struct Slot {
    /// The flag, and the id of its value.
    flag: &'static str,
    /// The id of the word.
    word: &'static str,
    /// What it is called in the help.
    name: &'static str,
    help: &'static str,
    /// What a shell offers for it.
    offered: Offered,
}

/// What a shell offers for a value.
enum Offered {
    Instances,
    Files,
    Nothing,
}

const INSTANCE: Slot = Slot {
    flag: "instance",
    word: "INSTANCE",
    name: "NAME",
    help: "Name of the instance",
    offered: Offered::Instances,
};
/// One that is not there yet.
const NEW_INSTANCE: Slot = Slot {
    flag: "instance",
    word: "INSTANCE",
    name: "NAME",
    help: "Name of the instance: letters, digits, '.', '_' and '-'",
    offered: Offered::Nothing,
};
const METHOD: Slot =
    Slot { flag: "method", word: "METHOD", name: "METHOD", help: "Method to run", offered: Offered::Nothing };
const ARGUMENTS: Slot = Slot {
    flag: "args",
    word: "ARGS",
    name: "JSON-ARRAY",
    help: "Its arguments as a JSON array, [] if there are none; '@FILE' takes them from a file, '-' from stdin",
    offered: Offered::Nothing,
};
const REQUEST: Slot =
    Slot { flag: "request-id", word: "ID", name: "ID", help: "The request id", offered: Offered::Nothing };
const REPLICA: Slot = Slot {
    flag: "replica",
    word: "REPLICA",
    name: "K",
    help: "Number of the replica, 0 to 63; replica 0 is there from the start",
    offered: Offered::Nothing,
};
const COMPONENT: Slot = Slot {
    flag: "module",
    word: "MODULE",
    name: "FILE",
    help: "The component to run, built for wasm32-wasip2",
    offered: Offered::Files,
};
const NEXT_COMPONENT: Slot = Slot {
    flag: "module",
    word: "MODULE",
    name: "FILE|HASH",
    help: "The component to run from now on: a file, or the hash of a module in the store, or the beginning of one",
    offered: Offered::Files,
};

fn augment<const N: usize>(command: Command, slots: [Slot; N]) -> Command {
    slots.into_iter().fold(command, |command, slot| {
        let value = |arg: Arg| {
            let arg = arg.value_parser(value_parser!(OsString));
            match slot.offered {
                Offered::Instances => arg.add(ArgValueCandidates::new(instances)),
                Offered::Files => arg.value_hint(ValueHint::FilePath),
                Offered::Nothing => arg,
            }
        };
        let word = value(Arg::new(slot.word).help(slot.help));
        let flag = value(Arg::new(slot.flag).long(slot.flag).value_name(slot.name));
        command.arg(word).arg(flag.help(format!("The same as {}, which the words go on without", slot.word)))
    })
}

/// What was given of them.
struct Given<const N: usize>([(Slot, Option<OsString>); N]);

impl<const N: usize> Given<N> {
    fn of(matches: &ArgMatches, slots: [Slot; N]) -> Result<Given<N>> {
        let text = |id: &str| matches.get_one::<OsString>(id).cloned();
        let words: Vec<_> = slots.iter().filter_map(|slot| text(slot.word)).collect();
        let mut words = words.into_iter();
        let given = slots.map(|slot| {
            let value = text(slot.flag).or_else(|| words.next());
            (slot, value)
        });
        match words.next() {
            Some(word) => {
                Err(error(ErrorKind::UnknownArgument, format!("unexpected argument '{}' found", word.display())))
            }
            None => Ok(Given(given)),
        }
    }

    /// The value of one, which must be there.
    fn must<T: FromStr<Err: Display>>(&self, at: usize) -> Result<T> {
        self.may(at)?.ok_or_else(|| self.missing(at))
    }

    /// The same, if it is a path.
    fn must_path(&self, at: usize) -> Result<PathBuf> {
        self.0[at].1.as_ref().map(PathBuf::from).ok_or_else(|| self.missing(at))
    }

    /// The value of one, if it is there.
    fn may<T: FromStr<Err: Display>>(&self, at: usize) -> Result<Option<T>> {
        let (slot, value) = &self.0[at];
        let Some(value) = value else { return Ok(None) };
        let parsed = match value.to_str() {
            Some(text) => text.parse().map_err(|reason: T::Err| reason.to_string()),
            None => Err("it is no UTF-8".to_owned()),
        };
        parsed.map(Some).map_err(|reason| {
            let text = format!("invalid value '{}' for '--{} <{}>': {reason}", value.display(), slot.flag, slot.name);
            error(ErrorKind::ValueValidation, text)
        })
    }

    fn missing(&self, at: usize) -> Error {
        let slot = &self.0[at].0;
        let text = format!("{} is missing: write it as a word, or with --{} <{}>", slot.word, slot.flag, slot.name);
        error(ErrorKind::MissingRequiredArgument, text)
    }
}

fn error(kind: ErrorKind, text: String) -> Error {
    Error::raw(kind, text + "\n")
}

/// An instance.
#[derive(Clone, Debug)]
pub(crate) struct Named(pub(crate) InstanceName);

impl Deref for Named {
    type Target = InstanceName;

    fn deref(&self) -> &InstanceName {
        &self.0
    }
}

impl Display for Named {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// An instance, or all of them.
#[derive(Clone, Debug)]
pub(crate) struct NamedOrAll(pub(crate) Option<InstanceName>);

/// What is run: a method of an instance with its arguments.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) instance: InstanceName,
    pub(crate) method: String,
    pub(crate) args: ArgumentSource,
}

/// A request to an instance.
#[derive(Debug)]
pub(crate) struct NamedRequest {
    pub(crate) instance: InstanceName,
    pub(crate) request: String,
}

/// An instance, and a request to it if that is how a message is named.
#[derive(Debug)]
pub(crate) struct NamedTrace {
    pub(crate) instance: InstanceName,
    pub(crate) request: Option<String>,
}

/// A replica of an instance.
#[derive(Debug)]
pub(crate) struct NumberedReplica {
    pub(crate) instance: InstanceName,
    pub(crate) replica: u16,
}

/// An instance with its first code.
#[derive(Debug)]
pub(crate) struct NamedWithModule {
    pub(crate) instance: InstanceName,
    pub(crate) module: PathBuf,
}

/// An instance with its next code, if it gets another one.
#[derive(Debug)]
pub(crate) struct NamedWithNext {
    pub(crate) instance: InstanceName,
    pub(crate) module: Option<String>,
}

/// Has a type take its values from these slots.
macro_rules! slots {
    ($of:ty, [$($slot:ident),+], |$given:ident| $make:expr) => {
        impl FromArgMatches for $of {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self> {
                let $given = Given::of(matches, [$($slot),+])?;
                Ok($make)
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<()> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl Args for $of {
            fn augment_args(command: Command) -> Command {
                augment(command, [$($slot),+])
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment(command, [$($slot),+])
            }
        }
    };
}

slots!(Named, [INSTANCE], |given| Named(given.must(0)?));
slots!(NamedOrAll, [INSTANCE], |given| NamedOrAll(given.may(0)?));
slots!(Called, [INSTANCE, METHOD, ARGUMENTS], |given| Called {
    instance: given.must(0)?,
    method: given.must(1)?,
    args: given.may(2)?.unwrap_or_default(),
});
slots!(NamedRequest, [INSTANCE, REQUEST], |given| NamedRequest { instance: given.must(0)?, request: given.must(1)? });
slots!(NamedTrace, [INSTANCE, REQUEST], |given| NamedTrace { instance: given.must(0)?, request: given.may(1)? });
slots!(NumberedReplica, [INSTANCE, REPLICA], |given| NumberedReplica {
    instance: given.must(0)?,
    replica: given.must::<ReplicaNumber>(1)?.0,
});
slots!(NamedWithModule, [NEW_INSTANCE, COMPONENT], |given| NamedWithModule {
    instance: given.must(0)?,
    module: given.must_path(1)?,
});
slots!(NamedWithNext, [INSTANCE, NEXT_COMPONENT], |given| NamedWithNext {
    instance: given.must(0)?,
    module: given.may(1)?,
});

struct ReplicaNumber(u16);

impl FromStr for ReplicaNumber {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<ReplicaNumber, String> {
        let number = text.parse().ok().filter(|number| *number < ambrosia_storage::REPLICAS_MAX);
        number.map(ReplicaNumber).ok_or_else(|| format!("{text} is not in 0..{}", ambrosia_storage::REPLICAS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T: Args>(line: &[&str]) -> std::result::Result<T, String> {
        let command = T::augment_args(Command::new("verb"));
        let matches = command.try_get_matches_from([&["verb"], line].concat()).map_err(|error| error.to_string())?;
        T::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn words_fill_what_no_flag_has_given() {
        for line in [
            &["counter", "add", "[2]"][..],
            &["--instance", "counter", "add", "[2]"],
            &["counter", "--method", "add", "[2]"],
            &["counter", "add", "--args", "[2]"],
            &["[2]", "--method", "add", "--instance", "counter"],
            &["--instance", "counter", "--method", "add", "--args", "[2]"],
        ] {
            let Called { instance, method, args } = parse(line).expect("it is whole");
            let args = args.read().expect("it is given");
            assert_eq!((instance.as_str(), method.as_str(), args.as_str()), ("counter", "add", "[2]"), "{line:?}");
        }
        let none = parse::<Called>(&["counter", "total"]).expect("arguments may be left out");
        assert_eq!(none.args.read().expect("it is given"), "[]");
    }

    #[test]
    fn what_is_missing_too_much_or_wrong_is_told() {
        let said = |line: &[&str]| parse::<Called>(line).expect_err("it is wrong");
        assert!(said(&[]).contains("INSTANCE is missing: write it as a word, or with --instance <NAME>"));
        assert!(said(&["--instance", "counter"]).contains("METHOD is missing: write it as a word, or with --method"));
        assert!(said(&["--instance", "a", "b", "[]", "c"]).contains("unexpected argument 'c' found"));
        assert!(said(&["a/b", "add"]).contains("invalid value 'a/b' for '--instance <NAME>': "));
        let replica = |line: &[&str]| parse::<NumberedReplica>(line).map(|one| one.replica);
        assert_eq!(replica(&["a", "63"]), Ok(63));
        assert!(replica(&["a", "64"]).is_err_and(|said| said.contains("64")));
    }
}
