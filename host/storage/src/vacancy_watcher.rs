//! A thread that looks whether logs have a primary, for all who want to know it in this process.
//!
//! Whatever tells of the end of a primary rings; a silence is found by looking, every [`LOOK_INTERVAL`].
//!
//! **Architecture Invariant:** it knows nothing of a log but how to look at it, and deposes nobody.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    LogError, OnVacancy, Vacancy,
    subscription::{Subscriber, Subscription},
};

/// How often an observer looks.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// One observer of a log.
pub(crate) trait Observer: Send + Sync {
    /// Looks once.
    fn look(&self) -> Result<Option<Vacancy>, LogError>;

    /// Called after a look that has found nothing: `bell` is to be rung when the primary ends.
    fn listen(&self, bell: VacancyBell);
}

/// Has a log looked at before the time.
#[derive(Clone)]
pub(crate) struct VacancyBell {
    is_rung: Arc<AtomicBool>,
    watchers: Weak<Watchers>,
}

impl VacancyBell {
    pub(crate) fn ring(&self) {
        self.is_rung.store(true, Ordering::SeqCst);
        if let Some(watchers) = self.watchers.upgrade() {
            watchers.ring();
        }
    }
}

/// Watches logs for vacancies. Clones are the same. Its thread runs while there is anything to be watched.
#[derive(Clone, Default)]
pub(crate) struct VacancyWatcher(Arc<Watchers>);

#[derive(Default)]
struct Watchers {
    state: Mutex<WatcherState>,
    rung: Condvar,
}

#[derive(Default)]
struct WatcherState {
    watched: Vec<Arc<Watched>>,
    is_running: bool,
    is_rung: bool,
}

/// A log that is watched for one subscriber, until he was told.
struct Watched {
    observer: Arc<dyn Observer>,
    subscriber: Arc<Subscriber<OnVacancy>>,
    is_rung: Arc<AtomicBool>,
}

impl VacancyWatcher {
    /// Calls back once, as [`crate::LogStore::watch`] says.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn watch(&self, observer: Arc<dyn Observer>, call: OnVacancy) -> io::Result<Subscription> {
        let is_rung = Arc::new(AtomicBool::new(true));
        let watched = Arc::new(Watched { observer, subscriber: Subscriber::new(call), is_rung });
        let mut state = self.0.lock();
        if !state.is_running {
            let there = Arc::clone(&self.0);
            thread::Builder::new().name("vacancy".to_owned()).spawn(move || there.run())?;
            state.is_running = true;
        }
        state.watched.push(Arc::clone(&watched));
        drop(state);
        self.0.ring();
        let watchers = Arc::clone(&self.0);
        Ok(Subscription::new(move || {
            watched.subscriber.silence();
            watchers.remove(&watched);
        }))
    }
}

impl Watchers {
    fn lock(&self) -> MutexGuard<'_, WatcherState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.lock().is_rung = true;
        self.rung.notify_one();
    }

    fn remove(&self, watched: &Arc<Watched>) {
        self.lock().watched.retain(|other| !Arc::ptr_eq(other, watched));
        self.ring();
    }

    fn run(self: Arc<Self>) {
        let mut looked = Instant::now();
        while let Some(watched) = self.wait(LOOK_INTERVAL.saturating_sub(looked.elapsed())) {
            let is_due = looked.elapsed() >= LOOK_INTERVAL;
            if is_due {
                looked = Instant::now();
            }
            for one in watched {
                if one.is_rung.swap(false, Ordering::SeqCst) || is_due {
                    self.look(&one);
                }
            }
        }
    }

    /// Waits for a ring or the end of `time`; what is to be looked at, or `None` if nothing is any more.
    fn wait(&self, time: Duration) -> Option<Vec<Arc<Watched>>> {
        let waited = self.rung.wait_timeout_while(self.lock(), time, |state| !state.is_rung);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_rung = false;
        state.is_running = !state.watched.is_empty();
        state.is_running.then(|| state.watched.clone())
    }

    fn look(self: &Arc<Self>, watched: &Arc<Watched>) {
        match watched.observer.look() {
            Ok(None) => {
                let bell = VacancyBell { is_rung: Arc::clone(&watched.is_rung), watchers: Arc::downgrade(self) };
                watched.observer.listen(bell);
            }
            Ok(Some(vacancy)) => self.tell(watched, Ok(vacancy)),
            Err(error) => self.tell(watched, Err(error)),
        }
    }

    fn tell(&self, watched: &Arc<Watched>, found: Result<Vacancy, LogError>) {
        self.lock().watched.retain(|other| !Arc::ptr_eq(other, watched));
        watched.subscriber.call_once(|call| call(found));
    }
}
