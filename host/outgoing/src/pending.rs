//! What is under way, to be shown.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// One request that has no outcome yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// The guest's number of it.
    pub id: u64,
    /// Such as `POST https://api.example.com/v1/charges`, without the query.
    pub what: String,
    /// Attempts that have begun, in this reign.
    pub tries: u32,
    /// How long it has been under way, in this reign.
    pub age: Duration,
    /// When the next attempt begins; `None` while one is under way or waits for its turn.
    pub next_try: Option<Duration>,
    /// How the last attempt has failed.
    pub last_error: Option<String>,
}

#[derive(Debug)]
struct Entry {
    what: String,
    since: Instant,
    tries: u32,
    next_try: Option<Instant>,
    last_error: Option<String>,
}

/// All that is under way for one instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<BTreeMap<u64, Entry>>>);

/// Its place on the board. Dropped, it is gone from there.
#[derive(Debug)]
pub(crate) struct Place {
    board: Board,
    id: u64,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, id: u64, what: String) -> Place {
        let entry = Entry { what, since: Instant::now(), tries: 0, next_try: None, last_error: None };
        self.lock().insert(id, entry);
        Place { board: self.clone(), id }
    }

    pub(crate) fn all(&self) -> Vec<Pending> {
        let now = Instant::now();
        let show = |(id, entry): (&u64, &Entry)| Pending {
            id: *id,
            what: entry.what.clone(),
            tries: entry.tries,
            age: now.saturating_duration_since(entry.since),
            next_try: entry.next_try.map(|at| at.saturating_duration_since(now)),
            last_error: entry.last_error.clone(),
        };
        self.lock().iter().map(show).collect()
    }
}

impl Place {
    pub(crate) fn on_try(&self, tries: u32) {
        if let Some(entry) = self.board.lock().get_mut(&self.id) {
            (entry.tries, entry.next_try) = (tries, None);
        }
    }

    pub(crate) fn on_pause(&self, pause: Duration, error: &str) {
        if let Some(entry) = self.board.lock().get_mut(&self.id) {
            entry.next_try = Some(Instant::now() + pause);
            entry.last_error = Some(error.to_owned());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.board.lock().remove(&self.id);
    }
}
