//! Takes the checkpoints of one replica: captures between two deliveries, writes in a thread of its own.
//!
//! **Architecture Invariant:** the driver thread never waits for the disk here; what is done when is the member's to decide.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ambrosia_core::{
    Lsn, ReplicaIndex,
    member::{CheckpointEvent, CheckpointHead, Keep},
};
use ambrosia_storage::{Checkpoint, CheckpointError, Checkpoints, WrittenCheckpoint};

use crate::{
    driver::{Driver, Replica},
    event::Event,
    mailbox::Mailbox,
};

/// Bytes of memory copied between two deliveries, ahead of a capture of all of it.
const COPY_AHEAD_BYTES: usize = 2 << 20;

/// Takes checkpoints of one replica, as long as that lives.
pub(crate) struct Checkpointer {
    checkpoints: Arc<dyn Checkpoints>,
    me: ReplicaIndex,
    mailbox: Arc<Mailbox<Event>>,
    span: tracing::Span,
    captured: Option<Captured>,
    written: Option<Written>,
    job: Option<Job>,
    /// Jobs so far, over all lives: a job of an earlier one is never taken for this one's.
    jobs: u64,
}

/// A checkpoint, and how it was captured.
struct Captured {
    checkpoint: Checkpoint,
    began: Instant,
    pause: Duration,
}

/// A checkpoint that is on the disk and does not count yet, and how it got there.
struct Written {
    lsn: Lsn,
    checkpoint: Box<dyn WrittenCheckpoint>,
    pages: usize,
    changes_since: Lsn,
    pause: Duration,
    write: Duration,
}

/// What the thread does.
struct Job {
    number: u64,
    thread: JoinHandle<Done>,
}

/// What has come of it.
struct Done {
    event: CheckpointEvent,
    written: Option<Written>,
}

impl From<CheckpointEvent> for Done {
    fn from(event: CheckpointEvent) -> Self {
        Done { event, written: None }
    }
}

impl Checkpointer {
    pub(crate) fn new(driver: &Driver) -> Self {
        Checkpointer {
            checkpoints: Arc::clone(&driver.checkpoints),
            me: driver.replica,
            mailbox: Arc::clone(&driver.mailbox),
            span: driver.span.clone(),
            captured: None,
            written: None,
            job: None,
            jobs: 0,
        }
    }

