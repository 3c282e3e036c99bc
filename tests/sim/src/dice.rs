//! Decides whatever is left open in a run. Everything follows from the seed.

use ambrosia_core::Random;

/// A generator with the few questions that a simulation asks.
#[derive(Debug)]
pub(crate) struct Dice(Random);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1ce))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in `0..bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound
    }

    /// Uniform in `low..=high`.
    pub(crate) fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        low + self.below(high - low + 1)
    }

    /// From `low` to `high`, small values as likely as large ones on a logarithmic scale.
    pub(crate) fn spread(&mut self, (low, high): (u64, u64)) -> u64 {
        let doublings = u64::from((high / low.max(1)).max(1).ilog2());
        let scale = 1 << self.below(doublings + 1);
        self.between((low, high.min(low.max(1) * scale * 2)))
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// True in `chance` of a million cases.
    pub(crate) fn rarely(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(1_000_000) < chance
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len() as u64) as usize]) }
    }
}
