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

/// Why an observer looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    /// Somebody has said that it is worth it, or has come to look just now.
    Rung,
    /// It is time for it. It is so often, and for so many logs, that it should cost nothing but memory that is read.
    Time,
}

/// What an observer sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sight {
    /// Nobody seems to be primary.
    Vacant(Vacancy),
    /// The primary has said that it is alive since the last look: it need not be looked at when it is time the next time.
    Alive,
    /// Somebody is primary, as far as is known.
    Unchanged,
}

/// One observer of a log.
pub(crate) trait Observer: Send + Sync {
    /// Looks once. If that finds nothing, `bell` is to be rung when the primary ends; it is the same one for as long as a
    /// subscription lives.
    fn look(&self, cause: Cause, now: Instant, bell: &VacancyBell) -> Result<Sight, LogError>;
}

/// Has a log looked at before the time.
#[derive(Clone)]
pub(crate) struct VacancyBell(Weak<Watched>);

impl VacancyBell {
    pub(crate) fn is(&self, other: &VacancyBell) -> bool {
        self.0.ptr_eq(&other.0)
    }

    /// Whether anybody still hears it.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.strong_count() > 0
    }

    pub(crate) fn ring(&self) {
        let Some(watched) = self.0.upgrade() else { return };
        if !watched.is_rung.swap(true, Ordering::SeqCst)
            && let Some(watchers) = watched.watchers.upgrade()
        {
            watchers.ring(watched);
        }
    }
}

/// Watches logs for vacancies. Clones are the same. Its thread runs while there is anything to be watched.
#[derive(Clone, Default)]
pub(crate) struct VacancyWatcher(Arc<Watchers>);

#[derive(Default)]
struct Watchers {
    state: Mutex<WatcherState>,
    changed: Condvar,
}

#[derive(Default)]
struct WatcherState {
    /// Shared with the thread while it looks at all of them.
    watched: Arc<Vec<Arc<Watched>>>,
    /// Those to be looked at before the time.
    rung: Vec<Arc<Watched>>,
    is_running: bool,
}

/// A log that is watched for one subscriber, until he was told.
struct Watched {
    observer: Arc<dyn Observer>,
    subscriber: Arc<Subscriber<OnVacancy>>,
    is_rung: AtomicBool,
    /// He was told, or does not want to be any more.
    is_over: AtomicBool,
    /// It is not looked at when it is time for it.
    is_left_out: AtomicBool,
    bell: VacancyBell,
    watchers: Weak<Watchers>,
}

impl VacancyWatcher {
    /// Calls back once, as [`crate::LogStore::watch`] says.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn watch(&self, observer: Arc<dyn Observer>, call: OnVacancy) -> io::Result<Subscription> {
        let watched = Arc::new_cyclic(|bell| Watched {
            observer,
            subscriber: Subscriber::new(call),
            is_rung: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            is_left_out: AtomicBool::new(false),
            bell: VacancyBell(Weak::clone(bell)),
            watchers: Arc::downgrade(&self.0),
        });
        let mut state = self.0.lock();
        if !state.is_running {
            let there = Arc::clone(&self.0);
            thread::Builder::new().name("vacancy".to_owned()).spawn(move || there.run())?;
            state.is_running = true;
        }
        Arc::make_mut(&mut state.watched).push(Arc::clone(&watched));
        drop(state);
        watched.bell.ring();
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

    fn ring(&self, watched: Arc<Watched>) {
        self.lock().rung.push(watched);
        self.changed.notify_one();
    }

    fn remove(&self, watched: &Arc<Watched>) {
        watched.is_over.store(true, Ordering::SeqCst);
        let mut state = self.lock();
        state.forget(watched);
        let is_last = state.watched.is_empty();
        drop(state);
        if is_last {
            self.changed.notify_one();
        }
    }

    fn run(self: Arc<Self>) {
        let mut looked = Instant::now();
        while let Some(rung) = self.wait(LOOK_INTERVAL.saturating_sub(looked.elapsed())) {
            for watched in rung {
                watched.is_rung.store(false, Ordering::SeqCst);
                self.look(&watched, Cause::Rung, Instant::now());
            }
            let now = Instant::now();
            if now.saturating_duration_since(looked) >= LOOK_INTERVAL {
                looked = now;
                let all = Arc::clone(&self.lock().watched);
                all.iter().for_each(|watched| self.look(watched, Cause::Time, now));
            }
        }
    }

    /// Waits for a ring or the end of `time`; those that have rung, or `None` if nothing is watched any more.
    fn wait(&self, time: Duration) -> Option<Vec<Arc<Watched>>> {
        let is_quiet = |state: &mut WatcherState| state.rung.is_empty() && !state.watched.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), time, is_quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_running = !state.watched.is_empty();
        let rung = std::mem::take(&mut state.rung);
        state.is_running.then_some(rung)
    }

    fn look(&self, watched: &Arc<Watched>, cause: Cause, now: Instant) {
        // Most looks of a process at many logs end here.
        let is_left_out = cause == Cause::Time && watched.is_left_out.load(Ordering::Relaxed);
        if is_left_out || watched.is_over.load(Ordering::SeqCst) {
            return watched.is_left_out.store(false, Ordering::Relaxed);
        }
        match watched.observer.look(cause, now, &watched.bell) {
            Ok(Sight::Unchanged) => {}
            Ok(Sight::Alive) => watched.is_left_out.store(true, Ordering::Relaxed),
            Ok(Sight::Vacant(vacancy)) => self.tell(watched, Ok(vacancy)),
            Err(error) => self.tell(watched, Err(error)),
        }
    }

    fn tell(&self, watched: &Arc<Watched>, found: Result<Vacancy, LogError>) {
        watched.is_over.store(true, Ordering::SeqCst);
        self.lock().forget(watched);
        watched.subscriber.call_once(|call| call(found));
    }
}

impl WatcherState {
    fn forget(&mut self, watched: &Arc<Watched>) {
        Arc::make_mut(&mut self.watched).retain(|other| !Arc::ptr_eq(other, watched));
    }
}
