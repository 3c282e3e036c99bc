//! A member that reigns: it makes records of what comes in, and lets out what they bring about once it is durable.

use core::time::Duration;

use super::{
    CheckpointEvent, Command, Context, Ending, Flow, LOOK_AGE_MAX, LogEvent, MemberInput, Next, Notice, OtherRole,
    Stage, StopCause, Surroundings, Verdict,
    clock::ReignClock,
    common::{Attempt, Common},
    fulfilment::Fulfilment,
    recovery::Recovery,
};
use crate::{
    ConnectionId, Due, Epoch, Fault, Guest, Held, Input, InstanceUuid, Lsn, Outcome, Output, Record, RecordKind,
    Refusal, ReplicaIndex, Timestamp, Traffic,
};

/// When the guest has exited, peers have this long to take its last messages; later runs go on with that.
const LAST_MESSAGES_TIMEOUT: Duration = Duration::from_secs(10);

/// A standby that lags behind by more records than this is not asked for a checkpoint.
const STANDBY_LAG_MAX: u64 = 10_000;

/// While a timer waits, the member looks at the time at least this often: the wait of its driver does not count the time in
/// which the machine was suspended.
const TIMER_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often it is told that peers don't take their messages.
const BLOCKED_INTERVAL: Duration = Duration::from_secs(10);

/// A member that reigns.
pub(super) struct Primary<G> {
    pub(super) common: Common<G>,
    me: ReplicaIndex,
    epoch: Epoch,
    clock: ReignClock,
    held: Held,
    /// Why the reign is over.
    end: Option<End>,
    /// Why the log is being closed.
    closing: Option<End>,
    /// The operator wants the process to end, too.
    is_shut_down: bool,
    exited: Option<Exited>,
    /// When it was told last that peers don't take their messages.
    blocked_told: Option<Duration>,
    /// Operators that want a checkpoint.
    wanted_by: Vec<ConnectionId>,
    /// Operators that were told who takes it, and at which record.
    promised: Vec<ConnectionId>,
    /// Who was asked for the last checkpoint.
    last_asked: Option<ReplicaIndex>,
    ahead: Ahead,
    /// The others are being looked at to see who takes the checkpoint that is due.
    is_looking: bool,
    pub(super) fulfilment: Fulfilment,
    /// Replicas of another engine are to compare themselves with this one.
    is_to_show: bool,
    /// A mend is durable, and nobody was told yet that the instance is there again.
    pub(super) is_to_announce: bool,
}

/// How far memory was copied ahead of a capture.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ahead {
    /// Nothing was, since the last capture.
    Not,
    /// There is more to be copied.
    Behind,
    /// Some is being copied.
    Asked,
    /// Nothing is left.
    Ready,
}

/// Why a reign is over.
#[derive(Clone, Debug)]
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
    StoreLost,
    /// The guest failed at an upgrade and could not be put back.
    GuestLost,
}

/// The guest has exited.
#[derive(Clone, Copy, Debug)]
struct Exited {
    code: i32,
    lsn: Lsn,
    at: Duration,
}

