//! Threads that wait for changes of words in shared pages, for all who have subscribed to them in this process.
//!
//! The kernel lets one thread wait for [`FUTEXES_MAX`] words at once, so one thread is there for each group of so many.
//!
//! **Architecture Invariant:** it only says that it is worth to look again; what has changed is read elsewhere. A change
//! after a subscription is never missed: each word is compared with what was seen of it before.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::shared_page::{FUTEXES_MAX, futex_wait, futex_wait_any, futex_wake_all};
use crate::{
    Callback,
    subscription::{Subscriber, Subscription},
};

/// What the kernel can't wait for is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Words are looked at this often although nobody was woken, should a wake ever be lost.
const ANYWAY_INTERVAL: Duration = Duration::from_millis(500);

/// Words that one thread waits for, beside its bell.
const GROUP_MAX: usize = FUTEXES_MAX - 1;

/// A word that can be waited for, in a page that is mapped as long as this lives.
pub(crate) trait Watched: Send + Sync {
    /// It is changed by whoever has news, who then wakes all that wait for it.
    fn word(&self) -> &AtomicU32;
}

/// Watches words. Clones are the same; the last one that is dropped ends its threads.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Arc<Groups>);

#[derive(Default)]
struct Groups(Mutex<Vec<Arc<Group>>>);

/// The words of one thread.
#[derive(Default)]
struct Group {
    bell: AtomicU32,
    is_ended: AtomicBool,
    entries: Mutex<Vec<Arc<Entry>>>,
}

struct Entry {
    watched: Box<dyn Watched>,
    seen: AtomicU32,
    subscriber: Arc<Subscriber<Callback>>,
}

impl Watcher {
    /// Calls back after each change of the word, from now on.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn subscribe(&self, watched: Box<dyn Watched>, call: Callback) -> io::Result<Subscription> {
        let seen = AtomicU32::new(watched.word().load(Ordering::SeqCst));
        let entry = Arc::new(Entry { watched, seen, subscriber: Subscriber::new(call) });
        let group = self.put(&entry)?;
        group.ring();
        Ok(Subscription::new(move || group.remove(&entry)))
    }

    /// Puts the word into a group that has room, or into one of its own.
    fn put(&self, entry: &Arc<Entry>) -> io::Result<Arc<Group>> {
        let mut groups = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        for group in &*groups {
            let mut entries = group.entries();
            if entries.len() < GROUP_MAX {
                entries.push(Arc::clone(entry));
                return Ok(Arc::clone(group));
            }
        }
        let group = Arc::<Group>::default();
        group.entries().push(Arc::clone(entry));
        let there = Arc::clone(&group);
        thread::Builder::new().name("watch".to_owned()).spawn(move || there.watch())?;
        groups.push(Arc::clone(&group));
        Ok(group)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            group.is_ended.store(true, Ordering::SeqCst);
            group.ring();
        }
    }
}

impl Group {
    fn entries(&self) -> MutexGuard<'_, Vec<Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.bell.fetch_add(1, Ordering::SeqCst);
        futex_wake_all(&self.bell);
    }

    fn remove(&self, entry: &Arc<Entry>) {
        entry.subscriber.silence();
        self.entries().retain(|other| !Arc::ptr_eq(other, entry));
        self.ring();
    }

    fn watch(&self) {
        let mut entries = Vec::new();
        let mut heard = None;
        while !self.is_ended.load(Ordering::SeqCst) {
            let rings = self.bell.load(Ordering::SeqCst);
            if heard != Some(rings) {
                entries.clone_from(&self.entries());
                heard = Some(rings);
            }
            entries.iter().for_each(|entry| entry.look());
            let bell = (&self.bell, rings);
            let words = entries.iter().map(|entry| (entry.watched.word(), entry.seen.load(Ordering::SeqCst)));
            wait_any(&[bell].into_iter().chain(words).collect::<Vec<_>>());
        }
    }
}

impl Entry {
    fn look(&self) {
        let now = self.watched.word().load(Ordering::SeqCst);
        if self.seen.swap(now, Ordering::SeqCst) != now {
            self.subscriber.call(|call| call());
        }
    }
}

/// Blocks until one of the words is not what was seen of it, or may not be.
fn wait_any(words: &[(&AtomicU32, u32)]) {
    if words.iter().any(|(word, seen)| word.load(Ordering::SeqCst) != *seen) {
        return;
    }
    if futex_wait_any(words, ANYWAY_INTERVAL).is_err() {
        // An older kernel, or one that forbids it.
        let (first, seen) = words[0];
        let is_alone = words.len() == 1;
        futex_wait(first, seen, if is_alone { ANYWAY_INTERVAL } else { LOOK_INTERVAL });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Nothing here takes that long.
    const LIMIT: Duration = Duration::from_secs(20);

    #[derive(Clone, Default)]
    struct Word(Arc<AtomicU32>);

    impl Watched for Word {
        fn word(&self) -> &AtomicU32 {
            &self.0
        }
    }

    impl Word {
        fn change(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
            futex_wake_all(&self.0);
        }
    }

    #[test]
    fn whichever_word_changes_its_subscriber_is_called_and_no_other() {
        for count in [1, 3, 2 * GROUP_MAX + 3] {
            let watcher = Watcher::default();
            let (sender, calls) = channel();
            let words: Vec<_> = (0..count).map(|_| Word::default()).collect();
            let subscribe = |(number, word): (usize, &Word)| {
                let sender = sender.clone();
                let call = move || sender.send(number).expect("the test waits for it");
                watcher.subscribe(Box::new(word.clone()), Box::new(call)).expect("there are threads")
            };
            let _subscribed: Vec<_> = words.iter().enumerate().map(subscribe).collect();
            for changed in [0, count / 2, count - 1] {
                words[changed].change();
                assert_eq!(calls.recv_timeout(LIMIT), Ok(changed));
            }
        }
    }

    #[test]
    fn after_the_end_of_a_subscription_nobody_is_called() {
        let watcher = Watcher::default();
        let (ended, goes_on) = (Word::default(), Word::default());
        let (sender, calls) = channel();
        let subscribe = |word: &Word, name: &'static str| {
            let sender = sender.clone();
            watcher
                .subscribe(Box::new(word.clone()), Box::new(move || sender.send(name).expect("the test waits for it")))
        };
        let first = subscribe(&ended, "ended").expect("there are threads");
        let _second = subscribe(&goes_on, "goes on").expect("there are threads");
        ended.change();
        assert_eq!(calls.recv_timeout(LIMIT), Ok("ended"));
        drop(first);
        ended.change();
        goes_on.change();
        assert_eq!(calls.recv_timeout(LIMIT), Ok("goes on"));
        // The thread lets go of it when it looks for the next time.
        let is_let_go = (0..100).any(|_| {
            goes_on.change();
            assert_eq!(calls.recv_timeout(LIMIT), Ok("goes on"));
            Arc::strong_count(&ended.0) == 1
        });
        assert!(is_let_go, "nothing of it is kept");
    }
}
