//! How many changes there were in the registry, as far as this host knows, and who wants to hear of more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use ambrosia_storage::{Callback, IoError, Subscription};

use super::desk::Desk;
use crate::{
    engine::{Answered, Request},
    keys::{KeysAnswer, KeysRequest},
    shell::host::lock,
};

type Slot = Arc<Mutex<Option<Callback>>>;

/// Changes of the registry.
#[derive(Default)]
pub(super) struct Changes {
    seen: AtomicU64,
    told: AtomicU64,
    /// Somebody wants to know, so it is asked again and again.
    is_wanted: AtomicBool,
    subscribers: Mutex<(u64, BTreeMap<u64, Slot>)>,
}

impl Changes {
    /// How many there were when that was asked last; asked now if it never was.
    pub(super) fn seen(&self, desk: &Desk) -> Option<u64> {
        if !self.is_wanted.swap(true, Ordering::SeqCst) && self.look(desk).is_err() {
            // Not known is as good as another number: whoever asks looks for himself.
            self.is_wanted.store(false, Ordering::SeqCst);
        }
        Some(self.seen.load(Ordering::SeqCst))
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::SeqCst)
    }

    /// Asks how many there were.
    pub(super) fn look(&self, desk: &Desk) -> Result<(), IoError> {
        match desk.ask(Request::Keys(KeysRequest::Changes))? {
            Answered::Keys(KeysAnswer::Changes(changes)) => {
                self.seen.store(changes, Ordering::SeqCst);
                Ok(())
            }
            other => Err(desk.unfit(&other)),
        }
    }

    /// Calls those who have subscribed, if there were more than they were told of.
    pub(super) fn tell(&self) {
        let seen = self.seen.load(Ordering::SeqCst);
        if self.told.swap(seen, Ordering::SeqCst) == seen {
            return;
        }
        let slots: Vec<Slot> = lock(&self.subscribers).1.values().map(Arc::clone).collect();
        for slot in slots {
            if let Some(call) = &*lock(&slot) {
                call();
            }
        }
    }

    pub(super) fn subscribe(self: &Arc<Self>, call: Callback) -> Subscription {
        self.is_wanted.store(true, Ordering::SeqCst);
        let slot: Slot = Arc::new(Mutex::new(Some(call)));
        let mut subscribers = lock(&self.subscribers);
        subscribers.0 += 1;
        let number = subscribers.0;
        subscribers.1.insert(number, Arc::clone(&slot));
        drop(subscribers);
        let there = Arc::clone(self);
        Subscription::new(move || {
            lock(&there.subscribers).1.remove(&number);
            // Waits for a call under way.
            let _gone = lock(&slot).take();
        })
    }
}
