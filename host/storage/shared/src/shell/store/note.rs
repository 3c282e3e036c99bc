//! What a replica says of itself.

use std::{sync::Mutex, time::Duration};

use ambrosia_core::{Epoch, HostAddress, Lsn, ReplicaIndex};
use ambrosia_storage::{CaptureMeans, LogId, Role};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::stored;
use crate::{engine::HostId, shell::host::lock};

/// A note of a replica, as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Note {
    /// The reign in which it has said where it answers; 0 if it has not.
    epoch: u64,
    is_primary: bool,
    applied: u64,
    replay_nanoseconds: u64,
    /// 1 by its memory, 2 by its `save`, 3 not at all; 0 if it has not said so yet.
    capture: u8,
    ready: u64,
    waiting: Option<u64>,
    address: Option<String>,
}

impl Note {
    pub(super) fn decode(bytes: &[u8]) -> Option<Note> {
        stored::decode(bytes)
    }

    pub(super) fn applied(&self) -> Lsn {
        Lsn(self.applied)
    }

    pub(super) fn set_applied(&mut self, applied: Lsn) -> bool {
        replace(&mut self.applied, applied.0)
    }

    pub(super) fn replay(&self) -> Duration {
        Duration::from_nanos(self.replay_nanoseconds)
    }

    pub(super) fn set_replay(&mut self, replay: Duration) -> bool {
        replace(&mut self.replay_nanoseconds, u64::try_from(replay.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn is_primary(&self) -> bool {
        self.is_primary
    }

    pub(super) fn set_role(&mut self, role: Role) -> bool {
        replace(&mut self.is_primary, role == Role::Primary)
    }

    pub(super) fn capture(&self) -> Option<CaptureMeans> {
        [None, Some(CaptureMeans::Memory), Some(CaptureMeans::Save), Some(CaptureMeans::None)]
            .get(usize::from(self.capture))
            .copied()
            .flatten()
    }

    pub(super) fn set_capture(&mut self, means: CaptureMeans) -> bool {
        let means = match means {
            CaptureMeans::Memory => 1,
            CaptureMeans::Save => 2,
            CaptureMeans::None => 3,
        };
        replace(&mut self.capture, means)
    }

    pub(super) fn ready(&self) -> Option<u64> {
        Some(self.ready).filter(|attempt| *attempt > 0)
    }

    pub(super) fn set_ready(&mut self, attempt: u64) -> bool {
        replace(&mut self.ready, attempt)
    }

    pub(super) fn waiting(&self) -> Option<u64> {
        self.waiting
    }

    pub(super) fn set_waiting(&mut self, handlers: Option<u64>) -> bool {
        replace(&mut self.waiting, handlers)
    }

    pub(super) fn address(&self) -> Option<HostAddress> {
        self.address.as_ref()?.parse().ok()
    }

    pub(super) fn set_address(&mut self, address: &HostAddress) -> bool {
        replace(&mut self.address, Some(address.to_string()))
    }

    /// The reign in which it has said where it answers.
    pub(super) fn announced(&self) -> Epoch {
        Epoch(self.epoch)
    }

    pub(super) fn set_announced(&mut self, epoch: Epoch) -> bool {
        replace(&mut self.epoch, epoch.0)
    }
}

/// Whether that is another value.
fn replace<T: PartialEq>(of: &mut T, value: T) -> bool {
    let is_new = *of != value;
    *of = value;
    is_new
}

/// A replica of this host, and what it has said that is not written down.
pub(super) struct Speaker {
    /// Of its note.
    pub(super) name: String,
    /// With whether there is news in it; nothing once the replica is gone.
    said: Mutex<Option<(Note, bool)>>,
}

impl Speaker {
    pub(super) fn new(name: String) -> Speaker {
        Speaker { name, said: Mutex::new(Some((Note::default(), true))) }
    }

    /// Says something; `say` tells whether that is new.
    pub(super) fn say(&self, say: impl FnOnce(&mut Note) -> bool) {
        if let Some((note, has_news)) = &mut *lock(&self.said) {
            *has_news |= say(note);
        }
    }

    pub(super) fn has_news(&self) -> bool {
        lock(&self.said).as_ref().is_some_and(|(_, has_news)| *has_news)
    }

    /// What is to be written down, if there is something.
    pub(super) fn take(&self) -> Option<Bytes> {
        let mut said = lock(&self.said);
        let (note, has_news) = said.as_mut()?;
        std::mem::take(has_news).then(|| stored::encode(note).into())
    }

    /// It could not be written down.
    pub(super) fn say_again(&self) {
        if let Some((_, has_news)) = &mut *lock(&self.said) {
            *has_news = true;
        }
    }

    /// The replica is gone: nothing that it has said is written down any more.
    pub(super) fn fall_silent(&self) {
        *lock(&self.said) = None;
    }
}

/// What names of the notes of a log begin with.
pub(super) fn prefix(log: LogId) -> String {
    format!("member/{log}/")
}

/// Each host has a note of its own: one that stood still, and whose place another host has by now, changes nothing of what that says.
pub(super) fn name(log: LogId, replica: ReplicaIndex, host: HostId) -> String {
    let host = u128::from_be_bytes(host.0);
    format!("{}{:05}/{host:032x}", prefix(log), replica.0)
}

/// The replica and the host of the name of a note.
pub(super) fn speaker_of(name: &str) -> Option<(ReplicaIndex, HostId)> {
    let (of_replica, host) = name.rsplit_once('/')?;
    let host = u128::from_str_radix(host, 16).ok()?;
    Some((replica_of(of_replica)?, HostId(host.to_be_bytes())))
}

/// The replica of a name that ends in its number.
pub(super) fn replica_of(name: &str) -> Option<ReplicaIndex> {
    name.rsplit('/').next()?.parse().ok().map(ReplicaIndex)
}
