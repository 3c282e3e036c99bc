//! A replica that reigns: it makes records of what comes in, and lets out what they bring about once it is durable.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ambrosia_core::{
    Answer, ConnectionId, Due, Epoch, Fault, Held, Input, Lsn, Output, PeerIndex, RecordHeader, RecordKind,
    ReplicaIndex, RequestId,
};
use ambrosia_engine::Captures;
use ambrosia_storage::{
    Acquired, AppendError, HEARTBEAT_SILENCE, LOG_QUEUE_BYTES_MAX, LogWriter, Member, Role, StopCause, WriterEvent,
};
use tokio::task::JoinHandle;

use crate::{
    clock::ReignClock,
    connection::ConnectionHandle,
    contact::{Contact, Standing},
    control::Control,
    event::{ClientRequest, Event},
    life::Life,
    link::Link,
    printer::Flow,
    run::{Ending, RunError},
    standby::refuse,
    vitals::Phase,
    wire::Frame,
};

/// At the end, others have this long to take what is still to be sent to them.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// When the guest has exited, peers have this long to take its last messages; later runs go on with that.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(10);

/// A standby that lags behind by more records than this is not asked for a checkpoint.
const STANDBY_LAG_MAX: u64 = 10_000;

/// While a timer waits, the driver looks at the clock at least this often: its own wait does not count the time in which the
/// machine was suspended.
const TIMER_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often it is looked whether a standby is still there that was asked for a checkpoint.
const ASKED_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How often it is said that peers don't take their messages.
const BLOCKED_INTERVAL: Duration = Duration::from_secs(10);

/// A replica that reigns.
pub(crate) struct Primary<'a> {
    life: Life<'a>,
    writer: Option<Box<dyn LogWriter>>,
    epoch: Epoch,
    clock: ReignClock,
    held: Held,
    outputs: Vec<Output>,
    connections: BTreeMap<ConnectionId, ConnectionHandle>,
    waiting: BTreeMap<RequestId, Vec<Waiting>>,
    /// Peers that links were made for.
    contacts: BTreeMap<PeerIndex, Contact>,
    tasks: Vec<JoinHandle<()>>,
    end: Option<End>,
    exited: Option<Exited>,
    blocked_said: Option<Instant>,
    /// Operators that want a checkpoint.
    wanted_by: Vec<ConnectionId>,
    /// Who was asked for the last checkpoint.
    last_asked: Option<ReplicaIndex>,
    /// When it was looked last whether that replica is still there.
    looked: Instant,
}

/// A client that waits for a request.
struct Waiting {
    connection: ConnectionId,
    /// False if it is content with the request being durable.
    for_answer: bool,
}

/// Why the reign ends.
enum End {
    Stopped(StopCause),
    Shutdown,
    /// The output is stuck, and another replica can go on.
    Yielded,
    Exited(Exited),
    Halted {
        fault: Fault,
        lsn: Lsn,
    },
    /// That file is another one by now, or gone.
    StoreLost(PathBuf),
}

/// The guest has exited.
#[derive(Clone, Copy)]
struct Exited {
    code: i32,
    lsn: Lsn,
    at: Instant,
}

impl<'a> Primary<'a> {
    /// Applies what the log had beyond what the standby had seen, and begins the reign.
    pub(crate) fn new(mut life: Life<'a>, acquired: Acquired) -> Result<Self, RunError> {
        let mut outputs = Vec::new();
        for record in acquired.records {
            life.apply(record)?;
        }
        let lsn = life.replica.applied();
        let clock = ReignClock::begin(Box::new(life.driver.clock), life.replica.time());
        life.replica.step(Input::Elected, &mut outputs);
        Ok(Primary {
            life,
            writer: Some(acquired.writer),
            epoch: acquired.epoch,
            clock,
            held: Held::new(lsn),
            outputs,
            connections: BTreeMap::new(),
            waiting: BTreeMap::new(),
            contacts: BTreeMap::new(),
            tasks: Vec::new(),
            end: None,
            exited: None,
            blocked_said: None,
            wanted_by: Vec::new(),
            last_asked: None,
            looked: Instant::now(),
        })
    }

