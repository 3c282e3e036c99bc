//! Two members of one log under any course of events: hostile peers and clients, a guest that returns any bytes,
//! takeovers that lose what was not durable, checkpoints that fail.
//!
//! What is not arbitrary is what a driver promises (`Member`, `MemberInput`): that commands are carried out in order,
//! messages that were checked, connections that have a number of their own, and peers that it was told to connect to. At
//! each record both members must be in the same state.

mod node;
mod puppet;
mod wishes;

use std::{collections::BTreeMap, time::Duration};

use ambrosia_core::{
    CallId, CheckpointState, ConnectionId, Epoch, EpochBody, Genesis, InstanceName, InstanceUuid, Limits, Lsn, Message,
    MessageKind, MethodId, OpeningId, Record, RecordHeader, RecordKind, Replica, ReplicaIndex, RequestId, Seq,
    SessionId, Skip, Ticket, Timestamp, Traffic, Upgrade, check_travelling,
    member::{Change, CheckpointHead, LogEvent, MemberInput, StopCause, Wish},
    push_message,
};
use ambrosia_test_allocations::within;
use bytes::Bytes;

use crate::{choices::Choices, corpus::Seed};
use node::Node;
use puppet::{act, code};
use wishes::Wishes;

/// Each byte may be a record in a log, an outbox and several replicas, with collections around it.
const MEMORY_PER_BYTE: usize = 2048;
const MEMORY_SLACK: usize = 512 << 10;

const EVENTS_MAX: usize = 2000;

/// What happens, by its number.
mod event {
    pub(super) const DELIVER: u8 = 0;
    pub(super) const IMPULSE: u8 = 1;
    pub(super) const REQUEST: u8 = 2;
    pub(super) const PEER_CONNECTED: u8 = 3;
    pub(super) const MESSAGES: u8 = 4;
    pub(super) const PEER_REACHED: u8 = 5;
    pub(super) const ACKNOWLEDGED: u8 = 6;
    pub(super) const DISCONNECTED: u8 = 7;
    pub(super) const DURABLE: u8 = 8;
    pub(super) const TAKEOVER: u8 = 9;
    pub(super) const CHECKPOINT: u8 = 10;
    pub(super) const JOB: u8 = 11;
    pub(super) const DEPOSED: u8 = 12;
    pub(super) const HAND_OVER: u8 = 13;
    pub(super) const LOG_FAILED: u8 = 14;
    pub(super) const SILENCE: u8 = 15;
    pub(super) const WISH: u8 = 16;
    pub(super) const SESSION: u8 = 17;
    pub(super) const KINDS: u8 = 18;
}

/// Lives through the course of events that the bytes describe.
pub fn target(bytes: &[u8]) {
    within(MEMORY_PER_BYTE * bytes.len() + MEMORY_SLACK, || {
        let mut choices = Choices::new(bytes);
        let mut cluster = Cluster::new();
        for _ in 0..EVENTS_MAX {
            if choices.is_empty() {
                break;
            }
            cluster.event(&mut choices);
        }
        cluster.restart(Lsn(cluster.shared.records.len() as u64));
    });
}

const OWN_NAME: u8 = 0;

/// The connection of clients with sessions; no peer has it.
const CLIENTS: ConnectionId = ConnectionId(u64::MAX - 1);

/// The operator's connection; no peer has it.
const OPERATOR: ConnectionId = ConnectionId(u64::MAX);

fn name(number: u8) -> InstanceName {
    InstanceName::new(format!("i{}", number % 8)).expect("a plain name")
}

fn uuid(number: u8) -> InstanceUuid {
    InstanceUuid([number % 4; 16])
}

/// The instance that the registry has under any name: one in four of those that say hello is gone.
fn registered(said: InstanceUuid) -> Option<InstanceUuid> {
    (said != uuid(3)).then_some(said)
}

