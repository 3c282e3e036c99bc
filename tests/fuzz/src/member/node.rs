//! One member of the target: how its commands are carried out, and what is checked of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use ambrosia_core::{
    CheckpointState, ConnectionId, Epoch, Guest, Lsn, Outcome, Output, PeerIndex, Record, RecordHeader, Replica,
    ReplicaIndex, ScheduleOptions, Seq, SessionId, Ticket, Traffic, check_travelling, is_mended,
    member::{
        CheckpointEvent, CheckpointHead, Command, Ending, FenceLook, Flow, Keep, Member, MemberInput, MemberSettings,
        Next, Notice, Other, OtherRole, Shell, StopCause, Surroundings,
    },
};
use bytes::Bytes;

use super::{Shared, puppet::Puppet, registered};

pub(super) const ENGINE: [u8; 32] = [0; 32];

/// A member, and what its driver keeps.
pub(super) struct Node {
    me: ReplicaIndex,
    pub(super) member: Member<Puppet>,
    hands: Hands,
    /// The record that it reads next.
    position: Lsn,
    is_reading: bool,
    is_watching: bool,
    has_ended: bool,
    /// The others have not heard of it for long.
    pub(super) is_silent: bool,
    /// What the next look at the others shows.
    pub(super) others: Vec<Other>,
    /// Peers that it asked for as primary.
    pub(super) wanted: BTreeSet<PeerIndex>,
    /// The next message that each connection to a peer is to carry.
    pub(super) sending: BTreeMap<ConnectionId, Seq>,
    /// The last message acknowledged on each connection.
    acknowledged: BTreeMap<ConnectionId, Seq>,
    /// What clients have heard last of their sessions: by what they name them, and how far they are.
    pub(super) sessions: BTreeMap<SessionId, (Ticket, Seq)>,
    captured: Option<(CheckpointHead, Bytes)>,
    job: Option<Command>,
    /// The wish whose module it has at hand.
    ready: u64,
}

/// What the member puts out.
#[derive(Default)]
struct Hands {
    commands: VecDeque<Command>,
    appended: Vec<Record>,
    /// Records applied, with the digest of the state after each.
    applied: Vec<(Lsn, u64)>,
}

impl Shell<Puppet> for Hands {
    fn append(&mut self, record: Record) -> Result<(), StopCause> {
        self.appended.push(record);
        Ok(())
    }

    fn look_at_fence(&mut self, _: u64) -> Result<FenceLook, Epoch> {
        Ok(FenceLook::Done) // nobody asks anything here
    }

    fn applied(&mut self, header: &RecordHeader, replica: &mut Replica<Puppet>) -> u64 {
        // One that has left a record out is not what one is that has failed at it.
        if replica.void().is_none() {
            self.applied.push((header.lsn, replica.digest()));
        }
        0
    }

    fn carry(&mut self, command: Command) {
        self.commands.push_back(command);
    }
}

impl Node {
    pub(super) fn new(me: ReplicaIndex) -> Node {
        let settings = MemberSettings {
            replica: me,
            engine: ENGINE,
            from_beginning: false,
            allow_engine_change: false,
            allow_divergence: None,
            schedule: ScheduleOptions { checkpoint_every_bytes: 8 << 10, recovery_target_ns: 1 << 40 },
            keep: Keep::newest(2).and_the_log(),
            silence: Duration::from_millis(600),
            configuration: Default::default(),
            entropy: [0xe7; 32],
        };
        Node {
            me,
            member: Member::new(settings),
            hands: Hands::default(),
            position: Lsn(1),
            is_reading: false,
            is_watching: false,
            has_ended: false,
            is_silent: false,
            others: Vec::new(),
            wanted: BTreeSet::new(),
            sending: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            sessions: BTreeMap::new(),
            captured: None,
            job: None,
            ready: 0,
        }
    }

    pub(super) fn begin(&mut self, shared: &mut Shared) {
        self.member.begin(shared.now, &mut self.hands);
        self.carry_out(shared);
        let wish = shared.wishes.standing();
        self.give(shared, MemberInput::Wish(wish));
    }

