//! Waits for the primary to be gone.
//!
//! A thread blocks on the lock that the primary holds, so that its death is known at once; the waiting thread looks
//! at the primary's heartbeat meanwhile, since a stopped process keeps its locks.
//!
//! **Architecture Invariant:** its answer is a hint. Nothing is deposed here.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::Epoch;

use super::{
    control::{Control, REPLICAS_MAX, Reign},
    log_directory::{LogDirectory, reign_byte},
    machine::Machine,
    silence::{LOOK_INTERVAL, Silence},
};
use crate::{LogError, Vacancy, io_error::IoContext};

/// Watches the reigns of one log.
pub(crate) struct VacancyWatch {
    machine: Arc<dyn Machine>,
    lock_path: PathBuf,
    control: Arc<Control>,
    silence: Duration,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes {
    state: Mutex<WakeState>,
    changed: Condvar,
}

#[derive(Default)]
struct WakeState {
    interrupted: bool,
    /// The lock of a watched reign was released: look again.
    released: bool,
    /// The newest reign that a thread blocks on.
    watched: Option<Epoch>,
}

/// What shows that the primary is alive, or that there is a new one.
type Sign = (Epoch, Reign, u64);

impl VacancyWatch {
    pub(crate) fn new(directory: &LogDirectory, control: Arc<Control>, silence: Duration) -> Self {
        let (machine, lock_path) = (directory.machine.clone(), directory.lock_path());
        VacancyWatch { machine, lock_path, control, silence, wakes: Arc::default() }
    }

    pub(crate) fn interrupt(&self) {
        self.wakes.lock().interrupted = true;
        self.wakes.changed.notify_all();
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Result<Option<Vacancy>, LogError> {
        let begin = Instant::now();
        let mut silence = Silence::new(self.sign(), begin);
        loop {
            let fence = self.control.fence();
            if !self.is_held(fence)? {
                return Ok(Some(Vacancy::Released(fence)));
            }
            if silence.look(self.sign(), Instant::now()) >= self.silence {
                return Ok(Some(Vacancy::Silent(fence)));
            }
            let rest = timeout.saturating_sub(begin.elapsed());
            if rest.is_zero() {
                return Ok(None);
            }
            self.watch(fence);
            if self.wakes.wait(rest.min(LOOK_INTERVAL)) || begin.elapsed() >= timeout {
                return Ok(None);
            }
        }
    }

    fn sign(&self) -> Sign {
        let reign = self.control.reign();
        let beats = if reign.replica.0 < REPLICAS_MAX { self.control.slot(reign.replica).beats() } else { 0 };
        (self.control.fence(), reign, beats)
    }

    fn is_held(&self, epoch: Epoch) -> Result<bool, LogError> {
        let held = self.machine.held_byte(&self.lock_path, reign_byte(epoch));
        if held.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(LogError::Replaced { path: self.lock_path.with_file_name("control") });
        }
        Ok(held.context("examine the locks of", &self.lock_path)?.is_some())
    }

    /// Has a thread wait for the end of that reign. The thread outlives the watch if the primary is stopped for ever.
    fn watch(&self, epoch: Epoch) {
        {
            let mut state = self.wakes.lock();
            if state.watched >= Some(epoch) {
                return;
            }
            state.watched = Some(epoch);
        }
        let (machine, path, wakes) = (self.machine.clone(), self.lock_path.clone(), self.wakes.clone());
        let work = move || {
            drop(machine.lock(&path, reign_byte(epoch)));
            let mut state = wakes.lock();
            state.released = true;
            if state.watched == Some(epoch) {
                state.watched = None;
            }
            wakes.changed.notify_all();
        };
        if let Err(error) = self.machine.spawn("vacancy", Box::new(work)) {
            tracing::warn!(%error, "no thread to wait for the end of the primary: it is noticed a little later");
        }
    }
}

impl Wakes {
    fn lock(&self) -> std::sync::MutexGuard<'_, WakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a release, an interruption or the end of `time`; whether it was interrupted.
    fn wait(&self, time: Duration) -> bool {
        let idle = |state: &mut WakeState| !state.interrupted && !state.released;
        let waited = self.changed.wait_timeout_while(self.lock(), time, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.released = false;
        std::mem::take(&mut state.interrupted)
    }
}
