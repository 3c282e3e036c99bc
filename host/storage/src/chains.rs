//! Which checkpoints of a log make up whole ones, and which of them are kept.
//!
//! **Architecture Invariant:** nothing is to be removed that a checkpoint which is kept rests on, and no record of the log
//! that a kept checkpoint, or a replica that runs, still needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::RangeInclusive,
    str::FromStr,
};

use ambrosia_core::{Lsn, member::Keep};

use crate::{
    CheckpointError,
    history::{History, LogPart},
};

/// A base is made of a chain of deltas that has become as long as this.
const DEPTH_MAX: usize = 4;

/// Names a checkpoint of a log: what it is of, and what it rests on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CheckpointName {
    /// The last record that it holds.
    pub lsn: Lsn,
    /// The checkpoint that it holds the changes since; `None` for a base, which holds everything.
    pub parent: Option<Lsn>,
}

impl fmt::Display for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent {
            None => write!(f, "{:020}.base", self.lsn.0),
            Some(parent) => write!(f, "{:020}-{:020}.delta", self.lsn.0, parent.0),
        }
    }
}

impl FromStr for CheckpointName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |digits: &str| digits.parse().map(Lsn).map_err(|_| ());
        let name = if let Some(lsn) = text.strip_suffix(".base") {
            CheckpointName { lsn: number(lsn)?, parent: None }
        } else {
            let (lsn, parent) = text.strip_suffix(".delta").and_then(|stem| stem.split_once('-')).ok_or(())?;
            CheckpointName { lsn: number(lsn)?, parent: Some(number(parent)?) }
        };
        // Records are counted from 1, and none has the last number: there would be none to go on with.
        let is_one = |lsn: Lsn| lsn > Lsn(0) && lsn < Lsn(u64::MAX);
        let parent_is_before = name.parent.is_none_or(|parent| is_one(parent) && parent < name.lsn);
        if name.to_string() == text && is_one(name.lsn) && parent_is_before { Ok(name) } else { Err(()) }
    }
}

/// All names that a checkpoint at that record can have, the base first.
fn of(lsn: Lsn) -> RangeInclusive<CheckpointName> {
    CheckpointName { lsn, parent: None }..=CheckpointName { lsn, parent: Some(Lsn(u64::MAX)) }
}

/// The checkpoints that there are, complete or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chains {
    names: BTreeSet<CheckpointName>,
    /// Of each record at which there is a whole checkpoint, the one to read: the base, or a delta upon one that is whole.
    complete: BTreeMap<Lsn, CheckpointName>,
}

/// What of a log and its checkpoints need not be kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Unneeded {
    /// Checkpoints, oldest first.
    pub checkpoints: Vec<CheckpointName>,
    /// All of the log before this record; `None` if all of it stays.
    pub log_before: Option<Lsn>,
}

/// What it costs to keep more of a log than is needed.
pub trait HistoryCosts {
    /// Why that can't be found out.
    type Error;

    /// Bytes of a checkpoint.
    fn bytes_of(&self, name: CheckpointName) -> Result<u64, Self::Error>;

    /// The parts of the log that are kept or removed as a whole, newest first, beginning with the one that holds `newest`. Those
    /// that hold `needed`, or come behind it, cost nothing.
    fn parts(&self, newest: Lsn, needed: Lsn) -> Result<Vec<LogPart>, Self::Error>;
}

impl Chains {
    /// Of checkpoints with these names.
    pub fn new(names: BTreeSet<CheckpointName>) -> Chains {
        let mut complete = BTreeMap::new();
        // A parent comes before what rests on it. The base of a record comes first; its deltas are equally good.
        for name in &names {
            if name.parent.is_none_or(|parent| complete.contains_key(&parent)) {
                complete.entry(name.lsn).or_insert(*name);
            }
        }
        Chains { names, complete }
    }

    /// The records at which there is a whole checkpoint, oldest first.
    pub fn complete(&self) -> impl Iterator<Item = Lsn> {
        self.complete.keys().copied()
    }

    /// The newest record at which there is a whole checkpoint; 0 if there is none.
    pub fn newest(&self) -> Lsn {
        self.complete.last_key_value().map(|(lsn, _)| *lsn).unwrap_or_default()
    }

    /// The checkpoints at that record, the base first.
    pub fn at(&self, lsn: Lsn) -> impl Iterator<Item = CheckpointName> {
        self.names.range(of(lsn)).copied()
    }

    /// What makes up the checkpoint, the newest first and the base last; `None` if some of it is missing.
    pub fn chain(&self, lsn: Lsn) -> Option<Vec<CheckpointName>> {
        let mut chain = vec![*self.complete.get(&lsn)?];
        while let Some(parent) = chain.last()?.parent {
            chain.push(*self.complete.get(&parent)?);
        }
        Some(chain)
    }