/// Some messages of one of the last records.
fn skip(attempt: u64, durable: Lsn, choices: &mut Choices<'_>) -> Change {
    let lsn = Lsn(durable.0.saturating_sub(u64::from(choices.byte())));
    let messages = choices.bytes().iter().map(|position| u32::from(*position)).collect();
    Change::Skip { lsn, skip: Skip { attempt, messages } }
}

/// What both members have in common: the store.
struct Shared {
    /// By lsn, from 1.
    records: Vec<Record>,
    /// Digest of the state at each record, by the first member that applied it.
    digests: Vec<Option<u64>>,
    durable: Lsn,
    /// Those that count.
    checkpoints: BTreeMap<Lsn, (CheckpointHead, Bytes)>,
    is_written_down: bool,
    wishes: Wishes,
    now: Duration,
    wall: Timestamp,
}

impl Shared {
    /// The member has applied a record, and is in this state.
    fn note_applied(&mut self, lsn: Lsn, digest: u64) {
        let at = lsn.0 as usize - 1;
        self.digests.resize(self.digests.len().max(at + 1), None);
        let known = self.digests[at].get_or_insert(digest);
        assert_eq!(*known, digest, "replicas with the same records are in one state");
    }

    fn append(&mut self, record: Record) {
        let last = self.records.last().expect("genesis");
        assert_eq!(record.lsn(), last.lsn().next(), "records have no gap");
        assert_eq!(record.header().previous, last.header().link(), "records are chained");
        assert!(record.header().time >= last.header().time, "the time of records never falls");
        assert!(record.header().durable <= self.durable, "nothing is called durable that is not");
        self.records.push(record);
    }

    /// What was not durable is lost.
    fn lose(&mut self, kept: Lsn) {
        assert!(kept >= self.durable, "what is durable stays");
        self.records.truncate(kept.0 as usize);
        self.digests.truncate(kept.0 as usize);
        self.durable = kept;
    }

    /// The record that begins the next reign, which the storage makes durable before anybody is elected.
    fn begin_reign(&mut self, me: ReplicaIndex) -> Epoch {
        let last = *self.records.last().expect("genesis").header();
        let epoch = Epoch(last.epoch.0 + 1);
        let mut header = RecordHeader::new(RecordKind::Epoch, epoch, last.lsn.next(), last.time);
        header.previous = last.link();
        let mut body = Vec::new();
        EpochBody { replica: me, engine: node::ENGINE }.encode(&mut body);
        self.records.push(Record::seal(header, &body));
        self.durable = last.lsn.next();
        epoch
    }

    fn published(&self) -> Lsn {
        self.checkpoints.last_key_value().map(|(lsn, _)| *lsn).unwrap_or_default()
    }

    fn publish(&mut self, head: CheckpointHead, state: Bytes) {
        assert!(head.lsn <= self.durable, "a checkpoint holds what is durable");
        let decoded = CheckpointState::decode(&state).expect("it was just made");
        let link = self.records[head.lsn.0 as usize - 1].header().link();
        assert_eq!(decoded.link(), link, "a checkpoint is of the log's records");
        if let Some((_, other)) = self.checkpoints.insert(head.lsn, (head, state.clone())) {
            assert_eq!(other, state, "checkpoints of two replicas at one record are the same");
        }
    }
}

/// Two members and their store.
struct Cluster {
    shared: Shared,
    nodes: [Node; 2],
    last_connection: u64,
}

impl Cluster {
    fn new() -> Cluster {
        let limits = Limits { fuel: 1, memory_bytes: 1 };
        let genesis = Genesis { uuid: uuid(0), module: [0; 32], seed: 1, limits, name: name(OWN_NAME) };
        let shared = Shared {
            records: vec![genesis.record(Timestamp(100))],
            digests: Vec::new(),
            durable: Lsn(1),
            checkpoints: BTreeMap::new(),
            is_written_down: false,
            wishes: Wishes::default(),
            now: Duration::from_secs(1),
            wall: Timestamp(100),
        };
        let nodes = [Node::new(ReplicaIndex(0)), Node::new(ReplicaIndex(1))];
        let mut cluster = Cluster { shared, nodes, last_connection: 0 };
        cluster.restart(Lsn(1));
        cluster
    }

