//! What stands where in etcd: a format, which docs/formats.md describes with the same words.
//!
//! ```text
//! meta/format, meta/store            "1", and the uuid that names the store
//! head/{log}/fence                   the newest reign, the newest checkpoint, and how far the log is trimmed
//! head/{log}/last                    the last record, and bytes of all groups that there ever were
//! log/{log}/{last}                   a group, under its last record
//! part/{log}/{last}.{name}.{number}  1 MiB of a group that is larger; it counts once a group under log/ names it
//! gone/{log}                         a log that was removed, whose groups may still be there
//! host/{host}                        how often a host has said that it is alive
//! key/r/{key}, key/s/{key}           entries of the registry, and of the store: whose change that was, and the value or the name of its file
//! changes                            put with each change of the registry: etcd counts how often
//! note/{name}                        notes
//! ```
//!
//! All begins with the prefix of the store and a `/`. Names of logs and hosts have 32 digits, records 16, both hexadecimal, so that their
//! order as text is their own. Numbers in values are little-endian.
//!
//! A head is two keys, so that whoever deposes a writer, or trims, does not run after a last record that moves all the time.
//!
//! **Architecture Invariant:** what is read is what was written, byte for byte, or an error that names its key; a value is made in one
//! way only, for conditions compare it as a whole.

use ambrosia_core::{Epoch, Lsn, ReplicaIndex};
use ambrosia_shared_log::{Claim, EngineHead, Group, HostId, Position, Seal, Space};
use ambrosia_storage::LogId;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The format of all this.
pub(crate) const FORMAT: &str = "1";

/// A group of more bytes is put in parts. etcd takes 1.5 MiB a request.
pub(crate) const PART_BYTES: usize = 1 << 20;

/// What stands at a key is not what belongs there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store is damaged: what stands in etcd at key {0:?} is not what belongs there; restore it from a snapshot")]
pub(crate) struct Damaged(pub(crate) String);

/// Where keys are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// With its `/`.
    prefix: String,
}

impl Layout {
    pub(crate) fn new(prefix: &str) -> Layout {
        Layout { prefix: format!("{prefix}/") }
    }

    fn key(&self, rest: &str) -> Vec<u8> {
        format!("{}{rest}", self.prefix).into_bytes()
    }

    pub(crate) fn meta(&self) -> Vec<u8> {
        self.key("meta/")
    }

    pub(crate) fn format(&self) -> Vec<u8> {
        self.key("meta/format")
    }

    pub(crate) fn store(&self) -> Vec<u8> {
        self.key("meta/store")
    }

    pub(crate) fn heads(&self) -> Vec<u8> {
        self.key("head/")
    }

    /// Both keys of a head.
    pub(crate) fn head(&self, log: LogId) -> Vec<u8> {
        self.key(&format!("head/{}/", log_text(log)))
    }

    pub(crate) fn fence(&self, log: LogId) -> Vec<u8> {
        self.key(&format!("head/{}/fence", log_text(log)))
    }

    pub(crate) fn last(&self, log: LogId) -> Vec<u8> {
        self.key(&format!("head/{}/last", log_text(log)))
    }

    /// All groups of a log.
    pub(crate) fn groups(&self, log: LogId) -> Vec<u8> {
        self.key(&format!("log/{}/", log_text(log)))
    }

    pub(crate) fn group(&self, log: LogId, last: Lsn) -> Vec<u8> {
        self.key(&format!("log/{}/{:016x}", log_text(log), last.0))
    }

    /// All parts of groups of a log.
    pub(crate) fn parts(&self, log: LogId) -> Vec<u8> {
        self.key(&format!("part/{}/", log_text(log)))
    }

    /// What parts of groups that end behind that begin at.
    pub(crate) fn parts_from(&self, log: LogId, last: Lsn) -> Vec<u8> {
        self.key(&format!("part/{}/{:016x}", log_text(log), last.0))
    }

