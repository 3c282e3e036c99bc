//! What requests share: the lines to the cluster, what is known of it, and whether it has gone back.
//!
//! **A session** is as long as the cluster only goes forward. etcd answers a read, as it is asked here, by what a majority has on its disks, so
//! what was read is durable, and no node that has lost its office is believed: there is nothing to wait for at a barrier. What a
//! barrier still has to see is that this cluster is the same, and not one that was set back: it reads once more, and each answer carries the
//! number of changes up to it. One that shows fewer of them than were known when it was asked has ended the session.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ambrosia_shared_log::Session;
use ambrosia_storage::LogId;
use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use crate::{
    channel::{CallFault, Method},
    error::Failed,
    files::Files,
    layout::{Head, Layout},
    line::{Effect, Known, Line},
    messages::{Brought, Found, Header, Outcome, Range, Txn},
    place::EtcdPlace,
};

/// The room is looked at whenever that part of the quota was put.
const LOOKS_A_QUOTA: u64 = 40;

/// Numbers of sessions of this process.
static LAST_SESSION: AtomicU64 = AtomicU64::new(0);

/// Which line a request takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Groups, of which there may be many.
    Groups,
    /// Entries and reads may be large, and heads are not to wait for them.
    Bulk,
    /// What is small, and waited for by those who say that they live.
    Quick,
}

/// What requests share.
pub(crate) struct Office {
    pub(crate) place: EtcdPlace,
    pub(crate) layout: Layout,
    pub(crate) files: Files,
    known: Arc<OnceLock<Known>>,
    groups: Line,
    bulk: Line,
    quick: Line,
    sight: Mutex<Sight>,
    /// Heads as they were seen last: a guess by which an append is made, and which its conditions check.
    heads: Mutex<HashMap<LogId, Head>>,
    /// Why no record is put, if there is no room.
    full: Mutex<Option<String>>,
    /// Bytes that were put since the room was looked at.
    put: AtomicU64,
    /// So much was put that it is to be looked at.
    pub(crate) look: Notify,
}

/// How far the cluster was seen to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sight {
    session: Session,
    revision: u64,
}

impl Sight {
    fn new() -> Sight {
        Sight { session: Session(LAST_SESSION.fetch_add(1, Ordering::Relaxed) + 1), revision: 0 }
    }

    /// Takes in an answer to what was asked when the cluster was as in `before`. In which session it is.
    fn take_in(&mut self, before: Sight, revision: u64) -> Session {
        let has_gone_back = revision < before.revision;
        if before.session != self.session {
            // An answer of before the end of its session, or one of behind it.
            return if has_gone_back { self.session } else { before.session };
        }
        if has_gone_back {
            *self = Sight { revision, ..Sight::new() };
        }
        self.revision = self.revision.max(revision);
        self.session
    }
}

impl Office {
    pub(crate) fn new(place: EtcdPlace, files: Files, first: usize) -> Office {
        let layout = Layout::new(&place.prefix);
        let line = || Line::from_member(first);
        Office {
            layout,
            files,
            known: Arc::default(),
            groups: line(),
            bulk: line(),
            quick: line(),
            sight: Mutex::new(Sight::new()),
            heads: Mutex::default(),
            full: Mutex::default(),
            put: AtomicU64::new(0),
            look: Notify::new(),
            place,
        }
    }

    /// What the first connection has found.
    pub(crate) fn known(&self) -> Option<&Known> {
        self.known.get()
    }

    pub(crate) async fn call(
        &self,
        way: Way,
        method: Method,
        message: Bytes,
        effect: Effect,
        until: Instant,
    ) -> Result<Bytes, CallFault> {
        let line = match way {
            Way::Groups => &self.groups,
            Way::Bulk => &self.bulk,
            Way::Quick => &self.quick,
        };
        line.ask(&self.place, &self.known, method, message, effect, until).await
    }

    /// Reads.
    pub(crate) async fn range(&self, way: Way, range: &Range, until: Instant) -> Result<(Session, Found), CallFault> {
        let before = *self.sight();
        let answer = self.call(way, Method::Range, range.encode(), Effect::Repeatable, until).await?;
        let found = Found::decode(answer)?;
        Ok((self.take_in(before, found.header), found))
    }