    /// Something happens to the member.
    pub(super) fn give(&mut self, shared: &mut Shared, input: MemberInput<Puppet>) {
        self.step(shared, input);
        self.carry_out(shared);
    }

    fn step(&mut self, shared: &mut Shared, input: MemberInput<Puppet>) {
        self.member.step(shared.now, input, &mut self.hands);
        self.absorb(shared);
    }

    /// The member does what is due. True if there is more.
    pub(super) fn turn(&mut self, shared: &mut Shared, others: &[Other]) -> bool {
        self.others = others.to_vec();
        let surroundings = Surroundings {
            wall: shared.wall,
            log_has_room: true,
            output: Flow::Room,
            may_yield: true,
            published: shared.published(),
        };
        let next = self.member.turn(shared.now, &surroundings, &mut self.hands);
        self.absorb(shared);
        let again = next == Next::Again || !self.hands.commands.is_empty();
        self.carry_out(shared);
        again
    }

    /// What other members see of this one.
    pub(super) fn as_other(&self) -> Other {
        let role = if self.member.reign().is_some() { OtherRole::Primary } else { OtherRole::Standby };
        let applied = self.member.replica().map_or(Lsn(0), Replica::applied);
        let heartbeat_age = if self.has_ended || self.is_silent { Duration::from_secs(100) } else { Duration::ZERO };
        Other { replica: self.me, role, applied, ready: self.ready, heartbeat_age }
    }

    /// Whether it could take over.
    pub(super) fn is_ready(&self) -> bool {
        self.is_watching && self.is_reading && !self.has_ended
    }

    /// Nobody seems to be primary.
    pub(super) fn take_over(&mut self, shared: &mut Shared, over: Epoch) {
        self.give(shared, MemberInput::Vacant { over, is_stuck: false });
    }

    /// Reads all that is durable.
    pub(super) fn feed(&mut self, shared: &mut Shared) {
        while self.is_reading && !self.has_ended {
            let records = shared.records[self.position.0 as usize - 1..shared.durable.0 as usize].to_vec();
            if records.is_empty() && self.is_watching {
                break;
            }
            self.is_reading = false;
            self.position = shared.durable.next();
            let (durable, published) = (shared.durable, shared.published());
            self.give(shared, MemberInput::Read { records, durable, published });
        }
    }

    /// Takes what was put out in the middle of a step.
    fn absorb(&mut self, shared: &mut Shared) {
        self.hands.appended.drain(..).for_each(|record| shared.append(record));
        self.hands.applied.drain(..).for_each(|(lsn, digest)| shared.note_applied(lsn, digest));
    }

    fn carry_out(&mut self, shared: &mut Shared) {
        while let Some(command) = self.hands.commands.pop_front() {
            assert!(!self.has_ended, "nothing is to be done after the end: {command:?}");
            self.carry(shared, command);
        }
    }

