//! How much of a log is kept beyond what a recovery needs, to be looked at.
//!
//! **Architecture Invariant:** what is decided here only keeps more than is needed, never less.

use std::collections::BTreeMap;

use ambrosia_core::Lsn;

/// A part of a log that is kept or removed as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogPart {
    /// Its first record.
    pub first: Lsn,
    /// Bytes of it.
    pub bytes: u64,
}

/// Where a history begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct History {
    /// Checkpoints are kept from this record on …
    pub(crate) checkpoints: Lsn,
    /// … and the log from this one on.
    pub(crate) log: Lsn,
}

impl History {
    /// None: the oldest checkpoint that is needed, and from where on the log is.
    pub(crate) fn none(oldest: Lsn, needed: Lsn) -> History {
        History { checkpoints: oldest, log: needed }
    }

    /// The longest one that fits into `budget` bytes, beyond `self`, which is none.
    ///
    /// `parts` come newest first, beginning with the one that the log is needed from by the oldest checkpoint; those that are
    /// needed anyway have no bytes. `checkpoints` are the bytes of those that are not needed anyway. A checkpoint of history is
    /// of no use without the log behind it, nor a part of the log without a checkpoint before it; so both are counted, from
    /// the newest back.
    pub(crate) fn back(
        self,
        budget: u64,
        parts: impl Iterator<Item = LogPart>,
        checkpoints: &BTreeMap<Lsn, u64>,
    ) -> History {
        let (mut begins, mut spent, mut end) = (self, 0_u64, self.checkpoints);
        for part in parts {
            spent = spent.saturating_add(part.bytes);
            if spent > budget {
                return begins;
            }
            let behind = Lsn(part.first.0.saturating_sub(1)).min(end);
            for (lsn, bytes) in checkpoints.range(behind..end).rev() {
                spent = spent.saturating_add(*bytes);
                if spent > budget {
                    return begins;
                }
                begins = History { checkpoints: *lsn, log: begins.log.min(lsn.next()) };
            }
            begins = History { checkpoints: begins.checkpoints.min(part.first), log: begins.log.min(part.first) };
            end = behind;
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of 100 records and 1000 bytes each; checkpoints of 50 bytes at each 40th record; the one at 1000 is needed.
    fn begins(budget: u64) -> u64 {
        let bytes = |part| if part == 10 { 0 } else { 1000 };
        let parts = (0..=10).rev().map(|part| LogPart { first: Lsn(part * 100 + 1), bytes: bytes(part) });
        let checkpoints = (1..25).map(|n| (Lsn(n * 40), 50)).collect();
        History::none(Lsn(1000), Lsn(1001)).back(budget, parts, &checkpoints).checkpoints.0
    }

    #[test]
    fn what_is_kept_goes_back_checkpoint_by_checkpoint_and_part_by_part() {
        assert_eq!(begins(1), 1000);
        assert_eq!(begins(1049), 1000, "the newest part, and no checkpoint in it");
        assert_eq!(begins(1050), 960);
        assert_eq!(begins(1100), 901, "all of the part that is kept in any case");
        assert_eq!(begins(2099), 901, "the next one does not fit");
        assert_eq!(begins(2150), 880);
        assert_eq!(begins(2250), 800);
        assert_eq!(begins(u64::MAX), 1, "everything");
    }

    #[test]
    fn more_bytes_never_keep_less() {
        let all: Vec<_> = (1..13_000).step_by(25).map(begins).collect();
        assert!(all.windows(2).all(|pair| pair[0] >= pair[1]), "{all:?}");
    }

    #[test]
    fn the_log_is_kept_behind_the_oldest_checkpoint_and_from_its_first_record_if_all_of_it_is() {
        let parts = || [LogPart { first: Lsn(5), bytes: 0 }, LogPart { first: Lsn(1), bytes: 10 }].into_iter();
        let checkpoints = BTreeMap::from([(Lsn(3), 10), (Lsn(6), 10)]);
        let none = History::none(Lsn(7), Lsn(8));
        let begins = |budget| none.back(budget, parts(), &checkpoints);
        assert_eq!(begins(9), none);
        assert_eq!(begins(10), History { checkpoints: Lsn(5), log: Lsn(5) });
        assert_eq!(begins(29), History { checkpoints: Lsn(5), log: Lsn(5) }, "the other part would have no checkpoint");
        assert_eq!(begins(30), History { checkpoints: Lsn(1), log: Lsn(1) });
    }

    /// A replica that lags behind needs an older part of the log, and no checkpoint in it.
    #[test]
    fn what_others_need_of_the_log_costs_nothing_and_keeps_no_checkpoints() {
        let parts = || [9, 5, 1].into_iter().map(|first| LogPart { first: Lsn(first), bytes: 0 });
        let checkpoints = BTreeMap::from([(Lsn(3), 10), (Lsn(6), 10)]);
        let none = History::none(Lsn(9), Lsn(3));
        assert_eq!(none.back(9, parts(), &checkpoints), none);
        assert_eq!(none.back(10, parts(), &checkpoints), History { checkpoints: Lsn(5), log: Lsn(3) });
    }
}
