//! Runs an immortal natively, so that `cargo test` can test it.
//!
//! It is handled by the same code as in a component; the test plays the host and all other instances. Nothing
//! happens by itself: time stands still until [`Harness::advance`], and calls that the immortal makes wait until the
//! test answers them.
//!
//! ```
//! use ambrosia::testing::Harness;
//!
//! #[ambrosia::interface]
//! trait Listener {
//!     fn total_is(total: u64);
//! }
//!
//! #[ambrosia::state]
//! struct Counter {
//!     total: u64,
//! }
//!
//! #[ambrosia::immortal]
//! impl Counter {
//!     fn add(&mut self, n: u64, listener: Listener) -> u64 {
//!         self.total += n;
//!         listener.fork().total_is(self.total);
//!         self.total
//!     }
//! }
//!
//! # fn main() {
//! let mut counter = Harness::<Counter>::start("counter");
//! let total = counter.ask(|counter| counter.add(2, Listener::attach("alice")));
//! assert_eq!(total, Ok(2));
//! counter.send("bob", |counter| counter.fork().add(3, Listener::attach("alice")));
//! assert_eq!(counter.take_forks::<(u64,)>("alice", "total_is"), [(2,), (5,)]);
//! counter.state(|counter| assert_eq!(counter.total, 5));
//! # }
//! ```
//!
//! Each harness is an instance of its own; a thread can have many, one beside the other.

mod delivery;
mod outside;
mod query;
mod sent;
mod state_file;
mod upgrade;

use std::{
    collections::{BTreeMap, BTreeSet},
    marker::PhantomData,
    rc::Rc,
    time::Duration,
};

use serde::Serialize;

use self::{
    delivery::{Entered, Incoming},
    sent::AnswerKey,
};
pub use self::{
    outside::{Event, Outgoing},
    sent::{OpenCall, Pending, Sent},
    upgrade::Refused,
};
pub use crate::handover::Waiting;
use crate::{
    Arguments, Call, CallError, Immortal, Peer, This, Timestamp,
    call::decode_answer,
    host::native::World,
    layout::{MessageKind, OUTSIDE},
    method_id,
    runtime::Runtime,
};

/// The time at which a harness starts: late in 2023.
const START_NANOS: u64 = 1_700_000_000_000_000_000;
/// The seed of the random numbers.
const SEED: u64 = 42;

/// An immortal under test. See the [module](self).
pub struct Harness<S: Immortal> {
    name: String,
    runtime: Rc<Runtime>,
    /// Where the test's own proxies live: what they send is delivered to the instance.
    tester: Rc<Runtime>,
    instance_seen_by_tester: Peer,
    sequence: BTreeMap<u32, u64>,
    sent: Vec<Sent>,
    to_itself: Vec<Incoming>,
    answers: BTreeMap<AnswerKey, Result<Vec<u8>, String>>,
    /// Due time and id.
    timers: BTreeSet<(u64, u64)>,
    outside: outside::Outside,
    exit_code: Option<i32>,
    /// How many handlers the host was told of that an upgrade waits for.
    told_waiting: u64,
    application: PhantomData<S>,
}

impl<S: Immortal> Harness<S> {
    /// A new instance called `name`, to which nothing was delivered.
    pub fn new(name: &str) -> Self {
        let tester = Rc::new(Runtime::new(World::new("tester", SEED, START_NANOS)));
        let attached = Entered::new(&tester).run(|| Peer::attach(name));
        Harness {
            name: name.to_string(),
            runtime: Rc::new(Runtime::new(World::new(name, SEED, START_NANOS))),
            tester,
            instance_seen_by_tester: attached,
            sequence: BTreeMap::new(),
            sent: Vec::new(),
            to_itself: Vec::new(),
            answers: BTreeMap::new(),
            timers: BTreeSet::new(),
            outside: outside::Outside::default(),
            exit_code: None,
            told_waiting: 0,
            application: PhantomData,
        }
    }

    /// A new instance called `name`, started and primary: `on_first_start` and `on_becoming_primary` have run.
    pub fn start(name: &str) -> Self {
        let mut harness = Harness::new(name);
        let first = [Incoming::bare(MessageKind::Start), Incoming::bare(MessageKind::Primary)];
        harness.deliver(OUTSIDE, &first);
        harness
    }