    /// A client opens a session, asks in it, or confirms; most of them say what a sound one would.
    fn session(&mut self, choices: &mut Choices<'_>) {
        let (connection, session) = (CLIENTS, SessionId([choices.below(3); 16]));
        let known = self.primary().and_then(|at| self.nodes[at].sessions.get(&session).copied());
        let (ticket, accepted) = if choices.below(8) == 0 { None } else { known }
            .unwrap_or_else(|| (Ticket(choices.number()), Seq(choices.number().min(u64::MAX / 2))));
        let confirmed = Seq(choices.number().min(accepted.0));
        match choices.below(4) {
            0 => {
                let opening = OpeningId([choices.below(4); 16]);
                self.take(Traffic::OpenSession { connection, session, opening });
            }
            1 => self.take(Traffic::SessionConfirmed { connection, session, ticket, confirmed }),
            _ => {
                let seq = Seq((accepted.0 + 1 + u64::from(choices.below(4))).saturating_sub(choices.below(4).into()));
                let (method, arguments) = (MethodId(1), arguments(choices));
                let impossible = (choices.below(8) == 0).then(|| "there is no such method".to_owned());
                self.take(Traffic::SessionRequest {
                    connection,
                    session,
                    ticket,
                    seq,
                    confirmed,
                    method,
                    arguments,
                    impossible,
                });
            }
        }
    }