    /// Reigns to the end. `None` if another replica took over.
    pub(crate) fn reign(mut self) -> Result<Option<Ending>, RunError> {
        self.begin();
        let mut events = Vec::new();
        loop {
            self.enter(Phase::Working);
            self.carry_held();
            self.end_when_delivered();
            self.mind_output();
            if self.end.is_some() {
                break;
            }
            let worked = self.deliver();
            let tended = self.tend();
            if worked || tended {
                self.life.driver.mailbox.take(&mut events);
            } else {
                let wait = self.until_due();
                self.enter(Phase::Waiting);
                self.life.driver.mailbox.wait(wait, &mut events);
            }
            for event in events.drain(..) {
                self.enter(Phase::Working);
                self.on_event(event);
            }
        }
        self.conclude()
    }

    fn enter(&self, phase: Phase) {
        self.life.driver.vitals.enter(phase);
    }

    fn begin(&mut self) {
        let driver = self.life.driver;
        if let Some(ambrosia_core::Outcome::Finished { code, lsn }) = self.life.replica.outcome() {
            self.exited = Some(Exited { code: *code, lsn: *lsn, at: Instant::now() });
        }
        driver.vitals.reign.store(self.epoch.0, Ordering::Release);
        driver.publish(self.epoch);
        let (instance, replica, epoch, lsn) = (&driver.name, driver.replica, self.epoch, self.life.replica.applied());
        tracing::info!(%instance, %replica, %epoch, %lsn, "became primary");
        self.carry_outputs();
        if let Some(stdin) = &driver.stdin {
            self.tasks.push(driver.runtime.spawn(Arc::clone(stdin).read(Arc::clone(&driver.mailbox))));
        }
    }

    /// After an exit the last messages are still delivered; then the reign ends.
    fn end_when_delivered(&mut self) {
        if let Some(exited) = self.exited
            && (self.life.replica.undelivered() == 0 || exited.at.elapsed() >= LAST_MESSAGES_TIMEOUT)
        {
            self.end_with(End::Exited(exited));
        }
    }

    /// How long nothing happens by itself.
    fn until_due(&self) -> Option<Duration> {
        let until_stuck = match self.life.driver.printer.flow() {
            Flow::Full(rest) => Some(rest),
            Flow::Room | Flow::Stuck => None,
        };
        let until_look = self.waits_for_a_standby().then_some(ASKED_LOOK_INTERVAL);
        [until_stuck, until_look, self.until_due_to_deliver()].into_iter().flatten().min()
    }

    fn until_due_to_deliver(&self) -> Option<Duration> {
        if let Some(exited) = self.exited {
            return Some(LAST_MESSAGES_TIMEOUT.saturating_sub(exited.at.elapsed()));
        }
        let due = self.life.replica.wake_at()?;
        // A timer that is due and was not delivered waits for something else, so it is not to be polled.
        let wait = due.0.saturating_sub(self.clock.now().0);
        Some(Duration::from_nanos(wait.max(1_000_000)).min(TIMER_WAIT_MAX))
    }

    /// Without an output that takes what the guest prints, a reign has not much sense if another replica may have one.
    /// A replica that is alone, or has done so before in vain, goes on and drops prints.
    fn mind_output(&mut self) {
        let driver = self.life.driver;
        if driver.printer.flow() != Flow::Stuck {
            return;
        }
        if self.exited.is_none() && driver.printer.may_yield() && self.has_live_standby() {
            tracing::warn!(
                instance = %driver.name,
                replica = %driver.replica,
                "the output takes nothing, so this replica steps down for another one; read its stdout to have it reign again"
            );
            driver.printer.yields();
            return self.end_with(End::Yielded);
        }
        driver.printer.drop_what_has_no_room();
    }

