//! The model. It decides by the random numbers of its world what each message brings about, checks all that a guest may
//! rely on, and keeps what the driver wants to compare.
//!
//! What it finds wrong is a fault, not a panic: the guest of a primary that was deposed and does not know it hears
//! from a world that has gone on without it, so that an answer may come to a call that it never made. Nobody may see
//! that. A fault in a record that is durable fails the run.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{
    CallId, Delivered, Fault, Guest, HandoverError, InstanceName, Message, MessageKind, Messages, MethodId, PeerIndex,
    Print, PrintStream, PromiseToken, Runs, Upgrade, World, push_effect,
};

use crate::{code::Code, surroundings::Surroundings};

const MILLISECOND: u64 = 1_000_000;

/// Method of every fork, call and impulse that the model makes.
pub const WORK: MethodId = MethodId::of("work");
/// Method of the impulse that finishes the instance.
pub const EXIT: MethodId = MethodId::of("exit");

/// Method that runs at times of the calendar.
pub const TICK: MethodId = MethodId::of("tick");
/// The value of the operator that the model looks at.
pub const CONFIGURED: &str = "n";

/// Method of an impulse that not all code can handle. Code that can does for it what it does for [`WORK`].
pub const POISON: MethodId = MethodId::of("poison");
/// What the fault of code that can't is called.
pub const POISONED: &str = "it was given poison";

/// What every instance finishes with.
pub const EXIT_CODE: i32 = 7;

/// What every instance has from its start on.
pub const MONEY: u64 = 1_000_000;

/// What a message carries at most.
const MONEY_SENT_MAX: u64 = 1000;
const _: () = assert!(MONEY_SENT_MAX <= u32::MAX as u64);

/// Bytes of the arguments of every message.
const ARGUMENTS_BYTES: usize = 25;

/// Arguments of every message.
#[derive(Clone, Copy, Debug)]
pub struct Arguments {
    /// Which message it is.
    pub token: u64,
    /// The token of the call or request that it answers, 0 if it answers none.
    pub about: u64,
    /// Money that it carries.
    pub money: u32,
    /// How many instances there are, for the chain that it may start: a component is told nothing else of them.
    pub instances: u32,
    /// How long that chain may become.
    pub hops: u8,
}

impl Arguments {
    /// As bytes.
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = self.token.to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.about.to_le_bytes());
        bytes.extend_from_slice(&self.money.to_le_bytes());
        bytes.extend_from_slice(&self.instances.to_le_bytes());
        bytes.push(self.hops);
        bytes
    }

    fn decode(bytes: &[u8]) -> Arguments {
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(bytes.len(), ARGUMENTS_BYTES, "arguments arrive as they were sent");
        Arguments { token: long(0), about: long(8), money: short(16), instances: short(20), hops: bytes[24] }
    }
}

/// What a request to the world outside may ask beside its outcome: that a promise is fulfilled by whoever performs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Callback {
    /// The promise.
    pub promise: CallId,
    /// What has to be known of it.
    pub token: PromiseToken,
}

impl Callback {
    /// Bytes of the body before it.
    const AT: usize = 8;

    /// The one that the body of a request asks for.
    pub fn of_body(body: &[u8]) -> Option<Callback> {
        let (promise, token) = body.get(Callback::AT..)?.split_first_chunk()?;
        let token = token.try_into().expect("a token is all that is left");
        Some(Callback { promise: CallId(u64::from_le_bytes(*promise)), token })
    }

    /// With what it is fulfilled, whoever does it and whenever.
    pub fn value(promise: CallId) -> Vec<u8> {
        outcome_of(&promise.0.to_le_bytes())
    }
}

/// A call or a request that waits for the model's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owed {
    pub(crate) peer: PeerIndex,
    pub(crate) call: CallId,
    pub(crate) token: u64,
}

