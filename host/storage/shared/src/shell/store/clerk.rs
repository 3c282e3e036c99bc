//! Writes down what replicas of this host say of themselves, and what was durable of their logs, and looks for changes of the
//! registry; and gives back places that could not be given back when they were left: one thread for all.
//!
//! What a replica says is put down from time to time, and at once if whoever reads it here waits for that.
//!
//! **Architecture Invariant:** what could not be written down is written later, and nobody decides by it.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Condvar, Mutex, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ambrosia_storage::{Callback, IoError, LogId, Subscription};
use bytes::Bytes;

use super::{changes::Changes, desk::Desk, note::Speaker, own_places::OwnPlaces, rollbacks, witness::Witness};
use crate::{
    engine::{News, Request},
    fault::LogFault,
    keys::KeysRequest,
    limits::{ANSWER_TIME, CHANGES_INTERVAL, NOTES_INTERVAL},
    shell::host::{EngineHost, lock},
};

/// Whoever reads what replicas of this host say waits no longer for that to be written down.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// The clerk of a store. It ends when nobody has it any more.
pub(super) struct Clerk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    desk: Arc<Desk>,
    host: Arc<EngineHost>,
    witness: Arc<Witness>,
    places: Arc<OwnPlaces>,
    changes: Arc<Changes>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    speakers: Vec<Weak<Speaker>>,
    /// Names of notes whose replicas are gone.
    silent: Vec<String>,
    news: Vec<News>,
    /// Which flush was asked for last, and which was done.
    asked: u64,
    done: u64,
    is_writing: bool,
    tell_changes: bool,
    is_over: bool,
}

impl Clerk {
    pub(super) fn begin(
        desk: Arc<Desk>,
        host: Arc<EngineHost>,
        witness: Arc<Witness>,
        places: Arc<OwnPlaces>,
    ) -> io::Result<Clerk> {
        let (changes, state, changed) = (Arc::default(), Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { desk, host, witness, places, changes, state, changed });
        let there = Arc::clone(&shared);
        let thread = thread::Builder::new().name("store-clerk".to_owned()).spawn(move || there.run())?;
        Ok(Clerk { shared, thread: Some(thread) })
    }

    /// Writes down from now on what a replica says.
    pub(super) fn listen(&self, speaker: &Arc<Speaker>) {
        lock(&self.shared.state).speakers.push(Arc::downgrade(speaker));
        self.shared.changed.notify_all();
    }

    /// What the replica said counts no more.
    pub(super) fn forget(&self, note: &str) {
        lock(&self.shared.state).silent.push(note.to_owned());
        self.shared.changed.notify_all();
    }

    /// Tells those who follow logs something, soon.
    pub(super) fn tell(&self, news: News) {
        lock(&self.shared.state).news.push(news);
        self.shared.changed.notify_all();
    }

