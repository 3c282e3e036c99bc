//! A guest in plain Rust. It decides by the random numbers of its world what each message brings about, checks all
//! that a guest may rely on, and keeps what the driver wants to compare.
//!
//! What it finds wrong is a fault, not a panic: the guest of a primary that was deposed and does not know it hears
//! from a world that has gone on without it, so that an answer may come to a call that it never made. Nobody may see
//! that. A fault in a record that is durable fails the run.
//!
//! **Architecture Invariant:** it knows nothing but its messages and its world, as the one in wasm.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{
    CallId, Delivered, Fault, Guest, InstanceName, Kind, Message, Messages, MethodId, PeerIndex, Print, PrintStream,
    Runs, World, push_effect,
};

const MILLISECOND: u64 = 1_000_000;

/// Method of every fork, call and impulse that the model makes.
pub(crate) const WORK: MethodId = MethodId::of("work");
/// Method of the impulse that finishes the instance.
pub(crate) const EXIT: MethodId = MethodId::of("exit");

/// What every instance finishes with.
pub(crate) const EXIT_CODE: i32 = 7;

/// What every instance has at first.
pub(crate) const MONEY: u64 = 1_000_000;

/// Bytes of the arguments of every message.
const ARGUMENTS_BYTES: usize = 25;

/// Arguments of every message: which message it is, what it answers, what money it carries, and how long a chain it
/// may start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    pub(crate) token: u64,
    pub(crate) about: u64,
    pub(crate) money: u64,
    pub(crate) hops: u8,
}

impl Arguments {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = self.token.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.about.to_le_bytes());
        bytes.extend_from_slice(&self.money.to_le_bytes());
        bytes.push(self.hops);
        bytes
    }

    fn decode(bytes: &[u8]) -> Arguments {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!(bytes.len(), ARGUMENTS_BYTES, "arguments arrive as they were sent");
        Arguments { token: number(0), about: number(8), money: number(16), hops: bytes[24] }
    }
}

/// A call or a request that waits for the model's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Owed {
    peer: PeerIndex,
    call: CallId,
    token: u64,
}

/// The guest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    instances: u64,
    /// Hash of everything that was ever delivered and brought about: equal histories mean equal states.
    pub(crate) history: u64,
    pub(crate) started: bool,
    /// Peers by name, as of the last delivery.
    pub(crate) names: BTreeMap<String, PeerIndex>,
    /// Tokens received from each peer; a new segment begins whenever the stream starts afresh.
    pub(crate) received: BTreeMap<PeerIndex, Vec<Vec<u64>>>,
    /// Tokens sent to each peer.
    pub(crate) sent: BTreeMap<PeerIndex, Vec<u64>>,
    /// Calls without an answer, with their tokens.
    pub(crate) pending: BTreeMap<CallId, u64>,
    settled: BTreeSet<CallId>,
    /// Calls that failed because the peer was registered anew.
    pub(crate) failed: u64,
    /// Answers to calls of an earlier life of this instance.
    pub(crate) strays: u64,
    pub(crate) timers: BTreeMap<CallId, u64>,
    pub(crate) timers_fired: u64,
    /// Cancelled by the delivery at hand: those may still be on their way in it.
    cancelled_now: BTreeSet<CallId>,
    owed: Vec<Owed>,
    requests_done: BTreeSet<u64>,
    /// What it has; transfers to others are on their way until they arrive.
    pub(crate) money: u64,
    pub(crate) transfers: u64,
    last_id: u64,
    printed: u64,
    /// What a guest may rely on and did not hold.
    broken: Option<&'static str>,
}

/// One delivery: the world, where the effects go, and which message is at hand.
struct Turn<'a> {
    world: &'a mut World,
    delivered: &'a mut Delivered,
    cause: u32,
}

impl Turn<'_> {
    fn dice(&mut self, sides: u64) -> u64 {
        self.world.random.next_u64() % sides
    }

    fn effect(&mut self, target: PeerIndex, kind: Kind, call_id: CallId, arguments: &[u8]) {
        let method = if matches!(kind, Kind::Fork | Kind::Call) { WORK } else { MethodId(0) };
        let message = Message { kind, method, call_id, arguments };
        push_effect(&mut self.delivered.effects, self.cause, target, message);
    }
}