    /// Copies some memory ahead, so that the capture itself takes no longer for a large memory. True if nothing is left
    /// to be copied.
    pub(crate) fn copy_ahead(&self, replica: &mut Replica, parent: Option<Lsn>) -> bool {
        if self.existing(parent).is_some() {
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

    /// The checkpoint, unless another replica has removed it.
    fn existing(&self, parent: Option<Lsn>) -> Option<Lsn> {
        parent.filter(|parent| self.checkpoints.is_complete(*parent).unwrap_or(false))
    }

    /// Captures the replica as it is, in a reign of that engine.
    pub(crate) fn capture(
        &mut self,
        replica: &mut Replica,
        engine: [u8; 32],
        at: Lsn,
        parent: Option<Lsn>,
    ) -> CheckpointEvent {
        assert_eq!(replica.applied(), at, "a checkpoint holds what it is asked to hold");
        assert!(self.captured.is_none() && self.written.is_none(), "one checkpoint is taken at a time");
        let began = Instant::now();
        let parent = self.existing(parent);
        let guest = replica.guest_mut();
        let captured = if parent.is_some() { guest.capture_changes() } else { guest.capture_all() };
        let capture = match captured {
            Ok(capture) => capture,
            Err(error) => return CheckpointEvent::Captured(Err(error.to_string())),
        };
        let (state_digest, memory_digest) = (replica.digest(), replica.guest_mut().digest());
        let head = CheckpointHead { lsn: at, module: replica.module(), engine, state_digest, memory_digest };
        let checkpoint = Checkpoint { head, parent, state: replica.checkpoint(), capture };
        self.captured = Some(Captured { checkpoint, began, pause: began.elapsed() });
        CheckpointEvent::Captured(Ok(()))
    }

    /// Writes what was captured; [`Event::JobEnded`] says when that is done. An event that comes back at once says that it
    /// can't be.
    pub(crate) fn write(&mut self) -> Option<CheckpointEvent> {
        let captured = self.captured.take().expect("something was captured before");
        assert!(self.written.is_none(), "the checkpoint before counts, or was given up");
        let (checkpoints, me) = (Arc::clone(&self.checkpoints), self.me);
        self.start(CheckpointEvent::Written, move || {
            let Captured { checkpoint, began, pause } = captured;
            match checkpoints.write(&checkpoint, me) {
                Ok(written) => {
                    let written = Written {
                        lsn: checkpoint.head.lsn,
                        checkpoint: written,
                        pages: checkpoint.capture.memories.iter().map(|memory| memory.hashes.len()).sum(),
                        changes_since: checkpoint.parent.unwrap_or_default(),
                        pause,
                        write: began.elapsed(),
                    };
                    Done { event: CheckpointEvent::Written(Ok(())), written: Some(written) }
                }
                Err(error) => CheckpointEvent::Written(Err(error.to_string())).into(),
            }
        })
    }

    /// Makes what was written count.
    pub(crate) fn publish(&mut self, at: Lsn) -> Option<CheckpointEvent> {
        let written = self.written.take().expect("a checkpoint was written before");
        assert_eq!(written.lsn, at, "what was written is what counts from now on");
        assert!(written.changes_since < at, "a checkpoint rests on an older one");
        self.start(CheckpointEvent::Published, move || {
            let Written { lsn: _, checkpoint, pages, changes_since, pause, write } = written;
            let published = checkpoint.publish().map_err(|error| error.to_string());
            if published.is_ok() {
                let (pause_us, write_ms) = (pause.as_micros() as u64, write.as_millis() as u64);
                tracing::info!(lsn = %at, pages, changes_since = changes_since.0, pause_us, write_ms, "took a checkpoint");
            }
            CheckpointEvent::Published(published).into()
        })
    }

    /// Makes a base of it if it rests on too much.
    pub(crate) fn compact(&mut self, at: Lsn) -> Option<CheckpointEvent> {
        let (checkpoints, me) = (Arc::clone(&self.checkpoints), self.me);
        self.start(CheckpointEvent::Compacted, move || {
            let compacted = match checkpoints.compact(at, me) {
                Ok(false) => Ok(()),
                Ok(true) => {
                    tracing::info!(lsn = %at, "made a base of the checkpoint");
                    Ok(())
                }
                Err(error) if is_of_a_file_that_vanished(&error) => Ok(()), // a newer one has taken its place
                Err(error) => Err(error.to_string()),
            };
            CheckpointEvent::Compacted(compacted).into()
        })
    }

    /// Removes what no replica needs any more; `applied` tells how far each is.
    pub(crate) fn trim(&mut self, keep: Keep, applied: Vec<Lsn>) -> Option<CheckpointEvent> {
        let checkpoints = Arc::clone(&self.checkpoints);
        self.start(CheckpointEvent::Tidied, move || {
            let tidied = checkpoints.trim(keep, &applied).map(|trimmed| {
                if trimmed.segments > 0 || trimmed.checkpoints > 0 {
                    let (segments, checkpoints) = (trimmed.segments, trimmed.checkpoints);
                    tracing::info!(segments, checkpoints, "trimmed the log");
                }
            });
            CheckpointEvent::Tidied(tidied.map_err(|error| error.to_string())).into()
        })
    }

    /// Does `work` in a thread of its own. `failed` makes the event for a work that could not be done at all.
    fn start(
        &mut self,
        failed: fn(Result<(), String>) -> CheckpointEvent,
        work: impl FnOnce() -> Done + Send + 'static,
    ) -> Option<CheckpointEvent> {
        assert!(self.job.is_none(), "one thing is done to a checkpoint at a time");
        self.jobs += 1;
        let (number, mailbox) = (self.jobs, Arc::clone(&self.mailbox));
        let span = self.span.clone();
        let run = move || {
            let _in_span = span.enter();
            let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
                failed(Err("the thread that writes checkpoints failed; this is a defect of ambrosia-host".to_owned()))
                    .into()
            });
            mailbox.push(Event::JobEnded(number));
            done
        };
        match std::thread::Builder::new().name("checkpoint".to_owned()).spawn(run) {
            Ok(thread) => {
                self.job = Some(Job { number, thread });
                None
            }
            Err(error) => Some(failed(Err(format!("no thread could be started: {error}")))),
        }
    }

    /// What has come of that job, unless it is one of an earlier life.
    pub(crate) fn on_ended(&mut self, number: u64) -> Option<CheckpointEvent> {
        assert!(number <= self.jobs, "no job ends that was not begun");
        let job = self.job.take_if(|job| job.number == number)?;
        let Done { event, written } = job.thread.join().expect("it catches what goes wrong");
        self.written = written;
        Some(event)
    }

    /// What does not count yet, and what is being done, to be given up.
    pub(crate) fn take_remains(&mut self) -> Option<Remains> {
        self.captured = None;
        let (job, written) = (self.job.take(), self.written.take());
        (job.is_some() || written.is_some()).then_some(Remains { job, written })
    }
}

/// What is left of the checkpoints of a life.
pub(crate) struct Remains {
    job: Option<Job>,
    written: Option<Written>,
}

impl Remains {
    /// Removes what does not count. What is being done is waited for.
    pub(crate) fn give_up(self) {
        let Remains { job, mut written } = self;
        if let Some(Ok(done)) = job.map(|job| job.thread.join()) {
            written = done.written;
        }
        if let Some(written) = written
            && let Err(error) = written.checkpoint.discard()
        {
            tracing::warn!(%error, "a checkpoint that was given up is left on the disk until the replica starts again");
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        if let Some(remains) = self.take_remains() {
            remains.give_up();
        }
    }
}

/// Whether somebody may have removed a file just now, since another one took its place.
pub(crate) fn is_of_a_file_that_vanished(error: &CheckpointError) -> bool {
    match error {
        CheckpointError::Missing { .. } | CheckpointError::ParentMissing { .. } => true,
        CheckpointError::Io(error) => error.source.kind() == std::io::ErrorKind::NotFound,
        CheckpointError::Damaged { .. } | CheckpointError::OtherVersion { .. } | CheckpointError::NoRoom { .. } => {
            false
        }
    }
}
