//! Draws everything that is random in a round from one seed.

use std::{ops::RangeInclusive, time::Duration};

use ambrosia_core::Random;

/// A source of draws; the same seed gives the same ones.
pub(crate) struct Draw(Random);

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(Random::new(seed))
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number of the range. That some come up more often by a billionth does not matter here.
    pub(crate) fn number(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (from, to) = range.into_inner();
        assert!(from <= to, "there is something to draw from");
        from + self.any() % (to - from + 1)
    }

    /// An index below `count`.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.number(0..=count as u64 - 1) as usize
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.number(0..=99) < percent
    }

    /// One of several.
    pub(crate) fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// A time in milliseconds.
    pub(crate) fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(range))
    }

    /// A number of the range whose magnitude is drawn first, so that small ones are as likely as large ones.
    pub(crate) fn magnitude(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (from, to) = range.into_inner();
        assert!(0 < from && from <= to, "magnitudes are of positive numbers");
        let (low, high) = ((from as f64).ln(), (to as f64).ln());
        let share = self.number(0..=1 << 20) as f64 / f64::from(1 << 20);
        ((low + (high - low) * share).exp().round() as u64).clamp(from, to)
    }

    /// In any order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}