    /// Waits until all that was said here is written down.
    pub(super) fn flush(&self) -> Result<(), IoError> {
        let until = Instant::now() + FLUSH_TIME;
        let mut state = lock(&self.shared.state);
        if !state.has_something_to_write() {
            return Ok(());
        }
        state.asked += 1;
        let asked = state.asked;
        self.shared.changed.notify_all();
        while state.done < asked {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let source = io::Error::new(io::ErrorKind::TimedOut, "what replicas say could not be written down");
                return Err(IoError { action: "use", place: self.shared.desk.place(), source });
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Sees changes of the registry that were made here.
    pub(super) fn see_changes(&self) -> Result<(), IoError> {
        self.shared.changes.look(&self.shared.desk)?;
        lock(&self.shared.state).tell_changes = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    pub(super) fn changes(&self) -> Option<u64> {
        let seen = self.shared.changes.seen(&self.shared.desk);
        self.shared.changed.notify_all();
        seen
    }

    pub(super) fn subscribe(&self, call: Callback) -> Subscription {
        let subscription = self.shared.changes.subscribe(call);
        self.shared.changed.notify_all();
        subscription
    }
}

impl Drop for Clerk {
    fn drop(&mut self) {
        lock(&self.shared.state).is_over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // It has nothing that panics of its own.
            let _ended = thread.join();
        }
    }
}

impl State {
    fn has_something_to_write(&self) -> bool {
        let speaks = |speaker: &Weak<Speaker>| speaker.upgrade().is_some_and(|speaker| speaker.has_news());
        self.is_writing
            || !self.silent.is_empty()
            || !self.news.is_empty()
            || self.asked > self.done
            || self.speakers.iter().any(speaks)
    }
}

impl Shared {
    fn run(&self) {
        let (mut notes_at, mut changes_at) = (Instant::now(), Instant::now());
        let mut told_lost = BTreeMap::new();
        loop {
            let mut state = lock(&self.state);
            let now = Instant::now();
            let is_urgent = state.asked > state.done || !state.news.is_empty() || !state.silent.is_empty();
            let looks = self.changes.is_wanted() && now >= changes_at;
            if !is_urgent && now < notes_at && !looks && !state.tell_changes {
                if state.is_over {
                    drop(state);
                    self.bear_witness(true, &mut told_lost);
                    return;
                }
                let speaks = !state.speakers.is_empty();
                let next = [speaks.then_some(notes_at), self.changes.is_wanted().then_some(changes_at)];
                // Whoever begins to speak, or wants to know, wakes it.
                let wait = next.into_iter().flatten().min().map_or(NOTES_INTERVAL, |at| at - now);
                drop(self.changed.wait_timeout(state, wait));
                continue;
            }
            let is_over = state.is_over;
            let told = std::mem::take(&mut state.tell_changes);
            drop(state);
            if is_urgent || now >= notes_at {
                notes_at = now + NOTES_INTERVAL;
                self.bear_witness(is_over, &mut told_lost);
                if self.write().is_err() {
                    if is_over {
                        return;
                    }
                    // The engine is away: who waits is told when it takes too long.
                    thread::park_timeout(CHANGES_INTERVAL);
                } else if !is_over {
                    // What can't be given back now is given back next time.
                    let _given_back = self.places.give_back(&self.desk);
                }
            }
            if looks {
                changes_at = now + CHANGES_INTERVAL;
                // What can't be seen now is seen next time.
                let _seen = self.changes.look(&self.desk);
            }
            if looks || told {
                self.changes.tell();
            }
        }
    }

    /// Writes down what was durable, here; and tells others of what was and is not any more.
    fn bear_witness(&self, is_all: bool, told_lost: &mut BTreeMap<LogId, LogFault>) {
        self.witness.take(|| self.host.take_durable());
        // What can't be written now is written later, and nobody begins to run who can't write it. What could not be told is told
        // next time, and whoever begins to run here finds it.
        let _written = self.witness.write(is_all);
        let _told = rollbacks::tell_all(&self.desk, &self.witness, &self.host, told_lost);
    }

    /// Writes down all that was said, and tells all that is to be told.
    fn write(&self) -> Result<(), ()> {
        let mut state = lock(&self.state);
        state.is_writing = true;
        state.speakers.retain(|speaker| speaker.strong_count() > 0);
        let speakers: Vec<_> = state.speakers.iter().filter_map(Weak::upgrade).collect();
        let (silent, news, asked) = (std::mem::take(&mut state.silent), std::mem::take(&mut state.news), state.asked);
        drop(state);
        let mut notes: BTreeMap<String, Option<Bytes>> = silent.iter().map(|name| (name.clone(), None)).collect();
        let spoken: Vec<_> = speakers.iter().filter_map(|speaker| Some((speaker, speaker.take()?))).collect();
        notes.extend(spoken.iter().map(|(speaker, said)| (speaker.name.clone(), Some(said.clone()))));
        let ask = |request| self.desk.ask_within(request, ANSWER_TIME).answer.map(drop).map_err(drop);
        let notes: Vec<_> = notes.into_iter().collect();
        let written = if notes.is_empty() { Ok(()) } else { ask(Request::Keys(KeysRequest::Note { notes })) };
        // An address is there before it is told that somebody answers at it.
        let told =
            written.and_then(|()| if news.is_empty() { Ok(()) } else { ask(Request::Tell { news: news.clone() }) });
        let mut state = lock(&self.state);
        state.is_writing = false;
        match told {
            Ok(()) => state.done = asked,
            Err(()) => {
                state.news.splice(0..0, news);
                if written.is_err() {
                    state.silent.extend(silent);
                    spoken.iter().for_each(|(speaker, _)| speaker.say_again());
                }
            }
        }
        drop(state);
        self.changed.notify_all();
        told
    }
}