    /// Which member reigns.
    fn primary(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.member.reign().is_some())
    }

    fn event(&mut self, choices: &mut Choices<'_>) {
        match choices.below(event::KINDS) {
            event::DELIVER => {
                self.pass(choices.number());
                self.turn();
            }
            event::IMPULSE => {
                self.take(Traffic::Impulse {
                    method: MethodId(1),
                    arguments: arguments(choices),
                    request: None,
                    from: None,
                    trace: None,
                });
            }
            event::REQUEST => {
                let request = Some(RequestId::new([choices.byte()]).expect("one byte"));
                self.take(Traffic::Impulse {
                    method: MethodId(1),
                    arguments: arguments(choices),
                    request,
                    from: None,
                    trace: None,
                });
            }
            event::PEER_CONNECTED => {
                let (connection, name, uuid) = (self.fresh_connection(), name(choices.byte()), uuid(choices.byte()));
                let epoch = Epoch(choices.number());
                self.pass(choices.number());
                self.take(Traffic::PeerConnected { connection, name, uuid, epoch });
            }
            event::MESSAGES => {
                if let Some(traffic) = messages(self.some_connection(choices), choices) {
                    self.take(traffic);
                }
            }
            event::PEER_REACHED => self.reach(choices),
            event::ACKNOWLEDGED => {
                let (connection, seq) = (self.some_connection(choices), Seq(choices.number()));
                self.take(Traffic::Acknowledged { connection, seq });
            }
            event::DISCONNECTED => self.take(Traffic::Disconnected(self.some_connection(choices))),
            event::DURABLE => {
                let durable = self.some_behind(choices);
                self.make_durable(durable);
            }
            event::TAKEOVER => {
                let kept = self.some_behind(choices);
                self.restart(kept);
            }
            event::CHECKPOINT => {
                let is_wanted = choices.chance();
                self.pass(choices.number());
                if is_wanted {
                    self.give_primary(MemberInput::CheckpointWanted(OPERATOR));
                }
                self.turn();
            }
            event::JOB => {
                let (at, succeeds) = (usize::from(choices.below(2)), !choices.chance());
                self.nodes[at].do_job(&mut self.shared, succeeds);
                self.feed();
            }
            event::SESSION => self.session(choices),
            event::DEPOSED => self.depose(),
            event::HAND_OVER => {
                self.give_primary(MemberInput::Shutdown);
                self.restart(Lsn(self.shared.records.len() as u64));
            }
            event::LOG_FAILED => {
                let failed = LogEvent::Stopped(StopCause::Failed("told to".to_owned()));
                self.report(failed);
                self.restart(self.shared.durable);
            }
            event::SILENCE => {
                for node in &mut self.nodes {
                    node.is_silent = !node.is_silent;
                }
            }
            event::WISH => self.wish(choices),
            _ => unreachable!("there are no more kinds of events"),
        }
    }

    /// An operator wishes for a module that does what was chosen, or takes a wish back.
    fn wish(&mut self, choices: &mut Choices<'_>) {
        let running = self.primary().and_then(|primary| self.nodes[primary].member.replica());
        let from = running.map_or([0; 32], Replica::module);
        let (does, flags) = (choices.below(code::KINDS), choices.byte());
        let acts = choices.bytes();
        let mut to = [0; 32];
        to[0] = does;
        let count = acts.len().min(31);
        to[1..=count].copy_from_slice(&acts[..count]);
        let attempt = self.shared.wishes.next();
        let skip = (flags & 16 != 0).then(|| skip(attempt, self.shared.durable, choices));
        let upgrade = Upgrade {
            attempt,
            from: if flags & 1 == 0 { from } else { [9; 32] },
            to: if flags & 2 == 0 { to } else { from },
            limits: Limits { fuel: attempt, memory_bytes: 1 },
            handover_fuel: 1,
            end_waiting: flags & 4 != 0,
        };
        self.shared.wishes.wish(Wish {
            change: skip.unwrap_or(Change::Upgrade(upgrade)),
            wait: Duration::from_nanos(choices.number()),
            hold: flags & 8 != 0,
            is_cancelled: false,
        });
        let standing = self.shared.wishes.standing();
        for node in &mut self.nodes {
            node.give(&mut self.shared, MemberInput::Wish(standing.clone()));
        }
        self.turn();
    }

    fn fresh_connection(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    /// One of the latest connections, whether it still is one or not.
    fn some_connection(&self, choices: &mut Choices<'_>) -> ConnectionId {
        ConnectionId(self.last_connection.saturating_sub(u64::from(choices.byte())))
    }

    /// One of the records that are not known to be durable, or the last that is.
    fn some_behind(&self, choices: &mut Choices<'_>) -> Lsn {
        let behind = self.shared.records.len() as u64 - self.shared.durable.0;
        Lsn(self.shared.durable.0 + choices.number().min(behind))
    }

    /// Time passes: as much as a machine may run, at most.
    fn pass(&mut self, ns: u64) {
        const ERA: Duration = Duration::from_secs(100 * 365 * 86_400);
        self.shared.now = (self.shared.now + Duration::from_nanos(ns)).min(ERA);
        self.shared.wall = Timestamp(ns);
    }

    fn give_primary(&mut self, input: MemberInput<puppet::Puppet>) {
        if let Some(primary) = self.primary() {
            self.nodes[primary].give(&mut self.shared, input);
        }
        self.feed();
    }

    fn take(&mut self, traffic: Traffic) {
        self.give_primary(MemberInput::Traffic(traffic));
    }

    fn report(&mut self, event: LogEvent) {
        if let Some(epoch) = self.primary().and_then(|primary| self.nodes[primary].member.reign()) {
            self.give_primary(MemberInput::Log { epoch, event });
        }
    }

    fn reach(&mut self, choices: &mut Choices<'_>) {
        let at = usize::from(choices.byte());
        let Some(primary) = self.primary() else { return };
        let wanted = &self.nodes[primary].wanted;
        let Some(peer) = wanted.iter().nth(at % wanted.len().max(1)).copied() else { return };
        let (connection, uuid) = (self.fresh_connection(), uuid(choices.byte()));
        let received = Seq(choices.number());
        self.pass(choices.number());
        self.nodes[primary].sending.insert(connection, Seq(received.0.saturating_add(1)));
        self.take(Traffic::PeerReached { connection, peer, uuid, received });
    }

    fn make_durable(&mut self, lsn: Lsn) {
        self.shared.durable = lsn;
        self.report(LogEvent::Durable(lsn));
    }

    /// The primary does what is due, and what comes of that at once.
    fn turn(&mut self) {
        const TURNS_MAX: usize = 4;
        for _ in 0..TURNS_MAX {
            let Some(primary) = self.primary() else { break };
            let others = [self.nodes[1 - primary].as_other()];
            if !self.nodes[primary].turn(&mut self.shared, &others) {
                break;
            }
        }
        self.feed();
    }

    /// Members that follow read what is durable.
    fn feed(&mut self) {
        for at in 0..self.nodes.len() {
            self.nodes[at].others = vec![self.nodes[1 - at].as_other()];
            self.nodes[at].feed(&mut self.shared);
        }
    }

    /// The one that follows takes the other one for dead, and that hears of it late.
    fn depose(&mut self) {
        let Some(primary) = self.primary() else { return };
        if !self.nodes[1 - primary].is_ready() {
            return;
        }
        self.shared.lose(self.shared.durable);
        let over = self.nodes[primary].member.reign().expect("it reigns");
        self.nodes[1 - primary].take_over(&mut self.shared, over);
        let by = Epoch(over.0 + 1);
        let input = MemberInput::Log { epoch: over, event: LogEvent::Stopped(StopCause::Fenced { by }) };
        self.nodes[primary].give(&mut self.shared, input);
        self.feed();
    }

    /// Both processes die; the records up to `kept` are in the log. Two others begin, and the first takes over.
    fn restart(&mut self, kept: Lsn) {
        self.shared.lose(kept);
        self.nodes = [Node::new(ReplicaIndex(0)), Node::new(ReplicaIndex(1))];
        for node in &mut self.nodes {
            node.begin(&mut self.shared);
        }
        self.feed();
        if self.nodes[0].is_ready() {
            let over = self.shared.records.last().expect("genesis").header().epoch;
            self.nodes[0].take_over(&mut self.shared, over);
        }
        self.feed();
    }
}

