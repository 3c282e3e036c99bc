//! One primary under a test: its log is durable at once, and its guest does what the test's function says.

use ambrosia_core::{
    CallId, CheckpointState, ConnectionId, Delivered, Epoch, EpochBody, Fault, Genesis, Guest, HandoverError, Input,
    InstanceName, InstanceUuid, Limits, Lsn, Message, MessageKind, Messages, MethodId, Output, PeerIndex, Record,
    RecordHeader, RecordKind, Remedy, Replica, ReplicaIndex, RequestId, Runs, Seq, Timestamp, Traffic, Upgrade, World,
    is_void, push_effect, push_message,
};
use bytes::Bytes;

/// What a guest heard: where from, what kind, which call id, with what.
pub(crate) type Heard = (u32, MessageKind, u64, Vec<u8>);

/// The guest: calls `on` for each message.
pub(crate) struct Script {
    pub(crate) on: On,
    pub(crate) heard: Vec<Heard>,
    /// What it was before an upgrade that may be undone.
    before: Option<(u8, Vec<Heard>)>,
    /// First byte of the hash of the module that it was upgraded to; 0 before that.
    code: u8,
    pub(crate) is_lost: bool,
}

impl Script {
    pub(crate) fn new(on: On) -> Script {
        Script { on, heard: Vec::new(), before: None, code: 0, is_lost: false }
    }
}

/// What the code of a module does when it takes over, by the first byte of its hash.
pub(crate) const TAKES_ALL: u8 = 10;
pub(crate) const REFUSES: u8 = 11;
pub(crate) const WAITS: u8 = 12;
/// Attaches a peer, draws a random number, sets a timer, sends, and then sends to a peer that it never attached.
pub(crate) const IS_AT_FAULT: u8 = 13;
pub(crate) const EXITS: u8 = 14;
pub(crate) const IS_LOST: u8 = 15;

pub(crate) type On = fn(PeerIndex, &Message<'_>, &mut Hand<'_>);

/// What a test's function does things with.
pub(crate) struct Hand<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) effects: &'a mut Vec<u8>,
    pub(crate) fault: bool,
    pub(crate) code: u8,
}

impl Hand<'_> {
    pub(crate) fn attach(&mut self, text: &str) -> PeerIndex {
        self.world.peers.attach(&name(text)).expect("there are few")
    }

    pub(crate) fn effect(&mut self, target: PeerIndex, kind: MessageKind, call: u64, arguments: &[u8]) {
        let message = Message { kind, method: MethodId(0), call_id: CallId(call), arguments };
        push_effect(self.effects, 0, target, message);
    }
}

impl Guest for Script {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        let mut hand = Hand { world, effects: &mut delivered.effects, fault: false, code: self.code };
        for run in Runs::new(runs) {
            let run = run.expect("the core hands over whole runs");
            for message in Messages::new(run.messages) {
                let message = message.expect("the core hands over whole messages");
                let heard = (run.peer.0, message.kind, message.call_id.0, message.arguments.to_vec());
                self.heard.push(heard);
                (self.on)(run.peer, &message, &mut hand);
            }
        }
        if hand.fault {
            return Err(Fault { reason: "told to".into(), backtrace: String::new(), stderr: String::new() });
        }
        Ok(())
    }

    fn digest(&mut self) -> u64 {
        self.heard.len() as u64
    }

    fn makes_promises(&self) -> bool {
        true
    }

    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        match upgrade.to[0] {
            REFUSES => return Err(HandoverError::Refused(Fault::because("it does not fit"))),
            WAITS => return Err(HandoverError::Waits("transfer awaits withdraw".to_owned())),
            IS_LOST => {
                self.is_lost = true;
                return Err(HandoverError::Lost(Fault::because("it traps")));
            }
            _ => {}
        }
        self.before = Some((self.code, self.heard.clone()));
        self.code = upgrade.to[0];
        self.heard.push((0, MessageKind::Start, world.random.next_u64(), upgrade.to.to_vec()));
        let mut hand = Hand { world, effects: &mut delivered.effects, fault: false, code: self.code };
        let fresh = hand.attach("fresh");
        hand.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, 77, &9000_u64.to_le_bytes());
        hand.effect(PeerIndex::OUTSIDE, MessageKind::Waiting, 0, &2_u64.to_le_bytes());
        hand.effect(fresh, MessageKind::Call, 78, b"hello");
        match upgrade.to[0] {
            IS_AT_FAULT => hand.effect(PeerIndex(99), MessageKind::Fork, 0, b"whom?"),
            EXITS => hand.effect(PeerIndex::OUTSIDE, MessageKind::Exit, 0, &3_i32.to_le_bytes()),
            _ => {}
        }
        Ok(())
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        (self.code, self.heard) = self.before.take().expect("there is an upgrade to be undone");
        Ok(())
    }

    fn keep_upgrade(&mut self) {
        self.before.take().expect("there is an upgrade that stands");
    }
}

