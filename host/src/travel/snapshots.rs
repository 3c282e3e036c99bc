//! The snapshots of a traveller: many near the place where it is, few far away.
//!
//! **Architecture Invariant:** they take no more memory than their limit, but for one of them.

use std::collections::BTreeMap;

use ambrosia_core::Lsn;

use super::{image::Ledger, snapshot::Snapshot};

/// Memory that all snapshots take together.
const BYTES_MAX: u64 = 256 << 20;

/// The snapshots by their records.
#[derive(Default)]
pub(super) struct Snapshots {
    by_lsn: BTreeMap<Lsn, Snapshot>,
    pub(super) ledger: Ledger,
}

impl Snapshots {
    /// The last one that is not behind `lsn`.
    pub(super) fn at_or_before(&self, lsn: Lsn) -> Option<&Snapshot> {
        Some(self.by_lsn.range(..=lsn).next_back()?.1)
    }

    pub(super) fn has(&self, lsn: Lsn) -> bool {
        self.by_lsn.contains_key(&lsn)
    }

    pub(super) fn remove(&mut self, lsn: Lsn) {
        self.by_lsn.remove(&lsn);
    }

    /// Keeps one more, and forgets others for it: of those that lie closest together, as seen from there.
    pub(super) fn keep(&mut self, snapshot: Snapshot) {
        let here = snapshot.lsn;
        self.by_lsn.insert(here, snapshot);
        while self.ledger.bytes() > BYTES_MAX && self.by_lsn.len() > 1 {
            let lsns: Vec<_> = self.by_lsn.keys().copied().collect();
            let least = least_missed(&lsns, here);
            self.by_lsn.remove(&least);
        }
    }
}

/// The one whose absence makes the least difference from `here`, where one is: how far its neighbours lie apart, as a part of
/// how far it is away.
fn least_missed(lsns: &[Lsn], here: Lsn) -> Lsn {
    let missed = |at: usize| {
        let before = at.checked_sub(1).map_or(0, |before| lsns[before].0);
        let gap = lsns.get(at + 1).map_or(lsns[at], |after| *after).0 - before;
        gap as f64 / (lsns[at].0.abs_diff(here.0) + 1) as f64
    };
    let others = (0..lsns.len()).filter(|at| lsns[*at] != here);
    let least = others.min_by(|one, other| missed(*one).total_cmp(&missed(*other)));
    least.map_or(here, |at| lsns[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_away_is_thinned_first_and_evenly() {
        let mut lsns: Vec<_> = (1..=100).map(|n| Lsn(n * 100)).collect();
        let here = *lsns.last().expect("there are some");
        while lsns.len() > 20 {
            let least = least_missed(&lsns, here);
            assert_ne!(least, here, "where one is stays");
            lsns.retain(|lsn| *lsn != least);
        }
        let gaps: Vec<_> = lsns.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        let (far, near) = gaps.split_at(gaps.len() / 2);
        let largest = |gaps: &[u64]| gaps.iter().max().copied().expect("there are some");
        assert!(near.last() == Some(&100) && largest(near) < largest(far), "{gaps:?}");
        assert!(gaps.iter().zip(&lsns).all(|(gap, lsn)| *gap <= (here.0 - lsn.0).max(200)), "{gaps:?}");
    }
}
