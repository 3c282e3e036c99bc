//! Hears of the end of a primary at once.
//!
//! Whatever ends a process ends its locks, and there is a handle of the process that tells of it, which all logs share whose
//! primaries run there. A primary that ends in order, or steps down, says so through the control page. Where there is no such
//! handle, since the primary runs in another pid namespace or the kernel has none, a thread blocks on the lock, and for
//! further logs the lock is asked at each look.
//!
//! **Architecture Invariant:** whatever it hears has the locks asked, and nothing else.

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
};

use ambrosia_core::Epoch;

use super::{
    control::{ControlPage, ReignWord},
    log_directory::reign_byte,
    machine::Machine,
    process_watcher::ProcessWatcher,
};
use crate::{ProcessPlace, REPLICAS_MAX, Subscription, vacancy_watcher::VacancyBell};

/// So many threads of this process block on locks of logs, at most: for those whose primaries have no handle here.
const THREADS_MAX: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Listens for one log.
pub(crate) struct Listener {
    machine: Arc<dyn Machine>,
    lock_path: PathBuf,
    control: Arc<ControlPage>,
    processes: ProcessWatcher,
    bells: Arc<Bells>,
    ear: Mutex<Ear>,
    is_deaf: AtomicBool,
    /// The count of changes of the primary, as it was seen last.
    changes: AtomicU32,
}

/// Who wants to be told, and what of it was told.
#[derive(Default)]
struct Bells {
    all: Mutex<Vec<VacancyBell>>,
    /// The end of what the ear listens to was heard.
    has_ended: AtomicBool,
}

/// To what is listened.
struct Ear {
    /// The newest reign that was listened to.
    reign: Option<ReignWord>,
    way: Way,
}

/// How it is listened.
enum Way {
    /// For no reign yet.
    None,
    /// By a handle of that process.
    Process { pid: u32, _subscription: Subscription },
    /// Nothing is needed: the primary is in this process, which says what becomes of it.
    Itself,
    /// By a thread that blocks on the lock.
    Thread,
    /// The lock is asked at each look.
    Looks,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::None => f.write_str("nothing"),
            Way::Process { pid, .. } => write!(f, "a handle of process {pid}"),
            Way::Itself => f.write_str("this process itself"),
            Way::Thread => f.write_str("a thread that waits for the lock"),
            Way::Looks => f.write_str("looks at the lock"),
        }
    }
}

/// A place among the threads that block.
struct Place;

impl Place {
    fn take() -> Option<Place> {
        let more = |taken| (taken < THREADS_MAX).then_some(taken + 1);
        THREADS.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok().then_some(Place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        THREADS.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Bells {
    fn lock(&self) -> MutexGuard<'_, Vec<VacancyBell>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        self.lock().iter().for_each(VacancyBell::ring);
    }

    /// For whoever hears of an end.
    fn end(&self) {
        self.has_ended.store(true, Ordering::SeqCst);
        self.ring();
    }
}

impl Listener {
    pub(crate) fn new(
        machine: Arc<dyn Machine>,
        lock_path: PathBuf,
        control: Arc<ControlPage>,
        processes: ProcessWatcher,
    ) -> Listener {
        let changes = AtomicU32::new(control.leadership_word().load(Ordering::SeqCst));
        let ear = Mutex::new(Ear { reign: None, way: Way::None });
        Listener {
            machine,
            lock_path,
            control,
            processes,
            bells: Arc::default(),
            ear,
            is_deaf: AtomicBool::new(true),
            changes,
        }
    }

    /// There is news of the log: if it is of the primary, it is worth to look.
    pub(crate) fn on_news(&self) {
        let changes = self.control.leadership_word().load(Ordering::SeqCst);
        if self.changes.swap(changes, Ordering::SeqCst) != changes {
            self.bells.ring();
        }
    }

    /// Whether nothing tells of the end of the primary, so that the lock is to be asked at each look.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::SeqCst)
    }

    /// Has the bell rung at the end of that reign. To be called when there is a bell or a reign that it was not called for,
    /// and after each ring.
    pub(crate) fn listen(&self, reign: ReignWord, bell: &VacancyBell) {
        let mut bells = self.bells.lock();
        if !bells.iter().any(|there| there.is(bell)) {
            bells.retain(VacancyBell::is_heard);
            bells.push(bell.clone());
        }
        drop(bells);
        let mut ear = self.ear();
        if ear.reign != Some(reign) || self.bells.has_ended.load(Ordering::SeqCst) {
            // What was listened to before is given up first: it must not say that the end of this one was heard.
            ear.way = Way::None;
            self.bells.has_ended.store(false, Ordering::SeqCst);
            (ear.reign, ear.way) = (Some(reign), self.way(reign));
            self.is_deaf.store(matches!(ear.way, Way::Looks), Ordering::SeqCst);
            tracing::debug!(log = %self.lock_path.display(), epoch = reign.epoch.0, "the end of the primary is told by {}", ear.way);
            // It may have ended, and its number may be that of another process, since it was looked for.
            bell.ring();
        }
    }

    #[cfg(test)]
    pub(crate) fn way_for_test(&self) -> String {
        self.ear().way.to_string()
    }

    fn ear(&self) -> MutexGuard<'_, Ear> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn way(&self, reign: ReignWord) -> Way {
        if reign.replica.0 >= REPLICAS_MAX {
            return Way::Looks;
        }
        let slot = self.control.slot(reign.replica);
        let (pid, place) = (slot.pid(), slot.place());
        if pid == 0 {
            return Way::Looks; // whoever reigns is no replica of a process
        }
        if !ProcessPlace::here().has_same_numbers(&place) {
            tracing::debug!(pid, "the primary runs{place}, where processes have other numbers");
            return self.blocked(reign.epoch);
        }
        if pid == std::process::id() {
            return Way::Itself;
        }
        let bells = Arc::clone(&self.bells);
        match self.processes.subscribe(pid, Box::new(move || bells.end())) {
            Ok(subscription) => Way::Process { pid, _subscription: subscription },
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Way::Looks, // it has ended
            Err(error) => {
                tracing::debug!(pid, %error, "the process of the primary can't be waited for");
                self.blocked(reign.epoch)
            }
        }
    }

    /// Has a thread wait for the end of that reign, if there may be one more. It outlives the log if the primary is stopped for
    /// ever.
    fn blocked(&self, epoch: Epoch) -> Way {
        let Some(place) = Place::take() else { return Way::Looks };
        let (machine, path, bells) = (Arc::clone(&self.machine), self.lock_path.clone(), Arc::clone(&self.bells));
        let work = move || {
            drop(machine.lock(&path, reign_byte(epoch)));
            drop(place);
            bells.end();
        };
        match self.machine.spawn("vacancy", Box::new(work)) {
            Ok(()) => Way::Thread,
            Err(error) => {
                tracing::debug!(%error, "no thread to wait for the end of the primary");
                Way::Looks
            }
        }
    }
}