    fn has_live_standby(&self) -> bool {
        let running = self.life.driver.roster.running().unwrap_or_else(|error| {
            tracing::warn!(%error, "it can't be found out whether there is another replica");
            Vec::new()
        });
        let lives = |member: &Member| member.role == Role::Standby && member.heartbeat_age < HEARTBEAT_SILENCE;
        running.iter().any(lives)
    }

    /// Makes and executes one record of what has gathered. False if there was nothing, or no room in the log or for what
    /// it would print.
    fn deliver(&mut self) -> bool {
        let Some(writer) = &self.writer else { return false };
        if writer.queued_bytes() > LOG_QUEUE_BYTES_MAX {
            return false; // the log says when there is room
        }
        if self.life.driver.printer.flow() != Flow::Room {
            return false; // so does the printer
        }
        self.life.replica.step(Input::Deliver { now: self.clock.now() }, &mut self.outputs);
        if self.outputs.is_empty() {
            self.say_blocked();
            return false;
        }
        // The log has the record before the guest runs, so that both work at the same time.
        let header = self.outputs.iter().find_map(|output| match output {
            Output::Append(record) => Some(*record.header()),
            _ => None,
        });
        self.carry_outputs();
        let begin = Instant::now();
        self.enter(Phase::Computing);
        self.life.replica.step(Input::Execute, &mut self.outputs);
        self.enter(Phase::Working);
        self.life.count(&header.expect("a delivery that put something out has put out its record"), begin.elapsed());
        self.carry_outputs();
        true
    }

    /// Makes the digest record that is due, and has a checkpoint taken with it if that is. True if there is more to do
    /// of it just now.
    fn tend(&mut self) -> bool {
        self.life.see_checkpoints();
        self.clock.look();
        let now = self.clock.now();
        // After the end no digest record is made any more. It may have come with a record that is not durable yet.
        let goes_on = self.life.replica.outcome().is_none();
        self.look_after_the_asked();
        let Some(due) = self.life.schedule.due(now).filter(|_| goes_on) else { return false };
        let by = match due {
            Due::Digest => None,
            Due::Checkpoint => Some(self.who_takes_it()),
        };
        let me = self.life.driver.replica;
        self.enter(Phase::Computing);
        if by == Some(me) {
            if self.life.checkpointer.is_busy() {
                return false; // its end is an event
            }
            if !self.life.checkpointer.copy_ahead(&mut self.life.replica) {
                return true;
            }
        }
        self.life.replica.step(Input::Digest { checkpoint_by: by, now }, &mut self.outputs);
        self.carry_outputs();
        if let Some(by) = by {
            let at = self.life.replica.applied();
            self.life.schedule.on_asked(at, now);
            self.last_asked = Some(by);
            let taken = if by == me { self.life.checkpointer.take(&mut self.life.replica, false) } else { Ok(()) };
            if taken.is_err() {
                self.life.schedule.on_failed();
            }
            for connection in std::mem::take(&mut self.wanted_by) {
                self.tell(
                    connection,
                    match &taken {
                        Ok(()) => Control::CheckpointAsked { lsn: at.0, replica: by.0 },
                        Err(reason) => Control::CheckpointRefused { reason: reason.clone() },
                    },
                );
            }
        }
        false
    }

    fn waits_for_a_standby(&self) -> bool {
        self.life.schedule.is_asked() && self.last_asked.is_some_and(|by| by != self.life.driver.replica)
    }

    /// Notices that the standby that was asked for a checkpoint is gone, so that another replica is asked.
    fn look_after_the_asked(&mut self) {
        let Some(by) = self.last_asked.filter(|_| self.waits_for_a_standby()) else { return };
        if self.looked.elapsed() < ASKED_LOOK_INTERVAL {
            return;
        }
        self.looked = Instant::now();
        // One that can't be looked at is not known to be gone.
        if !self.life.driver.roster.is_running(by).unwrap_or(true) {
            tracing::warn!(replica = %by, "the replica that was asked for a checkpoint is gone; another one is asked");
            self.life.schedule.on_gone();
        }
    }

