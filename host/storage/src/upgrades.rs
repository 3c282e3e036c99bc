//! What the registry says of an instance's upgrades: which module an operator wishes for, or which messages it is to skip, and
//! what came of the last wish.
//!
//! **Architecture Invariant:** a wish says what somebody wants, never what an instance runs: that is in its log. An attempt
//! has a number that no other attempt of that life has, and what settles one changes nothing of another.

use std::{fmt, time::Duration};

use ambrosia_core::{Epoch, Limits, Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::BlobHash;

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
    /// The last record at which a wish is known to have been done, 0 if there is none: the instance has gone on there. That
    /// it stands at that record or before is not true any more, whoever says so.
    pub mended_at: Lsn,
}

/// Messages that an instance is to go on without.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WantedSkip {
    /// The record that it stands at.
    #[serde(with = "crate::instance_entry::lsn_as_number")]
    pub lsn: Lsn,
    /// Positions in that, from 0, rising.
    pub messages: Vec<u32>,
}

impl fmt::Display for WantedSkip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions: Vec<_> = self.messages.iter().map(u32::to_string).collect();
        let s = if positions.len() == 1 { "" } else { "s" };
        write!(f, "message{s} {} of lsn {}", positions.join(", "), self.lsn)
    }
}

impl WantedSkip {
    /// Whether it names messages, each once and in order.
    pub(crate) fn is_sound(&self) -> bool {
        !self.messages.is_empty() && self.messages.is_sorted_by(|one, next| one < next)
    }
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

impl Wanted {
    /// That of a skip: no code is handed over, so none waits.
    pub(crate) const OF_SKIP: Wanted = Wanted {
        limits: WantedLimits { fuel: None, memory_bytes: None },
        handover_fuel: 0,
        wait: Duration::ZERO,
        waiting: Waiting { hold: false, end: false },
    };
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
    /// The module that it is to run; the same one if messages are to be skipped.
    pub to: [u8; 32],
    /// The messages that are to be skipped, if it is that what is wished for.
    pub skip: Option<WantedSkip>,
    /// How.
    pub wanted: Wanted,
    /// When it was made.
    pub made: Timestamp,
    /// The reign that sees to it, if one does. A later one may claim it from an earlier one.
    pub claimed_by: Option<Epoch>,
    /// Whether it was taken back after it had been claimed: the primary that claimed it says what becomes of it.
    pub is_cancelled: bool,
}

impl StandingWish {
    /// What is wished for, for a person.
    pub fn what(&self) -> String {
        self.skip.as_ref().map_or_else(|| format!("to module {}", BlobHash(self.to)), |skip| format!("of {skip}"))
    }

    /// The verb that takes it back.
    pub fn verb(&self) -> &'static str {
        if self.skip.is_some() { "skip" } else { "upgrade" }
    }
}

/// What became of a wish that was to be taken back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cancelled {
    /// There is none.
    NoWish,
    /// It stands no more.
    Done(StandingWish),
    /// A primary has claimed it, and was told: it says what becomes of it, for it may be at it just now.
    Told(StandingWish),
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
    /// The messages that were to be skipped, if it was that. Version 2 of the entry has no place for it.
    #[serde(skip)]
    pub skip: Option<WantedSkip>,
}

