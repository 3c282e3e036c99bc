//! A look at the store that many want at once: one of them has it done for all who wait.
//!
//! **Architecture Invariant:** nobody is told what was seen before they asked, but for as long as they allow; and however many ask, and go
//! again, one thread looks at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

/// See the head of the file.
pub(crate) struct Together<T> {
    asked: AtomicU64,
    seen: Arc<Mutex<Option<Seen<T>>>>,
}

struct Seen<T> {
    what: T,
    /// Whoever had asked by then: it is news to them.
    upto: u64,
    at: Instant,
}

impl<T> Default for Together<T> {
    fn default() -> Self {
        Together { asked: AtomicU64::new(0), seen: Arc::default() }
    }
}

impl<T: Clone + Send + 'static> Together<T> {
    /// What there is to be seen now, or was within `age_max`. `None` if the process ends.
    pub(crate) async fn look(&self, age_max: Duration, look: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let mine = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut seen = Arc::clone(&self.seen).lock_owned().await;
        if let Some(seen) = &*seen
            && (seen.upto >= mine || seen.at.elapsed() < age_max)
        {
            return Some(seen.what.clone());
        }
        let (upto, at) = (self.asked.load(Ordering::Acquire), Instant::now());
        // Whoever asked may go: it is done all the same, and nobody begins another one beside it.
        let looking = tokio::task::spawn_blocking(move || {
            let what = look();
            *seen = Some(Seen { what: what.clone(), upto, at });
            what
        });
        looking.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::AtomicUsize,
        mpsc::{Receiver, Sender, channel},
    };

    use super::*;

    /// Looks that are let go one by one, and are counted.
    struct Looks {
        together: Arc<Together<usize>>,
        begun: Arc<AtomicUsize>,
        gate: (Sender<()>, Arc<std::sync::Mutex<Receiver<()>>>),
    }

    impl Looks {
        fn new() -> Looks {
            let (go, gone) = channel();
            let gate = (go, Arc::new(std::sync::Mutex::new(gone)));
            Looks { together: Arc::default(), begun: Arc::default(), gate }
        }

        fn ask(&self, age_max: Duration) -> tokio::task::JoinHandle<Option<usize>> {
            let (begun, gone) = (Arc::clone(&self.begun), Arc::clone(&self.gate.1));
            let together = Arc::clone(&self.together);
            tokio::spawn(async move {
                let look = move || {
                    let number = begun.fetch_add(1, Ordering::AcqRel) + 1;
                    gone.lock().expect("no panic").recv().expect("somebody lets it go");
                    number
                };
                together.look(age_max, look).await
            })
        }

        async fn wait_until_asked(&self, count: u64) {
            while self.together.asked.load(Ordering::Acquire) < count {
                tokio::task::yield_now().await;
            }
        }

        async fn wait_until_begun(&self, count: usize) {
            while self.begun.load(Ordering::Acquire) < count {
                tokio::task::yield_now().await;
            }
        }

        fn go(&self) {
            self.gate.0.send(()).expect("somebody looks");
        }
    }

    #[tokio::test]
    async fn all_who_wait_are_told_what_was_seen_after_they_asked() {
        let looks = Looks::new();
        let first = looks.ask(Duration::ZERO);
        looks.wait_until_begun(1).await;
        let others: Vec<_> = (0..100).map(|_| looks.ask(Duration::ZERO)).collect();
        looks.wait_until_asked(101).await;
        looks.go();
        assert_eq!(first.await.expect("no panic"), Some(1));
        looks.go();
        for other in others {
            assert_eq!(other.await.expect("no panic"), Some(2), "what was seen before they asked is no answer");
        }
        assert_eq!(looks.begun.load(Ordering::Acquire), 2);
    }

    #[tokio::test]
    async fn who_goes_leaves_no_second_look_beside_the_first() {
        let looks = Looks::new();
        for number in 1..=50 {
            let asked = looks.ask(Duration::ZERO);
            looks.wait_until_asked(number).await;
            looks.wait_until_begun(1).await;
            asked.abort();
            assert!(asked.await.is_err(), "it has gone");
        }
        assert_eq!(looks.begun.load(Ordering::Acquire), 1);
        looks.go();
        let last = looks.ask(Duration::ZERO);
        looks.go();
        assert_eq!(last.await.expect("no panic"), Some(2));
    }

    #[tokio::test]
    async fn who_allows_it_is_told_what_was_seen_a_while_ago() {
        let looks = Looks::new();
        let first = looks.ask(Duration::ZERO);
        looks.go();
        assert_eq!(first.await.expect("no panic"), Some(1));
        assert_eq!(looks.ask(Duration::from_secs(3600)).await.expect("no panic"), Some(1));
        looks.go();
        assert_eq!(looks.ask(Duration::ZERO).await.expect("no panic"), Some(2));
    }
}