impl Guest for Model {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.cancelled_now.clear();
        self.note(runs);
        self.note(&world.time.0.to_le_bytes());
        let mut turn = Turn { world, delivered, cause: 0 };
        for run in Runs::new(runs) {
            let run = run.expect("the host hands over whole runs");
            run.check().expect("the host hands over whole messages");
            for (at, message) in Messages::new(run.messages).enumerate() {
                let message = message.expect("checked a line above");
                if run.peer == PeerIndex::OUTSIDE {
                    self.on_outside(message, &mut turn);
                } else {
                    self.on_peer(run.peer, run.first_seq.0 + at as u64, message, &mut turn);
                }
                turn.cause += 1;
            }
        }
        for index in self.names.len() as u32 + 1..=world.peers.count() {
            let name = world.peers.name(PeerIndex(index)).expect("indices have no gap");
            self.names.insert(name.to_string(), PeerIndex(index));
        }
        let effects = std::mem::take(&mut delivered.effects);
        self.note(&effects);
        delivered.effects = effects;
        let fault = |reason: &str| Fault { reason: reason.into(), backtrace: String::new(), stderr: String::new() };
        self.broken.map_or(Ok(()), |reason| Err(fault(reason)))
    }
}

impl Model {
    /// The guest of one of so many instances.
    pub fn new(instances: usize) -> Model {
        Model { instances: instances as u64, money: MONEY, ..Model::default() }
    }

