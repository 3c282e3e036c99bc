//! `Replica::step` under any course of events: hostile peers and clients, a guest that returns any bytes, takeovers
//! that lose what was not durable.
//!
//! What is not arbitrary is what the driver promises (`Replica`, `Input`): the order of its own inputs, messages that
//! were checked, connections that have a number of their own, and peers that it was told to connect to. A second
//! replica follows the log, and must come to the same state.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{
    CallId, CheckpointState, ConnectionId, Delivered, Epoch, EpochBody, Fault, Genesis, Guest, Input, InstanceName,
    InstanceUuid, Kind, Limits, Lsn, Message, Messages, MethodId, Output, PeerIndex, Print, PrintStream, Record,
    RecordHeader, RecordKind, Replica, ReplicaIndex, RequestId, Runs, Seq, Timestamp, World, check_travelling,
    push_effect, push_message,
};
use ambrosia_test_allocations::within;
use bytes::Bytes;

use crate::{choices::Choices, corpus::Seed};

/// Each byte may be a record in a log, an outbox and three replicas, with collections around it.
const MEMORY_PER_BYTE: usize = 2048;
const MEMORY_SLACK: usize = 256 << 10;

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
    pub(super) const DIGEST: u8 = 10;
    pub(super) const KINDS: u8 = 11;
}

/// What the guest does with a message, by the numbers in its arguments.
mod act {
    pub(super) const ATTACH: u8 = 0;
    pub(super) const EFFECT: u8 = 1;
    pub(super) const BYTES: u8 = 2;
    pub(super) const PRINT: u8 = 3;
    pub(super) const FAULT: u8 = 4;
    pub(super) const RANDOM: u8 = 5;
    pub(super) const KINDS: u8 = 6;
}

/// Lives through the course of events that the bytes describe.
pub fn target(bytes: &[u8]) {
    within(MEMORY_PER_BYTE * bytes.len() + MEMORY_SLACK, || {
        let mut choices = Choices::new(bytes);
        let mut driver = Driver::new();
        for _ in 0..EVENTS_MAX {
            if choices.is_empty() {
                break;
            }
            driver.event(&mut choices);
        }
        driver.take_over(Lsn(driver.records.len() as u64));
    });
}

/// A guest whose messages tell it what to do.
#[derive(Default)]
struct Puppet {
    poisoned: bool,
}

impl Guest for Puppet {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        assert!(!self.poisoned, "a guest is not called again after a fault");
        let mut cause = 0;
        for run in Runs::new(runs) {
            let run = run.expect("the core hands over whole runs");
            run.check().expect("the core hands over whole messages");
            for message in Messages::new(run.messages) {
                let message = message.expect("checked a line above");
                let from_outside = run.peer == PeerIndex::OUTSIDE;
                assert!(from_outside == (run.first_seq == Seq(0)), "peers count from 1, the outside does not");
                assert!(if from_outside { message.kind.comes_from_outside() } else { message.kind.travels() });
                // Host's own messages have no arguments of somebody's choice.
                if message.kind != Kind::Error || !from_outside {
                    self.obey(cause, message, world, delivered)?;
                }
                cause += 1;
            }
        }
        Ok(())
    }
}

impl Puppet {
    fn obey(
        &mut self,
        cause: u32,
        message: Message<'_>,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), Fault> {
        let mut choices = Choices::new(message.arguments);
        while !choices.is_empty() {
            match choices.below(act::KINDS) {
                act::ATTACH => {
                    let _index = world.peers.attach(&name(choices.byte()));
                }
                act::EFFECT => {
                    let kind = Kind::from_byte(choices.byte()).unwrap_or(Kind::Fork);
                    let target = PeerIndex(choices.number() as u32);
                    let call_id = if choices.chance() { message.call_id } else { CallId(choices.number()) };
                    let arguments = choices.bytes();
                    let method = MethodId(7);
                    push_effect(&mut delivered.effects, cause, target, Message { kind, method, call_id, arguments });
                }
                act::BYTES => delivered.effects.extend_from_slice(choices.bytes()),
                act::PRINT => {
                    let stream = if choices.chance() { PrintStream::Stderr } else { PrintStream::Stdout };
                    delivered.prints.push(Print { stream, bytes: choices.bytes().to_vec() });
                }
                act::FAULT => {
                    self.poisoned = true;
                    let reason = "told to".to_owned();
                    return Err(Fault { reason, backtrace: String::new(), stderr: String::new() });
                }
                act::RANDOM => delivered.effects.extend_from_slice(&world.random.next_u64().to_le_bytes()),
                _ => unreachable!("there are no more kinds of acts"),
            }
        }
        Ok(())
    }
}

