//! One method as a component describes it.

use std::fmt;

use ambrosia_core::MethodId;

use crate::{route::Route, schedule::Schedule, types::Type};

/// What it means to run a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodKind {
    /// Takes and gives MessagePack, and may change the state.
    Update,
    /// Takes and gives MessagePack, and changes nothing: it is answered without a record.
    Query,
    /// Takes and gives bytes as they are.
    Raw,
}

impl MethodKind {
    /// The word for it, as in `wit/immortal.wit`.
    pub const fn word(self) -> &'static str {
        match self {
            MethodKind::Update => "update",
            MethodKind::Query => "query",
            MethodKind::Raw => "raw",
        }
    }

    /// The kind of that word.
    pub fn of_word(word: &str) -> Option<MethodKind> {
        [MethodKind::Update, MethodKind::Query, MethodKind::Raw].into_iter().find(|kind| kind.word() == word)
    }
}

/// One argument of a method.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Argument {
    /// As in the source of the guest.
    pub name: String,
    /// What it takes; [`Type::Any`] if the component does not say.
    pub ty: Type,
}

/// One method, so that tools can show, check and document it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Method {
    /// Hash of the name, as in messages.
    pub id: MethodId,
    /// As in the source of the guest.
    pub name: String,
    /// What it means to run it.
    pub kind: MethodKind,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
    /// What it gives back; [`Type::Any`] if the component does not say.
    pub result: Type,
    /// What the source says of it, in Markdown.
    pub docs: String,
    /// Names that it had before, which messages may still use.
    pub formerly: Vec<String>,
    /// When it runs by itself, if it does.
    pub schedule: Option<Schedule>,
    /// Where it is asked over HTTP, beside its name.
    pub routes: Vec<Route>,
}

impl Method {
    /// False when arguments and result are raw bytes and not MessagePack.
    pub fn message_pack(&self) -> bool {
        self.kind != MethodKind::Raw
    }

    /// Whether a message that names `id` is for this method.
    pub fn answers_to(&self, id: MethodId) -> bool {
        self.id == id || self.formerly.iter().any(|name| MethodId::of(name) == id)
    }

    /// A method of a component that describes no types (`ambrosia:runtime@0.1.0`).
    pub fn without_types(name: String, arguments: Vec<String>, message_pack: bool) -> Method {
        let arguments = arguments.into_iter().map(|name| Argument { name, ty: Type::Any }).collect();
        let kind = if message_pack { MethodKind::Update } else { MethodKind::Raw };
        Method {
            id: MethodId::of(&name),
            name,
            kind,
            arguments,
            result: Type::Any,
            docs: String::new(),
            formerly: Vec::new(),
            schedule: None,
            routes: Vec::new(),
        }
    }
}

impl fmt::Display for Argument {
    /// As `name: type`, or the name alone if the type is not known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ty {
            Type::Any => f.write_str(&self.name),
            ty => write!(f, "{}: {ty}", self.name),
        }
    }
}

impl fmt::Display for Method {
    /// As WIT would declare it: `add(n: u64) -> u64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arguments: Vec<_> = self.arguments.iter().map(Argument::to_string).collect();
        write!(f, "{}({})", self.name, arguments.join(", "))?;
        match &self.result {
            Type::Nothing | Type::Any => Ok(()),
            result => write!(f, " -> {result}"),
        }
    }
}