pub(crate) struct Bench {
    pub(crate) replica: Replica<Script>,
    pub(crate) records: Vec<Record>,
    on: On,
    pub(crate) now: Timestamp,
    last_connection: u64,
}

pub(crate) fn name(text: &str) -> InstanceName {
    InstanceName::new(text).expect("a plain name")
}

pub(crate) fn uuid(number: u8) -> InstanceUuid {
    InstanceUuid([number; 16])
}

/// Encoded forks, one for each of `arguments`.
pub(crate) fn forks(arguments: &[&[u8]]) -> Bytes {
    let mut out = Vec::new();
    for arguments in arguments {
        push_message(&mut out, Message { kind: MessageKind::Fork, method: MethodId(1), call_id: CallId(0), arguments });
    }
    out.into()
}

impl Bench {
    /// An elected primary named `me` whose guest has heard that it started.
    pub(crate) fn new(on: On) -> Bench {
        let genesis = Genesis {
            uuid: uuid(1),
            module: [2; 32],
            seed: 3,
            limits: Limits { fuel: 4, memory_bytes: 5 },
            name: name("me"),
        };
        let record = genesis.record(Timestamp(100));
        let replica = Replica::new(&record, Script::new(on)).expect("a genesis record");
        let mut bench = Bench { replica, records: vec![record], on, now: Timestamp(100), last_connection: 0 };
        bench.begin_reign();
        bench.deliver();
        bench
    }

    fn begin_reign(&mut self) -> Vec<Output> {
        let last = *self.records.last().expect("genesis").header();
        let mut header = RecordHeader::new(RecordKind::Epoch, Epoch(last.epoch.0 + 1), last.lsn.next(), last.time);
        header.previous = last.link();
        let mut body = Vec::new();
        EpochBody { replica: ReplicaIndex(0), engine: [0; 32] }.encode(&mut body);
        let record = Record::seal(header, &body);
        self.records.push(record.clone());
        self.replica.step(Input::Record(record), &mut Vec::new());
        self.step(Input::Elected)
    }

