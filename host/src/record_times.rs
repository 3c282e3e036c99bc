//! When records were made, to the second or a hundredth of their age, for those who ask how old something is.
//!
//! **Architecture Invariant:** it is bounded, however long a reign is.

use ambrosia_core::{Lsn, Timestamp};

/// Records closer to the one noted before are not noted.
const APART_NS: u64 = 1_000_000_000;

/// When so many are noted, some are forgotten.
const NOTED_MAX: usize = 4096;

/// Ages are known to one part in so many, or to the second.
const PRECISION: u64 = 100;

/// The times of some records, in order.
#[derive(Default)]
pub(crate) struct RecordTimes(Vec<(Lsn, Timestamp)>);

impl RecordTimes {
    /// Notes the next record, if it is worth it.
    pub(crate) fn note(&mut self, lsn: Lsn, time: Timestamp) {
        // What was noted of a reign whose last records were lost has other records in its place now.
        while self.0.pop_if(|(noted, _)| *noted >= lsn).is_some() {}
        if self.0.last().is_some_and(|(_, last)| time.0.saturating_sub(last.0) < APART_NS) {
            return;
        }
        if self.0.len() == NOTED_MAX {
            self.thin_out();
        }
        assert!(self.0.last().is_none_or(|(_, last)| *last < time), "the time of records never falls");
        self.0.push((lsn, time));
        assert!(self.0.len() <= NOTED_MAX, "what is noted is bounded");
    }

    /// Forgets times until none is further from the next one than a hundredth of its age: a few thousand are left of
    /// any number of years.
    fn thin_out(&mut self) {
        let Some((_, newest)) = self.0.last().copied() else { return };
        let mut kept: Vec<(Lsn, Timestamp)> = Vec::with_capacity(NOTED_MAX);
        for at in 0..self.0.len() {
            let next = self.0.get(at + 1).map_or(newest, |(_, time)| *time);
            let gap = kept.last().map(|(_, before)| next.0 - before.0);
            let is_needed = gap.is_none_or(|gap| gap > (newest.0 - next.0) / PRECISION);
            if is_needed || at + 1 == self.0.len() {
                kept.push(self.0[at]);
            }
        }
        assert!(kept.len() < NOTED_MAX, "whoever notes seconds needs fewer");
        self.0 = kept;
    }

    /// When a record was made: the time of the last one noted that is no later. Of a record before all that are noted
    /// it is only known that it is older than those, so it is the time of the first; `None` if none is noted.
    pub(crate) fn of(&self, lsn: Lsn) -> Option<Timestamp> {
        let after = self.0.partition_point(|(noted, _)| *noted <= lsn);
        self.0.get(after.saturating_sub(1)).map(|(_, time)| *time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_known_to_the_second() {
        let mut times = RecordTimes::default();
        assert_eq!(times.of(Lsn(1)), None);
        for lsn in 10..100 {
            times.note(Lsn(lsn), Timestamp(lsn * APART_NS / 4));
        }
        for lsn in 10..100 {
            let time = times.of(Lsn(lsn)).expect("some are noted").0;
            assert!((time..time + APART_NS).contains(&(lsn * APART_NS / 4)), "{lsn}");
        }
        assert_eq!(times.of(Lsn(3)), times.of(Lsn(10)), "at least so old");
    }

    #[test]
    fn records_that_were_lost_leave_no_times_behind() {
        let mut times = RecordTimes::default();
        for lsn in 1..=9 {
            times.note(Lsn(lsn), Timestamp(lsn * APART_NS));
        }
        // From lsn 5 on all was lost, and another reign made records later.
        times.note(Lsn(5), Timestamp(20 * APART_NS));
        assert_eq!(times.of(Lsn(4)), Some(Timestamp(4 * APART_NS)));
        for lsn in 5..=9 {
            assert_eq!(times.of(Lsn(lsn)), Some(Timestamp(20 * APART_NS)), "{lsn}");
        }
    }

    #[test]
    fn a_long_reign_is_remembered_in_bounds_and_to_a_hundredth() {
        const SECONDS: u64 = 1_000_000;
        let mut times = RecordTimes::default();
        for second in 0..SECONDS {
            times.note(Lsn(second + 1), Timestamp(second * APART_NS));
            assert!(times.0.len() <= NOTED_MAX);
        }
        assert_eq!(times.of(Lsn(1)), Some(Timestamp(0)));
        for second in (0..SECONDS).step_by(997) {
            let early = second - times.of(Lsn(second + 1)).expect("some are noted").0 / APART_NS;
            assert!(early <= (SECONDS - second) / PRECISION + 1, "{second} s is taken for {early} s earlier");
        }
    }

    #[test]
    fn records_far_apart_are_remembered_in_bounds_too() {
        let mut times = RecordTimes::default();
        for lsn in 1..3 * NOTED_MAX as u64 {
            times.note(Lsn(lsn), Timestamp(lsn * 100 * APART_NS));
            assert!(times.0.len() <= NOTED_MAX);
        }
    }
}