/// The guest. The default is that of an instance at the beginning of its life.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Model {
    /// Hash of everything that was ever delivered and brought about: equal histories mean equal states.
    pub history: u64,
    /// It has had its first message.
    pub started: bool,
    /// Peers by name, as of the last delivery.
    pub names: BTreeMap<String, PeerIndex>,
    /// Tokens received from each peer; a new segment begins whenever the stream starts afresh.
    pub received: BTreeMap<PeerIndex, Vec<Vec<u64>>>,
    /// Tokens sent to each peer.
    pub sent: BTreeMap<PeerIndex, Vec<u64>>,
    /// Calls without an answer, with their tokens.
    pub pending: BTreeMap<CallId, u64>,
    pub(crate) settled: BTreeSet<CallId>,
    /// Calls that failed because the peer was registered anew.
    pub failed: u64,
    /// Answers to calls of an earlier life of this instance.
    pub strays: u64,
    /// Timers that are set, with the times when they are due.
    pub timers: BTreeMap<CallId, u64>,
    /// Timers that were due and came.
    pub timers_fired: u64,
    /// Cancelled by the delivery at hand: those may still be on their way in it.
    pub(crate) cancelled_now: BTreeSet<CallId>,
    pub(crate) owed: Vec<Owed>,
    pub(crate) requests_done: BTreeSet<u64>,
    /// Requests to the world outside that have no outcome yet, with their tokens.
    pub asked_outside: BTreeMap<CallId, u64>,
    /// Events that it has emitted.
    pub emitted: u64,
    /// Promises that the world outside has not fulfilled yet.
    pub promises: BTreeSet<CallId>,
    /// When [`TICK`] was due last, in nanoseconds.
    pub ticked: u64,
    /// What it has; transfers to others are on their way until they arrive.
    pub money: u64,
    /// Messages with money that it sent.
    pub transfers: u64,
    pub(crate) last_id: u64,
    pub(crate) printed: u64,
    /// Rows of pages of its memory (`memory.rs`).
    pub(crate) rows: u32,
    /// What it runs.
    pub code: Code,
    /// What it was before an upgrade that may be undone.
    pub(crate) before: Option<Box<Model>>,
    /// What a guest may rely on and did not hold.
    pub(crate) broken: Option<&'static str>,
}

/// One delivery: the world, where the effects go, and which message is at hand.
pub(crate) struct Turn<'a> {
    pub(crate) world: &'a mut dyn Surroundings,
    pub(crate) delivered: &'a mut Delivered,
    pub(crate) cause: u32,
}

impl Turn<'_> {
    pub(crate) fn dice(&mut self, sides: u64) -> u64 {
        self.world.random() % sides
    }

    pub(crate) fn effect(&mut self, target: PeerIndex, kind: MessageKind, call_id: CallId, arguments: &[u8]) {
        let method = if matches!(kind, MessageKind::Fork | MessageKind::Call) { WORK } else { MethodId(0) };
        let message = Message { kind, method, call_id, arguments };
        push_effect(&mut self.delivered.effects, self.cause, target, message);
    }
}

impl Guest for Model {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        let fault = |reason: &str| Fault { reason: reason.into(), backtrace: String::new(), stderr: String::new() };
        self.handle(runs, world, delivered).map_err(fault)
    }

    /// Whatever is asked, it answers with all that it has lived through.
    fn query(&mut self, _: &[u8], _: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        let (kind, arguments) = (MessageKind::Reply, &self.history.to_le_bytes());
        let message = Message { kind, method: MethodId(0), call_id: CallId(1), arguments };
        push_effect(&mut delivered.effects, 0, PeerIndex::OUTSIDE, message);
        Ok(())
    }

    fn makes_promises(&self) -> bool {
        true
    }

    fn digest(&mut self) -> u64 {
        Model::digest(self)
    }

    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        self.hand_over(upgrade, world, delivered)
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        self.undo();
        Ok(())
    }

    fn keep_upgrade(&mut self) {
        self.before.take().expect("there is an upgrade that stands");
    }
}