fn arguments(choices: &mut Choices<'_>) -> Bytes {
    Bytes::copy_from_slice(choices.bytes())
}

/// Messages of a peer as the wire lets them through: any of those that travel, with numbers that don't overflow.
fn messages(connection: ConnectionId, choices: &mut Choices<'_>) -> Option<Traffic> {
    let mut messages = Vec::new();
    let first_seq = Seq(choices.number().max(1));
    for _ in 0..1 + choices.below(3) {
        let kind = [MessageKind::Fork, MessageKind::Call, MessageKind::Reply, MessageKind::Error]
            [usize::from(choices.below(4))];
        let call_id = CallId(choices.number());
        push_message(&mut messages, Message { kind, method: MethodId(2), call_id, arguments: choices.bytes() });
    }
    let count = check_travelling(&messages).expect("only those that travel were chosen");
    first_seq.0.checked_add(u64::from(count))?;
    Some(Traffic::Messages { connection, first_seq, count, messages: messages.into() })
}

/// One course for each kind of event, with a guest that takes part in it.
pub fn seeds() -> Vec<Seed> {
    use event::{
        ACKNOWLEDGED, CHECKPOINT, DELIVER, DEPOSED, DISCONNECTED, DURABLE, HAND_OVER, IMPULSE, JOB, LOG_FAILED,
        MESSAGES, PEER_CONNECTED, PEER_REACHED, REQUEST, SILENCE, TAKEOVER, WISH,
    };
    let seed = |name: &str, parts: &[&[u8]]| (name.to_owned(), parts.concat());
    let counted = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let effect = |kind: MessageKind, target: u8, call: u8, arguments: &[u8]| {
        [&[act::EFFECT, kind as u8, target, 0, call][..], &counted(arguments)].concat()
    };
    let answer = [&[act::EFFECT, MessageKind::Reply as u8, 0, 1][..], &counted(b"result")].concat();
    let attach = |peer: u8| vec![act::ATTACH, peer];
    let impulse = |acts: &[&[u8]]| [&[IMPULSE][..], &counted(&acts.concat())].concat();
    let request = |id: u8, acts: &[&[u8]]| [&[REQUEST, id][..], &counted(&acts.concat())].concat();
    let wish =
        |does: u8, flags: u8, acts: &[&[u8]]| [&[WISH, does, flags][..], &counted(&acts.concat()), &[200]].concat();
    let call = impulse(&[&attach(3), &effect(MessageKind::Call, 1, 9, b""), &effect(MessageKind::Fork, 1, 0, b"x")]);
    let poison = impulse(&[&[act::FAULT]]);
    // The third message of the last record that is durable, behind what says that the guest has started and reigns.
    let skip = [WISH, code::TAKES, 16, 0, 0, 1, 2, 200];
    let timer = effect(MessageKind::SetTimer, 0, 4, &50_u64.to_le_bytes());
    let to_myself =
        impulse(&[&attach(OWN_NAME), &effect(MessageKind::Call, 1, 5, &effect(MessageKind::Reply, 1, 5, b""))]);
    vec![
        seed("seed-start", &[&[DELIVER, 1]]),
        seed(
            "seed-request",
            &[&[DELIVER, 1], &request(7, &[&answer]), &[DELIVER, 2], &request(7, &[&answer]), &[DURABLE, 9]],
        ),
        seed(
            "seed-peer",
            &[&[PEER_CONNECTED, 2, 1, 1, 5, MESSAGES, 0, 1, 1, 0, 0, 0, 1, 0, 2, 3, 0, 1, 3, DELIVER, 6]],
        ),
        seed("seed-call", &[&call, &[DELIVER, 1, PEER_REACHED, 0, 1, 0, 5, ACKNOWLEDGED, 0, 2, DELIVER, 3]]),
        seed(
            "seed-rebind",
            &[&call, &[DELIVER, 1, PEER_REACHED, 0, 1, 0, 5, PEER_REACHED, 0, 2, 0, 6, DELIVER, 9, DELIVER, 9]],
        ),
        seed("seed-timer", &[&impulse(&[&timer]), &[DELIVER, 1, DELIVER, 200, DELIVER, 200]]),
        seed("seed-to-myself", &[&to_myself, &[DELIVER, 1, DELIVER, 2, DELIVER, 3]]),
        seed(
            "seed-takeover",
            &[&call, &[DELIVER, 1, TAKEOVER, 0, DELIVER, 2], &call, &[DELIVER, 1, TAKEOVER, 9, DELIVER, 4]],
        ),
        seed(
            "seed-digest",
            &[
                &request(7, &[&answer]),
                &request(8, &[&timer]),
                &call,
                &[DELIVER, 1, CHECKPOINT, 1, 5, PEER_REACHED, 0, 1, 1, 5, CHECKPOINT, 0, 9, TAKEOVER, 9, DELIVER, 99],
                &call,
                &[DELIVER, 99, CHECKPOINT, 1, 200],
            ],
        ),
        seed(
            "seed-exit",
            &[&impulse(&[&effect(MessageKind::Exit, 0, 0, &[3, 0, 0, 0])]), &[DELIVER, 1, PEER_CONNECTED, 1, 1, 1, 1]],
        ),
        seed(
            "seed-fault",
            &[&impulse(&[&attach(1), &timer, &[act::PRINT, 0, 2, b'h', b'i', act::FAULT]]), &[DELIVER, 1, TAKEOVER, 9]],
        ),
        seed(
            "seed-bad-effects",
            &[&impulse(&[&[act::BYTES, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, act::RANDOM]]), &[DELIVER, 1]],
        ),
        seed(
            "seed-disconnect",
            &[&[PEER_CONNECTED, 2, 1, 1, 5, DISCONNECTED, 0, MESSAGES, 0, 1, 0, 0, 0, 0, PEER_CONNECTED, 2, 1, 0, 5]],
        ),
        seed(
            "seed-checkpoint-of-a-standby",
            &[
                &call,
                &[DELIVER, 1, CHECKPOINT, 1, 5, DURABLE, 9, JOB, 1, 0, JOB, 1, 0, JOB, 1, 0, JOB, 1, 0],
                &[TAKEOVER, 0, DELIVER, 1],
            ],
        ),
        seed(
            "seed-checkpoint-that-fails",
            &[&[CHECKPOINT, 1, 5, DURABLE, 9, JOB, 1, 1, CHECKPOINT, 1, 255, 0, 0, 0, 0, 9, 0, 0, 0]],
        ),
        seed(
            "seed-checkpoint-of-the-primary",
            &[&call, &[SILENCE, DELIVER, 1, CHECKPOINT, 1, 5, JOB, 0, 0, JOB, 0, 0, DURABLE, 9, JOB, 0, 0, JOB, 0, 0]],
        ),
        seed(
            "seed-deposed",
            &[&call, &[DELIVER, 1, DURABLE, 1, DEPOSED, DELIVER, 1], &call, &[DELIVER, 1, DURABLE, 9]],
        ),
        seed("seed-wish", &[&call, &wish(code::TAKES, 0, &[&timer, &attach(5)]), &[DELIVER, 1, DURABLE, 9], &call]),
        seed(
            "seed-wish-and-takeover",
            &[&call, &wish(code::TAKES, 0, &[&attach(5)]), &[TAKEOVER, 9, DELIVER, 1, DELIVER, 1, DURABLE, 9]],
        ),
        seed("seed-wish-refused", &[&wish(code::REFUSES, 0, &[]), &[DELIVER, 9], &wish(code::TAKES, 1, &[])]),
        seed("seed-wish-at-fault", &[&wish(code::TAKES, 0, &[&attach(2), &[act::RANDOM]]), &[DELIVER, 9], &call]),
        seed("seed-wish-that-waits", &[&wish(code::WAITS, 8, &[]), &call, &[DELIVER, 9], &wish(code::WAITS, 0, &[])]),
        seed("seed-wish-lost", &[&wish(code::IS_LOST, 0, &[]), &[DELIVER, 9], &call, &[DELIVER, 9]]),
        seed(
            "seed-mend-by-skip",
            &[&poison, &[DELIVER, 1, DURABLE, 9], &skip, &[LOG_FAILED, DELIVER, 1, DELIVER, 1, DURABLE, 9, DELIVER, 1]],
        ),
        seed(
            "seed-mend-refused",
            &[
                &poison,
                &[DELIVER, 1, DURABLE, 9],
                &wish(code::TAKES, 0, &[&attach(2)]),
                &[LOG_FAILED, DELIVER, 9, DELIVER, 1, DURABLE, 9, DELIVER, 1],
            ],
        ),
        seed("seed-hand-over", &[&call, &[DELIVER, 1, HAND_OVER, DELIVER, 2]]),
        seed("seed-log-failed", &[&call, &[DELIVER, 1, DURABLE, 1], &call, &[DELIVER, 1, LOG_FAILED, DELIVER, 2]]),
        seed(
            "seed-wrong-numbers",
            &[&call, &[DELIVER, 1, PEER_REACHED, 0, 1, 9, 5, PEER_CONNECTED, 3, 1, 1, 5, MESSAGES, 0, 9, 0, 0, 0, 0]],
        ),
    ]
}
