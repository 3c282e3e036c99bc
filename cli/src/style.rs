//! Colours, where there is a terminal that shows them.
//!
//! **Architecture Invariant:** without colours the text is the same.

use std::io::IsTerminal;

use clap::ColorChoice;

/// When there are colours, as the person wants it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Colours(pub(crate) ColorChoice);

impl Colours {
    /// Whether that stream gets them: as it was said, or if nothing was, on a terminal, unless the variable `NO_COLOR` says otherwise.
    pub(crate) fn are_for(self, stream: &impl IsTerminal) -> bool {
        match self.0 {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !is_unwanted && stream.is_terminal()
            }
        }
    }
}

/// How a part of a text stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// Numbers of records, names of instances.
    Place,
    /// Methods, kinds of records.
    Method,
    /// What the guest printed; what goes well.
    Print,
    /// What is wrong.
    Fault,
    /// What is looked at last.
    Aside,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Place => "1",
            Tone::Method => "36",
            Tone::Print => "32",
            Tone::Fault => "31",
            Tone::Aside => "2",
        }
    }
}

/// Whether a text has colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    is_coloured: bool,
}

impl Style {
    /// That of a text on stdout.
    pub(crate) fn of_stdout(colours: Colours) -> Style {
        Style { is_coloured: colours.are_for(&std::io::stdout()) }
    }

    /// None.
    pub(crate) fn plain() -> Style {
        Style { is_coloured: false }
    }

    /// A part of a text.
    pub(crate) fn paint(self, tone: Tone, text: impl std::fmt::Display) -> String {
        if self.is_coloured { format!("\x1b[{}m{text}\x1b[0m", tone.code()) } else { text.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_text_has_nothing_in_it() {
        assert_eq!(Style::plain().paint(Tone::Place, 812), "812");
        assert_eq!(Style { is_coloured: true }.paint(Tone::Fault, "trap"), "\x1b[31mtrap\x1b[0m");
    }
}