const OWN_NAME: u8 = 0;

fn name(number: u8) -> InstanceName {
    InstanceName::new(format!("i{}", number % 8)).expect("a plain name")
}

fn uuid(number: u8) -> InstanceUuid {
    InstanceUuid([number % 4; 16])
}

/// A primary, a standby, their log, and what was promised about connections.
struct Driver {
    primary: Replica<Puppet>,
    standby: Replica<Puppet>,
    /// By lsn, from 1.
    records: Vec<Record>,
    durable: Lsn,
    last_connection: u64,
    /// Peers that the primary asked for.
    wanted: BTreeSet<PeerIndex>,
    /// The next message that each connection to a peer is to carry.
    sending: BTreeMap<ConnectionId, Seq>,
    /// The last message acknowledged on each connection.
    acknowledged: BTreeMap<ConnectionId, Seq>,
}

impl Driver {
    fn new() -> Driver {
        let limits = Limits { fuel: 1, memory_bytes: 1 };
        let genesis = Genesis { uuid: uuid(0), module: [0; 32], seed: 1, limits, name: name(OWN_NAME) };
        let records = vec![genesis.record(Timestamp(100))];
        let replica = || Replica::new(&records[0], Puppet::default()).expect("a genesis record");
        let (primary, standby) = (replica(), replica());
        let mut driver = Driver {
            primary,
            standby,
            records,
            durable: Lsn(1),
            last_connection: 0,
            wanted: BTreeSet::new(),
            sending: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
        };
        driver.take_over(Lsn(1));
        driver
    }

    fn event(&mut self, choices: &mut Choices<'_>) {
        let input = match choices.below(event::KINDS) {
            event::DELIVER => return self.deliver(Timestamp(choices.number())),
            event::IMPULSE => Input::Impulse { method: MethodId(1), arguments: arguments(choices), request: None },
            event::REQUEST => {
                let request = RequestId::new([choices.byte()]).expect("one byte");
                Input::Impulse { method: MethodId(1), arguments: arguments(choices), request: Some(request) }
            }
            event::PEER_CONNECTED => Input::PeerConnected {
                connection: self.fresh_connection(),
                name: name(choices.byte()),
                uuid: uuid(choices.byte()),
                epoch: Epoch(choices.number()),
                now: Timestamp(choices.number()),
            },
            event::MESSAGES => match messages(self.some_connection(choices), choices) {
                Some(input) => input,
                None => return,
            },
            event::PEER_REACHED => {
                let at = usize::from(choices.byte());
                let Some(peer) = self.wanted.iter().nth(at % self.wanted.len().max(1)).copied() else { return };
                let (connection, uuid) = (self.fresh_connection(), uuid(choices.byte()));
                let (received, now) = (Seq(choices.number()), Timestamp(choices.number()));
                self.sending.insert(connection, Seq(received.0.saturating_add(1)));
                Input::PeerReached { connection, peer, uuid, received, now }
            }
            event::ACKNOWLEDGED => {
                Input::Acknowledged { connection: self.some_connection(choices), seq: Seq(choices.number()) }
            }
            event::DISCONNECTED => Input::Disconnected(self.some_connection(choices)),
            event::DURABLE => {
                let behind = self.records.len() as u64 - self.durable.0;
                self.durable = Lsn(self.durable.0 + choices.number().min(behind));
                Input::Durable(self.durable)
            }
            event::DIGEST => return self.digest(choices),
            event::TAKEOVER => {
                let behind = self.records.len() as u64 - self.durable.0;
                return self.take_over(Lsn(self.durable.0 + choices.number().min(behind)));
            }
            _ => unreachable!("there are no more kinds of events"),
        };
        self.step(input);
        self.compare();
    }

