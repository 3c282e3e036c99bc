//! Looks whether the primary is gone.
//!
//! A thread blocks on the lock that the primary holds, so that its death is known at once; the primary's heartbeat is looked at
//! meanwhile, since a stopped process keeps its locks.
//!
//! A silence is counted across looks, whoever has them made.
//!
//! **Architecture Invariant:** its answer is a hint. Nothing is deposed here.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_core::Epoch;

use super::{
    control::{ControlPage, ReignWord},
    log_directory::{LogDirectory, reign_byte},
    machine::Machine,
    options::FileLogOptions,
    silence::Silence,
};
use crate::{
    LogError, REPLICAS_MAX, Vacancy,
    io_error::IoContext,
    vacancy_watcher::{Observer, VacancyBell},
};

/// Watches the reigns of one log.
pub(crate) struct VacancyWatch {
    machine: Arc<dyn Machine>,
    lock_path: PathBuf,
    control: Arc<ControlPage>,
    silence: Duration,
    patience: Duration,
    listener: Arc<Mutex<Listener>>,
    /// Kept from one look to the next, so that a silence is counted once. `None` before the first look.
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

/// Who blocks on the lock of a reign, and for whom.
#[derive(Default)]
struct Listener {
    /// The newest reign that a thread blocks on.
    epoch: Option<Epoch>,
    /// Rung when a thread has got the lock that it blocked on.
    bell: Option<VacancyBell>,
}

/// What shows that the primary is alive, or that there is a new one.
type Sign = (Epoch, ReignWord, u64);

impl VacancyWatch {
    pub(crate) fn new(directory: &LogDirectory, control: Arc<ControlPage>, options: &FileLogOptions) -> Self {
        VacancyWatch {
            machine: directory.machine.clone(),
            lock_path: directory.lock_path(),
            control,
            silence: options.silence,
            patience: options.patience,
            listener: Arc::default(),
            silent: Mutex::default(),
            pause: Mutex::default(),
        }
    }

    /// One look at the reign of `fence`.
    fn look_at(&self, fence: Epoch, now: Instant) -> Result<Option<Vacancy>, LogError> {
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
    fn listen_to(&self, epoch: Epoch, bell: VacancyBell) {
        {
            let mut listener = lock(&self.listener);
            listener.bell = Some(bell);
            if listener.epoch >= Some(epoch) {
                return;
            }
            listener.epoch = Some(epoch);
        }
        let (machine, path, listener) = (self.machine.clone(), self.lock_path.clone(), Arc::clone(&self.listener));
        let work = move || {
            drop(machine.lock(&path, reign_byte(epoch)));
            let mut listener = lock(&listener);
            listener.epoch.take_if(|newest| *newest == epoch);
            if let Some(bell) = &listener.bell {
                bell.ring();
            }
        };
        if let Err(error) = self.machine.spawn("vacancy", Box::new(work)) {
            tracing::warn!(%error, "no thread to wait for the end of the primary: it is noticed a little later");
        }
    }
}

fn lock(listener: &Mutex<Listener>) -> std::sync::MutexGuard<'_, Listener> {
    listener.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Observer for VacancyWatch {
    fn look(&self) -> Result<Option<Vacancy>, LogError> {
        let fence = self.control.fence();
        let vacancy = self.look_at(fence, Instant::now())?;
        Ok(if vacancy.is_some() && self.pauses(fence)? { None } else { vacancy })
    }

    fn listen(&self, bell: VacancyBell) {
        self.listen_to(self.control.fence(), bell);
    }
}
