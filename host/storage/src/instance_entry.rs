//! What the registry holds of an instance.
//!
//! The value is bincode with its standard configuration; its first field is the format version.
//!
//! **Architecture Invariant:** this is the one place of this crate that knows bincode.

use std::collections::BTreeSet;

use ambrosia_core::{InstanceName, InstanceUuid, Lsn, Timestamp};
use serde::{Deserialize, Serialize};

use crate::LogId;

const VERSION: u32 = 1;

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

mod lsn_as_number {
    use ambrosia_core::Lsn;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(lsn: &Lsn, serializer: S) -> Result<S::Ok, S::Error> {
        lsn.0.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lsn, D::Error> {
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

/// Why bytes are not an entry.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntryError {
    /// Written by another version.
    #[error("the entry has format version {0}, this program reads version {VERSION}")]
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
        let stored = Stored {
            version: VERSION,
            name: self.name.as_str().to_owned(),
            uuid: self.uuid.0,
            module: self.module,
            replicas: self.replicas.clone(),
            registered: self.registered.0,
            outcome: self.outcome.clone(),
        };
        bincode::serde::encode_to_vec(stored, bincode::config::standard()).expect("plain data can be encoded")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<InstanceEntry, EntryError> {
        let config = bincode::config::standard().with_limit::<ENTRY_BYTES_MAX>();
        let (version, _) = bincode::serde::decode_from_slice::<u32, _>(bytes, config).map_err(|_| EntryError::Shape)?;
        if version != VERSION {
            return Err(EntryError::Version(version));
        }
        let (stored, used) =
            bincode::serde::decode_from_slice::<Stored, _>(bytes, config).map_err(|_| EntryError::Shape)?;
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
}
