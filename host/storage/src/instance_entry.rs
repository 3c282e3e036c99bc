//! What the registry holds of an instance.
//!
//! The value is bincode with its standard configuration; its first field is the format version. An entry is written in the
//! oldest version that can hold it: version 1 knows no upgrades, and version 2 no messages that are skipped, so an instance
//! that has had none can be read by every program.
//!
//! **Architecture Invariant:** this is the one place of this crate that knows bincode.

use std::{collections::BTreeSet, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Answered, LogId, MODULES_MAX, StandingWish, Upgrades, Waiting, Wanted, WantedLimits, WantedSkip, WishAnswer,
};

/// The version that knows instances which go on behind a record that they could not handle.
const VERSION: u32 = 3;
/// The version that knows upgrades.
const VERSION_2: u32 = 2;
/// The version before.
const VERSION_1: u32 = 1;

/// Longest entry that is believed, in bytes.
const ENTRY_BYTES_MAX: usize = 4 << 20;

/// A registered instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceEntry {
    /// Its name.
    pub name: InstanceName,
    /// Identity of this life of it.
    pub uuid: InstanceUuid,
    /// SHA-256 of the module that it began with.
    pub module: [u8; 32],
    /// Numbers of its replicas.
    pub replicas: BTreeSet<u16>,
    /// When it was registered.
    pub registered: Timestamp,
    /// How it ended, if it did.
    pub outcome: Option<RecordedOutcome>,
    /// What was wished for since.
    pub upgrades: Upgrades,
}

/// How an instance ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RecordedOutcome {
    /// It exited.
    Finished {
        /// Exit code.
        code: i32,
        /// The record that made it exit.
        #[serde(with = "lsn_as_number")]
        lsn: Lsn,
    },
    /// It was stopped by a fault, which comes again until the module is changed or the message skipped.
    Halted {
        /// The record that it can't handle.
        #[serde(with = "lsn_as_number")]
        lsn: Lsn,
        /// What happened.
        reason: String,
        /// Where in the guest.
        backtrace: String,
    },
}

pub(crate) mod lsn_as_number {
    use ambrosia_core::Lsn;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
        lsn.0.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
        u64::deserialize(deserializer).map(Lsn)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    name: String,
    uuid: [u8; 16],
    module: [u8; 32],
    replicas: BTreeSet<u16>,
    registered: u64,
    outcome: Option<RecordedOutcome>,
}

/// What follows that in version 2.
#[derive(Serialize, Deserialize)]
struct StoredUpgrades {
    current: [u8; 32],
    modules: Vec<[u8; 32]>,
    attempts: u64,
    wanted: Option<StoredWish>,
    answered: Option<Answered>,
}

/// What follows that in version 3.
#[derive(Serialize, Deserialize)]
struct StoredMends {
    mended_at: u64,
    wanted: Option<WantedSkip>,
    answered: Option<WantedSkip>,
}

#[derive(Serialize, Deserialize)]
struct StoredWish {
    attempt: u64,
    from: [u8; 32],
    to: [u8; 32],
    limits: WantedLimits,
    handover_fuel: u64,
    wait_ns: u64,
    waiting: Waiting,
    made: u64,
    claimed_by: Option<u64>,
    is_cancelled: bool,
}

impl StoredWish {
    fn of(wish: &StandingWish) -> StoredWish {
        let StandingWish { attempt, from, to, skip: _, wanted, made, claimed_by, is_cancelled } = wish.clone();
        let Wanted { limits, handover_fuel, wait, waiting } = wanted;
        let wait_ns = wait.as_nanos().try_into().unwrap_or(u64::MAX);
        let (made, claimed_by) = (made.0, claimed_by.map(|epoch| epoch.0));
        StoredWish { attempt, from, to, limits, handover_fuel, wait_ns, waiting, made, claimed_by, is_cancelled }
    }

    fn into_wish(self) -> StandingWish {
        let StoredWish { attempt, from, to, limits, handover_fuel, wait_ns, waiting, made, claimed_by, is_cancelled } =
            self;
        let wanted = Wanted { limits, handover_fuel, wait: Duration::from_nanos(wait_ns), waiting };
        let (made, claimed_by) = (Timestamp(made), claimed_by.map(Epoch));
        StandingWish { attempt, from, to, skip: None, wanted, made, claimed_by, is_cancelled }
    }
}

impl StoredUpgrades {
    fn of(upgrades: &Upgrades) -> StoredUpgrades {
        let Upgrades { current, modules, attempts, wanted, answered, mended_at: _ } = upgrades.clone();
        StoredUpgrades { current, modules, attempts, wanted: wanted.as_ref().map(StoredWish::of), answered }
    }

