//! Drives one member: hands it what happens, and has carried out what it decides.
//!
//! **Architecture Invariant:** the driver thread owns the member and its guest; nothing is shared, nothing is locked. What
//! a command asks for is answered before anything else comes in, but for what a thread of its own does; what waits for the
//! log or for others is an errand (`errands.rs`), and the thread drives other members meanwhile.

mod calling;
mod carrying;
mod errands;
mod looking;
mod putting_off;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_calendar::Calendar;
use ambrosia_core::{
    ConnectionId, Epoch, EventId, Genesis, Lsn, Record, Traffic,
    member::{self, Command, Member, MemberInput, Next, Surroundings},
};
use ambrosia_engine::{Image, WasmGuest};
use ambrosia_storage::{LogError, LogEvent, LogTail, Vacancy, time_since_boot};
use ambrosia_wire::Control;

use self::{errands::Errand, looking::Counted, putting_off::PutOff};
use crate::{
    checkpointer::Checkpointer,
    clock::Clock,
    connections::Connections,
    dialers::Dialers,
    divergence,
    driver::{Driver, Replica},
    event::{Event, SessionRequest},
    guest_log::{Lines, Whose},
    listeners::{Listeners, Visible},
    log_watch::LogWatch,
    methods::told,
    replay_progress::ReplayProgress,
    requests::Requests,
    run::{Ending, RunError},
    shell::ProcessShell,
    vitals::Phase,
    wish::WishAtHand,
};

/// A standby looks that often whether it has missed anything: all that it waits for is told.
const WAIT: Duration = Duration::from_secs(10);

/// A standby whose guest has ended looks that often whether the primary has written that down, of which nobody tells it.
const OUTCOME_WAIT: Duration = Duration::from_millis(500);

/// So many events are taken at once, if that takes no longer: others whose members these threads drive have their turns between.
const EVENTS_AT_ONCE: u32 = 16;
const AT_ONCE: Duration = Duration::from_micros(500);

/// The log is read back at least as fast, in bytes a nanosecond.
const READ_BYTES_PER_NS: u64 = 1;

/// The guest of a checkpoint that is to be made.
struct Loaded {
    module: [u8; 32],
    genesis: Genesis,
    image: Image,
}

/// What is to be done with a driver next.
pub(crate) enum Drive {
    /// It has more to do just now.
    Again,
    /// Nothing, until something comes into its mailbox, or that time has passed.
    Wait(Option<Duration>),
    /// It has ended like this.
    Ended(Result<Ending, RunError>),
}

/// What a driver does next.
enum Step {
    /// There is more to be done just now.
    Again,
    /// Nothing, until an errand was done.
    Away,
    /// Nothing, until something comes into the mailbox, or that time has passed.
    Wait(Option<Duration>),
    /// It is over.
    Ended(member::Ending),
}

/// Drives one member.
pub(crate) struct MemberDriver {
    driver: Arc<Driver>,
    member: Member<WasmGuest>,
    shell: ProcessShell,
    /// What has happened and was not handed to the member yet.
    events: VecDeque<Event>,
    /// Where the log is read. Taken while this replica tries to become primary, and while it is.
    tail: Option<Box<dyn LogTail>>,
    /// Whether the member waits for records.
    is_reading: bool,
    /// There was nothing when it was read elsewhere.
    has_read_nothing: bool,
    /// The guest of the checkpoint that was loaded, and when that began.
    loaded: Option<Loaded>,
    restore_began: Instant,
    progress: ReplayProgress,
    /// It was said that the store can't be reached, and it was not since.
    is_away: bool,
    /// What is done again once it can.
    put_off: Option<PutOff>,
    /// The operator wants it to end.
    is_to_end: bool,
    /// What it is told of its log, once it has caught up with it.
    watch: Option<LogWatch>,
    /// It has waited for records since it read last.
    has_waited: bool,
    /// The last vacancy, and the last that was told: a further try at the same one is not told.
    vacancy: Option<Vacancy>,
    told: Option<Vacancy>,
    /// The reign that the log is written in.
    epoch: Epoch,
    /// What its log has said to be durable.
    durable: Lsn,
    connections: Connections,
    listeners: Listeners,
    /// What the guest logs.
    lines: Lines,
    dialers: Dialers,
    requests: Requests,
    counted: Counted,
    /// The methods that run by themselves, while it reigns.
    calendar: Calendar,
    /// The module whose methods are those that come in.
    module: Option<[u8; 32]>,
    wish: WishAtHand,
    checkpointer: Checkpointer,
    /// The log of the last reign was closed in order: others are told all before they are left.
    is_closed: bool,
    lost: Option<String>,
    ending: Option<member::Ending>,
    /// Peers and clients were left, for the last time.
    has_left: bool,
    errand: Option<Errand>,
    looks: Looks,
}

