//! A replica that follows: it applies records as they become durable, and is ready to take over.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ambrosia_core::Lsn;
use ambrosia_storage::{
    AcquireError, Acquired, HEARTBEAT_SILENCE, LogError, LogStore, LogTail, Member, Role, Vacancy, WriterEvent,
};

use crate::{
    clock::Clock,
    connection::ConnectionHandle,
    control::Control,
    driver::Driver,
    event::Event,
    life::Life,
    mailbox::Mailbox,
    run::{Ending, RunError},
    vitals::Phase,
    wire::Frame,
};

/// One wait for records; events of the mailbox end it early.
const WAIT: Duration = Duration::from_millis(500);

/// How often a long replay says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// How being a standby ended.
pub(crate) enum StoodBy<'a> {
    /// This replica is primary now.
    Elected(Box<Life<'a>>, Acquired),
    /// The instance or the operator ended it.
    Ended(Ending),
}

/// A replica that follows.
pub(crate) struct Standby<'a> {
    driver: &'a Driver,
    life: Life<'a>,
    /// Taken while this replica tries to become primary.
    tail: Option<Box<dyn LogTail>>,
    watch: Option<VacancyWatch>,
    /// The vacancy that was told last: a further try at the same one is not told.
    told: Option<Vacancy>,
    /// A vacancy that is left to others first, and since when.
    left_to_others: Option<(Vacancy, Instant)>,
    progress: Progress,
}

impl<'a> Standby<'a> {
    /// Builds the replica from what is on the disk.
    pub(crate) fn new(driver: &'a Driver) -> Result<Self, RunError> {
        driver.vitals.enter(Phase::Computing);
        let (life, tail) = Life::begin(driver)?;
        let (told, left_to_others) = (None, None);
        Ok(Standby { driver, life, tail: Some(tail), watch: None, told, left_to_others, progress: Progress::new() })
    }