    /// A standby that has heard of almost everything, so that this replica need not stop for it; else this one. Who was
    /// asked last and has not done it is not asked again if there is another one.
    fn who_takes_it(&self) -> ReplicaIndex {
        let driver = self.life.driver;
        let failed = self.last_asked.filter(|_| self.life.schedule.is_asked());
        let running = driver.roster.running().unwrap_or_default();
        let able = running.iter().filter(|member| {
            member.role == Role::Standby
                && member.heartbeat_age < HEARTBEAT_SILENCE
                && member.applied.0 + STANDBY_LAG_MAX >= self.held.durable().0
                && Some(member.replica) != failed
        });
        able.max_by_key(|member| member.applied).map_or(driver.replica, |member| member.replica)
    }

    fn on_checkpoint_wanted(&mut self, connection: ConnectionId) {
        if let Captures::Nothing(findings) = self.life.driver.module.capture_means() {
            let findings: Vec<_> = findings.iter().map(ToString::to_string).collect();
            let reason = format!("the guest can't be captured: {}", findings.join("; "));
            return self.tell(connection, Control::CheckpointRefused { reason });
        }
        if self.exited.is_some() {
            let reason = "the instance has finished".to_owned();
            return self.tell(connection, Control::CheckpointRefused { reason });
        }
        self.life.schedule.want();
        self.wanted_by.push(connection);
    }

    /// Tells the operator of a peer that can't be reached, if anything waits for it.
    fn on_peer_hindered(&self, peer: PeerIndex) {
        let Some(contact) = self.contacts.get(&peer).filter(|_| self.life.replica.waits_for(peer)) else { return };
        if let Some(hindrance) = contact.to_tell()
            && let Some(name) = self.life.replica.peer_name(peer)
        {
            tracing::warn!(peer = %name, "what is sent to the peer waits: {hindrance}");
        }
    }

    fn on_peer_reached(&self, peer: PeerIndex) {
        if self.contacts.get(&peer).is_some_and(Contact::take_told)
            && let Some(name) = self.life.replica.peer_name(peer)
        {
            tracing::info!(peer = %name, "the peer is reached, and gets what has waited for it");
        }
    }

    fn on_peers_wanted(&self, connection: ConnectionId) {
        let (now, instant) = (self.clock.now(), Instant::now());
        for waits in self.life.replica.waits() {
            let Some(contact) = self.contacts.get(&waits.peer) else { continue };
            let Standing { state, reason, since } = contact.standing();
            let oldest = waits.oldest.and_then(|lsn| self.life.times.of(lsn));
            let millis = |ns: u64| ns / 1_000_000;
            self.tell(
                connection,
                Control::Peer {
                    name: waits.name.to_string(),
                    state: state.to_owned(),
                    reason,
                    since_ms: instant.saturating_duration_since(since).as_millis() as u64,
                    messages: waits.messages,
                    bytes: waits.bytes as u64,
                    oldest_ms: oldest.map(|time| millis(now.0.saturating_sub(time.0))),
                    calls: waits.calls,
                    oldest_call: waits.oldest_call.map(|call| call.0),
                },
            );
        }
        self.tell(connection, Control::PeersEnd);
    }

    fn say_blocked(&mut self) {
        let recently = self.blocked_said.is_some_and(|said| said.elapsed() < BLOCKED_INTERVAL);
        if !recently && let Some(blocked) = self.life.replica.blocked() {
            self.blocked_said = Some(Instant::now());
            tracing::warn!(?blocked, "peers do not take their messages, so deliveries wait until they do");
        }
    }