    /// Does a transaction. One that only reads may be asked again.
    pub(crate) async fn transact(&self, way: Way, txn: &Txn, until: Instant) -> Result<(Session, Outcome), CallFault> {
        let effect = if txn.is_reading() { Effect::Repeatable } else { Effect::Once };
        self.transact_with(way, txn, effect, until).await
    }

    pub(crate) async fn transact_with(
        &self,
        way: Way,
        txn: &Txn,
        effect: Effect,
        until: Instant,
    ) -> Result<(Session, Outcome), CallFault> {
        let before = *self.sight();
        let answer = self.call(way, Method::Txn, txn.encode(), effect, until).await?;
        let outcome = Outcome::decode(answer)?;
        Ok((self.take_in(before, outcome.header), outcome))
    }

    /// All that a range holds, as it is at one moment.
    pub(crate) async fn all(
        &self,
        way: Way,
        range: Range,
        page: u64,
        until: Instant,
    ) -> Result<(Session, Vec<crate::messages::Entry>), CallFault> {
        let (session, found) = self.range(way, &Range { limit: page, ..range.clone() }, until).await?;
        let (revision, mut has_more, mut entries) = (found.header.revision, found.has_more, found.entries);
        while has_more {
            let from = behind_key(entries.last().map_or(&range.key[..], |entry| &entry.key));
            let next = Range { key: from, limit: page, revision, ..range.clone() };
            let (_, found) = self.range(way, &next, until).await?;
            has_more = found.has_more && !found.entries.is_empty();
            entries.extend(found.entries);
        }
        Ok((session, entries))
    }

    /// Whether the session goes on, by a read of now.
    pub(crate) async fn bar(&self, session: Session, until: Instant) -> Result<(), Failed> {
        let range = Range { keys_only: true, ..Range::of(self.layout.store()) };
        let (now, _) = self.range(Way::Quick, &range, until).await?;
        if now == session && self.sight().session == session {
            return Ok(());
        }
        Err(Failed::undone("the etcd cluster has gone back since that was read: it was restored from a snapshot"))
    }

    /// Numbers of changes that may be forgotten once they are old.
    pub(crate) fn revision(&self) -> u64 {
        self.sight().revision
    }

    fn take_in(&self, before: Sight, header: Header) -> Session {
        self.sight().take_in(before, header.revision)
    }

    fn sight(&self) -> MutexGuard<'_, Sight> {
        lock(&self.sight)
    }

    pub(crate) fn heads(&self) -> MutexGuard<'_, HashMap<LogId, Head>> {
        lock(&self.heads)
    }

    /// Says from now on that there is no room, or that there is.
    pub(crate) fn set_full(&self, words: Option<String>) {
        *lock(&self.full) = words;
    }

    /// Asks whether so many bytes of records may be put. What is small is put all the same: lists of checkpoints, from which what is to be trimmed
    /// has to be taken first, places of replicas, and that a host lives. It is put in the place of what was there before, and forgotten each minute.
    ///
    /// # Errors
    /// If no record is to be put.
    pub(crate) fn check_room(&self, bytes: usize) -> Result<(), Failed> {
        self.count(bytes);
        lock(&self.full).clone().map_or(Ok(()), |words| Err(Failed::undone(words)))
    }

    /// So many bytes are about to be put.
    pub(crate) fn count(&self, bytes: usize) {
        if self.put.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64 > self.place.quota / LOOKS_A_QUOTA {
            self.put.store(0, Ordering::Relaxed);
            self.look.notify_one();
        }
    }
}

/// The first key behind one.
pub(crate) fn behind_key(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    key.push(0);
    key
}

/// What a step that reads has found.
pub(crate) fn found(brought: Brought) -> Result<Found, Failed> {
    Ok(brought.found()?)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What several tasks of one request share.
pub(crate) type Shared = Arc<Office>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_the_cluster_shows_fewer_changes_than_were_known_before_it_was_asked() {
        let mut sight = Sight::new();
        let first = sight.session;
        let early = sight;
        assert_eq!(sight.take_in(early, 100), first);
        let before = sight;
        assert_eq!(sight.take_in(early, 90), first, "it was answered late, and not less");
        let second = sight.take_in(before, 99);
        assert_ne!(second, first);
        assert_eq!(sight.take_in(before, 100), first, "an answer of before");
        assert_eq!(sight.take_in(before, 98), second);
        let before = sight;
        assert_eq!((before.revision, sight.take_in(before, 120)), (99, second));
    }
}
