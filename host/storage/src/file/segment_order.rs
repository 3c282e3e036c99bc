//! Which segments make up the log, and in what order.
//!
//! A stopped primary that wakes may still put a segment in place behind the point at which its successor sealed the
//! log, and a stopped candidate may put one where another candidate has sealed further on. So the log is read
//! backwards: the newest epoch holds, from its first record on; before that holds the epoch that its first segment
//! says it follows, and so on. Whatever is not reached so was put in place by a zombie and is not part of the log.
//!
//! **Architecture Invariant:** a function of the names alone; it opens nothing.

use ambrosia_core::Lsn;

use super::segment::SegmentName;

/// The segments of the log in reading order: each holds until the next one's first record.
///
/// A log that was trimmed, or lost files, begins with the first segment from which the rest follows without a gap
/// in the reigns; whoever reads it notices if records are missing.
pub(crate) fn reading_order(names: &[SegmentName]) -> Vec<SegmentName> {
    let mut sorted = names.to_vec();
    sorted.sort_unstable_by_key(|name| (name.epoch, name.first));
    let mut order = Vec::new();
    let mut end = Lsn(u64::MAX);
    let mut epoch = sorted.last().map(|name| name.epoch);
    while let Some(reign) = epoch {
        order.extend(sorted.iter().rev().filter(|name| name.epoch == reign && name.first < end).copied());
        let begin = order.last().filter(|name| name.epoch == reign);
        epoch = begin.filter(|name| name.follows < reign).map(|name| name.follows);
        end = begin.map_or(end, |name| name.first);
    }
    order.reverse();
    order
}

/// The segments of which nothing is needed by who reads from `from` on, oldest first.
pub(crate) fn trimmed(names: &[SegmentName], from: Lsn) -> Vec<SegmentName> {
    let order = reading_order(names);
    let first_needed = order.partition_point(|name| name.first <= from).saturating_sub(1);
    let Some(first) = order.get(first_needed) else { return Vec::new() };
    // What a zombie put in place is no part of the log; it goes with what it lies beside.
    let mut trimmed: Vec<_> =
        names.iter().filter(|name| (name.epoch, name.first) < (first.epoch, first.first)).collect();
    trimmed.sort_unstable_by_key(|name| (name.epoch, name.first));
    trimmed.into_iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use ambrosia_core::Epoch;
    use proptest::prelude::*;

    use super::*;

    fn name(first: u64, epoch: u64, follows: u64) -> SegmentName {
        SegmentName { first: Lsn(first), epoch: Epoch(epoch), follows: Epoch(follows) }
    }

    #[test]
    fn a_zombie_that_rolled_behind_the_seal_is_ignored() {
        let names = [name(1, 0, 0), name(2, 1, 0), name(9, 1, 1), name(12, 2, 1), name(14, 1, 1)];
        assert_eq!(reading_order(&names), names[..4]);
    }

    #[test]
    fn a_zombie_candidate_that_sealed_too_early_is_ignored() {
        // Candidate 2 read the log to 8 and was stopped; zombie 1 wrote on to 10, where candidate 3 sealed.
        let names = [name(1, 0, 0), name(2, 1, 0), name(9, 2, 1), name(11, 3, 1)];
        assert_eq!(reading_order(&names), [names[0], names[1], names[3]]);
    }

    #[test]
    fn a_trimmed_log_begins_where_it_begins() {
        let names = [name(9, 1, 1), name(12, 2, 1)];
        assert_eq!(reading_order(&names), names);
        assert_eq!(reading_order(&[]), []);
    }

    /// One thing that a primary, a candidate or a zombie does.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Append,
        Roll,
        /// A candidate seals after it has read all but the given number of unacknowledged records of the writer.
        Seal,
        /// A candidate reads the log, is stopped, and puts its segment in place much later.
        SealLate,
        ZombieAppendAndRoll,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            5 => Just(Act::Append),
            2 => Just(Act::Roll),
            2 => Just(Act::Seal),
            1 => Just(Act::SealLate),
            1 => Just(Act::ZombieAppendAndRoll),
        ]
    }

    /// The history as it was, next to the names that it left.
    struct Model {
        names: Vec<SegmentName>,
        late: Vec<SegmentName>,
        /// Segment of each record, from lsn 1.
        truth: Vec<SegmentName>,
        current: SegmentName,
        epoch: Epoch,
        zombies: Vec<(Epoch, Lsn)>,
    }

    impl Model {
        fn new() -> Model {
            let genesis = name(1, 0, 0);
            let (names, truth) = (vec![genesis], vec![genesis]);
            Model { names, late: vec![], truth, current: genesis, epoch: Epoch(0), zombies: vec![] }
        }

        fn next(&self) -> Lsn {
            Lsn(self.truth.len() as u64 + 1)
        }

        fn begin_segment(&mut self, epoch: Epoch) {
            self.current = SegmentName { first: self.next(), epoch, follows: self.current.epoch };
            self.names.push(self.current);
            self.truth.push(self.current);
        }

        fn act(&mut self, act: Act) {
            match act {
                Act::Append if self.current.epoch > Epoch(0) => self.truth.push(self.current),
                Act::Roll if self.current.epoch > Epoch(0) => self.begin_segment(self.current.epoch),
                Act::Append | Act::Roll => {}
                Act::Seal => {
                    self.zombies.push((self.current.epoch, self.next()));
                    self.epoch = Epoch(self.epoch.0 + 1);
                    self.begin_segment(self.epoch);
                }
                Act::SealLate => {
                    self.epoch = Epoch(self.epoch.0 + 1);
                    self.late.push(SegmentName { first: self.next(), epoch: self.epoch, follows: self.current.epoch });
                }
                Act::ZombieAppendAndRoll => {
                    if let Some((epoch, at)) = self.zombies.last_mut().filter(|zombie| zombie.0 > Epoch(0)) {
                        self.names.push(SegmentName { first: *at, epoch: *epoch, follows: *epoch });
                        at.0 += 1;
                    }
                }
            }
        }

        fn finish(mut self) -> Self {
            self.zombies.push((self.current.epoch, self.next()));
            self.epoch = Epoch(self.epoch.0 + 1);
            self.begin_segment(self.epoch);
            self.names.append(&mut self.late);
            self
        }
    }

    proptest! {
        #[test]
        fn the_order_is_the_history(acts in prop::collection::vec(act(), 0..60), turn in 0_usize..100) {
            let mut model = Model::new();
            for act in acts {
                model.act(act);
            }
            let mut model = model.finish();
            let count = model.names.len();
            model.names.rotate_left(turn % count);
            let mut history = model.truth;
            history.dedup();
            prop_assert_eq!(reading_order(&model.names), history);
        }

        /// Whoever knows the epoch of the log's newest segment so knows that of any zombie's.
        #[test]
        fn of_any_names_the_log_ends_in_the_newest_epoch(
            names in prop::collection::vec((1_u64..20, 0_u64..6, 0_u64..6), 1..12),
        ) {
            let names: Vec<_> = names.into_iter().map(|(first, epoch, follows)| name(first, epoch, follows)).collect();
            let newest = names.iter().map(|name| name.epoch).max();
            prop_assert_eq!(reading_order(&names).last().map(|name| name.epoch), newest);
        }
    }
}