    fn on_event(&mut self, event: Event) {
        let now = self.clock.now();
        let input = match event {
            Event::PeerHello { handle, name, uuid, epoch } => {
                let connection = self.keep(handle);
                Input::PeerConnected { connection, name, uuid, epoch, now }
            }
            Event::PeerReached { handle, peer, uuid, received } => {
                self.on_peer_reached(peer);
                let connection = self.keep(handle);
                Input::PeerReached { connection, peer, uuid, received, now }
            }
            Event::ClientHello { handle } => return self.on_client_hello(handle),
            Event::Messages { connection, first_seq, count, messages } => {
                Input::Messages { connection, first_seq, count, messages }
            }
            Event::Acknowledged { connection, seq } => Input::Acknowledged { connection, seq },
            Event::Request(request) => self.on_request(request),
            Event::BadRequest { connection, request, reason } => {
                let request = request.as_bytes().to_vec();
                return self.tell(connection, Control::Rejected { request, reason });
            }
            Event::Line { method, arguments } => Input::Impulse { method, arguments, request: None },
            Event::Disconnected(connection) => {
                self.connections.remove(&connection);
                Input::Disconnected(connection)
            }
            Event::Log(event) => return self.on_log(event),
            Event::Checkpoint(done) => {
                self.enter(Phase::Storing);
                return self.life.on_checkpoint_done(&done);
            }
            Event::CheckpointWanted { connection } => return self.on_checkpoint_wanted(connection),
            Event::PeerHindered(peer) => return self.on_peer_hindered(peer),
            Event::PeersWanted { connection } => return self.on_peers_wanted(connection),
            Event::RoomToPrint => return,
            Event::Vacancy(_) | Event::WatchFailed(_) => return, // of the time as a standby
            Event::StoreLost(path) => return self.end_with(End::StoreLost(path)),
            Event::Shutdown => return self.end_with(End::Shutdown),
        };
        self.life.replica.step(input, &mut self.outputs);
        self.carry_outputs();
    }

    fn keep(&mut self, handle: ConnectionHandle) -> ConnectionId {
        let id = handle.id;
        self.connections.insert(id, handle);
        id
    }

    fn on_client_hello(&mut self, handle: ConnectionHandle) {
        handle.send(Frame::Control(Control::ClientWelcome { epoch: self.epoch.0 }));
        self.keep(handle);
    }

    fn on_request(&mut self, request: ClientRequest) -> Input {
        let waiting = Waiting { connection: request.connection, for_answer: request.wait };
        self.waiting.entry(request.request.clone()).or_default().push(waiting);
        Input::Impulse { method: request.method, arguments: request.arguments, request: Some(request.request) }
    }

    fn on_log(&mut self, event: WriterEvent) {
        match event {
            WriterEvent::Durable(lsn) => {
                self.held.set_durable(lsn);
                self.life.checkpointer.on_durable(lsn);
                self.life.replica.step(Input::Durable(lsn), &mut self.outputs);
                self.carry_held();
            }
            WriterEvent::Room => {}
            // What the heartbeat said of an earlier reign.
            WriterEvent::Stopped(StopCause::Fenced { by }) if by <= self.epoch => {}
            WriterEvent::Stopped(cause) => self.end_with(End::Stopped(cause)),
        }
    }

    /// The first reason stands, but that the log has stopped outweighs all others, and that it is another one that.
    fn end_with(&mut self, end: End) {
        let stands = match &self.end {
            None => false,
            Some(End::StoreLost(_)) => true,
            Some(_) => !matches!(end, End::Stopped(_) | End::StoreLost(_)),
        };
        if !stands {
            self.end = Some(end);
        }
    }

    fn tell(&self, connection: ConnectionId, control: Control) {
        if let Some(handle) = self.connections.get(&connection) {
            handle.send(Frame::Control(control));
        }
    }

