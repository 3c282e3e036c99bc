//! Waits for whichever of many words changes first: the registry, the primary of a log, or a bell of the same process.
//!
//! **Architecture Invariant:** it only says that it is worth to look again; what has changed is read elsewhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    file_store::FileStore,
    roster::Roster,
    shared_page::{FUTEXES_MAX, futex_wait, futex_wait_any, futex_wake_all},
};

/// What the kernel can't wait for is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Wakes a thread of the same process that waits with [`AnyChange`]. A clone is the same bell.
#[derive(Clone, Default)]
pub struct Bell(Arc<AtomicU32>);

impl Bell {
    /// How often it was rung.
    pub fn rings(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Wakes who waits for it.
    pub fn ring(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        futex_wake_all(&self.0);
    }
}

/// Words to wait for, each with the count that was seen of it. What is added first is best watched.
#[derive(Default)]
pub struct AnyChange<'a> {
    words: Vec<(&'a AtomicU32, u32)>,
}

impl<'a> AnyChange<'a> {
    /// Also when the bell has been rung since [`Bell::rings`] was `seen`.
    pub fn of_bell(&mut self, bell: &'a Bell, seen: u32) {
        self.words.push((&bell.0, seen));
    }

    /// Also when anything was registered, deregistered or changed since [`FileStore::registry_changes`] was `seen`.
    pub fn of_registry(&mut self, store: &'a FileStore, seen: Option<u32>) {
        self.words.extend(store.registry().changes().zip(seen));
    }

    /// Also when [`Roster::leadership_changes`] is not `seen` any more.
    pub fn of_leadership(&mut self, roster: &'a Roster, seen: u64) {
        self.words.push((roster.leadership_word(), seen as u32));
    }

    /// Blocks until one of them has changed or `timeout` ran out. It may return early.
    pub fn wait(self, timeout: Duration) {
        let Some((first, rest)) = self.words.split_first() else { return };
        if self.words.iter().any(|(word, seen)| word.load(Ordering::SeqCst) != *seen) {
            return;
        }
        let watched = &self.words[..self.words.len().min(FUTEXES_MAX)];
        let all = watched.len() == self.words.len();
        let waited = futex_wait_any(watched, if all { timeout } else { timeout.min(LOOK_INTERVAL) });
        if waited.is_err() {
            // An older kernel, or one that forbids it.
            let timeout = if rest.is_empty() { timeout } else { timeout.min(LOOK_INTERVAL) };
            futex_wait(first.0, first.1, timeout);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_of_any_word_ends_the_wait() {
        for count in [1, 3, FUTEXES_MAX + 3] {
            let bells: Vec<_> = (0..count).map(|_| Bell::default()).collect();
            for rung in [0, count / 2, count - 1] {
                let seen: Vec<_> = bells.iter().map(Bell::rings).collect();
                std::thread::scope(|scope| {
                    scope.spawn(|| bells[rung].ring());
                    while bells[rung].rings() == seen[rung] {
                        let mut any = AnyChange::default();
                        bells.iter().zip(&seen).for_each(|(bell, seen)| any.of_bell(bell, *seen));
                        any.wait(Duration::from_secs(60));
                    }
                });
            }
        }
    }

    #[test]
    fn a_wait_ends_with_its_time() {
        let bell = Bell::default();
        let mut any = AnyChange::default();
        any.of_bell(&bell, bell.rings());
        any.wait(Duration::from_millis(1));
        AnyChange::default().wait(Duration::from_secs(3600));
    }
}