/// Whether the others are being looked at, and have to be once more: a look counts that began when it was asked for last.
#[derive(Default)]
struct Looks {
    is_under_way: bool,
    again: bool,
}

impl Looks {
    /// Whether one is to begin now.
    fn begin(&mut self) -> bool {
        self.again = self.is_under_way;
        !std::mem::replace(&mut self.is_under_way, true)
    }

    /// Whether the one that has ended counts.
    fn end(&mut self) -> bool {
        self.is_under_way = false;
        !std::mem::take(&mut self.again)
    }
}

impl MemberDriver {
    pub(crate) fn new(driver: Arc<Driver>) -> Self {
        MemberDriver {
            member: Member::new(driver.settings.clone()),
            shell: ProcessShell::new(Arc::clone(&driver.presence)),
            events: VecDeque::new(),
            tail: None,
            is_reading: false,
            has_read_nothing: false,
            loaded: None,
            restore_began: Instant::now(),
            progress: ReplayProgress::begin(),
            is_away: false,
            put_off: None,
            is_to_end: false,
            watch: None,
            has_waited: false,
            vacancy: None,
            told: None,
            epoch: Epoch(0),
            durable: Lsn(0),
            connections: Connections::default(),
            listeners: Listeners::default(),
            lines: Lines::new(
                Whose { name: driver.name.clone(), uuid: driver.uuid },
                driver.guest_log.as_ref().map(Arc::clone),
            ),
            dialers: Dialers::default(),
            requests: Requests::default(),
            counted: Counted::default(),
            calendar: Calendar::default(),
            module: None,
            wish: WishAtHand::default(),
            checkpointer: Checkpointer::new(&driver),
            driver,
            is_closed: false,
            lost: None,
            ending: None,
            has_left: false,
            errand: None,
            looks: Looks::default(),
        }
    }

    /// Begins its life. Then [`MemberDriver::go_on`] is to be called, and again whenever something has come into the mailbox or
    /// the time has passed that it says, until it has ended.
    pub(crate) fn begin(&mut self) {
        self.enter(Phase::Computing);
        self.member.begin(time_since_boot(), &mut self.shell);
    }

    /// Does some of what is to be done, after something has come in, or nothing. Of many events it takes some at once.
    pub(crate) fn go_on(&mut self) -> Drive {
        self.driver.mailbox.take(&mut self.events);
        let began = Instant::now();
        let mut step = match self.come_back() {
            Ok(true) => self.do_next(),
            Ok(false) => Ok(Step::Away),
            Err(error) => Err(error),
        };
        for _further in 1..EVENTS_AT_ONCE {
            let has_more = matches!(step, Ok(Step::Again)) && !self.events.is_empty();
            if !has_more || began.elapsed() >= AT_ONCE {
                break;
            }
            step = self.do_next();
        }
        // More may be gathered of what comes at once, and nobody waits for what takes its time.
        let goes_on = matches!(step, Ok(Step::Again)) && !self.events.is_empty() && began.elapsed() < AT_ONCE;
        self.connections.let_go(goes_on, &self.driver.runtime);
        match step {
            Ok(Step::Again) => Drive::Again,
            // What the errand is at counts meanwhile.
            Ok(Step::Away) => Drive::Wait(None),
            Ok(Step::Wait(time)) => {
                self.rest();
                Drive::Wait(time)
            }
            Ok(Step::Ended(ending)) => Drive::Ended(self.conclude(ending)),
            Err(error) => Drive::Ended(Err(error)),
        }
    }

