//! Looks whether the primary is gone.
//!
//! That its process has ended is told (`listener.rs`), and then seen by the lock that it held. Its heartbeat is looked at
//! meanwhile, since a stopped process keeps its locks. The lock is asked too whenever the heartbeat is not as it should be, so
//! that nothing depends on what is told.
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
    control::{ControlPage, PRIMARY, ReignWord},
    listener::Listener,
    log_directory::{LogDirectory, reign_byte},
    machine::Machine,
    options::FileLogOptions,
    process_watcher::ProcessWatcher,
    silence::Silence,
};
use crate::{
    HEARTBEAT_INTERVAL, LogError, REPLICAS_MAX, Vacancy,
    io_error::IoContext,
    vacancy_watcher::{Cause, LOOK_INTERVAL, Observer, Sight, VacancyBell},
};

/// The heartbeat of a primary that is well moves in less.
const BEAT_MISSED: Duration = HEARTBEAT_INTERVAL.saturating_add(LOOK_INTERVAL);

/// The lock of a primary is asked this often although nothing was told and its heart beats.
const ASKED_ANYWAY: Duration = Duration::from_secs(10);

/// Watches the reigns of one log.
pub(crate) struct VacancyWatch {
    machine: Arc<dyn Machine>,
    lock_path: PathBuf,
    control: Arc<ControlPage>,
    silence: Duration,
    patience: Duration,
    listener: Listener,
    /// Kept from one look to the next, so that a silence is counted once. `None` before the first look.
    seen: Mutex<Option<Seen>>,
    pause: Mutex<Option<Pause>>,
}

/// What was seen of a primary.
struct Seen {
    silent: Silence<Sign>,
    /// When its lock was asked last.
    asked: Instant,
    /// The reign to whose end is listened.
    listened: Option<ReignWord>,
}

impl Seen {
    fn new(sign: Sign, now: Instant) -> Seen {
        Seen { silent: Silence::new(sign, now), asked: now, listened: None }
    }
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

/// What shows that the primary is alive, or that there is a new one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sign {
    fence: Epoch,
    reign: ReignWord,
    beats: u64,
    /// Whether the replica that reigns says that it does. One that steps down may go on to live.
    is_primary: bool,
}

impl VacancyWatch {
    pub(crate) fn new(
        directory: &LogDirectory,
        control: Arc<ControlPage>,
        processes: ProcessWatcher,
        options: &FileLogOptions,
    ) -> Self {
        let (machine, lock_path) = (Arc::clone(&directory.machine), directory.lock_path());
        VacancyWatch {
            listener: Listener::new(Arc::clone(&machine), lock_path.clone(), Arc::clone(&control), processes),
            machine,
            lock_path,
            control,
            silence: options.silence,
            patience: options.patience,
            seen: Mutex::default(),
            pause: Mutex::default(),
        }
    }

    /// There is news of the log, of which some are of the primary.
    pub(crate) fn on_news(&self) {
        self.listener.on_news();
    }

    #[cfg(test)]
    pub(crate) fn listens_by(&self) -> String {
        self.listener.way_for_test()
    }

    /// One look at the reign in force.
    fn look_at(&self, cause: Cause, now: Instant, bell: Option<&VacancyBell>) -> Result<Sight, LogError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let sign = self.sign();
        let fence = sign.fence;
        let seen = seen.get_or_insert_with(|| Seen::new(sign, now));
        let silence = seen.silent.look(sign, now);
        let is_doubtful = cause == Cause::Rung
            || !sign.is_primary
            || silence > BEAT_MISSED
            || now.saturating_duration_since(seen.asked) >= ASKED_ANYWAY
            || self.listener.is_deaf();
        if is_doubtful {
            seen.asked = now;
            if !self.is_held(fence)? {
                return Ok(Sight::Vacant(Vacancy::Released(fence)));
            }
        }
        if silence >= self.silence {
            return Ok(Sight::Vacant(Vacancy::Silent(fence)));
        }
        if let Some(bell) = bell.filter(|_| cause == Cause::Rung || seen.listened != Some(sign.reign)) {
            seen.listened = Some(sign.reign);
            self.listener.listen(sign.reign, bell);
        }
        Ok(if silence.is_zero() && sign.is_primary { Sight::Alive } else { Sight::Unchanged })
    }

    fn look(&self, cause: Cause, now: Instant, bell: Option<&VacancyBell>) -> Result<Sight, LogError> {
        match self.look_at(cause, now, bell)? {
            Sight::Vacant(vacancy) if self.pauses(vacancy.epoch())? => Ok(Sight::Unchanged),
            sight => Ok(sight),
        }
    }

    /// One look, for whoever wants to know it just now.
    pub(crate) fn look_once(&self) -> Result<Option<Vacancy>, LogError> {
        match self.look(Cause::Rung, Instant::now(), None)? {
            Sight::Vacant(vacancy) => Ok(Some(vacancy)),
            Sight::Alive | Sight::Unchanged => Ok(None),
        }
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
        let (fence, reign) = (self.control.fence(), self.control.reign());
        if reign.replica.0 >= REPLICAS_MAX {
            return Sign { fence, reign, beats: 0, is_primary: false };
        }
        let slot = self.control.slot(reign.replica);
        Sign { fence, reign, beats: slot.beats(), is_primary: slot.role() == PRIMARY && reign.epoch == fence }
    }

    fn is_held(&self, epoch: Epoch) -> Result<bool, LogError> {
        let held = self.machine.held_byte(&self.lock_path, reign_byte(epoch));
        if held.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Err(LogError::Replaced { place: self.lock_path.with_file_name("control").display().to_string() });
        }
        Ok(held.context("examine the locks of", &self.lock_path)?.is_some())
    }
}

impl Observer for VacancyWatch {
    fn look(&self, cause: Cause, now: Instant, bell: &VacancyBell) -> Result<Sight, LogError> {
        self.look(cause, now, Some(bell))
    }
}