    fn carry(&mut self, shared: &mut Shared, command: Command) {
        match command {
            Command::AskForCheckpoint => unreachable!("all have the same engine"),
            Command::ListCheckpoints => {
                let checkpoints = shared.checkpoints.keys().copied().collect();
                let published = shared.published();
                self.step(shared, MemberInput::Listed { checkpoints, published });
            }
            Command::Load(lsn) => {
                let (head, state) = shared.checkpoints[&lsn].clone();
                let state = Box::new(CheckpointState::decode(&state).expect("it was checked when it was published"));
                self.step(shared, MemberInput::Loaded { head, state });
            }
            Command::Restore | Command::MakeGuest(_) => self.step(shared, MemberInput::Made(Puppet::default())),
            Command::Open(lsn) => {
                self.position = lsn;
                let link = lsn.0.checked_sub(2).map_or(0, |before| shared.records[before as usize].header().link());
                self.step(shared, MemberInput::Opened(link));
            }
            Command::Read => self.is_reading = true,
            Command::Watch | Command::WatchOn => self.is_watching = true,
            Command::Acquire(over) => self.acquire(shared, over),
            Command::LookAtOutcome => {
                let is_written_down = shared.is_written_down;
                self.step(shared, MemberInput::Outcome { is_written_down });
            }
            Command::Look => {
                let fence = shared.records.last().expect("genesis").header().epoch;
                self.step(shared, MemberInput::Others { running: Some(self.others.clone()), fence });
            }
            Command::LookUpPeer { traffic, .. } => self.look_up(shared, traffic),
            Command::LookForMend { lsn, link } => {
                let is_mended = is_mended(lsn, link, &shared.records[lsn.0 as usize..shared.durable.0 as usize]);
                let wish = shared.wishes.standing();
                self.step(shared, MemberInput::Mending { is_mended, wish });
            }
            Command::Reign(_) => {}
            Command::Announce(epoch) => {
                assert_eq!(self.member.reign(), Some(epoch), "who tells that it reigns does");
                self.wanted.clear();
                self.sending.clear();
                self.acknowledged.clear();
            }
            Command::Out(output) => self.let_out(shared, output),
            Command::Answer { .. } => {}
            Command::AnswerQuery(answer) => unreachable!("nobody has asked: {answer:?}"),
            Command::AnswerInquiry(answer) => unreachable!("nobody has asked: {answer:?}"),
            Command::CopyAhead { .. } => {
                self.step(shared, MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: true }));
            }
            Command::Capture { at, .. } => self.capture(shared, at),
            Command::Write(_) | Command::Publish(_) | Command::Compact(_) | Command::Trim { .. } => {
                assert!(self.job.replace(command).is_none(), "one thing is done to a checkpoint at a time");
            }
            Command::WriteDown(Outcome::Finished { .. }) => shared.is_written_down = true,
            Command::WriteDown(Outcome::Halted { .. }) => {}
            Command::Close => self.close(shared),
            Command::Abandon => {
                (self.is_reading, self.is_watching, self.job, self.captured) = (false, false, None, None);
            }
            Command::Tell(Notice::Unusable { lsn, reason }) => panic!("the checkpoint at {lsn} is sound: {reason}"),
            Command::Tell(_) => {}
            Command::Prepare { attempt, .. } => self.step(shared, MemberInput::Prepared { attempt, result: Ok(()) }),
            Command::Ready(attempt) => self.ready = attempt,
            Command::ClaimWish { attempt, epoch } => {
                let is_claimed = shared.wishes.claim(attempt, epoch);
                self.step(shared, MemberInput::Claimed { attempt, epoch, is_claimed });
            }
            Command::SettleWish { attempt, epoch, outcome } => shared.settle(attempt, epoch, &outcome),
            Command::Yield | Command::DropPrints => unreachable!("there is room for what is printed"),
            Command::End(ending) => self.end(ending),
        }
    }

    fn acquire(&mut self, shared: &mut Shared, over: Epoch) {
        let newest = shared.records.last().expect("genesis").header().epoch;
        assert_eq!(over, newest, "what is to be ended is the newest reign");
        let epoch = shared.begin_reign(self.me);
        let records = shared.records[self.position.0 as usize - 1..].to_vec();
        (self.is_reading, self.is_watching) = (false, false);
        let wall = shared.wall;
        self.step(shared, MemberInput::Acquired { epoch, records, wall });
    }

    fn look_up(&mut self, shared: &mut Shared, traffic: Traffic) {
        let (Traffic::PeerConnected { uuid, .. } | Traffic::PeerReached { uuid, .. }) = traffic else {
            panic!("nobody is to be looked up of whom this comes: {traffic:?}")
        };
        self.step(shared, MemberInput::PeerLookedUp { traffic, registered: registered(uuid) });
    }

    fn capture(&mut self, shared: &mut Shared, at: Lsn) {
        assert!(self.captured.is_none(), "a checkpoint is done with before the next one is captured");
        let engine = self.member.engine_of_reign().expect("a member that is captured has a replica");
        let replica = self.member.replica_mut().expect("a member that is captured has a replica");
        assert_eq!(replica.applied(), at, "nothing is applied before the capture");
        let head = CheckpointHead {
            lsn: at,
            module: [0; 32],
            engine,
            state_digest: replica.digest(),
            memory_digest: replica.guest_mut().digest(),
        };
        let state = replica.checkpoint().to_vec().into();
        self.captured = Some((head, state));
        self.step(shared, MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(()))));
    }

    /// Does what is to be done to a checkpoint, if anything is.
    pub(super) fn do_job(&mut self, shared: &mut Shared, succeeds: bool) {
        if self.has_ended {
            return;
        }
        let Some(job) = self.job.take() else { return };
        let done = if succeeds { Ok(()) } else { Err("told to".to_owned()) };
        let event = match job {
            Command::Write(at) => {
                let is_it = self.captured.as_ref().is_some_and(|(head, _)| head.lsn == at);
                assert!(is_it, "what is written was captured");
                self.captured.take_if(|_| !succeeds);
                CheckpointEvent::Written(done)
            }
            Command::Publish(at) => {
                let (head, state) = self.captured.take().expect("what is published was captured");
                assert_eq!(head.lsn, at, "what is published was written");
                if succeeds {
                    shared.publish(head, state);
                }
                CheckpointEvent::Published(done)
            }
            Command::Compact(_) => CheckpointEvent::Compacted(done),
            Command::Trim { keep, .. } => {
                while shared.checkpoints.len() > keep.checkpoints {
                    shared.checkpoints.pop_first();
                }
                CheckpointEvent::Tidied(done)
            }
            job => unreachable!("that is not done to a checkpoint: {job:?}"),
        };
        self.give(shared, MemberInput::Checkpoint(event));
    }

    fn close(&mut self, shared: &mut Shared) {
        let epoch = self.member.reign().expect("only who reigns has a log to close");
        shared.durable = Lsn(shared.records.len() as u64);
        let event = ambrosia_core::member::LogEvent::Durable(shared.durable);
        self.step(shared, MemberInput::Log { epoch, event });
        self.step(shared, MemberInput::Closed);
    }

    fn end(&mut self, ending: Ending) {
        self.has_ended = true;
        match ending {
            Ending::Finished { .. } | Ending::Stopped { .. } | Ending::Halted { .. } | Ending::LogFailed(_) => {}
            ending => panic!("nothing that happens here ends a member so: {ending:?}"),
        }
    }

    fn let_out(&mut self, shared: &Shared, output: Output) {
        let is_replayed = matches!(output, Output::Print { replayed: true, .. });
        assert!(is_replayed || output.after() <= shared.durable, "nothing leaves before it is durable");
        match output {
            Output::Connect { peer, .. } => assert!(self.wanted.insert(peer), "each peer is asked for once"),
            Output::Send { connection, chunk } => {
                assert_eq!(check_travelling(&chunk.messages), Ok(chunk.count), "only what travels is sent");
                let due = self.sending.insert(connection, chunk.last_seq().next());
                assert_eq!(due, Some(chunk.first_seq), "a stream is sent without a gap or repetition");
            }
            Output::Acknowledge { connection, seq, .. } => {
                let before = self.acknowledged.insert(connection, seq);
                assert!(before.is_none_or(|before| before < seq), "acknowledgements rise");
            }
            Output::SessionOpened { session, ticket, accepted, .. } => {
                self.sessions.insert(session, (ticket, accepted));
            }
            Output::SessionAnswered { session, ticket, seq, .. } => {
                let known = self.sessions.entry(session).or_insert((ticket, seq));
                *known = (ticket, seq.max(known.1));
            }
            Output::Welcome { .. }
            | Output::Refuse { .. }
            | Output::Accepted { .. }
            | Output::Answered { .. }
            | Output::KeyReused { .. }
            | Output::SessionRefused { .. }
            | Output::Request { .. }
            | Output::CancelRequest { .. }
            | Output::Resolved { .. }
            | Output::Event { .. }
            | Output::Log { .. }
            | Output::Print { .. } => {}
            output => panic!("a member keeps this to itself: {output:?}"),
        }
    }
}