    /// It is not driven for a while, and that it does not move says nothing then.
    pub(crate) fn rest(&self) {
        self.enter(Phase::Waiting);
    }

    /// Does what is to be done just now. It waits for nothing.
    fn do_next(&mut self) -> Result<Step, RunError> {
        if self.errand.is_none() {
            self.enter(Phase::Working);
            self.carry_out()?;
        }
        if self.errand.is_none() && self.ending.is_some() && !std::mem::replace(&mut self.has_left, true) {
            self.leave(|_| Ok(()))?;
        }
        if self.errand.is_some() {
            return Ok(Step::Away);
        }
        if let Some(ending) = self.ending.take() {
            return Ok(Step::Ended(ending));
        }
        if let Some(event) = self.events.pop_front() {
            // What has come since may be that there is something to read.
            self.has_read_nothing &= matches!(event, Event::ErrandDone);
            self.on_event(event)?;
            Ok(Step::Again)
        } else if self.is_reading {
            self.read()
        } else {
            self.call_what_is_due();
            Ok(self.take_turn())
        }
    }

    fn enter(&self, phase: Phase) {
        self.driver.vitals.enter(phase);
    }

    fn step(&mut self, input: MemberInput<WasmGuest>) {
        self.enter(Phase::Computing);
        self.shell.begin_work();
        self.member.step(time_since_boot(), input, &mut self.shell);
        self.enter(Phase::Working);
    }

    fn replica(&mut self) -> &mut Replica {
        self.member.replica_mut().expect("a member has a replica when it asks for this")
    }

    /// Carries out all commands, and those that come of the answers.
    fn carry_out(&mut self) -> Result<(), RunError> {
        self.follow_module_or_put_off()?;
        while self.errand.is_none()
            && self.put_off.is_none()
            && let Some(command) = self.shell.next()
        {
            self.carry_or_put_off(command)?;
            self.follow_module_or_put_off()?;
        }
        if self.listeners.is_due() {
            self.serve_listeners();
        }
        if self.member.replica().is_some_and(|replica| replica.outcome().is_some()) {
            // An instance that has ended, or halted, hears of no outcome any more.
            self.requests = Requests::default();
        }
        if let Some(replay) = self.member.replay() {
            let read = Duration::from_nanos(replay.guest_ns + replay.bytes / READ_BYTES_PER_NS);
            self.driver.presence.set_replay(read);
        }
        Ok(())
    }

    /// Somebody listens to events from here on.
    fn listen(&mut self, connection: ConnectionId, after: Option<EventId>, until: u64) {
        let visible = self.visible();
        let Some(replica) = self.member.replica() else { return };
        match self.listeners.add(connection, after, until, &Visible { replica, visible }) {
            Ok(answer) => self.connections.pass(connection, answer),
            Err(reason) => self.connections.tell(connection, Control::Refused { elsewhere: false, reason }),
        }
    }

    /// Sends those who listen what they have not got.
    fn serve_listeners(&mut self) {
        let visible = self.visible();
        let Some(replica) = self.member.replica() else { return };
        self.listeners
            .serve(&Visible { replica, visible }, |connection, frame| self.connections.pass(connection, frame));
    }

    /// The record up to which events may be seen: a primary has applied what is not durable, and others have not.
    fn visible(&self) -> Lsn {
        if self.epoch > Epoch(0) { self.durable } else { Lsn(u64::MAX) }
    }

