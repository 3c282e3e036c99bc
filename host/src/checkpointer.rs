//! Takes the checkpoints of one replica: captures between two deliveries, writes in a thread of its own.
//!
//! **Architecture Invariant:** the driver thread never waits for the disk here, and nothing is published before the
//! record that it holds is durable in the reign that made it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ambrosia_core::{Lsn, ReplicaIndex};
use ambrosia_storage::{Checkpoint, CheckpointError, CheckpointHead, Checkpoints, IoError, LogError, Roster};

use crate::{
    driver::{Driver, Replica},
    event::Event,
    mailbox::Mailbox,
};

/// A replica that has not been heard of for this long keeps nobody from trimming the log: when it wakes, it begins anew
/// from a checkpoint.
const IN_USE: Duration = Duration::from_secs(60);

/// Bytes of memory copied between two deliveries, ahead of a capture of all of it.
const COPY_AHEAD_BYTES: usize = 2 << 20;

/// How checkpoints are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) checkpoints: usize,
    pub(crate) log: bool,
}

/// Takes checkpoints of one replica, as long as that lives.
pub(crate) struct Checkpointer {
    files: Files,
    head: CheckpointHead,
    mailbox: Arc<Mailbox<Event>>,
    /// The checkpoint since which the guest counts its changes, once it is published.
    parent: Option<Lsn>,
    work: Option<Work>,
    /// Why the guest could not be captured the last time, so that one cause is said once.
    said: Option<String>,
}

/// What the thread works with.
#[derive(Clone)]
struct Files {
    checkpoints: Checkpoints,
    roster: Roster,
    me: ReplicaIndex,
    keeping: Keeping,
}

/// A checkpoint under way.
struct Work {
    lsn: Lsn,
    permission: Arc<Permission>,
    thread: JoinHandle<()>,
}

/// Whether the record of a checkpoint is known to be durable.
#[derive(Default)]
struct Permission {
    /// `None` as long as nobody knows.
    given: Mutex<Option<bool>>,
    changed: Condvar,
}

impl Permission {
    fn set(&self, given: bool) {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(given);
        self.changed.notify_all();
    }

    /// Blocks until somebody knows.
    fn wait(&self) -> bool {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let given = self.changed.wait_while(given, |given| given.is_none()).unwrap_or_else(PoisonError::into_inner);
        given.expect("waited for")
    }
}

/// What became of a checkpoint.
pub(crate) struct CheckpointDone {
    pub(crate) lsn: Lsn,
    /// False if there is none now.
    pub(crate) published: bool,
}

/// A checkpoint was not taken.
#[derive(Debug, thiserror::Error)]
enum CheckpointFailure {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("the log can't be trimmed: {0}")]
    Log(#[from] LogError),
}

impl Checkpointer {
    /// For a replica that was restored from the checkpoint `from`, or from none.
    pub(crate) fn new(driver: &Driver, from: Option<Lsn>) -> Self {
        let module = driver.module_hash;
        let head = CheckpointHead { lsn: Lsn(0), module, engine: driver.engine, state_digest: 0, memory_digest: 0 };
        let files = Files {
            checkpoints: driver.checkpoints.clone(),
            roster: driver.roster.clone(),
            me: driver.replica,
            keeping: driver.options.keeping,
        };
        Checkpointer { files, head, mailbox: Arc::clone(&driver.mailbox), parent: from, work: None, said: None }
    }

    /// Whether one is being written.
    pub(crate) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Copies some memory ahead, so that the capture itself takes no longer for a large memory. True if nothing is left
    /// to be copied.
    pub(crate) fn copy_ahead(&self, replica: &mut Replica) -> bool {
        if self.has_parent() {
            return true;
        }
        match replica.guest_mut().copy_ahead(COPY_AHEAD_BYTES) {
            Ok(done) => done,
            Err(error) => {
                tracing::debug!(%error, "memory can't be copied ahead");
                true // the capture will say so too
            }
        }
    }

    /// Whether only what has changed has to be captured.
    fn has_parent(&self) -> bool {
        let Some(parent) = self.parent else { return false };
        // Another replica may have removed it.
        self.files.checkpoints.is_complete(parent).unwrap_or(false)
    }

