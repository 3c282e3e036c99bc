//! Commands as a person writes them.
//!
//! **Architecture Invariant:** what is not understood is told with what could have been meant, and does nothing.

use super::{
    condition::{self, Condition},
    path::Path,
    place::Place,
};

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    /// So many records further, counting those that are like that.
    Next(u64, Condition),
    /// So many records back, counting those that are like that.
    Back(u64, Condition),
    Goto(Place),
    /// To the next record that a break stops at, or to the end.
    Continue,
    Break(Condition),
    Breaks,
    /// Takes away a break or a watch, or all of both.
    Delete(Option<usize>),
    Show,
    /// So many records from here on, a line each.
    List(u64),
    /// A message of the record, and what it brought about.
    Inspect(usize),
    Backtrace,
    Diff(Place, Place),
    /// A part of the state of the application, or all of it.
    State(Path),
    /// What the record changed in it.
    Changes,
    /// Stops where that part of it changes.
    Watch(Path),
    Watches,
    /// To the record where that part of it became what it is.
    Why(Path),
    Verify,
    Help,
    Quit,
}

/// Names, what may be written instead, what follows, and what it does.
const COMMANDS: [(&str, &[&str], &str, &str); 21] = [
    ("next", &["n"], "[N] [CONDITION]", "the next record, or the Nth that is like that"),
    ("back", &["b"], "[N] [CONDITION]", "the record before, or the Nth back that is like that"),
    ("until", &["u"], "CONDITION", "the next record that is like that"),
    ("goto", &["g"], "PLACE", "a record: its number, +N, -N, a time (14:03:05), start, end, halted"),
    ("continue", &["c"], "", "the next record that a break or a watch stops at"),
    ("break", &[], "CONDITION", "stop `continue` at records that are like that"),
    ("breaks", &[], "", "the breaks, with their numbers"),
    ("delete", &[], "[NUMBER]", "take away a break or a watch, or all of them"),
    ("show", &["s"], "", "the record again: its messages, what they brought about, and what the instance waits for"),
    ("list", &["l"], "[N]", "the next N records, a line each, without going there"),
    ("inspect", &["i"], "NUMBER", "a message of the record in full, with what it brought about"),
    ("backtrace", &["bt"], "", "where in its source the guest failed at this record"),
    ("state", &[], "[PATH]", "the state of the application, or a part: `state .total`, or just `.total`"),
    ("changes", &[], "", "what the record changed in the state"),
    ("watch", &[], "PATH", "stop `continue` and `next` where that part of the state changes"),
    ("watches", &[], "", "the watches, with their numbers, and what they are here"),
    ("why", &[], "PATH", "back to the record where that part of the state became what it is"),
    ("diff", &[], "PLACE PLACE", "in what the instance differs between two records"),
    ("verify", &[], "", "go to the end, and see whether all digests agree"),
    ("help", &["h", "?"], "", "this list"),
    ("quit", &["q", "exit"], "", "the end"),
];

/// How many records are listed where nothing else is said.
const LISTED: u64 = 10;