    /// Has the member do what is due.
    fn take_turn(&mut self) -> Step {
        assert!(!self.is_reading, "whoever waits for records is not asked for its turn");
        let surroundings = self.surroundings();
        self.enter(Phase::Computing);
        self.shell.begin_work();
        let next = self.member.turn(time_since_boot(), &surroundings, &mut self.shell);
        self.enter(Phase::Working);
        match next {
            Next::After(wait) if !self.shell.has_commands() => {
                Step::Wait([wait, self.until_due()].into_iter().flatten().min())
            }
            Next::Again | Next::After(_) => {
                self.driver.mailbox.take(&mut self.events);
                Step::Again
            }
        }
    }

    fn surroundings(&self) -> Surroundings {
        let printer = &self.driver.printer;
        Surroundings {
            wall: self.driver.clock.now(),
            log_has_room: self.shell.log_has_room(),
            output: printer.flow(),
            may_yield: printer.may_yield(),
            published: self.driver.checkpoints.newest_published(),
        }
    }

    /// Reads what there is. If that is nothing, it is read once more after something has happened, or some time has passed;
    /// and then the member gets it, whatever it is.
    fn read(&mut self) -> Result<Step, RunError> {
        let next = self.member.turn(time_since_boot(), &self.surroundings(), &mut self.shell);
        assert!(self.shell.writer.is_none(), "whoever writes a log does not read it");
        if self.shell.has_commands() {
            return Ok(Step::Again); // a query has waited for too long
        }
        if std::mem::take(&mut self.has_read_nothing) {
            return Ok(self.wait_for_records(next));
        }
        if let Some(watch) = &self.watch {
            watch.begin_to_read();
        }
        let mut tail = self.tail.take().expect("the log was opened before it is read");
        // Who watches is told when there is more; who catches up has to know how far the log goes now.
        let has_all = self.watch.is_some() && !tail.may_have_more();
        if !has_all && self.driver.store.asks_together() {
            // A store that others share may take its time, which says nothing of a standby, and its thread has others to drive.
            self.begin_to_read(tail);
            return Ok(Step::Again);
        }
        let records = if has_all { Ok(Vec::new()) } else { tail.read() };
        self.tail = Some(tail);
        if self.is_to_wait(&records) {
            return Ok(self.wait_for_records(next));
        }
        self.on_read(records)?;
        self.driver.mailbox.take(&mut self.events);
        Ok(Step::Again)
    }

    /// What was read elsewhere.
    fn on_tail(&mut self, tail: Box<dyn LogTail>, records: Result<Vec<Record>, LogError>) -> Result<(), RunError> {
        self.tail = Some(tail);
        self.has_read_nothing = self.is_to_wait(&records);
        if self.has_read_nothing { Ok(()) } else { self.on_read(records) }
    }

    /// Whether there was nothing to read, and there was no wait for more yet.
    fn is_to_wait(&mut self, records: &Result<Vec<Record>, LogError>) -> bool {
        let may_wait = self.watch.is_some() && !std::mem::replace(&mut self.has_waited, true);
        may_wait && records.as_ref().is_ok_and(Vec::is_empty)
    }

    fn wait_for_records(&self, next: Next) -> Step {
        let has_ended = self.member.replica().is_some_and(|replica| replica.outcome().is_some());
        let anyway = if has_ended { OUTCOME_WAIT } else { WAIT };
        Step::Wait(Some(match next {
            Next::After(Some(wait)) => wait.min(anyway),
            Next::After(None) | Next::Again => anyway,
        }))
    }