    /// All parts of one group.
    pub(crate) fn parts_of(&self, log: LogId, last: Lsn, name: PartsName) -> Vec<u8> {
        self.key(&format!("part/{}/{:016x}.{}.", log_text(log), last.0, hexadecimal(&name.0)))
    }

    pub(crate) fn part(&self, log: LogId, last: Lsn, name: PartsName, number: usize) -> Vec<u8> {
        self.key(&format!("part/{}/{:016x}.{}.{number:04x}", log_text(log), last.0, hexadecimal(&name.0)))
    }

    pub(crate) fn gone_logs(&self) -> Vec<u8> {
        self.key("gone/")
    }

    pub(crate) fn gone(&self, log: LogId) -> Vec<u8> {
        self.key(&format!("gone/{}", log_text(log)))
    }

    pub(crate) fn hosts(&self) -> Vec<u8> {
        self.key("host/")
    }

    pub(crate) fn host(&self, host: HostId) -> Vec<u8> {
        self.key(&format!("host/{}", hexadecimal(&host.0)))
    }

    /// Keys of a space, or those that begin so.
    pub(crate) fn entry(&self, space: Space, key: &str) -> Vec<u8> {
        let space = match space {
            Space::Registry => "r",
            Space::Store => "s",
        };
        self.key(&format!("key/{space}/{key}"))
    }

    pub(crate) fn changes(&self) -> Vec<u8> {
        self.key("changes")
    }

    pub(crate) fn note(&self, name: &str) -> Vec<u8> {
        self.key(&format!("note/{name}"))
    }

    /// What a key has behind a prefix that all of its kind have.
    pub(crate) fn rest_of(key: &[u8], prefix: &[u8]) -> Result<String, Damaged> {
        let rest = key.strip_prefix(prefix).and_then(|rest| std::str::from_utf8(rest).ok());
        rest.map(str::to_owned).ok_or_else(|| damaged(key))
    }

    /// The log in a key of one of its groups, or of its head.
    pub(crate) fn log_in(key: &[u8], prefix: &[u8]) -> Result<LogId, Damaged> {
        let digits = key.strip_prefix(prefix).and_then(|rest| rest.get(..32)).and_then(sixteen);
        digits.map(|uuid| LogId(ambrosia_core::InstanceUuid(uuid))).ok_or_else(|| damaged(key))
    }

    pub(crate) fn host_in(key: &[u8], prefix: &[u8]) -> Result<HostId, Damaged> {
        let digits = key.strip_prefix(prefix).filter(|rest| rest.len() == 32).and_then(sixteen);
        digits.map(HostId).ok_or_else(|| damaged(key))
    }
}

pub(crate) fn damaged(key: &[u8]) -> Damaged {
    Damaged(String::from_utf8_lossy(key).into_owned())
}

fn log_text(log: LogId) -> String {
    hexadecimal(&log.0.0)
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sixteen(digits: &[u8]) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = std::str::from_utf8(digits.get(2 * at..2 * at + 2)?).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(bytes)
}

/// Value of `head/{log}/fence`: epoch u64, claim (host 16 bytes, attempt u64), replica u16, flags u8 (1 reigned, 2 announced), newest
/// checkpoint u64, first record u64, bytes of all groups that were trimmed u64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fence {
    pub(crate) epoch: Epoch,
    pub(crate) claim: Claim,
    pub(crate) replica: ReplicaIndex,
    pub(crate) is_reigned: bool,
    pub(crate) is_announced: bool,
    pub(crate) checkpoint: Lsn,
    pub(crate) first: Lsn,
    pub(crate) trimmed: u64,
}

const FENCE_BYTES: usize = 8 + 24 + 2 + 1 + 8 + 8 + 8;

