//! What a driver does for a member that reigns: it has the log written, and carries what is let out.

use core::time::Duration;

use ambrosia_core::{
    CallId, ConnectionId, Epoch, Lsn, Output, Refusal, Traffic,
    member::{Flow, MemberInput, Next, Surroundings},
};
use ambrosia_storage::{LogEvent, LogStore};
use bytes::Bytes;

use crate::{
    agenda::Event,
    life::Input,
    model::outcome_of,
    network::{Back, Side},
    options::{MICROSECOND, MILLISECOND},
    process::{Driver, Process},
    shell::SimShell,
    sim::{Sim, number_of},
};

/// A primary makes a record this long after something came in.
const GATHER: (u64, u64) = (0, 20 * MICROSECOND);
/// A log that is idle for this long says that all of it is durable.
const IDLE: u64 = 20 * MILLISECOND;
/// A primary that has nothing to write looks this often whether it was deposed.
const FENCE_LOOK: u64 = 100 * MILLISECOND;
/// The same where a look takes time.
const FAR_FENCE_LOOK: u64 = 250 * MILLISECOND;
/// A primary is told that its log stands, and goes on, with each record of which this is a divisor.
const STANDS_EVERY: u64 = 64;
/// A primary looks this often whether it is connected to whom it should be.
const MEND: (u64, u64) = (10 * MILLISECOND, 30 * MILLISECOND);

impl Sim {
    pub(crate) fn begin_reign(&self, process: &Process, driver: &mut Driver, epoch: Epoch) {
        let lsn = driver.the_replica().applied();
        self.note(|| format!("{} ({}) became primary, epoch {epoch}, lsn {lsn}", process.id, process.place));
        process.epoch.set(epoch);
        driver.hands.compared.on_reign(&process.id);
        if !driver.hands.appended.is_empty() {
            self.plan_write(process);
        }
        self.witness.borrow_mut().counts.takeovers += 1;
        self.put(self.now.get() + IDLE, Event::Idle(process.id, epoch));
        self.plan_delivery(process);
    }

    pub(crate) fn announce(&self, process: &Process, driver: &Driver, epoch: Epoch) {
        assert_eq!(process.epoch.get(), epoch, "a member announces its reign");
        assert_eq!(driver.the_replica().void(), None, "nobody is spoken to before the mend");
        self.note_reign(process, driver.the_replica().applied());
        self.publish(process);
        self.put_in(MEND, Event::Mend(process.id, epoch));
    }

    fn publish(&self, process: &Process) {
        let mut instances = self.instances.borrow_mut();
        let instance = &mut instances[process.place.instance];
        let newest = instance.primary.and_then(|id| self.process(id)).map_or(0, |other| other.epoch.get().0);
        if instance.uuid == process.uuid && process.epoch.get().0 > newest {
            instance.primary_before = instance.primary.replace(process.id);
        }
    }

    /// What a primary lets out is durable.
    pub(crate) fn let_out(&self, process: &Process, driver: &mut Driver, output: Output) {
        let after = output.after();
        if after > Lsn(0) && process.is_primary() {
            let logs = &self.witness.borrow().logs;
            let links = driver.hands.links.as_ref().expect("it has applied the record that began its reign");
            // The checkpoint that it began with was compared with the log.
            let executed = if links.is_before(after) { logs.link(process.uuid, after) } else { links.at(after) };
            logs.on_leaving(process.uuid, after, executed);
        }
        let uuid = process.uuid;
        let mut witness = self.witness.borrow_mut();
        match output {
            Output::Print { replayed: true, .. } => assert!(!process.is_primary(), "a primary replays nothing"),
            Output::Print { bytes, .. } => {
                witness.counts.prints += 1;
                witness.prints.on_print(uuid, &bytes);
            }
            Output::Connect { peer, name } => {
                driver.hands.wanted.insert(peer, name);
                drop(witness);
                self.put_in(self.options.latency, Event::Dial(process.id, peer));
            }
            Output::Welcome { connection, received, .. } => {
                drop(witness);
                self.send_back(connection, received, Back::Welcome { uuid, received });
            }
            Output::Acknowledge { connection, seq, .. } => {
                drop(witness);
                self.send_back(connection, seq, Back::Acknowledge(seq));
            }
            Output::Send { connection, chunk } => {
                drop(witness);
                self.send(process, connection, chunk);
            }
            Output::Refuse { connection, reason } => {
                witness.counts.refusals += 1;
                drop(witness);
                self.on_refuse(process, driver, connection, reason);
            }
            Output::Accepted { request, .. } => witness.requests.on_accepted(&request),
            Output::Answered { request, answer, after } => {
                witness.logs.on_answered(uuid, after);
                witness.queries.on_answered(uuid, after);
                witness.counts.answers += 1;
                witness.requests.on_answered(&request, answer);
            }
            Output::Request { id, body, resumed, .. } => {
                witness.outside.on_performed(uuid, id, &body, resumed);
                witness.counts.outside += 1;
                witness.counts.outside_again += u64::from(resumed);
                drop(witness);
                self.learn_promise(process, &body);
                let outcome = outcome_of(&body).into();
                self.put_in(self.options.latency, Event::Outside(process.id, process.epoch.get(), id, outcome));
            }
            Output::SessionOpened { .. } | Output::SessionAnswered { .. } | Output::SessionRefused { .. } => {
                drop(witness);
                self.tell_session(uuid, output);
            }
            Output::Event { event, .. } => {
                witness.counts.events += 1;
                witness.outside.on_event(uuid, &event);
            }
            Output::Resolved { promise, token, is_known, .. } => {
                drop(witness);
                self.on_resolved(process, promise, token, is_known);
            }
            output => unreachable!("a member keeps this to itself: {output:?}"),
        }
    }