    fn require(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.broken.get_or_insert(what);
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.history = (self.history ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn on_outside(&mut self, message: Message<'_>, turn: &mut Turn<'_>) {
        self.require(self.started != (message.kind == Kind::Start), "start comes first and once");
        match message.kind {
            Kind::Start => {
                self.started = true;
                // Ids of another life must not be mistaken for those of this one.
                self.last_id = turn.world.random.next_u64() >> 16 << 16;
            }
            Kind::Primary => {}
            Kind::Impulse if message.method == EXIT => {
                turn.effect(PeerIndex::OUTSIDE, Kind::Exit, CallId(0), &EXIT_CODE.to_le_bytes());
            }
            Kind::Impulse => {
                let arguments = Arguments::decode(message.arguments);
                if message.call_id != CallId(0) {
                    let news = self.requests_done.insert(arguments.token);
                    self.require(news, "a request is done once");
                    self.owe(PeerIndex::OUTSIDE, message.call_id, arguments.token, turn);
                }
                self.work(arguments.hops, turn);
            }
            Kind::Timer => self.on_timer(message.call_id, turn),
            Kind::Error => {
                let waited = self.pending.remove(&message.call_id).is_some();
                self.require(waited, "a call fails once, and has no other answer");
                self.settled.insert(message.call_id);
                self.failed += 1;
            }
            kind => panic!("{kind:?} does not come from outside"),
        }
    }

    fn on_timer(&mut self, timer: CallId, turn: &mut Turn<'_>) {
        let Some(due) = self.timers.remove(&timer) else {
            let cancelled = self.cancelled_now.contains(&timer);
            return self.require(cancelled, "a timer fires once, and not after it was cancelled");
        };
        self.require(turn.world.time.0 >= due, "a timer does not fire early");
        self.timers_fired += 1;
        for owed in std::mem::take(&mut self.owed) {
            self.pay(owed, turn);
        }
    }

    fn on_peer(&mut self, peer: PeerIndex, seq: u64, message: Message<'_>, turn: &mut Turn<'_>) {
        let arguments = Arguments::decode(message.arguments);
        let segments = self.received.entry(peer).or_default();
        if seq == 1 {
            segments.push(Vec::new());
        }
        let segment = segments.last_mut().expect("a stream begins with message 1");
        segment.push(arguments.token);
        let follows = segment.len() as u64 == seq;
        self.require(follows, "a stream has no gap and no repetition");
        self.money += arguments.money;
        match message.kind {
            Kind::Fork => self.work(arguments.hops, turn),
            Kind::Call => {
                self.owe(peer, message.call_id, arguments.token, turn);
                self.work(arguments.hops, turn);
            }
            Kind::Reply => self.on_reply(message.call_id, arguments.about),
            kind => panic!("no model sends {kind:?}"),
        }
    }

    fn on_reply(&mut self, call: CallId, about: u64) {
        match self.pending.remove(&call) {
            Some(token) => {
                self.require(about == token, "the answer is that of the call");
                self.settled.insert(call);
            }
            None => {
                self.require(!self.settled.contains(&call), "a call has one answer");
                self.strays += 1;
            }
        }
    }

    /// Answers now or when a timer fires.
    fn owe(&mut self, peer: PeerIndex, call: CallId, token: u64, turn: &mut Turn<'_>) {
        let owed = Owed { peer, call, token };
        if turn.dice(3) > 0 {
            return self.pay(owed, turn);
        }
        self.owed.push(owed);
        self.set_timer(0, turn);
    }

    fn pay(&mut self, owed: Owed, turn: &mut Turn<'_>) {
        let arguments = Arguments { token: self.token(turn), about: owed.token, money: 0, hops: 0 };
        if owed.peer != PeerIndex::OUTSIDE {
            self.sent.entry(owed.peer).or_default().push(arguments.token);
        }
        turn.effect(owed.peer, Kind::Reply, owed.call, &arguments.encode());
    }

    /// Timers of parity 1 may be cancelled, those of parity 0 pay what is owed.
    fn set_timer(&mut self, parity: u64, turn: &mut Turn<'_>) {
        self.last_id += 2;
        let id = CallId(self.last_id & !1 | parity);
        let due = turn.world.time.0 + turn.dice(80) * MILLISECOND;
        self.timers.insert(id, due);
        turn.effect(PeerIndex::OUTSIDE, Kind::SetTimer, id, &due.to_le_bytes());
    }

    fn token(&mut self, turn: &mut Turn<'_>) -> u64 {
        self.last_id += 2;
        turn.world.random.next_u64()
    }

    fn work(&mut self, hops: u8, turn: &mut Turn<'_>) {
        if hops == 0 {
            return;
        }
        for _ in 0..turn.dice(3) {
            match turn.dice(10) {
                0..=3 => self.send(Kind::Fork, hops - 1, turn),
                4..=6 => self.send(Kind::Call, hops - 1, turn),
                7 => self.set_timer(1, turn),
                8 => self.cancel_timer(turn),
                _ => self.print(turn),
            }
        }
    }

    /// To any instance, the own one included.
    fn send(&mut self, kind: Kind, hops: u8, turn: &mut Turn<'_>) {
        let name = InstanceName::new(format!("i{}", turn.dice(self.instances))).expect("a plain name");
        let peer = turn.world.peers.attach(&name).expect("there are few");
        let money = turn.dice(self.money.min(1000) + 1);
        self.money -= money;
        self.transfers += u64::from(money > 0);
        let arguments = Arguments { token: self.token(turn), about: 0, money, hops };
        let call = if kind == Kind::Call { CallId(self.last_id) } else { CallId(0) };
        if kind == Kind::Call {
            self.pending.insert(call, arguments.token);
        }
        self.sent.entry(peer).or_default().push(arguments.token);
        turn.effect(peer, kind, call, &arguments.encode());
    }

    fn cancel_timer(&mut self, turn: &mut Turn<'_>) {
        let Some(id) = self.timers.keys().find(|id| id.0 & 1 == 1).copied() else { return };
        self.timers.remove(&id);
        self.cancelled_now.insert(id);
        turn.effect(PeerIndex::OUTSIDE, Kind::CancelTimer, id, &[]);
    }

    fn print(&mut self, turn: &mut Turn<'_>) {
        self.printed += 1;
        let bytes = format!("line {}", self.printed).into_bytes();
        turn.delivered.prints.push(Print { stream: PrintStream::Stdout, bytes });
    }
}