    /// `None` if no instance that began with that module can have them.
    fn into_upgrades(self, module: [u8; 32]) -> Option<Upgrades> {
        let StoredUpgrades { current, modules, attempts, wanted, answered } = self;
        let wanted = wanted.map(StoredWish::into_wish);
        let numbers = [wanted.as_ref().map(|wish| wish.attempt), answered.as_ref().map(|answered| answered.attempt)];
        let is_right = modules.first() == Some(&module)
            && modules.len() <= MODULES_MAX
            && modules.contains(&current)
            && wanted.as_ref().is_none_or(|wish| modules.contains(&wish.to))
            && numbers.iter().flatten().all(|attempt| (1..=attempts).contains(attempt));
        // All that was known before version 3 of where the instance has gone on.
        let mended_at = Upgrades::done_at(answered.as_ref());
        is_right.then_some(Upgrades { current, modules, attempts, wanted, answered, mended_at })
    }
}

impl StoredMends {
    /// `None` if version 2 says all.
    fn of(upgrades: &Upgrades) -> Option<StoredMends> {
        let wanted = upgrades.wanted.as_ref().and_then(|wish| wish.skip.clone());
        let answered = upgrades.answered.as_ref().and_then(|answered| answered.skip.clone());
        let is_known = upgrades.mended_at == Upgrades::done_at(upgrades.answered.as_ref());
        let mends = StoredMends { mended_at: upgrades.mended_at.0, wanted, answered };
        (!is_known || mends.wanted.is_some() || mends.answered.is_some()).then_some(mends)
    }

    /// Puts it where it belongs; `None` if there is no place for it, or it can't be.
    fn put_into(self, upgrades: &mut Upgrades) -> Option<()> {
        let StoredMends { mended_at, wanted, answered } = self;
        let is_sound = [&wanted, &answered].into_iter().flatten().all(WantedSkip::is_sound);
        if !is_sound || Lsn(mended_at) < upgrades.mended_at {
            return None;
        }
        upgrades.mended_at = Lsn(mended_at);
        if wanted.is_some() {
            let wish = upgrades.wanted.as_mut().filter(|wish| wish.from == wish.to)?;
            wish.skip = wanted;
        }
        if answered.is_some() {
            upgrades.answered.as_mut()?.skip = answered;
        }
        Some(())
    }
}

/// Why bytes are not an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// Written by another version.
    #[error("the entry has format version {0}, this program reads versions {VERSION_1} to {VERSION}")]
    Version(u32),
    /// Nonsense.
    #[error("the entry of the instance does not have the shape of one")]
    Shape,
}

impl InstanceEntry {
    /// The log of this life of it.
    pub fn log(&self) -> LogId {
        LogId(self.uuid)
    }

    /// Notes what came of an attempt that a reign has claimed; false if that is not to be noted. An instance of which a wish
    /// was done does not stand before that any more.
    pub(crate) fn settle(&mut self, attempt: u64, epoch: Epoch, answer: &WishAnswer) -> bool {
        let is_noted = self.upgrades.settle(attempt, epoch, answer);
        if is_noted {
            self.forget_that_it_stands_at(self.upgrades.mended_at);
        }
        is_noted
    }

    /// Notes what a primary has of the instance by its log: the module, the last attempt, and the last record. False if all
    /// that is noted already.
    pub(crate) fn note_reign(&mut self, module: [u8; 32], attempt: u64, applied: Lsn) -> bool {
        let is_new = self.upgrades.note_log(module, attempt);
        // Whoever reigns has gone beyond all that it has applied.
        let stood_at = self.forget_that_it_stands_at(applied);
        self.upgrades.mended_at = self.upgrades.mended_at.max(stood_at.unwrap_or_default());
        is_new || stood_at.is_some()
    }

    /// Notes how the instance ended; false if it is known to have gone on since.
    pub(crate) fn set_outcome(&mut self, outcome: RecordedOutcome) -> bool {
        let is_over = matches!(outcome, RecordedOutcome::Halted { lsn, .. } if lsn <= self.upgrades.mended_at);
        if !is_over {
            self.outcome = Some(outcome);
        }
        !is_over
    }