    /// Only who was deposed, or talks to one who was, may be refused for what it has, and only an instance whose name
    /// another one has for who it is.
    fn on_refuse(&self, process: &Process, driver: &Driver, connection: ConnectionId, reason: Refusal) {
        let side = {
            let network = self.network.borrow();
            let Some(c) = network.connections.get(&connection) else { return };
            let (other, uuid) =
                if c.from.process == process.id { (c.to.process, c.to.uuid) } else { (c.from.process, c.from.uuid) };
            if reason == Refusal::NotRegistered {
                let is_registered = self.instances.borrow().iter().any(|instance| instance.uuid == uuid);
                assert!(!is_registered, "{other} is what its name says, and was refused");
                self.witness.borrow_mut().counts.earlier_lives_refused += 1;
            } else if reason.is_serious() {
                let lost = matches!(reason, Refusal::PeerLostLog { .. } | Refusal::OwnLogLost { .. });
                let stale = self.is_deposed(process, driver) || self.may_be_deposed(other);
                let gap = matches!(reason, Refusal::Gap { .. }) && c.broken;
                assert!((lost && stale) || gap, "refused for no reason: {reason}");
            }
            if c.from.process == process.id { Side::From } else { Side::To }
        };
        self.close(connection, side, false);
    }

    pub(crate) fn is_deposed(&self, process: &Process, driver: &Driver) -> bool {
        driver.log.head().is_ok_and(|head| head.epoch > process.epoch.get())
    }

    fn may_be_deposed(&self, id: crate::ids::ProcessId) -> bool {
        self.process(id).is_none_or(|process| match process.driver.try_borrow() {
            Ok(driver) => driver.as_ref().is_none_or(|driver| self.is_deposed(&process, driver)),
            Err(_) => true, // paused at work
        })
    }

    /// What comes of a request to the world outside is told to the primary that has performed it.
    pub(crate) fn on_outcome(&self, process: &Process, id: CallId, outcome: Bytes) {
        self.at_reign(process, |driver| {
            self.step(process, driver, MemberInput::Traffic(Traffic::Outcome { id, outcome }));
            self.plan_delivery(process);
        });
    }

    pub(crate) fn plan_delivery(&self, process: &Process) {
        if process.is_primary() && !process.deliver_planned.replace(true) {
            self.put_in(GATHER, Event::Deliver(process.id));
        }
    }

    /// Has the member do what is due and make a record of what has gathered.
    pub(crate) fn deliver(&self, process: &Process) {
        process.deliver_planned.set(false);
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        let surroundings = Surroundings {
            wall: self.clock(process),
            log_has_room: driver.hands.writer.is_some(),
            output: if self.is_stuck(process) { Flow::Stuck } else { Flow::Room },
            may_yield: !process.has_yielded.get(),
            published: driver.checkpoints.newest_published(),
        };
        let Driver { member, hands, .. } = driver;
        let next = member.turn(self.uptime(), &surroundings, &mut SimShell { sim: self, process, hands });
        let has_commands = !driver.hands.commands.is_empty();
        self.carry_out(process, driver);
        if process.dead.get() {
            return;
        }
        match next {
            Next::After(Some(wait)) if !has_commands => {
                self.put(self.now.get() + (wait.as_nanos() as u64).max(MILLISECOND), Event::Wake(process.id));
            }
            Next::After(None) if !has_commands => {}
            Next::Again | Next::After(_) => self.plan_delivery(process),
        }
    }

    pub(crate) fn plan_write(&self, process: &Process) {
        if !process.settle_planned.get() && !process.write_planned.replace(true) {
            self.put_in(GATHER, Event::Write(process.id, process.epoch.get()));
        }
    }

    /// The log of a primary writes what is queued.
    pub(crate) fn write(&self, process: &Process) {
        process.write_planned.set(false);
        let mut turns = process.turns.borrow_mut();
        let Some(turns) = turns.as_mut().filter(|_| !process.settle_planned.get()) else { return };
        if turns.write() {
            process.settle_planned.set(true);
            let slow = self.instances.borrow()[process.place.instance].slow_until > self.now.get();
            let (low, high) = self.options.sync;
            self.put_in(
                if slow { (20 * low, 100 * high) } else { (low, high) },
                Event::Settle(process.id, process.epoch.get()),
            );
        }
        process.last_write.set(self.now.get());
        self.pass_on_reports(process);
    }

