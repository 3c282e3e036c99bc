//! One delivery: the run goes in, the effects are sorted.

use std::rc::Rc;

use super::{Harness, Sent};
use crate::{
    Immortal,
    call::error_text,
    deliver::deliver,
    layout::{self, Effect, Message, MessageKind, OUTSIDE, Run},
    panics,
    runtime::{self, Runtime},
};

/// A message to the immortal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Incoming {
    pub(super) kind: MessageKind,
    pub(super) method: u32,
    pub(super) call_id: u64,
    pub(super) arguments: Vec<u8>,
}

impl Incoming {
    /// A message of which only the kind matters.
    pub(super) fn bare(kind: MessageKind) -> Self {
        Incoming { kind, method: 0, call_id: 0, arguments: Vec::new() }
    }

    fn copied(message: Message<'_>) -> Self {
        let Message { kind, method, call_id, arguments } = message;
        Incoming { kind, method, call_id, arguments: arguments.to_vec() }
    }

    fn borrowed(&self) -> Message<'_> {
        Message { kind: self.kind, method: self.method, call_id: self.call_id, arguments: &self.arguments }
    }
}

/// A runtime is the current one as long as this lives, also if what runs in it panics.
pub(super) struct Entered {
    before: Option<Rc<Runtime>>,
    /// A panic that began outside says nothing about the message.
    panicking: bool,
}

impl Entered {
    pub(super) fn new(runtime: &Rc<Runtime>) -> Self {
        Entered { before: runtime::enter(Some(Rc::clone(runtime))), panicking: std::thread::panicking() }
    }

    /// Runs `inside` and leaves.
    pub(super) fn run<R>(self, inside: impl FnOnce() -> R) -> R {
        inside()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.panicking {
            eprintln!("ambrosia: that was {}", panics::handling());
        }
        drop(runtime::enter(self.before.take()));
    }
}

impl<S: Immortal> Harness<S> {
    /// Runs `send` where the test's proxies live, and returns the messages that it sent.
    pub(super) fn by_tester<R>(&mut self, send: impl FnOnce(S::Proxy) -> R) -> (R, Vec<Incoming>) {
        let peer = self.instance_seen_by_tester;
        let result = Entered::new(&self.tester).run(|| send(S::Proxy::from(peer)));
        let effects = self.tester.take_effects();
        let messages =
            walk(&effects).filter(|effect| matches!(effect.message.kind, MessageKind::Fork | MessageKind::Call));
        let instance = self.instance_seen_by_tester;
        let messages = messages.map(|effect| {
            assert_eq!(effect.target, instance.index, "a test sends by the proxy that it is given");
            Incoming::copied(effect.message)
        });
        (result, messages.collect())
    }

    /// The index that the instance has for `name`.
    pub(super) fn peer(&mut self, name: &str) -> u32 {
        self.runtime.world.borrow_mut().attach(name)
    }

    /// Hands `messages` over in one delivery.
    pub(super) fn deliver(&mut self, peer: u32, messages: &[Incoming]) {
        if let Some(code) = self.exit_code {
            panic!("the instance has finished with code {code}: nothing is delivered any more");
        }
        if messages.is_empty() {
            return;
        }
        let run = self.run(peer, messages);
        let runtime = &self.runtime;
        let effects = Entered::new(runtime).run(|| deliver::<S>(runtime, &run));
        for effect in walk(&effects) {
            assert!((effect.cause as usize) < messages.len(), "an effect has a message of its delivery as its cause");
            self.on_effect(effect);
        }
    }

    pub(super) fn run(&mut self, peer: u32, messages: &[Incoming]) -> Vec<u8> {
        let mut encoded = Vec::new();
        for message in messages {
            layout::push_message(&mut encoded, message.borrowed());
        }
        let count = messages.len() as u32;
        let sequence = self.sequence.entry(peer).or_insert(0);
        let first_seq = if peer == OUTSIDE { 0 } else { *sequence + 1 };
        *sequence += u64::from(count);
        let mut run = Vec::new();
        layout::push_run(&mut run, Run { peer, count, first_seq, messages: &encoded });
        run
    }

    /// What an upgrade brought about.
    pub(super) fn on_effects_of_upgrade(&mut self, effects: &[u8]) {
        for effect in walk(effects) {
            assert_eq!(effect.cause, 0, "an upgrade is message 0");
            self.on_effect(effect);
        }
    }

    fn on_effect(&mut self, effect: Effect<'_>) {
        let Effect { cause, target, message } = effect;
        let to = self.runtime.world.borrow().peer_name(target);
        assert_eq!(self.exit_code, None, "nothing follows an exit");
        match message.kind {
            MessageKind::Fork | MessageKind::Call | MessageKind::Reply | MessageKind::Error if to == self.name => {
                self.to_itself.push(Incoming::copied(message));
            }
            MessageKind::Fork | MessageKind::Call => {
                assert!(!to.is_empty(), "a fork or call goes to a peer that was attached");
                self.sent.push(Sent::new(to, target, cause, message));
            }
            MessageKind::Reply => {
                self.answers.insert((target, message.call_id), Ok(message.arguments.to_vec()));
            }
            MessageKind::Error => {
                self.answers.insert((target, message.call_id), Err(error_text(message.arguments)));
            }
            MessageKind::Exit => self.exit_code = Some(i32::from_le_bytes(field(message.arguments))),
            MessageKind::SetTimer => {
                self.timers.insert((u64::from_le_bytes(field(message.arguments)), message.call_id));
            }
            MessageKind::Waiting => self.told_waiting = u64::from_le_bytes(field(message.arguments)),
            MessageKind::CancelTimer => self.timers.retain(|(_, id)| *id != message.call_id),
            MessageKind::Request
            | MessageKind::CancelRequest
            | MessageKind::Promise
            | MessageKind::CancelPromise
            | MessageKind::Emit
            | MessageKind::Log => self.outside.on_effect(message),
            MessageKind::Impulse
            | MessageKind::Timer
            | MessageKind::Start
            | MessageKind::Primary
            | MessageKind::Outcome
            | MessageKind::Resolved
            | MessageKind::Cron => panic!("{} is no effect", message.kind.word()),
        }
    }
}

pub(super) fn walk(mut effects: &[u8]) -> impl Iterator<Item = Effect<'_>> {
    std::iter::from_fn(move || {
        if effects.is_empty() {
            return None;
        }
        let (effect, rest) = layout::split_effect(effects).expect("effects are whole");
        effects = rest;
        Some(effect)
    })
}

fn field<const N: usize>(arguments: &[u8]) -> [u8; N] {
    arguments.try_into().expect("the argument has the length that the kind asks for")
}
