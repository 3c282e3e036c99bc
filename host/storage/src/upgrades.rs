//! What the registry says of an instance's upgrades: which module an operator wishes for, and what came of the last wish.
//!
//! **Architecture Invariant:** a wish says what somebody wants, never what an instance runs: that is in its log. An attempt
//! has a number that no other attempt of that life has, and what settles one changes nothing of another.

use std::time::Duration;

use ambrosia_core::{Limits, Lsn, Timestamp};
use serde::{Deserialize, Serialize};

/// Modules that one life of an instance may ever have been given: its entry in the registry lists them.
pub const MODULES_MAX: usize = 1 << 16;

/// Upgrades of one life of an instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrades {
    /// SHA-256 of the module that the instance ran when that was last written down: a note, since the log decides.
    pub current: [u8; 32],
    /// Every module that it was ever given, the first one first, also those that were refused. They stay in the store as
    /// long as the instance is registered: a replay from the beginning needs them.
    pub modules: Vec<[u8; 32]>,
    /// Number of the last attempt; 0 if there was none.
    pub attempts: u64,
    /// The wish that stands, if one does.
    pub wanted: Option<StandingWish>,
    /// What came of the last wish that was settled.
    pub answered: Option<Answered>,
}

/// What an operator wishes for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Limits of a delivery from then on.
    pub limits: WantedLimits,
    /// Fuel that the old code has for handing over, and the new code for taking over.
    pub handover_fuel: u64,
    /// How long a primary waits for a moment without handlers that wait.
    pub wait: Duration,
    /// What becomes of such handlers, and of the outside world, meanwhile.
    pub waiting: Waiting,
}

/// Limits of a delivery; those that are not given stay.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WantedLimits {
    /// Fuel.
    pub fuel: Option<u64>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
}

impl WantedLimits {
    /// These, where they are given, and else those of `limits`.
    pub fn over(&self, limits: Limits) -> Limits {
        Limits {
            fuel: self.fuel.unwrap_or(limits.fuel),
            memory_bytes: self.memory_bytes.unwrap_or(limits.memory_bytes),
        }
    }

    /// Whether no limit is given.
    pub fn is_none(&self) -> bool {
        self.fuel.is_none() && self.memory_bytes.is_none()
    }
}

/// What becomes of handlers that wait, and of the outside world, while an upgrade waits for them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Waiting {
    /// Impulses from outside wait too.
    pub hold: bool,
    /// They are not waited for: their callers get an error.
    pub end: bool,
}

/// A wish, as it stands in the registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingWish {
    /// Its number.
    pub attempt: u64,
    /// The module that the instance ran for all that the operator knew.
    pub from: [u8; 32],
    /// The module that it is to run.
    pub to: [u8; 32],
    /// How.
    pub wanted: Wanted,
    /// When it was made.
    pub made: Timestamp,
}

/// What came of a wish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The number of the wish.
    pub attempt: u64,
    /// The module that was wished for.
    pub to: [u8; 32],
    /// What came of it.
    pub answer: WishAnswer,
}

/// What came of a wish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WishAnswer {
    /// The instance runs the module.
    Done {
        /// The record from which on it does.
        #[serde(with = "crate::instance_entry::lsn_as_number")]
        lsn: Lsn,
    },
    /// It can't: the instance is as it was.
    Refused {
        /// Why.
        report: String,
    },
    /// Handlers waited for longer than the wish allowed: the instance is as it was.
    GivenUp {
        /// Which ones.
        report: String,
    },
    /// An operator has taken it back.
    Cancelled,
}

impl Upgrades {
    /// Those of an instance that has had none.
    pub fn none(module: [u8; 32]) -> Upgrades {
        Upgrades { current: module, modules: vec![module], attempts: 0, wanted: None, answered: None }
    }

    /// Makes a wish stand, from one module to another. There must be none.
    pub(crate) fn want(&mut self, [from, to]: [[u8; 32]; 2], wanted: Wanted, now: Timestamp) -> StandingWish {
        assert!(self.wanted.is_none(), "one wish stands at a time");
        self.attempts += 1;
        if !self.modules.contains(&to) {
            self.modules.push(to);
        }
        let wish = StandingWish { attempt: self.attempts, from, to, wanted, made: now };
        self.wanted = Some(wish.clone());
        wish
    }

    /// Takes back the wish that stands, if one does, and returns it.
    pub(crate) fn cancel(&mut self) -> Option<StandingWish> {
        let wish = self.wanted.take()?;
        self.answered = Some(Answered { attempt: wish.attempt, to: wish.to, answer: WishAnswer::Cancelled });
        Some(wish)
    }