impl<G: Guest> Primary<G> {
    /// Begins the reign: all records up to the one that begins it were applied.
    pub(super) fn begin(
        context: &mut Context<'_, G>,
        mut common: Common<G>,
        epoch: Epoch,
        wall: Timestamp,
    ) -> Stage<G> {
        assert_eq!(common.replica.epoch(), epoch, "a reign begins with its own record");
        let lsn = common.replica.applied();
        let clock = ReignClock::begin(wall, common.replica.time(), context.now);
        let exited = match common.replica.outcome() {
            Some(Outcome::Finished { code, lsn }) => Some(Exited { code: *code, lsn: *lsn, at: context.now }),
            _ => None,
        };
        let is_to_show = common.agreement.takes_turn_to_show();
        let mut primary = Box::new(Primary {
            common,
            me: context.settings.replica,
            epoch,
            clock,
            held: Held::new(lsn),
            end: None,
            closing: None,
            is_shut_down: false,
            exited,
            blocked_told: None,
            wanted_by: Vec::new(),
            promised: Vec::new(),
            last_asked: None,
            ahead: Ahead::Not,
            is_looking: false,
            fulfilment: Fulfilment::begin(),
            is_to_show,
            is_to_announce: false,
        });
        if let Some(behind) = primary.clock.behind() {
            context.tell(Notice::ClockBehind(behind));
        }
        context.carry(Command::Reign(epoch));
        // Who has a record to mend is spoken to once it is mended.
        if primary.common.replica.void().is_none() {
            context.carry(Command::Announce(epoch));
        }
        context.tell(Notice::BecamePrimary { epoch, lsn });
        primary.common.queries.begin_reign();
        primary.input(context, Input::Elected);
        primary.configure(context);
        primary.settle(context)
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// How many outputs wait for their record to be durable.
    pub(super) fn held(&self) -> usize {
        self.held.waiting()
    }

    /// Whether the log is being closed.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn time(&self, now: Duration) -> Timestamp {
        self.clock.time(now)
    }

    pub(super) fn step(mut self: Box<Self>, context: &mut Context<'_, G>, input: MemberInput<G>) -> Stage<G> {
        match input {
            // What comes after the end is for the next primary.
            MemberInput::Traffic(_)
            | MemberInput::PeerLookedUp { .. }
            | MemberInput::CheckpointWanted(_)
            | MemberInput::Query(_)
            | MemberInput::Inquiry(_)
                if self.closing.is_some() => {}
            MemberInput::Traffic(traffic) if self.common.replica.void().is_some() => self.put_off(context, traffic),
            MemberInput::Traffic(traffic) => self.on_traffic(context, traffic),
            MemberInput::Query(query) => {
                let is_ready = self.answers_queries();
                self.common.queries.ask(context.now, &mut self.common.replica, is_ready, query);
                self.let_out_answers(context);
            }
            MemberInput::Inquiry(inquiry) => {
                let is_ready = self.answers_queries();
                self.common.queries.inquire(context.now, &self.common.replica, is_ready, inquiry);
                self.let_out_answers(context);
            }
            MemberInput::PeerLookedUp { traffic, registered } => self.on_looked_up(context, traffic, registered),
            MemberInput::Log { epoch, event } if epoch == self.epoch => self.on_log(context, event),
            MemberInput::Fenced { by } if by > self.epoch => self.end_with(End::Stopped(StopCause::Fenced { by })),
            // Of an earlier reign.
            MemberInput::Log { .. } | MemberInput::Fenced { .. } => {}
            MemberInput::Others { running, .. } => self.common.on_others(context, running),
            MemberInput::Claimed { attempt, epoch, is_claimed } => self.on_claimed(context, attempt, epoch, is_claimed),
            MemberInput::CheckpointWanted(connection) => self.on_checkpoint_wanted(context, connection),
            MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done }) => {
                assert_eq!(self.ahead, Ahead::Asked, "memory is copied ahead when that is asked for");
                self.ahead = if is_done { Ahead::Ready } else { Ahead::Behind };
            }
            MemberInput::Checkpoint(event) => self.on_checkpoint(context, event),
            MemberInput::Shutdown if self.closing.is_some() => self.is_shut_down = true,
            MemberInput::Shutdown => self.end_with(End::Shutdown),

