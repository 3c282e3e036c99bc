//! Lines of many in one terminal: whose each is stands in front.

use std::{
    io::{BufRead, BufReader, Read, Write},
    sync::Arc,
};

use ambrosia_core::InstanceName;
use ambrosia_host::Diagnostics;
use ambrosia_project::Project;

use crate::style::Colours;

/// The colours of instances, in turn.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// Longest line that is kept whole; a longer one becomes several.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Says lines. Clones say them in the same style.
#[derive(Clone)]
pub(crate) struct Speaker(Arc<Style>);

struct Style {
    width: usize,
    names: Vec<InstanceName>,
    out_is_coloured: bool,
    err_is_coloured: bool,
}

/// Where a line goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Where {
    /// What the guest prints.
    Stdout,
    /// What its host says.
    Stderr,
}

/// Whose a line is.
#[derive(Clone)]
pub(crate) struct Label {
    text: String,
    colour: u8,
}

impl Speaker {
    pub(crate) fn new(project: &Project, colours: Colours) -> Speaker {
        let longest =
            project.instances.iter().map(|(name, instance)| label(name.as_str(), instance.replicas - 1).len());
        Speaker(Arc::new(Style {
            width: longest.max().unwrap_or(0),
            names: project.instances.keys().cloned().collect(),
            out_is_coloured: colours.are_for(&std::io::stdout()),
            err_is_coloured: colours.are_for(&std::io::stderr()),
        }))
    }

    /// How lines of a replica begin.
    pub(crate) fn label(&self, name: &InstanceName, replica: u16) -> Label {
        let at = self.0.names.iter().position(|one| one == name).unwrap_or(0);
        Label { text: label(name.as_str(), replica), colour: COLOURS[at % COLOURS.len()] }
    }

    /// Says something of the whole.
    pub(crate) fn say(&self, line: impl std::fmt::Display) {
        self.say_of(&Label { text: "up".to_owned(), colour: 1 }, line);
    }

    /// Says something of a replica.
    pub(crate) fn say_of(&self, label: &Label, line: impl std::fmt::Display) {
        Diagnostics::say(format_args!("{} {line}", self.front(label, self.0.err_is_coloured)));
    }

    /// Passes on all lines of a stream until it ends.
    pub(crate) fn pass_on(&self, label: &Label, from: impl Read, to: Where) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut from).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            match to {
                Where::Stderr => self.say_of(label, text),
                Where::Stdout => {
                    let front = self.front(label, self.0.out_is_coloured);
                    // Whoever has stopped reading does not stop what runs.
                    let _unread = std::io::stdout().lock().write_all(format!("{front} {text}\n").as_bytes());
                }
            }
        }
    }

    fn front(&self, label: &Label, is_coloured: bool) -> String {
        let (width, Label { text, colour }) = (self.0.width, label);
        if is_coloured { format!("\x1b[{colour}m{text:width$} |\x1b[0m") } else { format!("{text:width$} |") }
    }
}

fn label(name: &str, replica: u16) -> String {
    format!("{name}/{replica}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_below_each_other_with_and_without_colours() {
        let project = Project::parse("[instances]\na.module = \"a\"\nlonger.module = \"b\"").expect("two instances");
        let speaker = Speaker::new(&project, Colours(clap::ColorChoice::Auto));
        let (short, long) = (&project.instances.keys().collect::<Vec<_>>(), 0);
        let (a, longer) = (speaker.label(short[0], long), speaker.label(short[1], 1));
        assert_eq!(
            (speaker.front(&a, false).as_str(), speaker.front(&longer, false).as_str()),
            ("a/0      |", "longer/1 |")
        );
        assert_eq!(speaker.front(&longer, true), "\x1b[33mlonger/1 |\x1b[0m");
    }
}