    fn fresh_connection(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    /// One of the latest connections, whether it still is one or not.
    fn some_connection(&self, choices: &mut Choices<'_>) -> ConnectionId {
        ConnectionId(self.last_connection.saturating_sub(u64::from(choices.byte())))
    }

    fn deliver(&mut self, now: Timestamp) {
        let (mut outputs, mut appended) = (Vec::new(), None);
        self.primary.deliver(now, |record| appended = Some(record), &mut outputs);
        appended.into_iter().for_each(|record| self.append(record));
        self.carry_all(outputs);
        self.compare();
    }

    /// Both replicas compare themselves, and one is asked for a checkpoint, from which the standby goes on.
    fn digest(&mut self, choices: &mut Choices<'_>) {
        let checkpoint_by = choices.chance().then_some(ReplicaIndex(1));
        self.step(Input::Digest { checkpoint_by, now: Timestamp(choices.number()) });
        if self.primary.outcome().is_none() {
            let state = CheckpointState::decode(&self.standby.checkpoint().into()).expect("it was just made");
            assert_eq!(state.link(), self.records.last().expect("genesis").header().link());
            self.standby = Replica::resume(state, Puppet::default());
            let checkpoints = [&self.primary, &self.standby].map(|replica| replica.checkpoint().to_vec());
            assert_eq!(checkpoints[0], checkpoints[1], "checkpoints of two replicas at one record are the same");
        }
        self.compare();
    }

    /// Steps the primary, and writes down and checks what comes out.
    fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.primary.step(input, &mut outputs);
        self.carry_all(outputs);
    }

    fn carry_all(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            assert!(output.after() <= Lsn(self.records.len() as u64), "nothing waits for a record that is not there");
            self.carry(output);
        }
    }

    fn carry(&mut self, output: Output) {
        match output {
            Output::Append(record) => self.append(record),
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
            Output::Checkpoint { at, .. } => assert_eq!(at, Lsn(self.records.len() as u64), "it is told at the record"),
            Output::Diverged(divergence) => panic!("a primary compares itself with nobody: {divergence:?}"),
            Output::Print { replayed, .. } => assert!(!replayed, "a primary does not replay"),
            Output::Welcome { .. }
            | Output::Refuse { .. }
            | Output::Accepted { .. }
            | Output::Answered { .. }
            | Output::Rebound { .. }
            | Output::Finished { .. }
            | Output::Halted { .. } => {}
        }
    }

    fn append(&mut self, record: Record) {
        let last = self.records.last().expect("genesis");
        assert_eq!(record.lsn(), last.lsn().next(), "records have no gap");
        assert_eq!(record.header().previous, last.header().link(), "records are chained");
        assert!(record.header().time >= last.header().time, "the time of records never falls");
        assert!(record.header().durable <= self.durable, "nothing is called durable that is not");
        let mut outputs = Vec::new();
        self.standby.step(Input::Record(record.clone()), &mut outputs);
        let diverged = outputs.iter().any(|output| matches!(output, Output::Diverged(_)));
        assert!(!diverged, "replicas with the same records are in one state");
        self.records.push(record);
    }

    /// Both replicas have applied the same records, so they are in the same state.
    fn compare(&self) {
        assert_eq!(self.primary.applied(), self.standby.applied());
        assert_eq!(self.primary.epoch(), self.standby.epoch());
        assert_eq!(self.primary.outcome(), self.standby.outcome());
        assert_eq!(self.primary.digest(), self.standby.digest(), "replicas with the same records are in one state");
    }

    /// The primary dies, the records up to `kept` are in the log, and a replica that has read them is elected.
    fn take_over(&mut self, kept: Lsn) {
        self.records.truncate(kept.0 as usize);
        let (mut primary, mut standby) = (self.replay(), self.replay());
        let last = *self.records.last().expect("genesis").header();
        let epoch = Epoch(last.epoch.0 + 1);
        let mut header = RecordHeader::new(RecordKind::Epoch, epoch, last.lsn.next(), last.time);
        header.previous = last.link();
        let mut body = Vec::new();
        EpochBody { replica: ReplicaIndex(0), engine: [0; 32] }.encode(&mut body);
        let record = Record::seal(header, &body);
        standby.step(Input::Record(record.clone()), &mut Vec::new());
        primary.step(Input::Record(record.clone()), &mut Vec::new());
        (self.primary, self.standby) = (primary, standby);
        // The storage makes the epoch record durable before anybody is elected.
        self.durable = record.lsn();
        self.records.push(record);
        self.wanted.clear();
        self.sending.clear();
        self.acknowledged.clear();
        self.step(Input::Elected);
        self.compare();
    }

    fn replay(&self) -> Replica<Puppet> {
        let mut replica = Replica::new(&self.records[0], Puppet::default()).expect("a genesis record");
        for record in &self.records[1..] {
            replica.step(Input::Record(record.clone()), &mut Vec::new());
        }
        replica
    }
}