    /// Delivers that a replica became primary, as after a failure.
    pub fn become_primary(&mut self) {
        self.deliver(OUTSIDE, &[Incoming::bare(MessageKind::Primary)]);
    }

    /// Lets `look` see, or change, the state.
    pub fn state<R>(&mut self, look: impl FnOnce(&mut S) -> R) -> R {
        let runtime = &self.runtime;
        Entered::new(runtime).run(|| {
            let this: This<S> = runtime.this();
            this.with(look)
        })
    }

    /// The code of [`exit`](crate::exit), once the immortal has called it.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }
}

/// Messages to the immortal.
impl<S: Immortal> Harness<S> {
    /// Delivers the forks that `send` makes, all in one delivery, as messages of the instance `from`.
    pub fn send(&mut self, from: &str, send: impl FnOnce(S::Proxy)) {
        let ((), messages) = self.by_tester(send);
        let peer = self.peer(from);
        self.deliver(peer, &messages);
    }

    /// Delivers the call that `call` makes, as a message of the instance `from`. [`Harness::answer`] has the answer.
    pub fn call<R>(&mut self, from: &str, call: impl FnOnce(S::Proxy) -> Call<R>) -> Pending<R> {
        let (sent, messages) = self.by_tester(|proxy| call(proxy).into_parts());
        let peer = self.peer(from);
        self.deliver(peer, &messages);
        Pending::new(peer, sent)
    }

    /// Delivers the call that `call` makes as an impulse from outside, and returns the answer.
    ///
    /// Panics if the handler is still awaiting something: use [`Harness::call`] then.
    pub fn ask<R>(&mut self, call: impl FnOnce(S::Proxy) -> Call<R>) -> Result<R, CallError> {
        let (sent, mut messages) = self.by_tester(|proxy| call(proxy).into_parts());
        for message in &mut messages {
            message.kind = MessageKind::Impulse;
        }
        self.deliver(OUTSIDE, &messages);
        let pending = Pending::new(OUTSIDE, sent);
        self.answer(&pending).unwrap_or_else(|| panic!("`{}` has not answered yet", pending.method))
    }

    /// The answer to a call, once there is one.
    pub fn answer<R>(&mut self, call: &Pending<R>) -> Option<Result<R, CallError>> {
        let answer = self.answers.remove(&call.key)?;
        Some(match answer {
            Ok(value) => decode_answer(call.method, call.decode, &value),
            Err(text) => Err(CallError::refused(call.method, text)),
        })
    }

    /// Delivers an impulse that wants no answer, with the method named by a string.
    pub fn impulse(&mut self, method: &str, arguments: impl Arguments) {
        let arguments = Entered::new(&self.tester).run(|| {
            let mut bytes = Vec::new();
            arguments.encode(&mut bytes).map(|()| bytes).expect("the arguments can be encoded")
        });
        self.impulse_raw(method, &arguments);
    }

    /// Delivers an impulse that wants no answer, with arguments that are encoded already.
    pub fn impulse_raw(&mut self, method: &str, arguments: &[u8]) {
        let message = Incoming {
            method: method_id(method),
            arguments: arguments.to_vec(),
            ..Incoming::bare(MessageKind::Impulse)
        };
        self.deliver(OUTSIDE, &[message]);
    }

    /// Delivers, in one delivery, what the immortal has sent to itself, and says how many messages that were.
    pub fn deliver_own(&mut self) -> usize {
        let messages = std::mem::take(&mut self.to_itself);
        let me = self.peer(&self.name.clone());
        self.deliver(me, &messages);
        messages.len()
    }
}

/// Messages from the immortal.
impl<S: Immortal> Harness<S> {
    /// What the immortal has sent to other instances, except for what was taken.
    pub fn sent(&self) -> &[Sent] {
        &self.sent
    }

    /// Takes all of that.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Takes the forks of `method` to the instance `to`, with their arguments as tuples.
    pub fn take_forks<A: serde::de::DeserializeOwned>(&mut self, to: &str, method: &str) -> Vec<A> {
        let wanted = |sent: &Sent| sent.open_call().is_none() && sent.to() == to && sent.is(method);
        let taken: Vec<_> = self.sent.extract_if(.., |sent| wanted(sent)).collect();
        self.decoded(&taken)
    }