impl Command {
    /// Reads a line; `None` if nothing is on it but a comment.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(line: &str) -> Result<Option<Command>, String> {
        if let Some(command) = of_a_path(line.trim()) {
            return command.map(Some);
        }
        let words = words(line)?;
        let Some((word, rest)) = words.split_first() else { return Ok(None) };
        let Some((name, ..)) = COMMANDS.iter().find(|(name, short, ..)| name == word || short.contains(&word.as_str()))
        else {
            return Err(unknown(word));
        };
        let command = match *name {
            "next" => counted(rest).map(|(count, condition)| Command::Next(count, condition)),
            "back" => counted(rest).map(|(count, condition)| Command::Back(count, condition)),
            "until" => condition(name, rest).map(|condition| Command::Next(1, condition)),
            "goto" => only(name, "a place", rest).and_then(|place| Place::parse(place).map(Command::Goto)),
            "continue" => none(name, rest, Command::Continue),
            "break" => condition(name, rest).map(Command::Break),
            "breaks" => none(name, rest, Command::Breaks),
            "delete" if rest.is_empty() => Ok(Command::Delete(None)),
            "delete" => {
                only(name, "the number of a break or a watch", rest).and_then(number).map(Some).map(Command::Delete)
            }
            "show" => none(name, rest, Command::Show),
            "list" if rest.is_empty() => Ok(Command::List(LISTED)),
            "list" => only(name, "a number", rest).and_then(number).map(Command::List),
            "inspect" => only(name, "the number of a message", rest).and_then(number).map(Command::Inspect),
            "backtrace" => none(name, rest, Command::Backtrace),
            "diff" => match rest {
                [one, other] => Place::parse(one).and_then(|one| Ok(Command::Diff(one, Place::parse(other)?))),
                _ => Err("diff needs two places, such as `diff 800 812`".to_owned()),
            },
            "changes" => none(name, rest, Command::Changes),
            "watches" => none(name, rest, Command::Watches),
            "verify" => none(name, rest, Command::Verify),
            "help" => none(name, rest, Command::Help),
            "quit" => none(name, rest, Command::Quit),
            _ => unreachable!("each command of the table is read"),
        };
        command.map(Some)
    }

    /// All commands, a line each.
    pub(crate) fn help() -> String {
        let line = |(name, short, what, does): &(&str, &[&str], &str, &str)| {
            let names = [&[*name], *short].concat().join(", ");
            format!("  {:<36}{does}\n", format!("{names} {what}").trim_end())
        };
        let commands: String = COMMANDS.iter().map(line).collect();
        format!("{commands}\nA CONDITION is one or more of: {}.\n", condition::FORMS)
    }
}

/// A command that takes a path, in which spaces and quotation marks have a meaning of their own; `None` if it is none of them.
fn of_a_path(line: &str) -> Option<Result<Command, String>> {
    if line.starts_with(['.', '[']) {
        return Some(Path::parse(line).map(Command::State));
    }
    let (word, path) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    match word {
        "state" => Some(Path::parse(path).map(Command::State)),
        "watch" => Some(Path::parse(path).map(Command::Watch)),
        "why" => Some(Path::parse(path).map(Command::Why)),
        _ => None,
    }
}

/// The words of a line. What stands in quotation marks is one, and what follows a # is none.
fn words(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut letters) = (Vec::new(), line.chars().peekable());
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        match letters.peek() {
            None | Some('#') => return Ok(words),
            Some('"') => {
                letters.next();
                words.push(quoted(&mut letters)?);
            }
            Some(_) => {
                let mut word = String::new();
                while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace()) {
                    word.push(letter);
                }
                words.push(word);
            }
        }
    }
}

fn quoted(letters: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return Ok(text),
            '\\' => text.extend(letters.next()),
            _ => text.push(letter),
        }
    }
    Err("a quotation mark is not closed".to_owned())
}

fn counted(words: &[String]) -> Result<(u64, Condition), String> {
    let count = words.first().and_then(|word| word.parse().ok());
    if count == Some(0) {
        return Err("count from 1 on".to_owned());
    }
    Ok((count.unwrap_or(1), Condition::parse(&words[usize::from(count.is_some())..])?))
}

fn condition(name: &str, words: &[String]) -> Result<Condition, String> {
    let condition = Condition::parse(words)?;
    if condition.is_empty() { Err(format!("{name} needs a condition: {}", condition::FORMS)) } else { Ok(condition) }
}

fn only<'a>(name: &str, what: &str, words: &'a [String]) -> Result<&'a str, String> {
    match words {
        [word] => Ok(word),
        _ => Err(format!("{name} needs {what}")),
    }
}

fn none(name: &str, words: &[String], command: Command) -> Result<Command, String> {
    if words.is_empty() { Ok(command) } else { Err(format!("{name} takes nothing more, and `{}` follows", words[0])) }
}

fn number<N: std::str::FromStr>(word: &str) -> Result<N, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