impl Model {
    /// Handles the runs of one record, which are sound, and appends what it brings about to `delivered`.
    ///
    /// # Errors
    /// What a guest may rely on and did not hold. After that it is of no more use.
    pub fn handle(
        &mut self,
        runs: &[u8],
        world: &mut dyn Surroundings,
        delivered: &mut Delivered,
    ) -> Result<(), &'static str> {
        assert!(self.broken.is_none(), "a guest that failed is not called again");
        assert!(self.before.is_none(), "an upgrade is kept or undone before the next delivery");
        if !self.code.survives() && has_poison(runs) {
            self.broken = Some(POISONED);
            return Err(POISONED);
        }
        self.cancelled_now.clear();
        if self.code != Code::default() {
            self.note(&self.code.module());
        }
        self.note(runs);
        self.note(&world.time().0.to_le_bytes());
        self.note(&world.configured(CONFIGURED));
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
        self.end_turn(turn);
        self.broken.map_or(Ok(()), Err)
    }

    /// Notes what the turn has brought about.
    pub(crate) fn end_turn(&mut self, mut turn: Turn<'_>) {
        self.tell_waiting(&mut turn);
        self.learn_names(turn.world);
        let effects = std::mem::take(&mut turn.delivered.effects);
        self.note(&effects);
        turn.delivered.effects = effects;
        self.reserve();
    }

    /// Peers that are new since the last delivery.
    fn learn_names(&mut self, world: &dyn Surroundings) {
        let next = |names: &BTreeMap<_, _>| PeerIndex(names.len() as u32 + 1);
        while let Some(name) = world.peer_name(next(&self.names)) {
            self.names.insert(name.as_str().to_owned(), next(&self.names));
        }
    }

    fn require(&mut self, holds: bool, what: &'static str) {
        if !holds {
            self.broken.get_or_insert(what);
        }
    }

    pub(crate) fn note(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.history = (self.history ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn on_outside(&mut self, message: Message<'_>, turn: &mut Turn<'_>) {
        self.require(self.started != (message.kind == MessageKind::Start), "start comes first and once");
        match message.kind {
            MessageKind::Start => {
                self.started = true;
                self.money = MONEY;
                // Ids of another life must not be mistaken for those of this one.
                self.last_id = turn.world.random() >> 16 << 16;
            }
            MessageKind::Primary => {}
            MessageKind::Impulse if message.method == EXIT => {
                turn.effect(PeerIndex::OUTSIDE, MessageKind::Exit, CallId(0), &EXIT_CODE.to_le_bytes());
            }
            MessageKind::Impulse => {
                let arguments = Arguments::decode(message.arguments);
                if message.call_id != CallId(0) {
                    let news = self.requests_done.insert(arguments.token);
                    self.require(news, "a request is done once");
                    self.owe(PeerIndex::OUTSIDE, message.call_id, arguments.token, turn);
                }
                self.work(arguments, turn);
            }
            MessageKind::Timer => self.on_timer(message.call_id, turn),
            // An operator may have skipped what came of it.
            MessageKind::Error if self.asked_outside.remove(&message.call_id).is_some() => {}
            MessageKind::Error if self.promises.remove(&message.call_id) => {}
            MessageKind::Error => {
                let waited = self.pending.remove(&message.call_id).is_some();
                self.require(waited, "a call fails once, and has no other answer");
                self.settled.insert(message.call_id);
                self.failed += 1;
            }
            MessageKind::Outcome => {
                let token = self.asked_outside.remove(&message.call_id);
                let is_right = token.is_some_and(|token| message.arguments == outcome_of(&token.to_le_bytes()));
                self.require(is_right, "what comes of a request to the outside comes once, and is of that request");
            }
            MessageKind::Resolved => {
                let waited = self.promises.remove(&message.call_id);
                let is_right = waited && message.arguments == Callback::value(message.call_id);
                self.require(is_right, "a promise is fulfilled once, by whoever was given its token");
            }
            MessageKind::Cron => {
                let due = u64::from_le_bytes(message.arguments.try_into().expect("a time"));
                self.require(message.method == TICK && due > self.ticked, "a method runs once for each time");
                self.ticked = due;
            }
            kind => panic!("{kind:?} does not come from outside"),
        }
    }

    fn on_timer(&mut self, timer: CallId, turn: &mut Turn<'_>) {
        let Some(due) = self.timers.remove(&timer) else {
            let cancelled = self.cancelled_now.contains(&timer);
            return self.require(cancelled, "a timer fires once, and not after it was cancelled");
        };
        self.require(turn.world.time().0 >= due, "a timer does not fire early");
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
        self.money += u64::from(arguments.money);
        match message.kind {
            MessageKind::Fork => self.work(arguments, turn),
            MessageKind::Call => {
                self.owe(peer, message.call_id, arguments.token, turn);
                self.work(arguments, turn);
            }
            MessageKind::Reply => self.on_reply(message.call_id, arguments.about),
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
        let arguments = Arguments { token: self.token(turn), about: owed.token, money: 0, instances: 0, hops: 0 };
        if owed.peer != PeerIndex::OUTSIDE {
            self.sent.entry(owed.peer).or_default().push(arguments.token);
        }
        turn.effect(owed.peer, MessageKind::Reply, owed.call, &arguments.encode());
    }

    /// Timers of parity 1 may be cancelled, those of parity 0 pay what is owed.
    pub(crate) fn set_timer(&mut self, parity: u64, turn: &mut Turn<'_>) {
        self.last_id += 2;
        let id = CallId(self.last_id & !1 | parity);
        let due = turn.world.time().0 + turn.dice(80) * MILLISECOND;
        self.timers.insert(id, due);
        turn.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, id, &due.to_le_bytes());
    }

    fn token(&mut self, turn: &mut Turn<'_>) -> u64 {
        self.last_id += 2;
        // It shows which code has sent it.
        turn.world.random() ^ u64::from(self.code.version).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn work(&mut self, asked: Arguments, turn: &mut Turn<'_>) {
        if asked.hops == 0 {
            return;
        }
        for _ in 0..turn.dice(3) {
            match turn.dice(12) {
                0..=3 => self.send(MessageKind::Fork, asked, turn),
                4..=6 => self.send(MessageKind::Call, asked, turn),
                7 => self.set_timer(1, turn),
                8 => self.cancel_timer(turn),
                9 => self.ask_outside(turn),
                10 => self.emit(turn),
                _ => self.print(turn),
            }
        }
    }

    fn ask_outside(&mut self, turn: &mut Turn<'_>) {
        let token = self.token(turn);
        let id = CallId(self.last_id);
        self.asked_outside.insert(id, token);
        let mut body = token.to_le_bytes().to_vec();
        if turn.dice(2) == 0 {
            self.last_id += 2;
            let promise = CallId(self.last_id);
            self.promises.insert(promise);
            turn.effect(PeerIndex::OUTSIDE, MessageKind::Promise, promise, &[]);
            body.extend(promise.0.to_le_bytes());
            body.extend(turn.world.token_of(promise));
        }
        turn.effect(PeerIndex::OUTSIDE, MessageKind::Request, id, &body);
    }

    /// Events have numbers, from 1.
    fn emit(&mut self, turn: &mut Turn<'_>) {
        self.emitted += 1;
        let event = [&[1, 0, b'n'][..], &self.emitted.to_le_bytes()].concat();
        turn.effect(PeerIndex::OUTSIDE, MessageKind::Emit, CallId(0), &event);
    }

    /// To any instance, the own one included.
    fn send(&mut self, kind: MessageKind, asked: Arguments, turn: &mut Turn<'_>) {
        let name = format!("i{}", turn.dice(u64::from(asked.instances)));
        self.send_to(&name, kind, asked, turn);
    }

    pub(crate) fn send_to(&mut self, name: &str, kind: MessageKind, asked: Arguments, turn: &mut Turn<'_>) {
        let peer = turn.world.attach(&InstanceName::new(name).expect("a plain name"));
        let money = turn.dice(self.money.min(MONEY_SENT_MAX) + 1);
        self.money -= money;
        self.transfers += u64::from(money > 0);
        let arguments = Arguments {
            token: self.token(turn),
            about: 0,
            money: money as u32,
            instances: asked.instances,
            hops: asked.hops - 1,
        };
        let call = if kind == MessageKind::Call { CallId(self.last_id) } else { CallId(0) };
        if kind == MessageKind::Call {
            self.pending.insert(call, arguments.token);
        }
        self.sent.entry(peer).or_default().push(arguments.token);
        turn.effect(peer, kind, call, &arguments.encode());
    }

    fn cancel_timer(&mut self, turn: &mut Turn<'_>) {
        let Some(id) = self.timers.keys().find(|id| id.0 & 1 == 1).copied() else { return };
        self.timers.remove(&id);
        self.cancelled_now.insert(id);
        turn.effect(PeerIndex::OUTSIDE, MessageKind::CancelTimer, id, &[]);
    }

    /// Says how many calls wait, if this code does so.
    fn tell_waiting(&mut self, turn: &mut Turn<'_>) {
        if self.code.tells() {
            let count = (self.pending.len() as u64).to_le_bytes();
            turn.effect(PeerIndex::OUTSIDE, MessageKind::Waiting, CallId(0), &count);
        }
    }

    /// On the two streams in turn, so that no two neighbours are of one stream: an engine makes one of those.
    pub(crate) fn print(&mut self, turn: &mut Turn<'_>) {
        self.printed += 1;
        let stream = if self.printed % 2 == 1 { PrintStream::Stdout } else { PrintStream::Stderr };
        let by = if self.code.version == 0 { String::new() } else { format!(" by version {}", self.code.version) };
        let bytes = format!("line {}{by}\n", self.printed).into_bytes();
        turn.delivered.prints.push(Print { stream, bytes });
    }
}

/// What comes of a request to the world outside, wherever and whenever it is performed.
pub fn outcome_of(body: &[u8]) -> Vec<u8> {
    body.iter().take(Callback::AT).rev().copied().collect()
}

/// Positions of the messages that are poison.
pub fn poison(runs: &[u8]) -> Vec<u32> {
    let messages = Runs::new(runs).flatten().flat_map(|run| Messages::new(run.messages).flatten());
    let is_poison = |message: &Message<'_>| message.kind == MessageKind::Impulse && message.method == POISON;
    messages.enumerate().filter(|(_, message)| is_poison(message)).map(|(at, _)| at as u32).collect()
}

fn has_poison(runs: &[u8]) -> bool {
    !poison(runs).is_empty()
}