    /// The log of a primary has synced, and says what is durable.
    pub(crate) fn settle(&self, process: &Process) {
        let mut turns = process.turns.borrow_mut();
        let Some(turns) = turns.as_mut() else { return };
        turns.settle();
        process.settle_planned.set(false);
        process.last_write.set(self.now.get());
        self.pass_on_reports(process);
        if process.queued.replace(false) {
            self.plan_write(process);
        }
    }

    /// A log that has had nothing to write for a while says what is durable, and looks at the fence.
    pub(crate) fn look(&self, process: &Process) {
        let busy = process.settle_planned.get() || process.write_planned.get();
        let idle = self.now.get() - process.last_write.get() >= IDLE;
        let mut turns = process.turns.borrow_mut();
        let Some(turns) = turns.as_mut() else { return };
        if idle && !busy {
            assert!(!turns.write(), "a log with nothing queued writes nothing");
            self.pass_on_reports(process);
        }
        let fence_look = if self.options.slow_looks { FAR_FENCE_LOOK } else { FENCE_LOOK };
        let next = if turns.is_marked() { fence_look } else { IDLE };
        self.put(self.now.get() + next, Event::Idle(process.id, process.epoch.get()));
    }

    fn pass_on_reports(&self, process: &Process) {
        let reports = std::mem::take(&mut *process.reports());
        if reports.iter().any(|report| matches!(report, LogEvent::Durable(_))) {
            self.wake_standbys(process.place.instance);
        }
        for report in reports {
            if let LogEvent::Durable(lsn) = report
                && lsn.0.is_multiple_of(STANDS_EVERY)
            {
                // No log on files stands, and what the member is told of one that does changes nothing.
                let (reason, waited) = ("told to".to_owned(), Duration::from_secs(1));
                for report in [LogEvent::Stalled { reason, waited }, LogEvent::Resumed] {
                    self.put(self.now.get(), Event::LogSays(process.id, process.epoch.get(), report));
                }
            }
            self.put_in(GATHER, Event::LogSays(process.id, process.epoch.get(), report));
        }
    }

    /// What the log has to say to the driver of its reign.
    pub(crate) fn on_log(&self, process: &Process, epoch: Epoch, event: LogEvent) {
        let mut driver = process.driver.borrow_mut();
        let driver = driver.as_mut().expect("it has opened the log");
        self.note_report(process, driver, epoch, &event);
        self.step(process, driver, Input::Log { epoch, event });
        if !process.dead.get() {
            self.plan_delivery(process);
        }
    }

    /// What a log says to be durable was appended to it.
    fn note_report(&self, process: &Process, driver: &mut Driver, epoch: Epoch, event: &LogEvent) {
        let LogEvent::Durable(lsn) = event else { return };
        if epoch != process.epoch.get() {
            return;
        }
        while let Some(record) = driver.hands.appended.pop_front_if(|record| record.lsn() <= *lsn) {
            self.note_durable(process, &record);
        }
        driver.hands.durable = driver.hands.durable.max(*lsn);
    }

    /// The operator wants the process to end: a primary makes all it has durable and lets it out before, so that another
    /// one takes over at once.
    pub(crate) fn hand_over(&self, process: &Process) {
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else { return };
        self.step(process, driver, Input::Shutdown);
    }

    pub(crate) fn close_log(&self, process: &Process, driver: &mut Driver) {
        if let Some(writer) = driver.hands.writer.take() {
            writer.close();
        }
        {
            let mut turns = process.turns.borrow_mut();
            let turns = turns.as_mut().expect("a reign has a log");
            if process.settle_planned.replace(true) {
                turns.settle();
            }
            while turns.write() {
                turns.settle();
            }
        }
        let epoch = process.epoch.get();
        let reports = std::mem::take(&mut *process.reports());
        for event in reports {
            self.note_report(process, driver, epoch, &event);
            self.give(process, driver, Input::Log { epoch, event });
        }
        self.give(process, driver, Input::Closed);
    }

    /// A primary looks whether it is connected to those that it should be.
    pub(crate) fn mend(&self, process: &Process) {
        let driver = process.driver.borrow();
        let Some(driver) = &*driver else { return };
        for (peer, name) in &driver.hands.wanted {
            let there = self.instances.borrow()[number_of(name)].primary;
            match self.network.borrow().dialled(process.id, *peer) {
                Some((_, to)) if there.is_none_or(|there| there == to) => continue,
                _ => {}
            }
            self.put_in(self.options.latency, Event::Dial(process.id, *peer));
        }
        self.put_in(MEND, Event::Mend(process.id, process.epoch.get()));
    }
}
