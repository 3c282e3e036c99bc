//! Who is called back when something in memory changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{
    Callback,
    subscription::{Subscriber, Subscription},
};

type List = Arc<Mutex<Vec<Arc<Subscriber<Callback>>>>>;

/// Those who have subscribed to one kind of news.
#[derive(Clone, Default)]
pub(crate) struct Subscribers(List);

impl Subscribers {
    /// Calls back at each [`Subscribers::call`] from now on.
    pub(crate) fn subscribe(&self, call: Callback) -> Subscription {
        let subscriber = Subscriber::new(call);
        lock(&self.0).push(Arc::clone(&subscriber));
        let list = Arc::clone(&self.0);
        Subscription::new(move || {
            subscriber.silence();
            lock(&list).retain(|other| !Arc::ptr_eq(other, &subscriber));
        })
    }

    /// Calls all of them. To be called with nothing locked that a subscriber may want.
    pub(crate) fn call(&self) {
        let subscribers = lock(&self.0).clone();
        subscribers.iter().for_each(|subscriber| subscriber.call(|call| call()));
    }
}

fn lock(list: &List) -> MutexGuard<'_, Vec<Arc<Subscriber<Callback>>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