    /// The same; `place` is where they are, for people.
    ///
    /// # Errors
    /// If there is no checkpoint, or what it rests on is missing.
    pub fn whole(&self, lsn: Lsn, place: impl FnOnce() -> String) -> Result<Vec<CheckpointName>, CheckpointError> {
        match self.chain(lsn) {
            Some(chain) => Ok(chain),
            None if self.at(lsn).next().is_none() => Err(CheckpointError::Missing { lsn, place: place() }),
            None => Err(CheckpointError::ParentMissing { lsn, parent: self.missing_parent(lsn), place: place() }),
        }
    }

    /// Where the chain of a checkpoint breaks off.
    fn missing_parent(&self, mut lsn: Lsn) -> Lsn {
        while let Some(parent) = self.names.range(of(lsn)).next_back().and_then(|name| name.parent) {
            lsn = parent;
        }
        lsn
    }

    /// Whether a base is to be made of the checkpoint: it rests on a long or a large chain.
    ///
    /// # Errors
    /// Of `bytes_of`.
    pub fn is_compaction_due<E>(
        &self,
        lsn: Lsn,
        bytes_of: impl Fn(CheckpointName) -> Result<u64, E>,
    ) -> Result<bool, E> {
        let Some(chain) = self.chain(lsn) else { return Ok(false) };
        let bytes_at = |lsn: Lsn| self.at(lsn).map(&bytes_of).sum::<Result<u64, E>>();
        let (base, deltas) = chain.split_last().expect("a chain has one link at least");
        let delta_bytes = deltas.iter().map(|name| bytes_at(name.lsn)).sum::<Result<u64, E>>()?;
        Ok(deltas.len() >= DEPTH_MAX || (!deltas.is_empty() && delta_bytes > bytes_at(base.lsn)? / 2))
    }

    /// What need not be kept: see [`crate::Checkpoints::trim`].
    ///
    /// # Errors
    /// Of `costs`.
    pub fn unneeded<C: HistoryCosts>(&self, keep: Keep, applied: &[Lsn], costs: &C) -> Result<Unneeded, C::Error> {
        let count = keep.checkpoints.max(1);
        let mut kept = self.kept(count);
        // While there are fewer than that, or all rest on one base, all of the log is kept, as there is little of it.
        let enough = kept.len() >= count && self.bases(&kept).len() >= count.min(2);
        let Some(oldest) = kept.first().copied().filter(|_| enough) else { return Ok(Unneeded::default()) };
        let newest = *kept.last().expect("it has a first one");
        let needed = applied.iter().copied().fold(oldest, Lsn::min).next();
        let none = History::none(oldest, needed);
        let history = self.history(none, keep.history_bytes, &kept, costs)?;
        kept.extend(self.complete().filter(|lsn| *lsn >= history.checkpoints && *lsn < newest));
        let kept: BTreeSet<_> = kept.iter().filter_map(|lsn| self.chain(*lsn)).flatten().collect();
        let is_unneeded = |name: &CheckpointName| name.lsn < newest && !kept.contains(name);
        let checkpoints = self.names.iter().copied().filter(is_unneeded).collect();
        let log_before = (!keep.log).then(|| needed.min(history.log));
        Ok(Unneeded { checkpoints, log_before })
    }

    /// What is kept as history, beyond `none`.
    fn history<C: HistoryCosts>(
        &self,
        none: History,
        bytes: u64,
        kept: &[Lsn],
        costs: &C,
    ) -> Result<History, C::Error> {
        if bytes == 0 {
            return Ok(none);
        }
        let needed: BTreeSet<_> = kept.iter().filter_map(|lsn| self.chain(*lsn)).flatten().collect();
        let mut checkpoints = BTreeMap::<Lsn, u64>::new();
        for name in self.names.iter().filter(|name| !needed.contains(name)) {
            *checkpoints.entry(name.lsn).or_default() += costs.bytes_of(*name)?;
        }
        let parts = costs.parts(none.checkpoints.next(), none.log)?;
        Ok(none.back(bytes, parts.into_iter(), &checkpoints))
    }

    /// The `keep` newest checkpoints that are complete, oldest first, and if these rest on one base all, the newest
    /// that rests on another one.
    fn kept(&self, keep: usize) -> Vec<Lsn> {
        let base = |lsn: &Lsn| *self.chain(*lsn).expect("it is complete").last().expect("it has one link at least");
        let complete: BTreeMap<Lsn, CheckpointName> = self.complete.keys().map(|lsn| (*lsn, base(lsn))).collect();
        let mut kept: Vec<_> = complete.iter().rev().take(keep).collect();
        if keep > 1
            && let Some((_, base)) = kept.first()
            && kept.iter().all(|(_, other)| other == base)
        {
            kept.extend(complete.iter().rev().find(|(_, other)| other != base));
        }
        kept.reverse();
        kept.into_iter().map(|(lsn, _)| *lsn).collect()
    }

    /// The bases that these checkpoints rest on.
    fn bases(&self, lsns: &[Lsn]) -> BTreeSet<CheckpointName> {
        lsns.iter().filter_map(|lsn| self.chain(*lsn)?.pop()).collect()
    }
}