fn unknown(word: &str) -> String {
    let nearest = COMMANDS.iter().map(|(name, ..)| (edits(word, name), *name)).min();
    match nearest {
        Some((edits, name)) if edits <= 2 => format!("`{word}` is no command: did you mean `{name}`?"),
        _ => format!("`{word}` is no command: `help` lists them"),
    }
}

/// How many letters have to be changed, added or removed to make one word of the other.
fn edits(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut before: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut row = vec![at + 1];
        for (column, wanted) in other.iter().enumerate() {
            let changed = before[column] + usize::from(letter != *wanted);
            row.push(changed.min(before[column + 1] + 1).min(row[column] + 1));
        }
        before = row;
    }
    before[other.len()]
}

#[cfg(test)]
mod tests {
    use ambrosia_core::Lsn;

    use super::*;

    fn of(words: &[&str]) -> Condition {
        Condition::parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("it is one")
    }

    fn path(text: &str) -> Path {
        Path::parse(text).expect("it is one")
    }

    #[test]
    fn commands_are_read() {
        for (line, command) in [
            ("next", Command::Next(1, Condition::default())),
            ("n 3", Command::Next(3, Condition::default())),
            ("next from client method add", Command::Next(1, of(&["from", "client", "method", "add"]))),
            ("back 2 method add", Command::Back(2, of(&["method", "add"]))),
            ("until print ~ \"a \\\"tick\\\"\"  # so", Command::Next(1, of(&["print", "~", "a \"tick\""]))),
            ("until print tick", Command::Next(1, of(&["print", "~", "tick"]))),
            ("goto 812", Command::Goto(Place::Lsn(Lsn(812)))),
            ("g -3", Command::Goto(Place::Back(3))),
            ("break fault", Command::Break(of(&["fault"]))),
            ("delete", Command::Delete(None)),
            ("delete 2", Command::Delete(Some(2))),
            ("list", Command::List(LISTED)),
            ("inspect 3", Command::Inspect(3)),
            ("bt", Command::Backtrace),
            ("diff 800 end", Command::Diff(Place::Lsn(Lsn(800)), Place::End)),
            ("state", Command::State(path("."))),
            ("state  # of all", Command::State(path("."))),
            (".total", Command::State(path(".total"))),
            ("state .of[\"a # b\"][3]  # one", Command::State(path(".of[\"a # b\"][3]"))),
            ("changes", Command::Changes),
            ("watch .total", Command::Watch(path(".total"))),
            ("watches", Command::Watches),
            ("why .of[\"a b\"]", Command::Why(path(".of[\"a b\"]"))),
            ("?", Command::Help),
            ("exit", Command::Quit),
        ] {
            assert_eq!(Command::parse(line), Ok(Some(command)), "{line}");
        }
        for line in ["", "   ", "# nothing"] {
            assert_eq!(Command::parse(line), Ok(None));
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (line, word) in [
            ("nxt", "did you mean `next`?"),
            ("backtrac", "did you mean `backtrace`?"),
            ("frobnicate", "`help` lists them"),
            ("goto", "goto needs a place"),
            ("goto there", "`there` is no place"),
            ("next 0", "count from 1 on"),
            ("next form client", "`form` is no condition: write from NAME"),
            ("next from", "from needs the name of an instance"),
            ("until", "until needs a condition"),
            ("next kind odd", "`odd` is no kind of record"),
            ("inspect x", "`x` is no number"),
            ("diff 1", "diff needs two places"),
            ("show me", "show takes nothing more, and `me` follows"),
            (".a[", "`[` needs a number"),
            ("state total", "a path begins with a dot"),
            ("until print ~ \"a", "a quotation mark is not closed"),
        ] {
            let error = Command::parse(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn each_command_is_in_the_help_once() {
        let help = Command::help();
        for (name, ..) in COMMANDS {
            assert_eq!(
                help.lines().filter(|line| line.trim_start().starts_with(name)).count(),
                COMMANDS.iter().filter(|(other, ..)| other.starts_with(name)).count(),
                "{help}"
            );
        }
    }
}