impl Fence {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(FENCE_BYTES);
        out.put_u64_le(self.epoch.0);
        put_claim(&mut out, self.claim);
        out.put_u16_le(self.replica.0);
        out.put_u8(u8::from(self.is_reigned) | u8::from(self.is_announced) << 1);
        out.put_u64_le(self.checkpoint.0);
        out.put_u64_le(self.first.0);
        out.put_u64_le(self.trimmed);
        out.freeze()
    }

    fn decode(mut value: Bytes) -> Option<Fence> {
        if value.len() != FENCE_BYTES {
            return None;
        }
        let (epoch, claim) = (Epoch(value.get_u64_le()), get_claim(&mut value));
        let (replica, flags) = (ReplicaIndex(value.get_u16_le()), value.get_u8());
        (flags < 4).then(|| Fence {
            epoch,
            claim,
            replica,
            is_reigned: flags & 1 != 0,
            is_announced: flags & 2 != 0,
            checkpoint: Lsn(value.get_u64_le()),
            first: Lsn(value.get_u64_le()),
            trimmed: value.get_u64_le(),
        })
    }
}

/// Value of `head/{log}/last`: record u64, its link u64, bytes of all groups up to there u64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Last {
    pub(crate) position: Position,
    pub(crate) bytes: u64,
}

impl Last {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(24);
        out.put_u64_le(self.position.lsn.0);
        out.put_u64_le(self.position.link);
        out.put_u64_le(self.bytes);
        out.freeze()
    }

    fn decode(mut value: Bytes) -> Option<Last> {
        (value.len() == 24).then(|| Last {
            position: Position { lsn: Lsn(value.get_u64_le()), link: value.get_u64_le() },
            bytes: value.get_u64_le(),
        })
    }
}

/// Both keys of a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) fence: Fence,
    pub(crate) last: Last,
}

impl Head {
    /// Of a log that begins with a group.
    pub(crate) fn beginning(genesis: &Group) -> Head {
        let fence = Fence {
            epoch: genesis.epoch,
            claim: Claim::default(),
            replica: ReplicaIndex(0),
            is_reigned: false,
            is_announced: false,
            checkpoint: Lsn(0),
            first: genesis.first(),
            trimmed: 0,
        };
        Head { fence, last: Last { position: genesis.last, bytes: genesis.bytes.len() as u64 } }
    }

    /// As it stands at its keys, in the order of these.
    pub(crate) fn decode(entries: &[crate::messages::Entry]) -> Result<Option<Head>, Damaged> {
        match entries {
            [] => Ok(None),
            [fence, last] if fence.key.ends_with(b"/fence") && last.key.ends_with(b"/last") => Ok(Some(Head {
                fence: Fence::decode(fence.value.clone()).ok_or_else(|| damaged(&fence.key))?,
                last: Last::decode(last.value.clone()).ok_or_else(|| damaged(&last.key))?,
            })),
            [first, ..] => Err(damaged(&first.key)),
        }
    }

    pub(crate) fn told(&self, log: LogId) -> EngineHead {
        let Fence { epoch, claim, replica, is_reigned, is_announced, checkpoint, first, trimmed } = self.fence;
        let Last { position: last, bytes } = self.last;
        let bytes = bytes.saturating_sub(trimmed);
        EngineHead { log, epoch, claim, replica, is_reigned, is_announced, checkpoint, first, last, bytes }
    }

    /// Whether a group may be appended there.
    pub(crate) fn takes(&self, group: &Group) -> bool {
        self.fence.epoch == group.epoch && self.last.position == group.after
    }

    /// What it is behind a group.
    pub(crate) fn behind(&self, group: &Group) -> Last {
        Last { position: group.last, bytes: self.last.bytes + group.bytes.len() as u64 }
    }
}

/// Names the parts of one group, by what is in them: so who puts them again puts the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartsName(pub(crate) [u8; 16]);

/// Value of `log/{log}/{last}`: epoch u64, record that it follows u64, link of that u64, its own link u64, bytes of all groups before it
/// u64, then 0 u8 and its bytes, or 1 u8, how many they are u64, and the name of their parts 16 bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredGroup {
    pub(crate) epoch: Epoch,
    pub(crate) after: Position,
    pub(crate) link: u64,
    pub(crate) bytes_before: u64,
    pub(crate) body: Body,
}

/// Where the bytes of a group are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    Here(Bytes),
    Parts(u64, PartsName),
}