            MemberInput::StoreLost => self.end_with(End::StoreLost),
            MemberInput::Closed => return self.on_closed(context),
            // Of the time as a standby.
            MemberInput::Vacant { .. } | MemberInput::Outcome { .. } => {}
            MemberInput::Listed { .. }
            | MemberInput::Loaded { .. }
            | MemberInput::Unusable { .. }
            | MemberInput::Made(_)
            | MemberInput::Opened(_)
            | MemberInput::Trimmed { .. }
            | MemberInput::Read { .. }
            | MemberInput::Acquired { .. }
            | MemberInput::Contended
            | MemberInput::Away
            | MemberInput::Wish(_)
            | MemberInput::Configure(_)
            | MemberInput::Mending { .. }
            | MemberInput::Prepared { .. } => panic!("a primary does not ask for this"),
        }
        self.settle(context)
    }

    /// What comes from a peer that the replica has not met is not believed before the registry says so: a replica that was
    /// stopped may find what an instance has sent that is gone by now, and another one has the name.
    fn on_traffic(&mut self, context: &mut Context<'_, G>, traffic: Traffic) {
        match self.common.replica.unmet_peer(&traffic) {
            Some(name) => context.carry(Command::LookUpPeer { name, traffic }),
            None => self.take_in(context, traffic),
        }
    }

    /// The operator has set something else.
    pub(super) fn reconfigure(mut self: Box<Self>, context: &mut Context<'_, G>) -> Stage<G> {
        if self.closing.is_none() {
            self.configure(context);
        }
        self.settle(context)
    }

    /// Has written down what the operator has set, if the log does not say so yet.
    pub(super) fn configure(&mut self, context: &mut Context<'_, G>) {
        let (values, entropy) = (context.configuration.clone(), context.settings.entropy);
        let now = self.time(context.now);
        self.input(context, Input::Configure { values, entropy, now });
    }

    fn on_looked_up(&mut self, context: &mut Context<'_, G>, traffic: Traffic, registered: Option<InstanceUuid>) {
        let (Traffic::PeerConnected { connection, uuid, .. } | Traffic::PeerReached { connection, uuid, .. }) = traffic
        else {
            panic!("only who says which instance it is is looked up: {traffic:?}")
        };
        if registered == Some(uuid) {
            self.take_in(context, traffic);
        } else {
            self.carry(context, Output::Refuse { connection, reason: Refusal::NotRegistered });
        }
    }

    pub(super) fn take_in(&mut self, context: &mut Context<'_, G>, traffic: Traffic) {
        let now = self.time(context.now);
        self.input(context, Input::Traffic { traffic, now });
    }

    /// Whether it is what its log says: what comes of a record that the log did not take is never seen.
    fn answers_queries(&self) -> bool {
        self.end.is_none() && self.common.replica.void().is_none()
    }

    /// Answers queries that waited for records that are there by now, and lets out answers that may be seen.
    fn answer_queries(&mut self, context: &mut Context<'_, G>) {
        let is_ready = self.answers_queries();
        self.common.queries.go_on(context.now, &mut self.common.replica, is_ready);
        self.let_out_answers(context);
    }

    fn let_out_answers(&mut self, context: &mut Context<'_, G>) {
        // Whoever has asked asks again. A log that is being closed is no more to be asked whose it is.
        if self.end.is_some() || self.closing.is_some() {
            return;
        }
        if let Err(by) = self.common.queries.let_out_durable(context, self.held.durable()) {
            self.end_with(End::Stopped(StopCause::Fenced { by }));
        }
    }

    /// Delivers what has gathered, and does what is due.
    pub(super) fn turn(
        mut self: Box<Self>,
        context: &mut Context<'_, G>,
        surroundings: &Surroundings,
    ) -> (Stage<G>, Next) {
        if self.closing.is_some() || self.common.own.is_capturing() {
            return (Stage::Reigning(self), Next::After(None));
        }
        self.end_when_delivered(context);
        let minded = self.mind_output(context, surroundings);
        if self.end.is_some() {
            return (self.settle(context), Next::Again);
        }
        let worked = self.fulfil(context, surroundings) || self.deliver(context, surroundings);
        self.tend(context, surroundings);
        self.answer_queries(context);
        let next = if worked || minded { Next::Again } else { Next::After(self.until_due(context, surroundings)) };
        (self.settle(context), next)
    }

    /// After an exit the last messages are still delivered; then the reign ends.
    fn end_when_delivered(&mut self, context: &Context<'_, G>) {
        if let Some(exited) = self.exited
            && (self.common.replica.undelivered() == 0
                || context.now.saturating_sub(exited.at) >= LAST_MESSAGES_TIMEOUT)
        {
            self.end_with(End::Exited(exited));
        }
    }

    /// How long nothing happens by itself.
    fn until_due(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings) -> Option<Duration> {
        let until_stuck = match surroundings.output {
            Flow::Full(rest) => Some(rest),
            Flow::Room | Flow::Stuck => None,
        };
        let time = self.time(context.now);
        let until_look = self.waits_for_a_standby().then_some(LOOK_AGE_MAX);
        let until_checkpoint = self.common.schedule.wake_at(time).map(|at| until(at, time));
        let until_wish = self.until_wish(context, surroundings);
        let until_answer = self.common.queries.wake_after(context.now);
        let until_due = self.until_due_to_deliver(context, time);
        let all = [until_stuck, until_look, until_checkpoint, until_wish, until_answer, until_due];
        all.into_iter().flatten().min()
    }

    fn until_due_to_deliver(&self, context: &Context<'_, G>, time: Timestamp) -> Option<Duration> {
        if let Some(exited) = self.exited {
            return Some(LAST_MESSAGES_TIMEOUT.saturating_sub(context.now.saturating_sub(exited.at)));
        }
        Some(until(self.common.replica.wake_at()?, time))
    }

    /// Without an output that takes what the guest prints, a reign has not much sense if another replica may have one.
    /// A replica that is alone, or has done so before in vain, goes on and drops prints. True if it does.
    fn mind_output(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings) -> bool {
        if surroundings.output != Flow::Stuck {
            return false;
        }
        if self.exited.is_none() && surroundings.may_yield {
            let silence = context.settings.silence;
            let Some(others) = self.common.others.within(LOOK_AGE_MAX, context) else { return false };
            match others {
                None => context.tell(Notice::OthersUnknown),
                Some(others)
                    if others.iter().any(|other| other.role == OtherRole::Standby && other.is_alive(silence)) =>
                {
                    context.tell(Notice::StepsDownForOutput);
                    context.carry(Command::Yield);
                    self.end_with(End::Yielded);
                    return false;
                }
                Some(_) => {}
            }
        }
        context.carry(Command::DropPrints);
        true
    }

    /// Makes and executes one record of what has gathered. False if there was nothing, or no room in the log or for what
    /// it would print.
    fn deliver(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings) -> bool {
        if !surroundings.log_has_room || surroundings.output != Flow::Room || self.wish_comes_first(context) {
            return false; // each says when it is over
        }
        let now = self.time(context.now);
        let mut outputs = std::mem::take(&mut self.common.outputs);
        let (epoch, mut appended) = (self.epoch, None);
        // The log has the record before the guest runs, so that both work at the same time.
        let append = |record: Record| {
            let header = *record.header();
            assert_eq!(header.epoch, epoch, "a primary writes records of its own reign");
            appended = Some((header, context.shell.append(record)));
        };
        let delivered = self.common.replica.deliver(now, append, &mut outputs);
        if let Some((header, done)) = appended {
            self.common.count(context, &header);
            self.on_appended(done);
            self.carry_outputs(context, outputs);
        } else {
            self.common.outputs = outputs;
            self.tell_blocked(context);
        }
        delivered
    }

    fn tell_blocked(&mut self, context: &mut Context<'_, G>) {
        let recently = self.blocked_told.is_some_and(|told| context.now.saturating_sub(told) < BLOCKED_INTERVAL);
        if !recently && let Some(blocked) = self.common.replica.blocked() {
            self.blocked_told = Some(context.now);
            context.tell(Notice::Blocked(blocked));
        }
    }

    /// Makes the digest record that is due, and has a checkpoint taken with it if that is.
    fn tend(&mut self, context: &mut Context<'_, G>, surroundings: &Surroundings) {
        self.common.schedule.on_checkpoint(surroundings.published);
        if let Some(jump) = self.clock.jump(surroundings.wall, context.now) {
            context.tell(Notice::ClockJumped(jump));
        }
        // After the end no digest record is made any more. It may have come with a record that is not durable yet.
        if !self.common.replica.goes_on() || self.end.is_some() {
            return;
        }
        self.look_after_the_asked(context);
        if std::mem::take(&mut self.is_to_show) {
            self.digest(context, None);
        }
        match self.common.schedule.due(self.time(context.now)) {
            None => {}
            Some(Due::Digest) => self.digest(context, None),
            Some(Due::Checkpoint) => self.ask_for_checkpoint(context),
        }
    }

    fn digest(&mut self, context: &mut Context<'_, G>, checkpoint_by: Option<ReplicaIndex>) {
        let now = self.time(context.now);
        self.input(context, Input::Digest { checkpoint_by, now });
    }

    fn ask_for_checkpoint(&mut self, context: &mut Context<'_, G>) {
        let Some(by) = self.who_takes_it(context) else { return };
        let me = context.settings.replica;
        if by == me && !self.is_ready_to_capture(context) {
            return;
        }
        self.digest(context, Some(by));
        let at = self.common.replica.applied();
        self.common.schedule.on_asked(at, self.time(context.now));
        self.last_asked = Some(by);
        if by == me {
            self.ahead = Ahead::Not;
            return self.common.own.capture(context, at, false); // its answer is that to the operators
        }
        self.promise(context, at, by);
    }

    /// Tells the operators that want a checkpoint who takes it.
    fn promise(&mut self, context: &mut Context<'_, G>, lsn: Lsn, replica: ReplicaIndex) {
        self.promised.append(&mut self.wanted_by);
        for connection in &self.promised {
            let verdict = Verdict::Asked { lsn, replica };
            context.carry(Command::Answer { connection: *connection, verdict });
        }
    }

    /// Whether nothing has to be done before this replica is captured. What has, is.
    fn is_ready_to_capture(&mut self, context: &mut Context<'_, G>) -> bool {
        if self.common.own.is_busy() || self.ahead == Ahead::Asked {
            return false; // its end is an input
        }
        if self.ahead != Ahead::Ready {
            self.ahead = Ahead::Asked;
            context.carry(Command::CopyAhead { parent: self.common.own.parent() });
            return false;
        }
        true
    }

    /// Whether memory is being copied ahead: the guest must stay what it is.
    pub(super) fn is_copying_ahead(&self) -> bool {
        self.ahead == Ahead::Asked
    }

    /// The guest was captured for an upgrade, whether that was done or not.
    pub(super) fn on_handed_over(&mut self) {
        assert!(!self.is_copying_ahead(), "no upgrade is tried meanwhile");
        self.ahead = Ahead::Not;
        self.common.on_handed_over();
    }

    /// Has the replicas compare themselves right behind an upgrade, and a checkpoint taken, so that recoveries seldom
    /// cross it.
    pub(super) fn seal_upgrade(&mut self, context: &mut Context<'_, G>) {
        if self.common.replica.outcome().is_none() {
            self.digest(context, None);
            self.common.schedule.want();
        }
    }

    /// Has the replicas compare themselves at the end of the reign.
    fn seal_reign(&mut self, context: &mut Context<'_, G>) {
        if self.common.replica.goes_on() && self.common.schedule.has_news() {
            self.digest(context, None);
        }
    }

    fn waits_for_a_standby(&self) -> bool {
        self.common.schedule.is_asked() && self.last_asked.is_some_and(|by| by != self.me)
    }

    /// Notices that the standby that was asked for a checkpoint is gone, so that another replica is asked.
    fn look_after_the_asked(&mut self, context: &mut Context<'_, G>) {
        let Some(by) = self.last_asked.filter(|_| self.waits_for_a_standby()) else { return };
        // One that can't be looked at is not known to be gone.
        let Some(Some(others)) = self.common.others.within(LOOK_AGE_MAX, context) else { return };
        if !others.iter().any(|other| other.replica == by) {
            context.tell(Notice::AskedOneIsGone(by));
            self.common.schedule.on_gone();
        }
    }

    /// A standby that has heard of almost everything, so that this replica need not stop for it; else this one. Who was
    /// asked last and has not done it is not asked again if there is another one. `None` if it is to be looked first.
    fn who_takes_it(&mut self, context: &mut Context<'_, G>) -> Option<ReplicaIndex> {
        // Whoever has died since the last look is not to be asked. While memory is copied ahead, that goes on.
        if self.ahead == Ahead::Not && !std::mem::replace(&mut self.is_looking, true) {
            self.common.others.forget();
        }
        let failed = self.last_asked.filter(|_| self.common.schedule.is_asked());
        let (durable, silence) = (self.held.durable(), context.settings.silence);
        let others = self.common.others.within(LOOK_AGE_MAX, context)?.unwrap_or_default();
        self.is_looking = false;
        let able = others.iter().filter(|other| {
            other.role == OtherRole::Standby
                && other.is_alive(silence)
                && other.applied.0 + STANDBY_LAG_MAX >= durable.0
                && Some(other.replica) != failed
        });
        Some(able.max_by_key(|other| other.applied).map_or(context.settings.replica, |other| other.replica))
    }

    fn on_checkpoint_wanted(&mut self, context: &mut Context<'_, G>, connection: ConnectionId) {
        let refusal = match self.common.replica.guest().cannot_capture() {
            Some(reason) => {
                // A standby of another engine asks for what a checkpoint comes with: what was answered and sent is compared all the same.
                self.is_to_show |= self.common.schedule.has_news();
                format!("the guest can't be captured: {reason}")
            }
            None if self.common.replica.outcome().is_some() => "the instance has ended".to_owned(),
            None if self.common.replica.void().is_some() => "the instance is being mended".to_owned(),
            None => {
                self.common.schedule.want();
                return self.wanted_by.push(connection);
            }
        };
        context.carry(Command::Answer { connection, verdict: Verdict::Refused(refusal) });
    }

    fn on_checkpoint(&mut self, context: &mut Context<'_, G>, event: CheckpointEvent) {
        let was_capturing = self.common.own.is_capturing();
        match self.common.on_checkpoint(context, event) {
            Some(Attempt::Failed(reason)) => {
                self.promised.append(&mut self.wanted_by);
                for connection in self.promised.drain(..) {
                    let verdict = Verdict::Refused(reason.clone());
                    context.carry(Command::Answer { connection, verdict });
                }
            }
            Some(Attempt::Published) => self.promised.clear(),
            None if was_capturing => {
                let (lsn, replica) = (self.common.replica.applied(), context.settings.replica);
                self.promise(context, lsn, replica);
            }
            None => {}
        }
    }

    fn on_log(&mut self, context: &mut Context<'_, G>, event: LogEvent) {
        match event {
            LogEvent::Durable(lsn) => {
                self.held.set_durable(lsn);
                self.common.own.on_durable(context, lsn);
                self.input(context, Input::Durable(lsn));
                self.let_out_answers(context);
            }
            LogEvent::Room => {}
            LogEvent::Stalled { reason, waited } => context.tell(Notice::LogStands { reason, waited }),
            LogEvent::Resumed => context.tell(Notice::LogGoesOn),
            LogEvent::Looked { newest: Err(by), .. } => self.end_with(End::Stopped(StopCause::Fenced { by })),
            // What waits for a log that is closed is not let out any more.
            LogEvent::Looked { .. } if self.end.is_some() || self.closing.is_some() => {}
            LogEvent::Looked { number, newest: Ok(()) } => {
                self.common.queries.on_looked(context, number);
                self.let_out_answers(context);
            }
            LogEvent::Stopped(cause) => self.end_with(End::Stopped(cause)),
        }
    }

    /// Steps the replica, and lets out what may be seen.
    pub(super) fn input(&mut self, context: &mut Context<'_, G>, input: Input) {
        let mut outputs = std::mem::take(&mut self.common.outputs);
        self.common.replica.step(input, &mut outputs);
        self.carry_outputs(context, outputs);
    }

    /// Carries out what need not wait, and holds the rest.
    fn carry_outputs(&mut self, context: &mut Context<'_, G>, mut outputs: Vec<Output>) {
        for output in outputs.drain(..) {
            if let Output::Answered { request, .. } = &output {
                self.common.queries.on_answered(&self.common.replica, request);
            }
            match output {
                Output::Append(record) => {
                    let header = *record.header();
                    assert_ne!(header.kind, RecordKind::Deliver, "a delivery is appended before it is executed");
                    self.append(context, record);
                    self.common.count(context, &header);
                }
                output if output.after() == Lsn(0) => self.carry(context, output),
                output => self.held.push(output),
            }
        }
        self.common.outputs = outputs;
        self.carry_held(context);
    }

    fn append(&mut self, context: &mut Context<'_, G>, record: Record) {
        assert_eq!(record.header().epoch, self.epoch, "a primary writes records of its own reign");
        assert!(self.closing.is_none(), "nothing is appended to a log that is being closed");
        let done = context.shell.append(record);
        self.on_appended(done);
    }

    /// Nothing will be seen of a record that the log did not take.
    fn on_appended(&mut self, done: Result<(), StopCause>) {
        if let Err(cause) = done {
            self.end_with(End::Stopped(cause));
        }
    }

    /// Lets out what is durable by now.
    fn carry_held(&mut self, context: &mut Context<'_, G>) {
        while !matches!(self.end, Some(End::StoreLost)) {
            let Some(output) = self.held.pop() else { return };
            self.carry(context, output);
        }
    }

    /// Carries out an output that may be seen.
    pub(super) fn carry(&mut self, context: &mut Context<'_, G>, output: Output) {
        assert!(output.after() <= self.held.durable(), "nothing is seen before it is durable");
        match output {
            // What this primary asks for is taken where it is asked, and a primary is what others are compared with.
            Output::Checkpoint { .. } | Output::Diverged(_) => {}
            Output::Finished { code, after } => self.exited = Some(Exited { code, lsn: after, at: context.now }),
            Output::Halted { fault, after } => self.end_with(End::Halted { fault, lsn: after }),
            Output::Rebound { name, dropped, failed_calls } => {
                context.tell(Notice::Rebound { name, dropped, failed_calls });
            }
            Output::Upgraded { upgrade, after } => self.on_upgraded(context, upgrade, after),
            Output::Mended { mend, after } => self.on_mended(context, mend, after),
            Output::UpgradeWaits { report, .. } => self.on_upgrade_waits(report),
            Output::UpgradeRefused { attempt, fault, is_lost } => {
                self.on_upgrade_refused(context, attempt, fault);
                if self.common.replica.void().is_some() {
                    self.stand_still(context);
                } else if is_lost {
                    self.end_with(End::GuestLost);
                }
            }
            Output::Resolved { .. } | Output::SessionRefused { .. } => self.carry_of_now(context, output),
            Output::UpgradeFailed { .. } => unreachable!("a primary judges before it writes"),
            Output::Append(_) => unreachable!("a record is appended where it is put out"),
            Output::Connect { .. }
            | Output::Welcome { .. }
            | Output::Send { .. }
            | Output::Acknowledge { .. }
            | Output::Refuse { .. }
            | Output::Accepted { .. }
            | Output::Answered { .. }
            | Output::KeyReused { .. }
            | Output::SessionOpened { .. }
            | Output::SessionAnswered { .. }
            | Output::Request { .. }
            | Output::CancelRequest { .. }
            | Output::Event { .. }
            | Output::Log { .. }
            | Output::Print { .. } => context.carry(Command::Out(output)),
        }
    }

    /// A primary that was deposed and does not know it takes a promise that it has never heard of for one that is
    /// fulfilled, and a token by a key that it has not for a wrong one; and a session that it has never heard of for one that has
    /// ended. What it says of them is let out if the log is still that of its reign, as an answer to a query is.
    fn carry_of_now(&mut self, context: &mut Context<'_, G>, output: Output) {
        // Whoever has asked asks again. A log that is being closed is no more to be asked whose it is.
        if self.end.is_some() || self.closing.is_some() {
            return;
        }
        self.common.queries.put_of_now(Command::Out(output));
        self.let_out_answers(context);
    }

    /// Nobody mends the record that was left out: the instance stands there, as before.
    pub(super) fn stand_still(&mut self, context: &Context<'_, G>) {
        if let Some((fault, lsn)) = self.void(context) {
            self.end_with(End::Halted { fault, lsn });
        }
    }

    /// The first reason stands, but that the log has stopped outweighs all others, and that it is another one that.
    fn end_with(&mut self, end: End) {
        let stands = match &self.end {
            None => false,
            Some(End::StoreLost) => true,
            Some(_) => !matches!(end, End::Stopped(_) | End::StoreLost),
        };
        if !stands {
            self.end = Some(end);
        }
    }

    /// Begins to end the reign, if there is a reason.
    fn settle(mut self: Box<Self>, context: &mut Context<'_, G>) -> Stage<G> {
        if std::mem::take(&mut self.is_to_announce) && self.end.is_none() && self.closing.is_none() {
            context.carry(Command::Announce(self.epoch));
        }
        if self.closing.is_some() || self.common.own.is_capturing() {
            return Stage::Reigning(self);
        }
        let Some(end) = self.end.take() else { return Stage::Reigning(self) };
        match &end {
            End::Stopped(StopCause::Fenced { by }) => {
                context.tell(Notice::Deposed { own: self.epoch, by: *by });
                return self.begin_anew(context);
            }
            End::Stopped(StopCause::Failed(reason)) => return self.end(context, Ending::LogFailed(reason.clone())),
            // Nothing more is let out, not even what is durable: whoever looks for it looks elsewhere.
            End::StoreLost => return self.end(context, Ending::StoreLost),
            // Whoever takes over sees that it is what this replica was, whatever engine it has.
            End::Shutdown | End::Yielded => self.seal_reign(context),
            End::GuestLost => {}
            End::Exited(exited) => match self.common.replica.undelivered() {
                0 => context.carry(Command::WriteDown(Outcome::Finished { code: exited.code, lsn: exited.lsn })),
                undelivered => context.tell(Notice::Undelivered(undelivered)),
            },
            End::Halted { fault, lsn } => {
                context.carry(Command::WriteDown(Outcome::Halted { fault: fault.clone(), lsn: *lsn }));
            }
        }
        self.closing = Some(end);
        context.carry(Command::Close);
        Stage::Reigning(self)
    }

    /// All that was appended is durable, or never will be.
    fn on_closed(mut self, context: &mut Context<'_, G>) -> Stage<G> {
        self.carry_held(context);
        let closing = self.closing.take().expect("a log is closed when that is asked for");
        match (self.end.take(), closing) {
            (Some(End::StoreLost), _) => self.end(context, Ending::StoreLost),
            (Some(End::Stopped(StopCause::Failed(reason))), _) => self.end(context, Ending::LogFailed(reason)),
            (_, End::Shutdown) => self.end(context, Ending::Stopped { reigned: true }),
            (_, End::Exited(Exited { code, lsn, .. })) => self.end(context, Ending::Finished { code, lsn }),
            (_, End::Halted { fault, lsn }) => self.end(context, Ending::Halted { fault, lsn }),
            (_, End::Yielded | End::GuestLost) if self.is_shut_down => {
                self.end(context, Ending::Stopped { reigned: true })
            }
            (_, End::Yielded | End::GuestLost) => self.begin_anew(context),
            (_, End::Stopped(_) | End::StoreLost) => unreachable!("a log that has failed, or is lost, is not closed"),
        }
    }

    /// What was executed may not be in the log, so everything is built anew from it.
    fn begin_anew(self, context: &mut Context<'_, G>) -> Stage<G> {
        context.carry(Command::Abandon);
        Stage::Recovering(Box::new(Recovery::begin(context)))
    }

    fn end(self, context: &mut Context<'_, G>, ending: Ending) -> Stage<G> {
        context.end(ending, Some(Box::new(self.common)))
    }
}

/// How long to wait for a time. One that has passed waits for something else, so it is not to be polled.
fn until(at: Timestamp, now: Timestamp) -> Duration {
    let wait = at.0.saturating_sub(now.0).max(1_000_000);
    Duration::from_nanos(wait).min(TIMER_WAIT_MAX)
}
