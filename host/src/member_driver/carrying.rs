//! Carries out what a member decides: each command, and what comes of it.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use ambrosia_calendar::Calendar;
use ambrosia_core::{
    Epoch, Lsn, Output,
    member::{CheckpointEvent, Command, MemberInput, Notice},
};
use ambrosia_engine::Captures;
use ambrosia_storage::{
    AcquireError, Acquired, CaptureMeans, CheckpointError, Instances, LogError, LogTail, RecordedOutcome, Role,
    is_mended_in_log,
};

use super::{Loaded, MemberDriver, putting_off::PutOff};
use crate::{
    clock::Clock, comparison, connections::refuse, dialers::Dialers, driver::Others, event::Event, log_watch::LogWatch,
    recovery::NotRestored, replay_progress::ReplayProgress, requests::Requests, run::RunError, vitals::Phase,
    wish::of_core,
};

impl MemberDriver {
    pub(super) fn carry(&mut self, command: Command) -> Result<(), RunError> {
        assert!(self.ending.is_none(), "nothing is to be done after the end");
        match command {
            Command::ListCheckpoints => {
                let listed = self.driver.checkpoints.list().map_err(LogError::from)?;
                let checkpoints = listed.iter().map(|info| info.lsn).collect();
                let published = self.driver.checkpoints.newest_published();
                self.step(MemberInput::Listed { checkpoints, published });
            }
            Command::Load(lsn) => self.load(lsn)?,
            Command::Restore => self.restore()?,
            Command::MakeGuest(genesis) => {
                let modules = &self.driver.modules;
                let guest =
                    modules.module(genesis.module)?.instantiate(&genesis)?.with_source(Arc::clone(modules) as _);
                self.step(MemberInput::Made(guest));
            }
            Command::Open(lsn) => self.open(lsn)?,
            Command::Read => (self.is_reading, self.has_waited, self.has_read_nothing) = (true, false, false),
            Command::Watch => {
                assert!(self.watch.is_none(), "a standby begins to watch once");
                self.watch = Some(LogWatch::start(&self.driver)?);
            }
            Command::WatchOn => self.watch.as_mut().expect("it watches since it has caught up").go_on()?,
            Command::Acquire(over) => self.acquire(over),
            Command::LookAtOutcome => {
                let outcome = self.driver.store.instance(&self.driver.name)?.outcome;
                let is_written_down = matches!(outcome, Some(RecordedOutcome::Finished { .. }));
                self.step(MemberInput::Outcome { is_written_down });
            }
            Command::Look => self.look(),
            Command::LookUpPeer { name, traffic } => {
                let registered = self.driver.registered(&name);
                self.step(MemberInput::PeerLookedUp { traffic, registered });
            }
            Command::LookForMend { lsn, link } => self.look_for_mend(lsn, link)?,
            Command::Reign(epoch) => {
                self.counted.reigns += 1;
                self.driver.vitals.reign.store(epoch.0, Ordering::Release);
                self.driver.presence.beat(Role::Primary);
                self.begin_calendar_or_put_off()?;
            }
            Command::Announce(epoch) => self.announce(epoch),
            Command::Out(output) => self.out(output),
            Command::Answer { connection, verdict } => self.connections.answer(connection, verdict),
            Command::AnswerQuery(answer) => {
                // As below: what the core has held back is seen once more.
                assert!(
                    self.member.reign().is_none() || answer.at <= self.durable,
                    "no answer tells of what is not durable"
                );
                self.counted.queries[usize::from(answer.answer.success)] += 1;
                self.connections.answer_query(answer);
            }
            Command::AnswerInquiry(answer) => {
                assert!(answer.at <= self.durable, "no answer tells of what is not durable");
                self.connections.answer_inquiry(answer);
            }
            Command::CopyAhead { parent } => {
                self.enter(Phase::Computing);
                let replica = self.member.replica_mut().expect("a member has a replica when it asks for this");
                let is_done = self.checkpointer.copy_ahead(replica, parent);
                self.step(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done }));
            }
            Command::Capture { at, parent } => {
                self.enter(Phase::Computing);
                let engine = self.member.engine_of_reign().expect("a member has a replica when it asks for this");
                let replica = self.member.replica_mut().expect("a member has a replica when it asks for this");
                let captured = self.checkpointer.capture(replica, engine, at, parent);
                self.step(MemberInput::Checkpoint(captured));
            }
            Command::Write(_) => {
                let event = self.checkpointer.write();
                self.on_job(event);
            }
            Command::Publish(at) => {
                let event = self.checkpointer.publish(at);
                self.on_job(event);
            }
            Command::Compact(at) => {
                if cfg!(debug_assertions) {
                    self.driver.check_checkpoint(at);
                }
                let event = self.checkpointer.compact(at);
                self.on_job(event);
            }
            Command::Trim { keep, applied } => {
                let event = self.checkpointer.trim(keep, applied);
                self.on_job(event);
            }
            Command::Prepare { attempt, module } => self.driver.prepare(attempt, module),
            Command::Ready(attempt) => self.driver.presence.set_ready(attempt),
            Command::ClaimWish { attempt, epoch } => self.driver.notary.claim(attempt, epoch),
            Command::SettleWish { attempt, epoch, outcome } => self.driver.settle_wish(attempt, epoch, outcome),
            Command::Yield => self.driver.printer.yields(),
            Command::DropPrints => self.driver.printer.drop_what_has_no_room(),
            Command::WriteDown(outcome) => self.driver.write_down(outcome)?,
            Command::Close => self.close(),
            Command::Abandon => self.abandon()?,
            Command::AskForCheckpoint => comparison::ask(&self.driver),
            Command::Tell(Notice::Restored(lsn)) => {
                let ms = self.restore_began.elapsed().as_secs_f64() * 1e3;
                tracing::info!(%lsn, "restored a checkpoint in {ms:.1} ms");
                self.driver.presence.set_applied(lsn);
                let waiting = self.replica().waiting_handlers();
                self.driver.presence.set_waiting(waiting);
            }
            Command::Tell(Notice::CaughtUp(lsn)) => {
                tracing::info!(%lsn, "caught up with the log in {:.3} s", self.progress.seconds());
            }
            Command::Tell(notice) => self.driver.tell(notice),
            Command::End(ending) => self.ending = Some(ending),
        }
        Ok(())
    }

    /// Passes on what has come of a job, unless it is still being done.
    pub(super) fn on_job(&mut self, event: Option<CheckpointEvent>) {
        if let Some(event) = event {
            self.step(MemberInput::Checkpoint(event));
        }
    }

    fn load(&mut self, lsn: Lsn) -> Result<(), RunError> {
        assert!(self.member.replica().is_none(), "checkpoints are loaded to make a replica of");
        self.enter(Phase::Computing);
        self.restore_began = Instant::now();
        match self.driver.load(lsn) {
            Ok((head, state, image)) => {
                let genesis = state.genesis_of_guest();
                self.loaded = Some(Loaded { module: state.module(), genesis, image });
                self.step(MemberInput::Loaded { head, state: Box::new(state) });
            }
            // It says nothing of the checkpoint.
            Err(NotRestored::Checkpoint(CheckpointError::Io(error))) if self.driver.is_of_store_away(&error) => {
                return Err(LogError::Io(error).into());
            }
            Err(error) => {
                let vanished = error.is_of_a_file_that_vanished();
                self.step(MemberInput::Unusable { reason: error.to_string(), vanished });
            }
        }
        Ok(())
    }

    fn restore(&mut self) -> Result<(), RunError> {
        self.enter(Phase::Computing);
        let Loaded { module, genesis, image } = self.loaded.take().expect("a checkpoint was loaded before");
        match self.driver.restore_guest(module, &genesis, image) {
            Ok(guest) => self.step(MemberInput::Made(guest)),
            Err(error) => self.step(MemberInput::Unusable { reason: error.to_string(), vanished: false }),
        }
        Ok(())
    }

    /// What comes in is for the methods of the module that the replica runs, since it was made or since an upgrade.
    pub(super) fn follow_module(&mut self) -> Result<(), RunError> {
        let Some(module) = self.member.replica().map(ambrosia_core::Replica::module) else { return Ok(()) };
        if self.module.replace(module) != Some(module) {
            self.runs(module)?;
        }
        self.tell_wish();
        Ok(())
    }

    /// Tells the member what is wished, once it has a replica to which that can happen.
    pub(super) fn tell_wish(&mut self) {
        let Some(limits) = self.member.replica().map(ambrosia_core::Replica::limits) else { return };
        if let Some(wish) = self.wish.take_untold(limits) {
            self.step(MemberInput::Wish(wish));
        }
    }

    /// The replica runs that module from here on.
    fn runs(&mut self, module: [u8; 32]) -> Result<(), RunError> {
        let modules = &self.driver.modules;
        let methods = modules.methods(module)?;
        self.driver.methods.set(methods.clone());
        self.follow_calendar(&methods);
        let modules = &self.driver.modules;
        self.driver.presence.set_capture(match modules.module(module)?.capture_means() {
            Captures::Memory => CaptureMeans::Memory,
            Captures::Save(_) => CaptureMeans::Save,
            Captures::Nothing(_) => CaptureMeans::None,
        });
        Ok(())
    }

    fn open(&mut self, lsn: Lsn) -> Result<(), RunError> {
        assert!(self.shell.writer.is_none(), "whoever writes a log does not read it");
        let log = Arc::clone(&self.driver.log);
        self.send_out(Phase::Storing, move || log.tail(lsn), move |driver, opened| driver.on_opened(lsn, opened));
        Ok(())
    }

    fn on_opened(&mut self, lsn: Lsn, opened: Result<Box<dyn LogTail>, LogError>) -> Result<(), RunError> {
        match opened {
            Err(error) if self.driver.is_log_away(&error) => {
                match self.member.replica() {
                    Some(_) => self.on_away(&error),
                    None => self.put_off(PutOff::Command(Command::Open(lsn)), &error),
                }
                Ok(())
            }
            Ok(tail) => {
                let link = tail.link();
                (self.tail, self.is_away) = (Some(tail), false);
                self.step(MemberInput::Opened(link));
                Ok(())
            }
            // An older checkpoint may do, from which the log is read on the way to the place that can't be.
            Err(error) if self.member.replica().is_none() && lsn > Lsn(1) && !is_missing(&error) => {
                let reason = format!("the log does not go on where it ends: {error}");
                self.step(MemberInput::Unusable { reason, vanished: false });
                Ok(())
            }
            Err(error) => self.on_missing(error),
        }
    }

    /// The log can't be reached, so this replica follows nobody for the time being.
    fn on_away(&mut self, error: &LogError) {
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(%error, "this replica can't take over while the log can't be reached, and goes on once it can");
        }
        self.step(MemberInput::Away);
    }

    fn acquire(&mut self, over: Epoch) {
        let driver = Arc::clone(&self.driver);
        assert!(self.watch.is_some(), "only who has caught up becomes primary");
        assert!(self.shell.writer.is_none(), "whoever writes the log is primary already");
        if let Some(vacancy) = self.vacancy.filter(|vacancy| vacancy.epoch() == over)
            && self.told.replace(vacancy) != Some(vacancy)
        {
            tracing::info!("{vacancy}, taking over");
        }
        let mailbox = Arc::clone(&driver.mailbox);
        let events = Box::new(move |epoch, event| mailbox.push(Event::Log { epoch, event }));
        let tail = self.tail.take().expect("the log was opened before, and is not read after");
        self.is_reading = false;
        let acquire = move || tail.acquire(over, driver.epoch_body(), driver.clock.now(), events);
        self.send_out(Phase::Storing, acquire, move |driver, acquired| driver.on_acquired(over, acquired));
    }

    fn on_acquired(&mut self, over: Epoch, acquired: Result<Acquired, AcquireError>) -> Result<(), RunError> {
        match acquired {
            Ok(Acquired { records, epoch, writer }) => {
                let last = *records.last().expect("a reign begins with a record").header();
                assert!(epoch > over, "a reign follows the one that it ends");
                assert_eq!(last.epoch, epoch, "the last record begins the reign");
                (self.shell.writer, self.epoch, self.durable) = (Some(writer), epoch, last.lsn);
                self.is_closed = false;
                self.watch = None;
                self.lines.begin_reign();
                let wall = self.driver.clock.now();
                self.step(MemberInput::Acquired { epoch, records, wall });
            }
            Err(AcquireError::Contended { .. }) => self.step(MemberInput::Contended),
            Err(AcquireError::Log(error)) if is_missing(&error) => self.on_missing(error)?,
            Err(AcquireError::Log(error)) if self.driver.is_log_away(&error) => self.on_away(&error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Has it looked who runs, elsewhere: a store that others share may take its time, and a primary serves meanwhile.
    fn look(&mut self) {
        if self.looks.begin() {
            let driver = Arc::clone(&self.driver);
            self.driver.runtime.spawn_blocking(move || {
                let span = driver.span.clone();
                let seen = span.in_scope(|| driver.look());
                driver.mailbox.push(Event::OthersSeen(seen));
            });
        }
    }

    /// What was seen is heard of, unless it was asked for once more meanwhile.
    pub(super) fn on_others_seen(&mut self, seen: Result<Others, LogError>) -> Result<(), RunError> {
        if self.looks.end() {
            let Others { running, fence } = seen?;
            self.step(MemberInput::Others { running, fence });
        } else {
            self.look();
        }
        Ok(())
    }

    /// Looks whether the log has a mend of a record that the guest could not handle, and what is wished now.
    fn look_for_mend(&mut self, lsn: Lsn, link: u64) -> Result<(), RunError> {
        let is_mended = is_mended_in_log(&*self.driver.log, lsn, Some(link))?;
        let limits = self.replica().limits();
        let entry = self.driver.store.instance(&self.driver.name)?;
        let wish = entry.upgrades.wanted.as_ref().map(|wish| of_core(wish, limits));
        self.step(MemberInput::Mending { is_mended, wish });
        Ok(())
    }

    fn announce(&mut self, epoch: Epoch) {
        let driver = Arc::clone(&self.driver);
        assert_eq!(epoch, self.epoch, "a member reigns in the log that it has acquired");
        driver.publish(epoch);
        let replica = self.member.replica().expect("a primary has a replica");
        driver.notary.note_reign(replica.module(), replica.attempt(), replica.applied());
        if let Some(stdin) = &driver.stdin {
            self.dialers.push(driver.runtime.spawn(Arc::clone(stdin).read(Arc::clone(&driver.mailbox))));
        }
    }

    fn out(&mut self, output: Output) {
        let driver = Arc::clone(&self.driver);
        // What a standby applies is durable.
        let is_replayed = match &output {
            Output::Print { replayed, .. } => *replayed,
            Output::Event { .. } | Output::Log { .. } => self.epoch == Epoch(0),
            _ => false,
        };
        // The core holds back what is not durable; here it is seen once more, by what the log itself has said.
        assert!(is_replayed || output.after() <= self.durable, "nothing leaves before its record is durable");
        match output {
            Output::Print { stream, bytes, replayed: true, .. } => {
                if driver.options.print_replay {
                    driver.printer.print_replayed(stream, bytes);
                }
            }
            Output::Print { stream, bytes, .. } => driver.printer.print(stream, bytes),
            Output::Connect { peer, name } => {
                let replica = self.member.replica().expect("a member has a replica when it connects");
                self.dialers.connect(&driver, replica, self.epoch, peer, name);
            }
            Output::Request { id, body, resumed, .. } => self.requests.begin(&driver, self.epoch, id, body, resumed),
            Output::CancelRequest { id, .. } => self.requests.end(id),
            // It is in the state, where those who listen are served from.
            Output::Event { .. } => self.listeners.on_event(),
            Output::Log { id, time, line, .. } => self.lines.on_line(id, time, line, self.epoch > Epoch(0)),
            output => {
                let me = self.replica().genesis().uuid;
                self.connections.carry(output, me);
            }
        }
    }

    /// Makes everything durable, and hands the member all that the log reports of it.
    fn close(&mut self) {
        assert!(self.shell.writer.is_some(), "a log is closed once");
        self.driver.vitals.reign.store(0, Ordering::Release);
        (self.dialers, self.requests) = (Dialers::default(), Requests::default());
        self.calendar = Calendar::default();
        let writer = self.shell.writer.take().expect("it was asked for above");
        self.counted.end_of(&*writer);
        let close = move || {
            let stats = writer.stats();
            let flush_p50_us = stats.sync_times.quantile(0.5).as_micros();
            let (records, bytes, flushes) = (stats.records, stats.bytes, stats.flushes);
            tracing::info!(records, bytes, flushes, flush_p50_us, "the log of this reign");
            writer.close();
        };
        self.send_out(Phase::Storing, close, |driver, ()| {
            driver.on_closed();
            Ok(())
        });
    }

    fn on_closed(&mut self) {
        self.is_closed = true;
        self.driver.mailbox.take(&mut self.events);
        // What else has come in waits for what becomes of this replica.
        let (reports, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.events).into_iter().partition(is_report);
        self.events = others;
        for event in reports {
            if let Event::Log { epoch, event } = event
                && let Some(report) = self.report(epoch, event)
            {
                self.step(report);
            }
        }
        self.step(MemberInput::Closed);
    }

    /// Nothing of this life is left.
    fn abandon(&mut self) -> Result<(), RunError> {
        let reigned = self.epoch > Epoch(0);
        self.leave(move |driver| {
            let nothing = (None, None, None, false, Epoch(0));
            (driver.tail, driver.loaded, driver.watch, driver.is_reading, driver.epoch) = nothing;
            driver.progress = ReplayProgress::begin();
            if reigned {
                tracing::info!("stepped down, following again");
            }
            Ok(())
        })
    }

    /// Leaves peers and clients, the log and what is done to a checkpoint: those of a reign that was closed in order are told
    /// all before.
    pub(super) fn leave(
        &mut self,
        then: impl FnOnce(&mut MemberDriver) -> Result<(), RunError> + Send + 'static,
    ) -> Result<(), RunError> {
        self.driver.vitals.reign.store(0, Ordering::Release);
        (self.dialers, self.requests) = (Dialers::default(), Requests::default());
        self.listeners.clear();
        self.lines.forget();
        self.calendar = Calendar::default();
        let farewell = if std::mem::take(&mut self.is_closed) {
            self.refuse_who_came_late();
            self.connections.farewell()
        } else {
            None
        };
        match farewell {
            Some(farewell) => {
                self.wait_for(farewell, |driver| driver.leave_the_store(then));
                Ok(())
            }
            None => self.leave_the_store(then),
        }
    }

    /// A log that is given up is waited for, and so is what is done to a checkpoint.
    fn leave_the_store(
        &mut self,
        then: impl FnOnce(&mut MemberDriver) -> Result<(), RunError> + Send + 'static,
    ) -> Result<(), RunError> {
        self.connections.drop_all();
        let (writer, remains) = (self.shell.writer.take(), self.checkpointer.take_remains());
        if let Some(writer) = &writer {
            self.counted.end_of(&**writer);
        }
        if writer.is_none() && remains.is_none() {
            return then(self);
        }
        let give_up = move || {
            drop(writer);
            if let Some(remains) = remains {
                remains.give_up();
            }
        };
        self.send_out(Phase::Storing, give_up, |driver, ()| then(driver));
        Ok(())
    }

    fn refuse_who_came_late(&mut self) {
        let primary = self.driver.primary_elsewhere();
        self.events.retain(|event| {
            let (Event::PeerHello { handle, .. } | Event::ClientHello { handle } | Event::ReplicaHello { handle }) =
                event
            else {
                return true;
            };
            refuse(handle, primary.clone());
            false
        });
    }
}

fn is_report(event: &Event) -> bool {
    matches!(event, Event::Log { .. })
}

fn is_missing(error: &LogError) -> bool {
    matches!(error, LogError::Missing { .. })
}
