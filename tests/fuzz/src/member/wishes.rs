//! What is wished, as the registry of the target has it.

use ambrosia_core::{
    Epoch, Lsn, Mend, Record, Upgrade,
    member::{Wish, WishOutcome},
};

use super::Shared;

/// The wish that stands, if one does.
#[derive(Default)]
pub(super) struct Wishes {
    wanted: Option<(Wish, Option<Epoch>)>,
    last: u64,
}

impl Wishes {
    pub(super) fn standing(&self) -> Option<Wish> {
        self.wanted.as_ref().map(|(wish, _)| wish.clone())
    }

    /// The number of the next one.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Somebody wishes that, or takes back what stands.
    pub(super) fn wish(&mut self, wish: Wish) {
        match &mut self.wanted {
            None => {
                self.last = wish.attempt();
                self.wanted = Some((wish, None));
            }
            Some((standing, Some(_))) => standing.is_cancelled = true,
            Some((_, None)) => self.wanted = None,
        }
    }

    pub(super) fn claim(&mut self, attempt: u64, epoch: Epoch) -> bool {
        let Some((wish, claimed)) = &mut self.wanted else { return false };
        if wish.attempt() != attempt || claimed.is_some_and(|by| by > epoch) {
            return false;
        }
        *claimed = Some(epoch);
        true
    }
}

impl Shared {
    /// What became of a wish is what the log says.
    pub(super) fn settle(&mut self, attempt: u64, epoch: Epoch, outcome: &WishOutcome) {
        let Some((wish, claimed)) = &self.wishes.wanted else { return };
        if wish.attempt() != attempt || *claimed != Some(epoch) {
            return;
        }
        let of_wish = |record: &Record| is_of(record, wish);
        let done = self.records[..self.durable.0 as usize].iter().find(|record| of_wish(record)).map(Record::lsn);
        let said: Option<Lsn> = match outcome {
            WishOutcome::Done(lsn) => Some(*lsn),
            WishOutcome::Refused(_) | WishOutcome::GivenUp(_) => None,
        };
        assert_eq!(said, done, "what is said of a wish is what the log says");
        self.wishes.wanted = None;
    }
}

/// Whether a record fulfils the wish.
fn is_of(record: &Record, wish: &Wish) -> bool {
    let of_upgrade = Upgrade::of(record).expect("it was made here").map(|upgrade| upgrade.attempt);
    let of_mend = Mend::of(record).expect("it was made here").map(|mend| mend.attempt());
    of_upgrade.or(of_mend) == Some(wish.attempt())
}