    /// Hands the member what was read.
    fn on_read(&mut self, records: Result<Vec<Record>, LogError>) -> Result<(), RunError> {
        self.enter(Phase::Computing);
        (self.is_reading, self.has_waited) = (false, false);
        match records {
            // A log on an engine is made with its first record: nothing came.
            Ok(records)
                if records.is_empty() && self.member.replica().is_none() && !self.driver.store.sees_processes() =>
            {
                self.put_off(PutOff::Command(Command::Read), &"the first record of the log does not come");
                Ok(())
            }
            Ok(records) => {
                let (published, durable) = (self.driver.checkpoints.newest_published(), self.durable()?);
                self.step(MemberInput::Read { records, durable, published });
                Ok(())
            }
            Err(error) => self.on_missing(error),
        }
    }

    /// What is durable, which matters until all of it was read once.
    fn durable(&mut self) -> Result<Lsn, RunError> {
        if self.watch.is_some() {
            return Ok(Lsn(0));
        }
        let durable = match self.driver.log.head() {
            Ok(head) => head.durable,
            // A store that is away is no reason to end: it is read on, and seen then.
            Err(LogError::Io(error)) => {
                tracing::warn!(%error, "how far the log goes can't be seen");
                return Ok(Lsn(u64::MAX));
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(replica) = self.member.replica() {
            self.progress.report(replica.applied(), durable);
        }
        Ok(durable)
    }

    /// Part of the log was removed, or it can't be read.
    fn on_missing(&mut self, error: LogError) -> Result<(), RunError> {
        let LogError::Missing { first, .. } = error else { return Err(error.into()) };
        let published = self.driver.checkpoints.newest_published();
        self.step(MemberInput::Trimmed { first, published });
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), RunError> {
        if let Event::Disconnected(connection) = &event {
            self.listeners.remove(*connection);
        }
        let input = match event {
            Event::PeerHello { handle, name, uuid, epoch } if self.member.reign().is_some() => {
                let connection = self.connections.keep(handle);
                MemberInput::Traffic(Traffic::PeerConnected { connection, name, uuid, epoch })
            }
            Event::ClientHello { handle } if self.member.reign().is_some() => {
                self.connections.welcome_client(handle, self.epoch);
                return Ok(());
            }
            Event::ReplicaHello { handle } if self.member.replica().is_some() => {
                let applied = self.replica().applied();
                self.connections.welcome_to_replica(handle, applied);
                return Ok(());
            }
            Event::PeerHello { handle, .. } | Event::ClientHello { handle } | Event::ReplicaHello { handle } => {
                self.driver.elsewhere.refuse(handle, &self.driver);
                return Ok(());
            }
            Event::LookWanted(wanted) => {
                // Who does not wait any more does not hear.
                let _late = wanted.try_send(self.figures());
                return Ok(());
            }
            Event::Query(query) => MemberInput::Query(query),
            Event::Listen { connection, after, until } => {
                self.listen(connection, after, until);
                return Ok(());
            }
            Event::Listened { connection, until } => {
                self.listeners.allow(connection, until);
                return Ok(());
            }
            Event::BadQuery { connection, number, reason } => {
                self.connections.refuse_query(connection, number, &reason);
                return Ok(());
            }
            Event::Disconnected(connection) if self.member.reign().is_none() => {
                self.connections.remove(connection);
                return Ok(());
            }
            Event::Log { epoch, event } => match self.report(epoch, event) {
                Some(report) => report,
                None => return Ok(()), // of an earlier reign
            },
            Event::Fenced { by } => MemberInput::Fenced { by },
            Event::JobEnded(number) => {
                let ended = self.checkpointer.on_ended(number);
                self.on_job(ended);
                return Ok(());
            }
            Event::Wish(wish) => {
                self.wish.set(wish);
                self.tell_wish();
                return Ok(());
            }
            Event::Prepared { attempt, result } => MemberInput::Prepared { attempt, result },
            Event::Claimed { attempt, epoch, is_claimed } => MemberInput::Claimed { attempt, epoch, is_claimed },
            Event::Vacancy(vacancy) => {
                if self.watch.is_none() {
                    return Ok(()); // of an earlier life, or seen before this replica became primary
                }
                self.vacancy = Some(vacancy);
                MemberInput::Vacant { over: vacancy.epoch(), is_stuck: self.driver.printer.is_stuck() }
            }
            Event::OthersSeen(seen) => return self.on_others_seen(seen),
            Event::WatchFailed(error) if self.watch.is_some() => return Err(error.into()),
            Event::WatchFailed(_) | Event::RoomToPrint | Event::MoreRecords | Event::ErrandDone | Event::Seen(_) => {
                return Ok(());
            }
            Event::Again => return self.do_again(),
            Event::StoreLost(place) => {
                self.put_nothing_off();
                self.lost = Some(place);
                MemberInput::StoreLost
            }
            Event::Abandoned => return Err(RunError::Abandoned),
            Event::Shutdown => {
                self.put_nothing_off();
                MemberInput::Shutdown
            }
            event => match self.traffic(event) {
                Some(input) => input,
                None => return Ok(()),
            },
        };
        self.step(input);
        Ok(())
    }

    /// What the log reports, unless it is the log of an earlier reign.
    fn report(&mut self, epoch: Epoch, event: LogEvent) -> Option<MemberInput<WasmGuest>> {
        assert!(epoch > Epoch(0), "a log reports of a reign");
        if epoch != self.epoch {
            return None;
        }
        match &event {
            LogEvent::Durable(lsn) => {
                assert!(*lsn >= self.durable, "what is durable stays so");
                self.durable = *lsn;
            }
            LogEvent::Stalled { reason, waited } => {
                let since = Instant::now().checked_sub(*waited).unwrap_or_else(Instant::now);
                self.driver.stall.begin(epoch, since, reason.clone());
            }
            LogEvent::Resumed => self.driver.stall.end(),
            LogEvent::Room | LogEvent::Looked { .. } | LogEvent::Stopped(_) => {}
        }
        Some(MemberInput::Log { epoch: self.epoch, event })
    }

    /// What comes from outside to a primary. Others have nobody who would send it.
    fn traffic(&mut self, event: Event) -> Option<MemberInput<WasmGuest>> {
        self.member.reign()?;
        Some(MemberInput::Traffic(match event {
            Event::PeerReached { handle, peer, uuid, received } => {
                self.dialers.on_reached(self.member.replica()?, peer);
                let connection = self.connections.keep(handle);
                Traffic::PeerReached { connection, peer, uuid, received }
            }
            Event::Messages { connection, first_seq, count, messages } => {
                Traffic::Messages { connection, first_seq, count, messages }
            }
            Event::Acknowledged { connection, seq } => Traffic::Acknowledged { connection, seq },
            Event::Request(request) => {
                self.connections.wait_for(&request);
                let (method, arguments) = (request.method, request.arguments);
                let (from, trace) = (Some(request.connection), request.trace);
                Traffic::Impulse { method, arguments, request: Some(request.request), from, trace }
            }
            Event::OpenSession { connection, session, opening } => {
                Traffic::OpenSession { connection, session, opening }
            }
            Event::SessionRequest(request) => {
                let SessionRequest { connection, session, ticket, seq, confirmed, method, arguments, impossible } =
                    request;
                self.connections.use_session(session, ticket, connection);
                Traffic::SessionRequest { connection, session, ticket, seq, confirmed, method, arguments, impossible }
            }
            Event::SessionConfirmed { connection, session, ticket, confirmed } => {
                Traffic::SessionConfirmed { connection, session, ticket, confirmed }
            }
            Event::SessionsWanted { connection } => {
                self.connections.tell_sessions(connection, self.member.replica()?.session_counts());
                return None;
            }
            Event::StallWanted { connection } => {
                let (since_ms, reason) = self.driver.stall.told(self.epoch);
                self.connections.tell(connection, Control::StallTold { since_ms, reason });
                return None;
            }
            Event::Denied { connection, reason } => {
                self.connections.tell(connection, Control::Refused { elsewhere: false, reason });
                return None;
            }
            Event::Resolve { connection, promise, token, value } => {
                Traffic::Resolve { connection, promise, token, value }
            }
            Event::BadRequest { connection, request, reason } => {
                let request = request.as_bytes().to_vec();
                self.connections.tell(connection, Control::Rejected { request, reason });
                return None;
            }
            Event::Line { method, arguments } => {
                Traffic::Impulse { method, arguments, request: None, from: None, trace: None }
            }
            Event::Outcome { epoch, .. } if epoch != self.epoch => return None, // of an earlier reign
            Event::Outcome { id, outcome, turn, .. } => {
                self.requests.end(id);
                self.counted.outcomes += 1;
                // What it was kept for is at its place now: in the next record.
                drop(turn);
                Traffic::Outcome { id, outcome }
            }
            Event::OutgoingWanted { connection } => {
                self.requests.report(&self.driver.sender, &mut self.connections, connection);
                return None;
            }
            Event::SchedulesWanted { connection } => {
                self.schedules_told().into_iter().for_each(|told| self.connections.tell(connection, told));
                return None;
            }
            Event::Disconnected(connection) => {
                self.connections.remove(connection);
                Traffic::Disconnected(connection)
            }
            Event::Inquiry(inquiry) => return Some(MemberInput::Inquiry(inquiry)),
            Event::CheckpointWanted { connection } => return Some(MemberInput::CheckpointWanted(connection)),
            Event::PeerHindered(peer) => {
                self.dialers.on_hindered(self.member.replica()?, peer);
                return None;
            }
            Event::RememberedWanted { connection } => {
                self.connections.tell_remembered(connection, self.member.replica()?.remembered());
                return None;
            }
            Event::MethodsWanted { connection } => {
                self.connections.tell(connection, told(&self.driver.methods.get()));
                return None;
            }
            Event::PeersWanted { connection } => {
                let now = self.member.reign_time(time_since_boot())?;
                self.dialers.report(self.member.replica()?, &self.shell.times, now, &mut self.connections, connection);
                return None;
            }
            _ => return None, // said to a driver, whatever its member is
        }))
    }

    fn conclude(&mut self, ending: member::Ending) -> Result<Ending, RunError> {
        assert!(self.member.has_ended(), "a driver ends when its member has");
        let name = self.driver.name.clone();
        Err(match ending {
            member::Ending::Finished { code, lsn } => return Ok(Ending::Finished { code, lsn }),
            member::Ending::Stopped { reigned } => {
                if reigned {
                    tracing::info!("handed over");
                }
                return Ok(Ending::Stopped);
            }
            member::Ending::Halted { fault, lsn } => self.driver.halted(fault, lsn),
            member::Ending::Diverged(found) => {
                let driver = Arc::clone(&self.driver);
                let other_engine = self.member.engine_of_reign().is_some_and(|engine| engine != driver.engine);
                let description = divergence::describe(&driver, self.replica(), &found, other_engine);
                RunError::Diverged { name, lsn: found.lsn, description }
            }
            member::Ending::UpgradeFailed { fault, lsn } => RunError::UpgradeFailed { name, lsn, fault },
            member::Ending::LogFailed(reason) => RunError::LogFailed(reason),
            member::Ending::Overtaken { asked, first } => RunError::NothingToBeginAt {
                name,
                first,
                reasons: format!("\n  the replica itself, which needs lsn {asked}"),
            },
            member::Ending::StoreLost => RunError::StoreLost(self.lost.take().unwrap_or_default()),
            member::Ending::NoGenesis => RunError::NoGenesis,
            member::Ending::BadRecord { lsn, error } => RunError::Record { lsn, error },
            member::Ending::NothingToBeginAt { first, reasons } => RunError::NothingToBeginAt { name, first, reasons },
        })
    }
}