    /// Follows until this replica is primary or something ends it.
    pub(crate) fn stand_by(mut self) -> Result<StoodBy<'a>, RunError> {
        let mut events = Vec::new();
        loop {
            if let Some(ending) = self.finished_for_good()? {
                return Ok(StoodBy::Ended(ending));
            }
            let (driver, wait) = (self.driver, self.wait());
            let tail = self.tail.as_mut().expect("it was put back after the last try");
            let interrupter = tail.interrupter();
            self.driver.mailbox.set_alarm(Some(Box::new(move || interrupter.interrupt())));
            // What is there is read without waiting; only a replica that has caught up waits for more.
            driver.vitals.enter(Phase::Waiting);
            let records = tail.next(wait)?;
            driver.vitals.enter(Phase::Computing);
            for record in records {
                self.life.apply(record)?;
            }
            self.watch_when_caught_up()?;
            events.extend(self.what_was_left_to_others()?.map(Event::Vacancy));
            self.driver.mailbox.take(&mut events);
            let mut coming = events.drain(..);
            while let Some(event) = coming.next() {
                match event {
                    Event::Vacancy(vacancy) => {
                        if self.leave_to_others(vacancy) {
                            continue;
                        }
                        if let Some(ending) = self.finished_for_good()? {
                            return Ok(StoodBy::Ended(ending));
                        }
                        if let Some(acquired) = self.try_to_acquire(vacancy)? {
                            self.driver.mailbox.set_alarm(None);
                            coming.for_each(|event| self.driver.mailbox.push(event));
                            return Ok(StoodBy::Elected(Box::new(self.life), acquired));
                        }
                    }
                    Event::Checkpoint(done) => self.life.on_checkpoint_done(&done),
                    Event::WatchFailed(error) => return Err(error.into()),
                    Event::StoreLost(path) => return Err(RunError::StoreLost(path)),
                    Event::Shutdown => return Ok(StoodBy::Ended(Ending::Stopped)),
                    Event::PeerHello { handle, .. } | Event::ClientHello { handle } => refuse(&handle),
                    _ => {} // of an earlier reign
                }
            }
        }
    }

    /// How long to wait for records at most.
    fn wait(&self) -> Duration {
        match self.left_to_others {
            _ if self.watch.is_none() => Duration::ZERO,
            Some((_, since)) => HEARTBEAT_SILENCE.saturating_sub(since.elapsed()).min(WAIT),
            None => WAIT,
        }
    }

    /// Whether the vacancy is for others to take: this replica has an output that takes nothing. If nobody takes it,
    /// [`Standby::what_was_left_to_others`] brings it back.
    fn leave_to_others(&mut self, vacancy: Vacancy) -> bool {
        if !self.driver.printer.is_stuck() {
            self.left_to_others = None;
            return false;
        }
        match self.left_to_others {
            Some((left, since)) if left.epoch() == vacancy.epoch() && since.elapsed() >= HEARTBEAT_SILENCE => {
                self.left_to_others = None;
                tracing::info!("nobody else took over, so this replica does, though its output takes nothing");
                false
            }
            _ => {
                self.left_to_others = Some((vacancy, Instant::now()));
                true
            }
        }
    }

    /// The vacancy that others have had their time for, if none of them took it.
    fn what_was_left_to_others(&mut self) -> Result<Option<Vacancy>, RunError> {
        let Some((vacancy, since)) = self.left_to_others else { return Ok(None) };
        let driver = self.driver;
        let running = driver.roster.running().map_err(LogError::from)?;
        let reigns = |member: &Member| member.role == Role::Primary && member.heartbeat_age < HEARTBEAT_SILENCE;
        if driver.log.head()?.epoch > vacancy.epoch() || running.iter().any(reigns) {
            self.left_to_others = None;
            if let Some(watch) = &self.watch {
                watch.go_on();
            }
            return Ok(None);
        }
        Ok((since.elapsed() >= HEARTBEAT_SILENCE).then_some(vacancy))
    }

    /// The ending, once the guest has exited and the primary has seen to it that all its messages were delivered. If
    /// the primary dies before, this replica takes over to do the same.
    fn finished_for_good(&self) -> Result<Option<Ending>, RunError> {
        let Some(ambrosia_core::Outcome::Finished { code, lsn }) = self.life.replica.outcome() else { return Ok(None) };
        let written_down = self.driver.store.instance(&self.driver.name)?.outcome.is_some();
        Ok(written_down.then_some(Ending::Finished { code: *code, lsn: *lsn }))
    }

    /// Only a replica that has all durable records may become primary: a takeover must not wait for a long replay.
    fn watch_when_caught_up(&mut self) -> Result<(), RunError> {
        if self.watch.is_some() {
            return Ok(());
        }
        let durable = self.driver.log.head()?.durable;
        let applied = self.life.replica.applied();
        self.progress.report(applied, durable);
        if applied >= durable {
            self.progress.done(applied);
            self.watch = Some(VacancyWatch::start(&self.driver.log, &self.driver.mailbox)?);
        }
        Ok(())
    }

    fn try_to_acquire(&mut self, vacancy: Vacancy) -> Result<Option<Acquired>, RunError> {
        if self.told.replace(vacancy) != Some(vacancy) {
            tracing::info!(instance = %self.driver.name, replica = %self.driver.replica, "{vacancy}, taking over");
        }
        let mailbox = Arc::clone(&self.driver.mailbox);
        let events = Box::new(move |event: WriterEvent| mailbox.push(Event::Log(event)));
        let (me, now) = (self.driver.epoch_body(), self.driver.clock.now());
        let tail = self.tail.take().expect("it was put back after the last try");
        let next = tail.position();
        self.driver.vitals.enter(Phase::Storing);
        let acquired = self.driver.log.acquire(vacancy.epoch(), me, now, tail, events);
        self.driver.vitals.enter(Phase::Computing);
        match acquired {
            Ok(acquired) => Ok(Some(acquired)),
            Err(AcquireError::Contended { .. }) => {
                self.tail = Some(self.driver.log.tail(next)?);
                if let Some(watch) = &self.watch {
                    watch.go_on();
                }
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Tells somebody who connected that another replica is primary.
pub(crate) fn refuse(handle: &ConnectionHandle) {
    let reason = "this replica is not the primary".to_owned();
    handle.send(Frame::Control(Control::Refused { elsewhere: true, reason }));
}

/// Waits for a vacancy in a thread of its own.
struct VacancyWatch {
    log: Arc<dyn LogStore>,
    end: Arc<AtomicBool>,
    go_on: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl VacancyWatch {
    fn start(log: &Arc<dyn LogStore>, mailbox: &Arc<Mailbox<Event>>) -> Result<Self, RunError> {
        let (go_on, gone_on) = sync_channel(1);
        let end = Arc::new(AtomicBool::new(false));
        let (log_there, mailbox, end_there) = (Arc::clone(log), Arc::clone(mailbox), Arc::clone(&end));
        let watch = move || {
            while !end_there.load(Ordering::Acquire) {
                match log_there.wait_for_vacancy(Duration::from_secs(1)) {
                    Ok(Some(vacancy)) => {
                        mailbox.push(Event::Vacancy(vacancy));
                        if gone_on.recv().is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    Err(error) => return mailbox.push(Event::WatchFailed(error)),
                }
            }
        };
        let thread = std::thread::Builder::new().name("vacancy".to_owned()).spawn(watch).map_err(RunError::Thread)?;
        Ok(VacancyWatch { log: Arc::clone(log), end, go_on: Some(go_on), thread: Some(thread) })
    }

    /// The vacancy was somebody else's: wait for the next one.
    fn go_on(&self) {
        let sender = self.go_on.as_ref().expect("taken when it is dropped only");
        // It fails only if the thread has ended, which it has then reported.
        let _ended = sender.try_send(());
    }
}

impl Drop for VacancyWatch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Release);
        drop(self.go_on.take());
        self.log.interrupt();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that waits for a vacancy failed");
        }
    }
}

/// Says how far a long replay is.
struct Progress {
    began: Instant,
    reported: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Progress { began: now, reported: now }
    }

    fn report(&mut self, applied: Lsn, durable: Lsn) {
        if self.reported.elapsed() >= PROGRESS_INTERVAL {
            self.reported = Instant::now();
            let percent = applied.0 * 100 / durable.0.max(1);
            tracing::info!("replayed {applied} of {durable} records ({percent} %)");
        }
    }

    fn done(&self, applied: Lsn) {
        tracing::info!(lsn = %applied, "caught up with the log in {:.3} s", self.began.elapsed().as_secs_f64());
    }
}
