//! What the registry holds of an instance.
//!
//! The value is bincode with its standard configuration; its first field is the format version. An entry is written in the
//! oldest version that can hold it: version 1 knows no upgrades, so an instance that has had none can be read by every
//! program.
//!
//! **Architecture Invariant:** this is the one place of this crate that knows bincode.

use std::{collections::BTreeSet, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Answered, LogId, MODULES_MAX, StandingWish, Upgrades, Waiting, Wanted, WantedLimits};

/// The version that knows upgrades.
const VERSION: u32 = 2;
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
        let StandingWish { attempt, from, to, wanted, made, claimed_by, is_cancelled } = wish.clone();
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
        StandingWish { attempt, from, to, wanted, made, claimed_by, is_cancelled }
    }
}

impl StoredUpgrades {
    fn of(upgrades: &Upgrades) -> StoredUpgrades {
        let Upgrades { current, modules, attempts, wanted, answered } = upgrades.clone();
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
        is_right.then_some(Upgrades { current, modules, attempts, wanted, answered })
    }
}

/// Why bytes are not an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// Written by another version.
    #[error("the entry has format version {0}, this program reads versions {VERSION_1} and {VERSION}")]
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

    pub(crate) fn encode(&self) -> Vec<u8> {
        let has_upgrades = self.upgrades != Upgrades::none(self.module);
        let stored = Stored {
            version: if has_upgrades { VERSION } else { VERSION_1 },
            name: self.name.as_str().to_owned(),
            uuid: self.uuid.0,
            module: self.module,
            replicas: self.replicas.clone(),
            registered: self.registered.0,
            outcome: self.outcome.clone(),
        };
        let config = bincode::config::standard();
        let encoded = if has_upgrades {
            bincode::serde::encode_to_vec((stored, StoredUpgrades::of(&self.upgrades)), config)
        } else {
            bincode::serde::encode_to_vec(stored, config)
        };
        encoded.expect("plain data can be encoded")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<InstanceEntry, EntryError> {
        let config = bincode::config::standard().with_limit::<ENTRY_BYTES_MAX>();
        let shape = |_| EntryError::Shape;
        let (version, _) = bincode::serde::decode_from_slice::<u32, _>(bytes, config).map_err(shape)?;
        if ![VERSION_1, VERSION].contains(&version) {
            return Err(EntryError::Version(version));
        }
        let (stored, mut used) = bincode::serde::decode_from_slice::<Stored, _>(bytes, config).map_err(shape)?;
        let mut upgrades = Upgrades::none(stored.module);
        if version == VERSION {
            let rest = &bytes[used..];
            let (stored_upgrades, more) =
                bincode::serde::decode_from_slice::<StoredUpgrades, _>(rest, config).map_err(shape)?;
            upgrades = stored_upgrades.into_upgrades(stored.module).ok_or(EntryError::Shape)?;
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
    use crate::WishAnswer;

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