    /// Removes the note that it stands at a record up to that one, and returns which one it is.
    fn forget_that_it_stands_at(&mut self, last: Lsn) -> Option<Lsn> {
        let Some(RecordedOutcome::Halted { lsn, .. }) = self.outcome else { return None };
        if lsn > last {
            return None;
        }
        self.outcome = None;
        Some(lsn)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mends = StoredMends::of(&self.upgrades);
        let version = match &mends {
            Some(_) => VERSION,
            None if self.upgrades != Upgrades::none(self.module) => VERSION_2,
            None => VERSION_1,
        };
        let stored = Stored {
            version,
            name: self.name.as_str().to_owned(),
            uuid: self.uuid.0,
            module: self.module,
            replicas: self.replicas.clone(),
            registered: self.registered.0,
            outcome: self.outcome.clone(),
        };
        let config = bincode::config::standard();
        let upgrades = || StoredUpgrades::of(&self.upgrades);
        let encoded = match mends {
            Some(mends) => bincode::serde::encode_to_vec((stored, upgrades(), mends), config),
            None if version == VERSION_2 => bincode::serde::encode_to_vec((stored, upgrades()), config),
            None => bincode::serde::encode_to_vec(stored, config),
        };
        encoded.expect("plain data can be encoded")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<InstanceEntry, EntryError> {
        let config = bincode::config::standard().with_limit::<ENTRY_BYTES_MAX>();
        let shape = |_| EntryError::Shape;
        let (version, _) = bincode::serde::decode_from_slice::<u32, _>(bytes, config).map_err(shape)?;
        if !(VERSION_1..=VERSION).contains(&version) {
            return Err(EntryError::Version(version));
        }
        let (stored, mut used) = bincode::serde::decode_from_slice::<Stored, _>(bytes, config).map_err(shape)?;
        let mut upgrades = Upgrades::none(stored.module);
        if version >= VERSION_2 {
            let rest = &bytes[used..];
            let (stored_upgrades, more) =
                bincode::serde::decode_from_slice::<StoredUpgrades, _>(rest, config).map_err(shape)?;
            upgrades = stored_upgrades.into_upgrades(stored.module).ok_or(EntryError::Shape)?;
            used += more;
        }
        if version == VERSION {
            let (mends, more) =
                bincode::serde::decode_from_slice::<StoredMends, _>(&bytes[used..], config).map_err(shape)?;
            mends.put_into(&mut upgrades).ok_or(EntryError::Shape)?;
            used += more;
        }
        if used != bytes.len() {
            return Err(EntryError::Shape);
        }
        Ok(InstanceEntry {
            name: InstanceName::new(stored.name).map_err(|_| EntryError::Shape)?,
            uuid: InstanceUuid(stored.uuid),
            module: stored.module,
            replicas: stored.replicas,
            registered: Timestamp(stored.registered),
            outcome: stored.outcome,
            upgrades,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> InstanceEntry {
        InstanceEntry {
            name: InstanceName::new("server").expect("plain"),
            uuid: InstanceUuid([1; 16]),
            module: [2; 32],
            replicas: BTreeSet::from([0, 3]),
            registered: Timestamp(99),
            outcome: Some(RecordedOutcome::Halted { lsn: Lsn(7), reason: "trap".to_owned(), backtrace: String::new() }),
            upgrades: Upgrades::none([2; 32]),
        }
    }

    #[test]
    fn an_entry_reads_back() {
        assert_eq!(InstanceEntry::decode(&sample().encode()), Ok(sample()));
    }

    #[test]
    fn another_version_is_told() {
        let mut bytes = sample().encode();
        bytes[0] = 9;
        assert_eq!(InstanceEntry::decode(&bytes), Err(EntryError::Version(9)));
        assert_eq!(InstanceEntry::decode(&[]), Err(EntryError::Shape));
    }

    /// The sample after an upgrade, and with a wish for another one.
    fn upgraded() -> InstanceEntry {
        let mut entry = sample();
        let limits = WantedLimits { fuel: None, memory_bytes: Some(5 << 20) };
        let waiting = Waiting { hold: true, end: false };
        let wanted = Wanted { limits, handover_fuel: 1 << 40, wait: Duration::from_millis(1500), waiting };
        entry.upgrades.want([[2; 32], [3; 32]], wanted.clone(), Timestamp(100));
        entry.upgrades.claim(1, Epoch(1));
        entry.upgrades.settle(1, Epoch(1), &WishAnswer::Done { lsn: Lsn(70_000) });
        entry.upgrades.want([[3; 32], [2; 32]], wanted, Timestamp(101));
        entry
    }

    #[test]
    fn an_entry_with_upgrades_reads_back_and_one_without_is_of_version_1() {
        assert_eq!(InstanceEntry::decode(&upgraded().encode()), Ok(upgraded()));
        assert_eq!((sample().encode()[0], upgraded().encode()[0]), (1, 2));
    }

    /// The sample, which goes on behind a record without some of its messages, and stands again.
    fn mended() -> InstanceEntry {
        let mut entry = upgraded();
        entry.upgrades.cancel();
        entry.upgrades.want_skip(WantedSkip { lsn: Lsn(70_007), messages: vec![0, 300] }, Timestamp(102));
        entry
    }

    #[test]
    fn an_entry_with_messages_to_be_skipped_reads_back_and_is_of_version_3() {
        let mut entry = mended();
        assert_eq!((InstanceEntry::decode(&entry.encode()), entry.encode()[0]), (Ok(entry.clone()), 3));
        entry.upgrades.claim(3, Epoch(9));
        assert!(entry.settle(3, Epoch(9), &WishAnswer::Done { lsn: Lsn(70_009) }));
        assert_eq!((InstanceEntry::decode(&entry.encode()), entry.encode()[0]), (Ok(entry.clone()), 3));
        // What it was mended of stays known, whatever is wished for next.
        entry.upgrades.want([[3; 32], [2; 32]], Wanted::OF_SKIP, Timestamp(103));
        entry.upgrades.cancel();
        assert_eq!((InstanceEntry::decode(&entry.encode()), entry.encode()[0]), (Ok(entry.clone()), 3));
    }

    #[test]
    fn skips_that_no_instance_can_have_are_told() {
        let breaks: [fn(&mut Upgrades); 4] = [
            |upgrades| upgrades.wanted.as_mut().expect("it stands").to = [2; 32],
            |upgrades| {
                upgrades.wanted.as_mut().and_then(|wish| wish.skip.as_mut()).expect("it is one").messages.clear()
            },
            |upgrades| {
                upgrades.wanted.as_mut().and_then(|wish| wish.skip.as_mut()).expect("it is one").messages.reverse()
            },
            |upgrades| {
                upgrades.answered.as_mut().expect("it was taken back").answer = WishAnswer::Done { lsn: Lsn(80_000) };
            },
        ];
        for (at, break_it) in breaks.into_iter().enumerate() {
            let mut entry = mended();
            break_it(&mut entry.upgrades);
            assert_eq!(InstanceEntry::decode(&entry.encode()), Err(EntryError::Shape), "{at}");
        }
    }

    fn halted(lsn: u64) -> RecordedOutcome {
        RecordedOutcome::Halted { lsn: Lsn(lsn), reason: "trap".to_owned(), backtrace: String::new() }
    }

    #[test]
    fn who_is_late_does_not_undo_a_mend() {
        let mut entry = mended();
        assert!(entry.set_outcome(halted(70_007)));
        entry.upgrades.claim(3, Epoch(9));
        assert!(!entry.settle(3, Epoch(8), &WishAnswer::Done { lsn: Lsn(70_009) }));
        assert_eq!(entry.outcome, Some(halted(70_007)));
        assert!(entry.settle(3, Epoch(9), &WishAnswer::Done { lsn: Lsn(70_009) }));
        assert_eq!((&entry.outcome, entry.upgrades.mended_at), (&None, Lsn(70_009)));
        for late in [70_007, 70_009] {
            assert!(!entry.set_outcome(halted(late)));
            assert_eq!(entry.outcome, None);
        }
        assert!(entry.set_outcome(halted(70_010)), "it stands again, at another record");
        assert_eq!(entry.outcome, Some(halted(70_010)));
        assert!(entry.set_outcome(RecordedOutcome::Finished { code: 0, lsn: Lsn(5) }), "that is no halt");
    }

    #[test]
    fn a_wish_that_is_refused_leaves_the_instance_standing() {
        let mut entry = mended();
        assert!(entry.set_outcome(halted(70_007)));
        entry.upgrades.claim(3, Epoch(9));
        assert!(entry.settle(3, Epoch(9), &WishAnswer::Refused { report: String::new() }));
        assert_eq!(entry.outcome, Some(halted(70_007)));
    }

    #[test]
    fn a_primary_that_has_gone_beyond_where_the_instance_stood_forgets_that() {
        let mut entry = sample();
        assert!(!entry.note_reign([2; 32], 0, Lsn(6)), "it stands at 7");
        assert_eq!(entry, sample());
        assert!(entry.note_reign([2; 32], 0, Lsn(9)));
        assert_eq!((&entry.outcome, entry.upgrades.mended_at), (&None, Lsn(7)));
        assert!(!entry.note_reign([2; 32], 0, Lsn(9)));
        assert!(!entry.set_outcome(halted(7)));
        entry.outcome = Some(RecordedOutcome::Finished { code: 0, lsn: Lsn(8) });
        let finished = entry.clone();
        assert!(!entry.note_reign([2; 32], 0, Lsn(9)));
        assert_eq!(entry, finished);
    }

    #[test]
    fn upgrades_that_no_instance_can_have_are_told() {
        let breaks: [fn(&mut Upgrades); 5] = [
            |upgrades| upgrades.current = [9; 32],
            |upgrades| upgrades.modules.reverse(),
            |upgrades| upgrades.modules.clear(),
            |upgrades| upgrades.attempts = 1,
            |upgrades| upgrades.wanted.as_mut().expect("it stands").to = [9; 32],
        ];
        for (at, break_it) in breaks.into_iter().enumerate() {
            let mut entry = upgraded();
            break_it(&mut entry.upgrades);
            assert_eq!(InstanceEntry::decode(&entry.encode()), Err(EntryError::Shape), "{at}");
        }
    }
}