    /// Carries out what need not wait, and holds the rest.
    fn carry_outputs(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Append(record) => self.append(record),
                output if output.after() == Lsn(0) => self.carry(output),
                output => self.held.push(output),
            }
        }
        self.outputs = outputs;
        self.carry_held();
    }

    fn append(&mut self, record: ambrosia_core::Record) {
        self.count_at_once(record.header());
        let writer = self.writer.as_mut().expect("the writer is closed at the very end");
        match writer.append(record) {
            Ok(()) => {}
            // The log has reported, or is about to report, why; nothing of this record will be seen.
            Err(AppendError::Fenced { by }) => self.end_with(End::Stopped(StopCause::Fenced { by })),
            Err(AppendError::Failed(reason)) => self.end_with(End::Stopped(StopCause::Failed(reason))),
            Err(error @ AppendError::Misplaced { .. }) => panic!("the core numbers and chains records: {error}"),
        }
    }

    /// All records but deliveries, whose work is measured, are counted when they are made.
    fn count_at_once(&mut self, header: &RecordHeader) {
        if header.kind != RecordKind::Deliver {
            self.life.count(header, Duration::ZERO);
        }
    }

    fn carry_held(&mut self) {
        if matches!(self.end, Some(End::StoreLost(_))) {
            return;
        }
        while let Some(output) = self.held.pop() {
            self.carry(output);
        }
    }

    /// Carries out an output whose record is durable.
    fn carry(&mut self, output: Output) {
        match output {
            Output::Append(_) => unreachable!("a record is appended where it is put out"),
            // What this primary asks for is taken where it is asked, and a primary is what it compares others with.
            Output::Checkpoint { .. } | Output::Diverged(_) => {}
            Output::Connect { peer, name } => self.connect(peer, name),
            Output::Welcome { connection, received, .. } => {
                let uuid = self.life.replica.genesis().uuid.0;
                self.tell(connection, Control::Welcome { uuid, received: received.0 });
            }
            Output::Send { connection, chunk } => self.send(connection, || Frame::Messages {
                first_seq: chunk.first_seq,
                count: chunk.count,
                messages: chunk.messages.clone(),
            }),
            Output::Acknowledge { connection, seq, .. } => self.send(connection, || Frame::Acknowledge(seq)),
            Output::Refuse { connection, reason } => self.refuse(connection, reason),
            Output::Accepted { request, .. } => self.accepted(&request),
            Output::Answered { request, answer, .. } => self.answered(&request, answer),
            Output::Print { stream, bytes, .. } => self.life.driver.printer.print(stream, bytes),
            Output::Rebound { name, dropped, failed_calls } => {
                tracing::warn!(%name, dropped, failed_calls, "a peer was registered anew: its streams start afresh");
            }
            Output::Finished { code, after } => self.exited = Some(Exited { code, lsn: after, at: Instant::now() }),
            Output::Halted { fault, after } => self.end_with(End::Halted { fault, lsn: after }),
        }
    }

    fn send(&self, connection: ConnectionId, frame: impl FnOnce() -> Frame) {
        if let Some(handle) = self.connections.get(&connection) {
            handle.send(frame());
        }
    }

    fn connect(&mut self, peer: PeerIndex, name: ambrosia_core::InstanceName) {
        let contact = Contact::new(Instant::now());
        self.contacts.insert(peer, contact.clone());
        let genesis = self.life.replica.genesis();
        let link = Link {
            store: Arc::clone(&self.life.driver.store),
            contact,
            from: genesis.name.clone(),
            from_uuid: genesis.uuid,
            epoch: self.epoch,
            peer,
            primaries: self.life.driver.directory.follow(&name),
            to: name,
            mailbox: Arc::clone(&self.life.driver.mailbox),
        };
        self.tasks.push(self.life.driver.runtime.spawn(link.keep()));
    }

    fn refuse(&mut self, connection: ConnectionId, reason: ambrosia_core::Refusal) {
        if let Some(handle) = self.connections.remove(&connection) {
            if reason.is_serious() {
                tracing::error!("a connection with a peer can't go on: {reason}");
            }
            handle
                .send(Frame::Control(Control::Refused { elsewhere: !reason.is_serious(), reason: reason.to_string() }));
        }
    }

    fn accepted(&mut self, request: &RequestId) {
        let Some(waiting) = self.waiting.get_mut(request) else { return };
        let content: Vec<_> = waiting.extract_if(.., |waiting| !waiting.for_answer).collect();
        if waiting.is_empty() {
            self.waiting.remove(request);
        }
        for waiting in content {
            self.tell(waiting.connection, Control::Accepted { request: request.as_bytes().to_vec() });
        }
    }

    fn answered(&mut self, request: &RequestId, answer: Answer) {
        for waiting in self.waiting.remove(request).unwrap_or_default() {
            let (request, value) = (request.as_bytes().to_vec(), answer.value.to_vec());
            self.tell(waiting.connection, Control::Answer { request, success: answer.success, value });
        }
    }

    /// Ends the reign in the way that its reason asks for.
    fn conclude(mut self) -> Result<Option<Ending>, RunError> {
        let end = self.end.take().expect("the loop ended for a reason");
        self.enter(Phase::Working);
        self.life.driver.vitals.reign.store(0, Ordering::Release);
        self.tasks.drain(..).for_each(|task| task.abort());
        match end {
            End::Stopped(StopCause::Fenced { by }) => {
                tracing::warn!(instance = %self.life.driver.name, own = %self.epoch, %by, "deposed: another replica is primary");
                Ok(None)
            }
            End::Stopped(StopCause::Failed(reason)) => Err(RunError::LogFailed(reason)),
            // Nothing more is let out, not even what is durable: whoever looks for it looks elsewhere.
            End::StoreLost(path) => Err(RunError::StoreLost(path)),
            End::Shutdown => {
                self.close();
                tracing::info!(instance = %self.life.driver.name, replica = %self.life.driver.replica, "handed over");
                Ok(Some(Ending::Stopped))
            }
            End::Yielded => {
                self.close();
                match self.end.take() {
                    Some(End::Stopped(StopCause::Failed(reason))) => Err(RunError::LogFailed(reason)),
                    Some(End::StoreLost(path)) => Err(RunError::StoreLost(path)),
                    _ => Ok(None),
                }
            }
            End::Exited(exited) => self.conclude_exit(exited).map(Some),
            End::Halted { fault, lsn } => {
                let error = self.life.driver.halted(fault, lsn);
                self.close();
                Err(error)
            }
        }
    }

    fn conclude_exit(mut self, exited: Exited) -> Result<Ending, RunError> {
        let Exited { code, lsn, .. } = exited;
        let undelivered = self.life.replica.undelivered();
        if undelivered > 0 {
            let instance = &self.life.driver.name;
            tracing::warn!(%instance, undelivered, "peers did not take the last messages; run the instance again to deliver them");
        } else {
            self.life.driver.write_down_finished(code, lsn)?;
        }
        self.close();
        Ok(Ending::Finished { code, lsn })
    }

    /// Makes everything durable, lets it out, and says farewell.
    fn close(&mut self) {
        self.enter(Phase::Storing);
        if let Some(writer) = self.writer.take() {
            let stats = writer.stats();
            let flush_p50_us = stats.sync_times.quantile(0.5).as_micros();
            tracing::info!(
                records = stats.records,
                bytes = stats.bytes,
                flushes = stats.flushes,
                flush_p50_us,
                "the log of this reign"
            );
            writer.close();
        }
        let mut events = Vec::new();
        self.life.driver.mailbox.take(&mut events);
        for event in events {
            match event {
                Event::Log(event) => self.on_log(event),
                Event::PeerHello { handle, .. } | Event::ClientHello { handle } => refuse(&handle),
                // A reign that ends for another reason may be followed by a life as a standby.
                event @ (Event::Shutdown | Event::StoreLost(_)) => self.life.driver.mailbox.push(event),
                _ => {}
            }
        }
        self.carry_held();
        self.enter(Phase::Waiting);
        let connections = std::mem::take(&mut self.connections);
        let farewell = async {
            for handle in connections.into_values() {
                handle.finish().await;
            }
        };
        let told = self.life.driver.runtime.block_on(async { tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await });
        if told.is_err() {
            tracing::warn!("not everybody took what was sent to them; it is sent again when they connect");
        }
    }
}

impl Drop for Primary<'_> {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}