/// What came of a wish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WishAnswer {
    /// The instance runs the module, or goes on without the messages.
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
        Upgrades {
            current: module,
            modules: vec![module],
            attempts: 0,
            wanted: None,
            answered: None,
            mended_at: Lsn(0),
        }
    }

    /// Makes a wish stand, from one module to another. There must be none.
    pub(crate) fn want(&mut self, [from, to]: [[u8; 32]; 2], wanted: Wanted, now: Timestamp) -> StandingWish {
        if !self.modules.contains(&to) {
            self.modules.push(to);
        }
        self.stand([from, to], None, wanted, now)
    }

    /// Makes a wish stand that messages are skipped. There must be none.
    pub(crate) fn want_skip(&mut self, skip: WantedSkip, now: Timestamp) -> StandingWish {
        self.stand([self.current; 2], Some(skip), Wanted::OF_SKIP, now)
    }

    fn stand(
        &mut self,
        [from, to]: [[u8; 32]; 2],
        skip: Option<WantedSkip>,
        wanted: Wanted,
        now: Timestamp,
    ) -> StandingWish {
        assert!(self.wanted.is_none(), "one wish stands at a time");
        self.attempts += 1;
        let (claimed_by, is_cancelled) = (None, false);
        let wish = StandingWish { attempt: self.attempts, from, to, skip, wanted, made: now, claimed_by, is_cancelled };
        self.wanted = Some(wish.clone());
        wish
    }

    /// What answers that are noted say of where the instance has gone on.
    pub(crate) fn done_at(answered: Option<&Answered>) -> Lsn {
        match answered {
            Some(Answered { answer: WishAnswer::Done { lsn }, .. }) => *lsn,
            _ => Lsn(0),
        }
    }

    /// Takes back the wish that stands, if one does.
    pub(crate) fn cancel(&mut self) -> Cancelled {
        match self.wanted.take() {
            None => Cancelled::NoWish,
            Some(wish) if wish.claimed_by.is_none() => {
                let StandingWish { attempt, to, ref skip, .. } = wish;
                self.answered = Some(Answered { attempt, to, answer: WishAnswer::Cancelled, skip: skip.clone() });
                Cancelled::Done(wish)
            }
            Some(mut wish) => {
                wish.is_cancelled = true;
                self.wanted = Some(wish.clone());
                Cancelled::Told(wish)
            }
        }
    }

    /// Notes that the primary of a reign sees to the attempt of that number; false if it stands no more, or a later reign has
    /// claimed it.
    pub(crate) fn claim(&mut self, attempt: u64, epoch: Epoch) -> bool {
        let is_free = |wish: &&mut StandingWish| {
            wish.attempt == attempt && wish.claimed_by.is_none_or(|claimed_by| claimed_by <= epoch)
        };
        self.wanted.as_mut().filter(is_free).map(|wish| wish.claimed_by = Some(epoch)).is_some()
    }

    /// Notes what came of the attempt of that number, which that reign has claimed; false if it has not, or not any more, or
    /// the attempt was settled.
    pub(crate) fn settle(&mut self, attempt: u64, epoch: Epoch, answer: &WishAnswer) -> bool {
        let is_own = |wish: &mut StandingWish| wish.attempt == attempt && wish.claimed_by == Some(epoch);
        let Some(StandingWish { to, is_cancelled, skip, .. }) = self.wanted.take_if(is_own) else { return false };
        let is_done = matches!(answer, WishAnswer::Done { .. });
        // Whoever wishes to skip messages says nothing of the module.
        if is_done && skip.is_none() {
            self.current = to;
        }
        let answer = if is_cancelled && !is_done { WishAnswer::Cancelled } else { answer.clone() };
        self.answered = Some(Answered { attempt, to, answer, skip });
        self.mended_at = self.mended_at.max(Upgrades::done_at(self.answered.as_ref()));
        true
    }

    /// Notes which module the log says that the instance runs, and the last attempt in it; false if that is noted already.
    ///
    /// An entry that was restored from a copy may be behind: then no number is given out that the log has already.
    pub(crate) fn note_log(&mut self, module: [u8; 32], attempt: u64) -> bool {
        let is_noted = self.current == module && self.attempts >= attempt;
        if !self.modules.contains(&module) {
            self.modules.push(module);
        }
        (self.current, self.attempts) = (module, self.attempts.max(attempt));
        !is_noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        let limits = WantedLimits { fuel: Some(7), memory_bytes: None };
        Wanted { limits, handover_fuel: 9, wait: Duration::from_secs(30), waiting: Waiting::default() }
    }

    /// Upgrades of a module 1 with a wish for a module 2, which the second reign has claimed.
    fn claimed() -> Upgrades {
        let mut upgrades = Upgrades::none([1; 32]);
        let wish = upgrades.want([[1; 32], [2; 32]], wanted(), Timestamp(5));
        assert_eq!((wish.attempt, wish.from, wish.to), (1, [1; 32], [2; 32]));
        assert!(upgrades.claim(1, Epoch(2)));
        upgrades
    }

    #[test]
    fn what_is_done_is_current_and_what_is_refused_is_not() {
        let refused = WishAnswer::Refused { report: "it traps".to_owned() };
        for (answer, current) in [(WishAnswer::Done { lsn: Lsn(8) }, [2; 32]), (refused, [1; 32])] {
            let mut upgrades = claimed();
            assert!(upgrades.settle(1, Epoch(2), &answer));
            assert_eq!((upgrades.current, &upgrades.wanted), (current, &None));
            assert_eq!(upgrades.answered, Some(Answered { attempt: 1, to: [2; 32], answer, skip: None }));
            assert_eq!(upgrades.modules, [[1; 32], [2; 32]]);
        }
    }

    #[test]
    fn an_attempt_never_settles_another_one() {
        let mut upgrades = claimed();
        assert!(upgrades.settle(1, Epoch(2), &WishAnswer::Done { lsn: Lsn(8) }));
        assert_eq!(upgrades.want([[2; 32], [1; 32]], wanted(), Timestamp(6)).attempt, 2);
        assert!(upgrades.claim(2, Epoch(2)));
        let standing = upgrades.clone();
        for late in [WishAnswer::Done { lsn: Lsn(9) }, WishAnswer::Refused { report: String::new() }] {
            assert!(!upgrades.settle(1, Epoch(2), &late), "{late:?}");
            assert!(!upgrades.settle(3, Epoch(2), &late), "{late:?}");
            assert!(!upgrades.claim(1, Epoch(9)), "it stands no more");
            assert_eq!(upgrades, standing);
        }
    }

    #[test]
    fn what_a_reign_says_whose_claim_a_later_one_has_is_not_heard() {
        let mut upgrades = claimed();
        assert!(upgrades.claim(1, Epoch(2)), "once more is no harm");
        assert!(upgrades.claim(1, Epoch(4)));
        let standing = upgrades.clone();
        assert!(!upgrades.claim(1, Epoch(3)));
        for epoch in [2, 3, 5] {
            assert!(!upgrades.settle(1, Epoch(epoch), &WishAnswer::Refused { report: String::new() }));
        }
        assert_eq!(upgrades, standing);
        assert!(upgrades.settle(1, Epoch(4), &WishAnswer::Done { lsn: Lsn(8) }));
    }

    #[test]
    fn a_wish_that_nobody_has_claimed_is_taken_back_at_once() {
        let mut upgrades = Upgrades::none([1; 32]);
        assert_eq!(upgrades.cancel(), Cancelled::NoWish);
        let wish = upgrades.want([[1; 32], [2; 32]], wanted(), Timestamp(5));
        assert_eq!(upgrades.cancel(), Cancelled::Done(wish));
        assert_eq!(upgrades.cancel(), Cancelled::NoWish);
        assert!(!upgrades.claim(1, Epoch(2)));
        assert_eq!(upgrades.answered.map(|answered| answered.answer), Some(WishAnswer::Cancelled));
    }

    #[test]
    fn of_a_wish_that_is_claimed_the_primary_says_what_becomes_of_it() {
        let given_up = WishAnswer::GivenUp { report: "it was taken back".to_owned() };
        let done = WishAnswer::Done { lsn: Lsn(8) };
        for (said, noted, current) in [(given_up, WishAnswer::Cancelled, [1; 32]), (done.clone(), done, [2; 32])] {
            let mut upgrades = claimed();
            assert!(matches!(upgrades.cancel(), Cancelled::Told(wish) if wish.is_cancelled));
            assert!(upgrades.settle(1, Epoch(2), &said));
            assert_eq!(upgrades.answered, Some(Answered { attempt: 1, to: [2; 32], answer: noted, skip: None }));
            assert_eq!((upgrades.current, &upgrades.wanted), (current, &None));
        }
    }

    #[test]
    fn what_is_skipped_leaves_the_module_as_the_log_has_it() {
        let mut upgrades = claimed();
        assert!(upgrades.settle(1, Epoch(2), &WishAnswer::Done { lsn: Lsn(8) }));
        let skip = WantedSkip { lsn: Lsn(12), messages: vec![0, 2] };
        let wish = upgrades.want_skip(skip.clone(), Timestamp(6));
        assert_eq!((wish.attempt, wish.from, wish.to, &wish.skip), (2, [2; 32], [2; 32], &Some(skip.clone())));
        assert!(upgrades.claim(2, Epoch(3)));
        // Meanwhile the log turned out to have another module.
        assert!(upgrades.note_log([3; 32], 1));
        assert!(upgrades.settle(2, Epoch(3), &WishAnswer::Done { lsn: Lsn(14) }));
        let answer = WishAnswer::Done { lsn: Lsn(14) };
        assert_eq!(upgrades.answered, Some(Answered { attempt: 2, to: [2; 32], answer, skip: Some(skip) }));
        assert_eq!((upgrades.current, upgrades.mended_at), ([3; 32], Lsn(14)));
    }

    #[test]
    fn how_far_the_instance_is_known_to_have_gone_on_is_not_forgotten_with_the_answer() {
        let mut upgrades = claimed();
        assert!(upgrades.settle(1, Epoch(2), &WishAnswer::Done { lsn: Lsn(8) }));
        upgrades.want([[2; 32], [1; 32]], wanted(), Timestamp(6));
        assert!(upgrades.claim(2, Epoch(2)));
        assert!(upgrades.settle(2, Epoch(2), &WishAnswer::Refused { report: String::new() }));
        assert_eq!(upgrades.mended_at, Lsn(8));
    }

    #[test]
    fn what_the_log_says_is_noted_once() {
        let mut upgrades = Upgrades::none([1; 32]);
        assert!(!upgrades.note_log([1; 32], 0));
        assert!(upgrades.note_log([3; 32], 4));
        assert!(!upgrades.note_log([3; 32], 4));
        assert!(!upgrades.note_log([3; 32], 3));
        assert_eq!((upgrades.current, &upgrades.modules), ([3; 32], &vec![[1; 32], [3; 32]]));
        assert_eq!(upgrades.want([[3; 32], [1; 32]], wanted(), Timestamp(5)).attempt, 5, "the log has attempt 4");
    }

    #[test]
    fn limits_that_are_not_given_stay() {
        let limits = Limits { fuel: 1, memory_bytes: 2 };
        assert_eq!(wanted().limits.over(limits), Limits { fuel: 7, memory_bytes: 2 });
        assert!(WantedLimits::default().is_none() && !wanted().limits.is_none());
    }
}