    /// Takes the calls of `method` to the instance `to`, with their arguments as tuples. Answer them by
    /// [`Harness::reply`].
    pub fn take_calls<A: serde::de::DeserializeOwned>(&mut self, to: &str, method: &str) -> Vec<(OpenCall, A)> {
        let wanted = |sent: &Sent| sent.open_call().is_some() && sent.to() == to && sent.is(method);
        let taken: Vec<_> = self.sent.extract_if(.., |sent| wanted(sent)).collect();
        let arguments = self.decoded(&taken);
        taken.iter().filter_map(Sent::open_call).zip(arguments).collect()
    }

    /// Answers a call that the immortal has made.
    pub fn reply<T: Serialize + ?Sized>(&mut self, call: OpenCall, value: &T) {
        let value = Entered::new(&self.tester).run(|| sent::encoded(value));
        self.reply_raw(call, &value);
    }

    /// Answers a call of a raw method.
    pub fn reply_raw(&mut self, call: OpenCall, value: &[u8]) {
        self.settle(call.peer, MessageKind::Reply, call, value.to_vec());
    }

    /// Answers a call as a peer does that can't run the method: [`CallError::Refused`].
    pub fn refuse(&mut self, call: OpenCall, reason: &str) {
        self.settle(call.peer, MessageKind::Error, call, sent::encoded(reason));
    }

    /// Answers a call as the host does when the peer is gone: [`CallError::Lost`].
    pub fn lose(&mut self, call: OpenCall, reason: &str) {
        self.settle(OUTSIDE, MessageKind::Error, call, sent::encoded(reason));
    }

    fn settle(&mut self, from: u32, kind: MessageKind, call: OpenCall, arguments: Vec<u8>) {
        self.deliver(from, &[Incoming { kind, method: 0, call_id: call.id, arguments }]);
    }

    fn decoded<A: serde::de::DeserializeOwned>(&self, taken: &[Sent]) -> Vec<A> {
        // Proxies among the arguments are the test's from here on.
        Entered::new(&self.tester).run(|| taken.iter().map(Sent::arguments).collect())
    }
}

/// Time.
impl<S: Immortal> Harness<S> {
    /// The time that the immortal sees.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.runtime.world.borrow().now)
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| Timestamp::from_nanos(*due))
    }

    /// Lets time pass. Timers fire when they are due, each in a delivery of its own.
    pub fn advance(&mut self, duration: Duration) {
        let until = (self.now() + duration).as_nanos();
        while let Some(&(due, id)) = self.timers.first()
            && due <= until
            && self.exit_code.is_none()
        {
            self.timers.pop_first();
            self.set_now(due.max(self.now().as_nanos()));
            self.deliver(OUTSIDE, &[Incoming { call_id: id, ..Incoming::bare(MessageKind::Timer) }]);
        }
        self.set_now(until);
    }

    /// Runs a method that has a schedule (`#[ambrosia(cron = "…")]`) as if it were due now. The harness has no calendar: the test says
    /// when that is.
    ///
    /// Panics if there is no such method, or it has no schedule.
    pub fn run_cron(&mut self, method: &str) {
        let has_schedule = |known: &&crate::Method| known.name == method && known.schedule.is_some();
        let Some(scheduled) = S::METHODS.iter().find(has_schedule) else {
            panic!("there is no method `{method}` with a schedule")
        };
        let (kind, due) = (MessageKind::Cron, self.now().as_nanos());
        let arguments = due.to_le_bytes().to_vec();
        self.deliver(OUTSIDE, &[Incoming { kind, method: scheduled.id, call_id: 0, arguments }]);
    }

    /// Lets time pass until `due`, and runs a method that has a schedule as it does when that is one of its times.
    ///
    /// Panics if that has passed, and as [`Harness::run_cron`].
    pub fn advance_to_cron(&mut self, method: &str, due: Timestamp) {
        assert!(due >= self.now(), "{due} has passed: it is {}", self.now());
        self.advance(due - self.now());
        self.run_cron(method);
    }

    fn set_now(&mut self, nanos: u64) {
        self.runtime.world.borrow_mut().now = nanos;
        self.runtime.forget_now();
    }
}

impl<S: Immortal> Drop for Harness<S> {
    fn drop(&mut self) {
        let runtime = &self.runtime;
        Entered::new(runtime).run(|| {
            runtime.executor.clear();
            runtime.drop_state::<S>();
        });
    }
}

impl<S: Immortal> std::fmt::Debug for Harness<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Harness").field("name", &self.name).field("sent", &self.sent).finish_non_exhaustive()
    }
}