    /// All outputs but the records, which are made durable at once and, if they are deliveries, executed.
    pub(crate) fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.replica.step(input, &mut outputs);
        if self.append(&mut outputs).is_some() {
            self.make_durable(&mut outputs);
        }
        self.check_checkpoint();
        outputs
    }

    fn make_durable(&mut self, outputs: &mut Vec<Output>) {
        self.replica.step(Input::Durable(Lsn(self.records.len() as u64)), outputs);
    }

    /// A checkpoint holds all that the next one would.
    fn check_checkpoint(&self) {
        if self.replica.outcome().is_some()
            || self.replica.void().is_some()
            || self.records.len() >= 64
            || self.replica.undelivered() >= 100
        {
            return;
        }
        let shared = self.replica.checkpoint();
        // Of what is large, others have tests; here it would only take time.
        if shared.bytes() < 100 << 20 {
            let bytes = shared.to_vec();
            let resumed = self.resumed(&bytes);
            assert_eq!(resumed.checkpoint().to_vec(), bytes);
            assert_eq!(resumed.digest(), self.replica.digest());
        }
    }

    /// A replica that goes on from a checkpoint, with a guest that remembers what this one does.
    pub(crate) fn resumed(&self, checkpoint: &[u8]) -> Replica<Script> {
        let state = CheckpointState::decode(&Bytes::copy_from_slice(checkpoint)).expect("it was just made");
        let replica = Replica::resume(
            state,
            Script { heard: self.heard().to_vec(), code: self.replica.guest().code, ..Script::new(self.on) },
        );
        replica.validate();
        replica
    }

    fn append(&mut self, outputs: &mut Vec<Output>) -> Option<RecordKind> {
        let at = outputs.iter().position(|output| matches!(output, Output::Append(_)))?;
        let Output::Append(record) = outputs.remove(at) else { unreachable!("seen above") };
        self.records.push(record);
        self.records.last().map(|record| record.header().kind)
    }

    pub(crate) fn deliver(&mut self) -> Vec<Output> {
        let (mut outputs, records) = (Vec::new(), &mut self.records);
        if self.replica.deliver(self.now, |record| records.push(record), &mut outputs) {
            self.make_durable(&mut outputs);
        }
        self.check_checkpoint();
        outputs
    }

    /// Gives the guest an impulse and delivers it.
    pub(crate) fn impulse(&mut self, arguments: &[u8]) -> Vec<Output> {
        let arguments = Bytes::copy_from_slice(arguments);
        let mut outputs =
            self.traffic(Traffic::Impulse { method: MethodId(0), arguments, request: None, from: None, trace: None });
        outputs.extend(self.deliver());
        outputs
    }

    /// Tries to hand over to another module.
    pub(crate) fn upgrade(&mut self, upgrade: Upgrade) -> Vec<Output> {
        self.step(Input::Upgrade { upgrade, now: self.now })
    }

    pub(crate) fn request(&mut self, id: &str, arguments: &[u8]) -> Vec<Output> {
        let request = Some(RequestId::new(id).expect("short"));
        let arguments = Bytes::copy_from_slice(arguments);
        self.traffic(Traffic::Impulse { method: MethodId(0), arguments, request, from: None, trace: None })
    }

    /// Something comes from outside.
    pub(crate) fn traffic(&mut self, traffic: Traffic) -> Vec<Output> {
        self.step(Input::Traffic { traffic, now: self.now })
    }

    pub(crate) fn connection(&mut self) -> ConnectionId {
        self.last_connection += 1;
        ConnectionId(self.last_connection)
    }

    /// A peer connects to send its stream.
    pub(crate) fn connect(&mut self, text: &str, life: InstanceUuid, epoch: u64) -> (ConnectionId, Vec<Output>) {
        let connection = self.connection();
        let (name, epoch) = (name(text), Epoch(epoch));
        (connection, self.traffic(Traffic::PeerConnected { connection, name, uuid: life, epoch }))
    }

    /// A connection to a peer is up.
    pub(crate) fn reach(&mut self, peer: u32, life: InstanceUuid, received: u64) -> (ConnectionId, Vec<Output>) {
        let connection = self.connection();
        let (peer, received) = (PeerIndex(peer), Seq(received));
        (connection, self.traffic(Traffic::PeerReached { connection, peer, uuid: life, received }))
    }

    pub(crate) fn messages(&mut self, connection: ConnectionId, first: u64, arguments: &[&[u8]]) -> Vec<Output> {
        let messages = forks(arguments);
        let count = arguments.len() as u32;
        self.traffic(Traffic::Messages { connection, first_seq: Seq(first), count, messages })
    }

    /// Messages of any kinds: with call id and arguments.
    pub(crate) fn encoded(&mut self, connection: ConnectionId, first: u64, all: &[(MessageKind, u64, &[u8])]) {
        let mut messages = Vec::new();
        for (kind, call, arguments) in all.iter().copied() {
            let message = Message { kind, method: MethodId(0), call_id: CallId(call), arguments };
            push_message(&mut messages, message);
        }
        let (first_seq, count) = (Seq(first), all.len() as u32);
        self.traffic(Traffic::Messages { connection, first_seq, count, messages: messages.into() });
    }

    pub(crate) fn acknowledge(&mut self, connection: ConnectionId, seq: u64) -> Vec<Output> {
        self.traffic(Traffic::Acknowledged { connection, seq: Seq(seq) })
    }

    /// What the guest heard since the last time, without the arguments of the start.
    pub(crate) fn heard(&self) -> &[Heard] {
        &self.replica.guest().heard
    }

    /// A standby that has read the whole log.
    pub(crate) fn replayed(&self) -> Replica<Script> {
        self.replayed_without(None, &mut Vec::new())
    }

    /// The same, with what comes of it.
    pub(crate) fn replayed_into(&self, outputs: &mut Vec<Output>) -> Replica<Script> {
        self.replayed_without(None, outputs)
    }

    /// The same; it leaves out one record, and those that are mended.
    fn replayed_without(&self, void: Option<Lsn>, outputs: &mut Vec<Output>) -> Replica<Script> {
        let guest = Script::new(self.on);
        let mut standby = Replica::new(&self.records[0], guest).expect("a genesis record");
        for (at, record) in self.records.iter().enumerate().skip(1) {
            let is_void = void == Some(record.lsn()) || is_void(record, &self.records[at + 1..]);
            let record = record.clone();
            standby.step(if is_void { Input::Void(record) } else { Input::Record(record) }, outputs);
        }
        standby
    }

    /// The guest has failed at the last record: another replica takes over that leaves it out.
    pub(crate) fn take_over_void(&mut self) -> Vec<Output> {
        let void = self.records.last().expect("genesis").lsn();
        self.replica = self.replayed_without(Some(void), &mut Vec::new());
        assert_eq!(self.replica.void(), Some(void));
        self.begin_reign()
    }

    pub(crate) fn mend(&mut self, remedy: Remedy) -> Vec<Output> {
        self.step(Input::Mend { remedy, now: self.now })
    }

    /// The primary dies, and one that has replayed the log takes over.
    pub(crate) fn take_over(&mut self) -> Vec<Output> {
        let standby = self.replayed();
        assert_eq!(standby.digest(), self.replica.digest(), "a replay gives the same state");
        assert_eq!(standby.guest().heard, self.replica.guest().heard, "a replay delivers the same");
        self.replica = standby;
        self.begin_reign()
    }
}