    /// Notes what came of the attempt of that number; false if nothing of it is to be noted any more.
    ///
    /// An attempt that was cancelled may have been carried out all the same: then the log has it, and that it is done is
    /// noted after all.
    pub(crate) fn settle(&mut self, attempt: u64, answer: &WishAnswer) -> bool {
        if let Some(StandingWish { to, .. }) = self.wanted.take_if(|wish| wish.attempt == attempt) {
            self.answer(attempt, to, answer);
            return true;
        }
        let cancelled = |answered: &&Answered| answered.attempt == attempt && answered.answer == WishAnswer::Cancelled;
        match (self.answered.as_ref().filter(cancelled), answer) {
            (Some(Answered { to, .. }), WishAnswer::Done { .. }) => {
                self.answer(attempt, *to, answer);
                true
            }
            _ => false,
        }
    }

    fn answer(&mut self, attempt: u64, to: [u8; 32], answer: &WishAnswer) {
        if matches!(answer, WishAnswer::Done { .. }) {
            self.current = to;
        }
        self.answered = Some(Answered { attempt, to, answer: answer.clone() });
    }

    /// Notes which module the log says that the instance runs; false if that is noted already.
    pub(crate) fn note_current(&mut self, module: [u8; 32]) -> bool {
        if !self.modules.contains(&module) {
            self.modules.push(module);
        }
        std::mem::replace(&mut self.current, module) != module
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let limits = WantedLimits { fuel: Some(7), memory_bytes: None };
        Wanted { limits, handover_fuel: 9, wait: Duration::from_secs(30), waiting: Waiting::default() }
    }

    /// Upgrades of a module 1 with a wish for a module 2.
    fn wished() -> Upgrades {
        let mut upgrades = Upgrades::none([1; 32]);
        let wish = upgrades.want([[1; 32], [2; 32]], wanted(), Timestamp(5));
        assert_eq!((wish.attempt, wish.from, wish.to), (1, [1; 32], [2; 32]));
        upgrades
    }

    #[test]
    fn what_is_done_is_current_and_what_is_refused_is_not() {
        let refused = WishAnswer::Refused { report: "it traps".to_owned() };
        for (answer, current) in [(WishAnswer::Done { lsn: Lsn(8) }, [2; 32]), (refused, [1; 32])] {
            let mut upgrades = wished();
            assert!(upgrades.settle(1, &answer));
            assert_eq!((upgrades.current, &upgrades.wanted), (current, &None));
            assert_eq!(upgrades.answered, Some(Answered { attempt: 1, to: [2; 32], answer }));
            assert_eq!(upgrades.modules, [[1; 32], [2; 32]]);
        }
    }

    #[test]
    fn an_attempt_never_settles_another_one() {
        let mut upgrades = wished();
        assert!(upgrades.settle(1, &WishAnswer::Done { lsn: Lsn(8) }));
        assert_eq!(upgrades.want([[2; 32], [1; 32]], wanted(), Timestamp(6)).attempt, 2);
        let standing = upgrades.clone();
        for late in [WishAnswer::Done { lsn: Lsn(9) }, WishAnswer::Refused { report: String::new() }] {
            assert!(!upgrades.settle(1, &late), "{late:?}");
            assert!(!upgrades.settle(3, &late), "{late:?}");
            assert_eq!(upgrades, standing);
        }
    }

    #[test]
    fn a_cancelled_attempt_that_was_carried_out_all_the_same_is_noted_as_done() {
        let mut upgrades = wished();
        assert_eq!(upgrades.cancel().map(|wish| wish.attempt), Some(1));
        assert_eq!(upgrades.cancel(), None);
        assert!(!upgrades.settle(1, &WishAnswer::GivenUp { report: String::new() }));
        assert!(upgrades.settle(1, &WishAnswer::Done { lsn: Lsn(8) }));
        assert_eq!(upgrades.current, [2; 32]);
    }

    #[test]
    fn what_the_log_says_is_noted_once() {
        let mut upgrades = Upgrades::none([1; 32]);
        assert!(!upgrades.note_current([1; 32]));
        assert!(upgrades.note_current([3; 32]));
        assert!(!upgrades.note_current([3; 32]));
        assert_eq!((upgrades.current, upgrades.modules), ([3; 32], vec![[1; 32], [3; 32]]));
    }

    #[test]
    fn limits_that_are_not_given_stay() {
        let limits = Limits { fuel: 1, memory_bytes: 2 };
        assert_eq!(wanted().limits.over(limits), Limits { fuel: 7, memory_bytes: 2 });
        assert!(WantedLimits::default().is_none() && !wanted().limits.is_none());
    }
}