fn arguments(choices: &mut Choices<'_>) -> Bytes {
    Bytes::copy_from_slice(choices.bytes())
}

/// Messages of a peer as the wire lets them through: any of those that travel, with numbers that don't overflow.
fn messages(connection: ConnectionId, choices: &mut Choices<'_>) -> Option<Input> {
    let mut messages = Vec::new();
    let first_seq = Seq(choices.number().max(1));
    for _ in 0..1 + choices.below(3) {
        let kind = [Kind::Fork, Kind::Call, Kind::Reply, Kind::Error][usize::from(choices.below(4))];
        let call_id = CallId(choices.number());
        push_message(&mut messages, Message { kind, method: MethodId(2), call_id, arguments: choices.bytes() });
    }
    let count = check_travelling(&messages).expect("only those that travel were chosen");
    first_seq.0.checked_add(u64::from(count))?;
    Some(Input::Messages { connection, first_seq, count, messages: messages.into() })
}

/// One course for each kind of event, with a guest that takes part in it.
pub fn seeds() -> Vec<Seed> {
    use event::{
        ACKNOWLEDGED, DELIVER, DIGEST, DISCONNECTED, DURABLE, IMPULSE, MESSAGES, PEER_CONNECTED, PEER_REACHED, REQUEST,
        TAKEOVER,
    };
    let seed = |name: &str, parts: &[&[u8]]| (name.to_owned(), parts.concat());
    let counted = |bytes: &[u8]| [&[bytes.len() as u8], bytes].concat();
    let effect = |kind: Kind, target: u8, call: u8, arguments: &[u8]| {
        [&[act::EFFECT, kind as u8, target, 0, call][..], &counted(arguments)].concat()
    };
    let answer = [&[act::EFFECT, Kind::Reply as u8, 0, 1][..], &counted(b"result")].concat();
    let attach = |peer: u8| vec![act::ATTACH, peer];
    let impulse = |acts: &[&[u8]]| [&[IMPULSE][..], &counted(&acts.concat())].concat();
    let request = |id: u8, acts: &[&[u8]]| [&[REQUEST, id][..], &counted(&acts.concat())].concat();
    let call = impulse(&[&attach(3), &effect(Kind::Call, 1, 9, b""), &effect(Kind::Fork, 1, 0, b"x")]);
    let timer = effect(Kind::SetTimer, 0, 4, &50_u64.to_le_bytes());
    let to_myself = impulse(&[&attach(OWN_NAME), &effect(Kind::Call, 1, 5, &effect(Kind::Reply, 1, 5, b""))]);
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
                &[DELIVER, 1, DIGEST, 1, 5, PEER_REACHED, 0, 1, 1, 5, DIGEST, 0, 9, TAKEOVER, 9, DELIVER, 99],
                &call,
                &[DELIVER, 99, DIGEST, 1, 200],
            ],
        ),
        seed(
            "seed-exit",
            &[&impulse(&[&effect(Kind::Exit, 0, 0, &[3, 0, 0, 0])]), &[DELIVER, 1, PEER_CONNECTED, 1, 1, 1, 1]],
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
            "seed-wrong-numbers",
            &[&call, &[DELIVER, 1, PEER_REACHED, 0, 1, 9, 5, PEER_CONNECTED, 3, 1, 1, 5, MESSAGES, 0, 9, 0, 0, 0, 0]],
        ),
    ]
}
