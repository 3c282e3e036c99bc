//! Waits for the primary to be gone.
//!
//! A thread blocks on the lock that the primary holds, so that its death is known at once; the waiting thread looks
//! at the primary's heartbeat meanwhile, since a stopped process keeps its locks.
//!
//! A silence is counted across waits, so that how long one wait is does not matter.
//!
//! **Architecture Invariant:** its answer is a hint. Nothing is deposed here.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::Epoch;

use super::{
    control::{Control, Reign},
    log_directory::{LogDirectory, reign_byte},
    machine::Machine,
    options::FileLogOptions,
    silence::{LOOK_INTERVAL, Silence},
};
use crate::{LogError, REPLICAS_MAX, Vacancy, io_error::IoContext};

/// Watches the reigns of one log.
pub(crate) struct VacancyWatch {
    machine: Arc<dyn Machine>,
    lock_path: PathBuf,
    control: Arc<Control>,
    silence: Duration,
    patience: Duration,
    wakes: Arc<Wakes>,
    /// Kept from one wait to the next, so that a silence is counted once. `None` before the first look.
    silent: Mutex<Option<Silence<Sign>>>,
    pause: Mutex<Option<Pause>>,
}

/// The wait after a try at a reign that another candidate had locked.
struct Pause {
    /// The fence of that try.
    fence: Epoch,
    waited: Silence<()>,
    over: bool,
}

impl Pause {
    fn is_over(&mut self, patience: Duration) -> bool {
        self.over |= self.waited.look((), Instant::now()) >= patience;
        self.over
    }
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
    pub(crate) fn new(directory: &LogDirectory, control: Arc<Control>, options: &FileLogOptions) -> Self {
        VacancyWatch {
            machine: directory.machine.clone(),
            lock_path: directory.lock_path(),
            control,
            silence: options.silence,
            patience: options.patience,
            wakes: Arc::default(),
            silent: Mutex::default(),
            pause: Mutex::default(),
        }
    }

    pub(crate) fn interrupt(&self) {
        self.wakes.lock().interrupted = true;
        self.wakes.changed.notify_all();
    }

    pub(crate) fn wait(&self, timeout: Duration) -> Result<Option<Vacancy>, LogError> {
        let begin = Instant::now();
        loop {
            let fence = self.control.fence();
            if let Some(vacancy) = self.look(fence, Instant::now())?
                && !self.pauses(fence)?
            {
                return Ok(Some(vacancy));
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

    /// One look at the reign of `fence`.
    fn look(&self, fence: Epoch, now: Instant) -> Result<Option<Vacancy>, LogError> {
        let sign = self.sign();
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let silence = silent.get_or_insert_with(|| Silence::new(sign, now)).look(sign, now);
        if !self.is_held(fence)? {
            return Ok(Some(Vacancy::Released(fence)));
        }
        Ok((silence >= self.silence).then_some(Vacancy::Silent(fence)))
    }

    /// Another candidate has locked the reign after `fence`: it is left some time to begin it. Until then nothing is
    /// vacant, so that nobody tries again and again.
    pub(crate) fn pause(&self, fence: Epoch) {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.as_ref().is_none_or(|pause| pause.fence != fence) {
            *pause = Some(Pause { fence, waited: Silence::new((), Instant::now()), over: false });
        }
    }

    /// Whether the candidate that has locked the reign after `fence` has had its time.
    pub(crate) fn has_paused(&self, fence: Epoch) -> bool {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.as_mut().filter(|pause| pause.fence == fence).is_some_and(|pause| pause.is_over(self.patience))
    }

    /// Whether a pause is under way. It ends when the fence has moved, the other candidate is gone, or has had its time.
    fn pauses(&self, fence: Epoch) -> Result<bool, LogError> {
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pause) = pause.as_mut().filter(|pause| pause.fence == fence) else { return Ok(false) };
        Ok(!pause.is_over(self.patience) && self.is_held(Epoch(fence.0 + 1))?)
    }

    fn sign(&self) -> Sign {
        let reign = self.control.reign();
        let beats = if reign.replica.0 < REPLICAS_MAX { self.control.slot(reign.replica).beats() } else { 0 };
        (self.control.fence(), reign, beats)
    }

    fn is_held(&self, epoch: Epoch) -> Result<bool, LogError> {
        let held = self.machine.held_byte(&self.lock_path, reign_byte(epoch));
        if held.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(LogError::Replaced { place: self.lock_path.with_file_name("control").display().to_string() });
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
