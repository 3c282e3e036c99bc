//! When a method runs by itself.
//!
//! **Architecture Invariant:** it is text here; what it means in a calendar is known elsewhere (`ambrosia-calendar`).

use std::fmt;

/// When a method runs by the calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Minute, hour, day of the month, month and day of the week, and a second before them if there are six.
    pub cron: String,
    /// The time zone in which that is meant, by its IANA name; empty for UTC.
    pub zone: String,
    /// What becomes of times at which nobody ran the instance.
    pub missed: Missed,
}

/// What becomes of times at which nobody ran the instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// The method runs once for all of them.
    One,
    /// It runs for each.
    All,
    /// It does not run for them.
    None,
}

impl Missed {
    /// The word for it, as in `wit/immortal.wit`.
    pub const fn word(self) -> &'static str {
        match self {
            Missed::One => "one",
            Missed::All => "all",
            Missed::None => "none",
        }
    }

    /// What that word stands for.
    pub fn of_word(word: &str) -> Option<Missed> {
        [Missed::One, Missed::All, Missed::None].into_iter().find(|missed| missed.word() == word)
    }
}

impl fmt::Display for Schedule {
    /// As `0 3 * * * Europe/Berlin`, and what is missed if that is not once for all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Schedule { cron, zone, missed } = self;
        write!(f, "{cron} {}", if zone.is_empty() { "UTC" } else { zone })?;
        match missed {
            Missed::One => Ok(()),
            missed => write!(f, ", missed: {}", missed.word()),
        }
    }
}