impl StoredGroup {
    pub(crate) fn of(group: &Group, bytes_before: u64, parts: Option<PartsName>) -> StoredGroup {
        let body = match parts {
            None => Body::Here(group.bytes.clone()),
            Some(name) => Body::Parts(group.bytes.len() as u64, name),
        };
        StoredGroup { epoch: group.epoch, after: group.after, link: group.last.link, bytes_before, body }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u64_le(self.epoch.0);
        out.put_u64_le(self.after.lsn.0);
        out.put_u64_le(self.after.link);
        out.put_u64_le(self.link);
        out.put_u64_le(self.bytes_before);
        match &self.body {
            Body::Here(bytes) => {
                out.put_u8(0);
                out.put_slice(bytes);
            }
            Body::Parts(bytes, name) => {
                out.put_u8(1);
                out.put_u64_le(*bytes);
                out.put_slice(&name.0);
            }
        }
        out.freeze()
    }

    /// With the record in its key.
    pub(crate) fn decode(key: &[u8], mut value: Bytes) -> Result<(Lsn, StoredGroup), Damaged> {
        let fault = || damaged(key);
        let digits = key.len().checked_sub(16).and_then(|at| std::str::from_utf8(&key[at..]).ok());
        let last = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(fault)?;
        if value.len() < 41 {
            return Err(fault());
        }
        let epoch = Epoch(value.get_u64_le());
        let after = Position { lsn: Lsn(value.get_u64_le()), link: value.get_u64_le() };
        let (link, bytes_before) = (value.get_u64_le(), value.get_u64_le());
        let body = match value.get_u8() {
            0 => Body::Here(value),
            1 if value.len() == 24 => {
                let bytes = value.get_u64_le();
                Body::Parts(bytes, PartsName(*value.first_chunk().ok_or_else(fault)?))
            }
            _ => return Err(fault()),
        };
        Ok((Lsn(last), StoredGroup { epoch, after, link, bytes_before, body }))
    }

    pub(crate) fn length(&self) -> u64 {
        match &self.body {
            Body::Here(bytes) => bytes.len() as u64,
            Body::Parts(bytes, _) => *bytes,
        }
    }

    pub(crate) fn group(&self, log: LogId, last: Lsn, bytes: Bytes) -> Group {
        Group { log, epoch: self.epoch, after: self.after, last: Position { lsn: last, link: self.link }, bytes }
    }
}

/// Value of an entry: claim (host 16 bytes, attempt u64), then 0 u8 and the value, or 1 u8, how many bytes it has u64 and their SHA-256: then
/// they are in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredValue {
    pub(crate) claim: Claim,
    pub(crate) contents: Contents,
}

/// Where the value of an entry is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Contents {
    Here(Bytes),
    File(Seal),
}

impl StoredValue {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_claim(&mut out, self.claim);
        match &self.contents {
            Contents::Here(bytes) => {
                out.put_u8(0);
                out.put_slice(bytes);
            }
            Contents::File(seal) => {
                out.put_u8(1);
                out.put_u64_le(seal.bytes);
                out.put_slice(&seal.sha256);
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(key: &[u8], mut value: Bytes) -> Result<StoredValue, Damaged> {
        if value.len() < 25 {
            return Err(damaged(key));
        }
        let claim = get_claim(&mut value);
        let contents = match value.get_u8() {
            0 => Contents::Here(value),
            1 if value.len() == 40 => {
                let bytes = value.get_u64_le();
                Contents::File(Seal { bytes, sha256: *value.first_chunk().ok_or_else(|| damaged(key))? })
            }
            _ => return Err(damaged(key)),
        };
        Ok(StoredValue { claim, contents })
    }
}

fn put_claim(out: &mut BytesMut, claim: Claim) {
    out.put_slice(&claim.host.0);
    out.put_u64_le(claim.attempt);
}

/// Of 24 bytes, which are there.
fn get_claim(value: &mut Bytes) -> Claim {
    let mut host = [0; 16];
    value.copy_to_slice(&mut host);
    Claim { host: HostId(host), attempt: value.get_u64_le() }
}