    /// Captures the replica as it is, and has it written. `durable` says whether its last record is known to be.
    ///
    /// # Errors
    /// Why that can't be done now. It was said already.
    pub(crate) fn take(&mut self, replica: &mut Replica, durable: bool) -> Result<(), String> {
        let lsn = replica.applied();
        if self.is_busy() {
            tracing::debug!(%lsn, "no checkpoint: the one before is still being written");
            return Err("the checkpoint before is still being written".to_owned());
        }
        let begin = Instant::now();
        let parent = self.parent.filter(|_| self.has_parent());
        let guest = replica.guest_mut();
        let captured = if parent.is_some() { guest.capture_changes() } else { guest.capture_all() };
        // Changes are counted from here on, and there is no checkpoint here yet.
        self.parent = None;
        let capture = match captured {
            Ok(capture) => capture,
            Err(error) => return Err(self.say_why_not(lsn, error.to_string())),
        };
        self.said = None;
        let (state_digest, memory_digest) = (replica.digest(), replica.guest_mut().digest());
        let head = CheckpointHead { lsn, state_digest, memory_digest, ..self.head };
        let checkpoint = Checkpoint { head, parent, state: replica.checkpoint(), capture };
        let pause = begin.elapsed();
        self.write(checkpoint, pause, durable)
    }

    fn say_why_not(&mut self, lsn: Lsn, reason: String) -> String {
        if self.said.as_ref() != Some(&reason) {
            tracing::warn!(%lsn, "{reason}");
            self.said = Some(reason.clone());
        }
        reason
    }

    fn write(&mut self, checkpoint: Checkpoint, pause: Duration, durable: bool) -> Result<(), String> {
        let lsn = checkpoint.head.lsn;
        let permission = Arc::new(Permission::default());
        if durable {
            permission.set(true);
        }
        let (files, mailbox, asked) = (self.files.clone(), Arc::clone(&self.mailbox), Arc::clone(&permission));
        let work = move || {
            let published = files.write(&checkpoint, pause, &asked).unwrap_or_else(|error| {
                tracing::error!(%lsn, "no checkpoint: {error}; the log is intact and not trimmed");
                false
            });
            mailbox.push(Event::Checkpoint(CheckpointDone { lsn, published }));
        };
        match std::thread::Builder::new().name("checkpoint".to_owned()).spawn(work) {
            Ok(thread) => {
                self.work = Some(Work { lsn, permission, thread });
                Ok(())
            }
            Err(error) => {
                Err(self.say_why_not(lsn, format!("checkpoint skipped: no thread could be started: {error}")))
            }
        }
    }

    /// Records up to this one are durable in the reign of this replica.
    pub(crate) fn on_durable(&self, lsn: Lsn) {
        if let Some(work) = self.work.as_ref().filter(|work| work.lsn <= lsn) {
            work.permission.set(true);
        }
    }

    /// The thread has ended.
    pub(crate) fn on_done(&mut self, done: &CheckpointDone) {
        if let Some(work) = self.work.take_if(|work| work.lsn == done.lsn) {
            if work.thread.join().is_err() {
                tracing::error!("the thread that writes checkpoints failed");
            }
            self.parent = done.published.then_some(done.lsn);
        }
    }
}

impl Drop for Checkpointer {
    /// What is not known to be durable by now never will be in this life of the replica.
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            work.permission.set(false);
            if work.thread.join().is_err() {
                tracing::error!("the thread that writes checkpoints failed");
            }
        }
    }
}

impl Files {
    /// Writes and publishes a checkpoint, and removes what it makes unnecessary. False if it was given up.
    fn write(
        &self,
        checkpoint: &Checkpoint,
        pause: Duration,
        permission: &Permission,
    ) -> Result<bool, CheckpointFailure> {
        let begin = Instant::now();
        let written = self.checkpoints.write(checkpoint, self.me)?;
        if !permission.wait() {
            self.checkpoints.discard(written)?;
            return Ok(false);
        }
        self.checkpoints.publish(written)?;
        let lsn = checkpoint.head.lsn;
        let pages: usize = checkpoint.capture.memories.iter().map(|memory| memory.hashes.len()).sum();
        let (pause_us, write_ms) = (pause.as_micros() as u64, begin.elapsed().as_millis() as u64);
        let changes_since = checkpoint.parent.map_or(0, |parent| parent.0);
        tracing::info!(%lsn, pages, changes_since, pause_us, write_ms, "took a checkpoint");
        self.tidy(lsn)?;
        Ok(true)
    }

    fn tidy(&self, lsn: Lsn) -> Result<(), CheckpointFailure> {
        if self.checkpoints.compact(lsn, self.me)? {
            tracing::info!(%lsn, "made a base of the checkpoint");
        }
        let running = self.roster.running()?;
        let in_use = running.iter().filter(|member| member.heartbeat_age < IN_USE);
        let applied: Vec<_> = in_use.map(|member| member.applied).collect();
        let trimmed = self.checkpoints.trim(self.keeping.checkpoints, &applied, self.keeping.log)?;
        if trimmed.segments > 0 || trimmed.checkpoints > 0 {
            tracing::info!(segments = trimmed.segments, checkpoints = trimmed.checkpoints, "trimmed the log");
        }
        Ok(())
    }
}
