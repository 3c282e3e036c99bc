//! Colours, where there is a terminal that shows them.
//!
//! **Architecture Invariant:** without colours the text is the same.

use std::io::IsTerminal;

/// How a part of a text stands out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tone {
    /// Numbers of records.
    Place,
    /// Methods.
    Method,
    /// What the guest printed.
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

/// Whether there are colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Style {
    is_coloured: bool,
}

impl Style {
    /// Colours on a terminal, unless `is_plain` or the variable `NO_COLOR` says otherwise.
    pub(crate) fn of_stdout(is_plain: bool) -> Style {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Style { is_coloured: !is_plain && !is_unwanted && std::io::stdout().is_terminal() }
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
        assert_eq!(Style { is_coloured: false }.paint(Tone::Place, 812), "812");
        assert_eq!(Style { is_coloured: true }.paint(Tone::Fault, "trap"), "\x1b[31mtrap\x1b[0m");
    }
}
