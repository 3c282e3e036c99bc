//! News that are called out to whoever has subscribed to them.
//!
//! **Architecture Invariant:** whoever waits for something in a store has no thread that waits: it is called back.

use std::sync::{Arc, Mutex, PoisonError};

/// Called when there may be news. It is called from a thread of the store, so it must neither block nor end a subscription;
/// and it may be called without need.
pub type Callback = Box<dyn Fn() + Send>;

/// Ends what was subscribed to when it is dropped. Nothing is called any more when that returns.
#[must_use = "dropped, it ends at once"]
pub struct Subscription {
    end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Subscription {
    /// A subscription that `end` ends.
    pub fn new(end: impl FnOnce() + Send + Sync + 'static) -> Subscription {
        Subscription { end: Some(Box::new(end)) }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end();
        }
    }
}

/// One subscriber, who is called until it was silenced.
pub(crate) struct Subscriber<C> {
    call: Mutex<Option<C>>,
}

impl<C> Subscriber<C> {
    pub(crate) fn new(call: C) -> Arc<Subscriber<C>> {
        Arc::new(Subscriber { call: Mutex::new(Some(call)) })
    }

    /// Calls, unless it was silenced.
    pub(crate) fn call(&self, make: impl FnOnce(&C)) {
        if let Some(call) = &*self.call.lock().unwrap_or_else(PoisonError::into_inner) {
            make(call);
        }
    }

    /// Calls for the last time, unless it was silenced.
    pub(crate) fn call_once(&self, make: impl FnOnce(C)) {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(call) = call.take() {
            make(call);
        }
    }

    /// Waits for a call under way; there is none after it.
    pub(crate) fn silence(&self) {
        *self.call.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
