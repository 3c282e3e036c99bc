//! What an immortal keeps between deliveries besides the state of the application.
//!
//! **Architecture Invariant:** nothing here depends on anything but messages: no clock, no address, no map in a
//! random order. So it is the same on every replica, and a checkpoint of the guest's memory holds all of it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use crate::{
    CallError, Immortal, Method, This,
    executor::Executor,
    immortal::{Kept, place_of},
    layout::{self, Message, MessageKind, OUTSIDE},
};

/// The message that is being handled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) index: u32,
    pub(crate) peer: u32,
    pub(crate) kind: MessageKind,
    pub(crate) method: u32,
    /// Whether that is within an upgrade, which begins it again.
    pub(crate) upgrading: bool,
}

impl Current {
    /// No message, but an upgrade. The cause of its effects is 0.
    pub(crate) const UPGRADE: Current =
        Current { index: 0, peer: OUTSIDE, kind: MessageKind::Start, method: 0, upgrading: true };
}

/// What a future is waiting for, by call id.
enum Wait {
    Answer {
        peer: u32,
        method: &'static str,
        waker: Option<Waker>,
    },
    Answered(Result<Vec<u8>, CallError>),
    /// A request or a promise; the kind that asked for it.
    Outside {
        kind: MessageKind,
        waker: Option<Waker>,
    },
    Settled(Result<Vec<u8>, String>),
    Due {
        waker: Option<Waker>,
    },
    Fired,
}

/// See the module.
pub(crate) struct Runtime {
    pub(crate) executor: Executor,
    pub(crate) current: Cell<Current>,
    /// The own index as a peer, 0 as long as nobody asked.
    pub(crate) me: Cell<u32>,
    methods: Cell<&'static [Method]>,
    /// Whether the messages of handlers that wait are kept for an upgrade.
    keeps: Cell<bool>,
    /// A [`Kept`].
    state: Cell<Option<&'static dyn Any>>,
    effects: RefCell<Vec<u8>>,
    /// Where effects with more than a few bytes end, in one delivery.
    large_effects_bytes_max: usize,
    waits: RefCell<BTreeMap<u64, Wait>>,
    last_id: Cell<u64>,
    /// The time of the delivery, 0 as long as nobody asked.
    now: Cell<u64>,
    /// How many tasks the host was told of that an upgrade waits for.
    told_waiting: Cell<u64>,
    exit: Cell<Option<i32>>,
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) world: RefCell<crate::host::native::World>,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

/// Runs `use_it` with the runtime of the immortal that this is called in.
pub(crate) fn with<R>(use_it: impl FnOnce(&Runtime) -> R) -> R {
    try_with(use_it).expect("this works only inside an immortal: natively, in an `ambrosia::testing::Harness`")
}

/// The same, or `None` outside of any immortal.
pub(crate) fn try_with<R>(use_it: impl FnOnce(&Runtime) -> R) -> Option<R> {
    CURRENT.with_borrow(|current| current.as_deref().map(use_it))
}

/// Makes `runtime` the one that [`with`] finds, and returns the one before.
pub(crate) fn enter(runtime: Option<Rc<Runtime>>) -> Option<Rc<Runtime>> {
    CURRENT.replace(runtime)
}

impl Runtime {
    pub(crate) fn new(#[cfg(not(target_arch = "wasm32"))] world: crate::host::native::World) -> Self {
        crate::log::adopt();
        Runtime {
            executor: Executor::default(),
            current: Cell::new(Current {
                index: 0,
                peer: OUTSIDE,
                kind: MessageKind::Start,
                method: 0,
                upgrading: false,
            }),
            me: Cell::new(0),
            methods: Cell::new(&[]),
            keeps: Cell::new(false),
            state: Cell::new(None),
            effects: RefCell::new(Vec::new()),
            large_effects_bytes_max: layout::LARGE_EFFECTS_BYTES_MAX,
            waits: RefCell::new(BTreeMap::new()),
            last_id: Cell::new(0),
            now: Cell::new(0),
            told_waiting: Cell::new(0),
            exit: Cell::new(None),
            #[cfg(not(target_arch = "wasm32"))]
            world: RefCell::new(world),
        }
    }

    /// With a lower bound of large effects, that a test can reach.
    #[cfg(test)]
    pub(crate) fn with_large_effects_max(mut self, bytes: usize) -> Self {
        self.large_effects_bytes_max = bytes;
        self
    }

    /// The state of the application; made by its `Default` when this is asked for the first time.
    pub(crate) fn this<S: Immortal>(&self) -> This<S> {
        let state = self.state.get().unwrap_or_else(|| self.set_state(S::default()));
        This(state.downcast_ref().expect("an instance has one immortal, and this is not its type"))
    }

    fn set_state<S: Immortal>(&self, state: S) -> &'static dyn Any {
        let state: Kept<S> = Box::leak(Box::new(RefCell::new(place_of(state))));
        self.methods.set(S::METHODS);
        self.keeps.set(S::UPGRADES);
        self.state.set(Some(state));
        state
    }

    /// Drops the state, if there is one: the place that it lay in is all that remains.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn drop_state<S: Immortal>(&self) {
        let kept = self.state.get().and_then(|state| state.downcast_ref::<RefCell<Option<S>>>());
        // Whoever panics inside `with` has it still.
        let state = kept.and_then(|kept| kept.try_borrow_mut().ok()?.take());
        drop(state);
    }

    /// Whether the messages of handlers that wait are kept for an upgrade.
    #[inline]
    pub(crate) fn keeps(&self) -> bool {
        self.keeps.get()
    }

    /// The time of the delivery, for which the host is asked once.
    pub(crate) fn now(&self) -> u64 {
        if self.now.get() == 0 {
            self.now.set(crate::host::now());
        }
        self.now.get()
    }

    /// Another delivery begins.
    pub(crate) fn forget_now(&self) {
        self.now.set(0);
    }

    /// The name of a method of this immortal.
    pub(crate) fn method_name(&self, id: u32) -> Option<&'static str> {
        self.methods.get().iter().find(|method| method.answers_to(id)).map(|method| method.name)
    }

    /// The names of all of them, for an error text.
    pub(crate) fn method_names(&self) -> String {
        let names: Vec<_> = self.methods.get().iter().map(|method| method.name).collect();
        names.join(", ")
    }
}

/// Effects.
impl Runtime {
    /// Appends an effect whose arguments are at hand.
    #[inline]
    pub(crate) fn push(&self, target: u32, kind: MessageKind, method: u32, call_id: u64, arguments: &[u8]) {
        let message = Message { kind, method, call_id, arguments };
        layout::push_effect(&mut self.effects.borrow_mut(), self.current.get().index, target, message);
    }

    /// Appends an effect whose arguments `encode` writes in place. If it can't, or they are too large, there is no effect.
    pub(crate) fn push_encoded(
        &self,
        target: u32,
        kind: MessageKind,
        method: u32,
        call_id: u64,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut effects = self.effects.borrow_mut();
        let at = layout::begin_effect(&mut effects, self.current.get().index, target, kind, method, call_id);
        let begin = effects.len();
        let encoded = encode(&mut effects).and_then(|()| self.check_size(effects.len() - begin, begin));
        match encoded {
            Ok(()) => layout::finish_effect(&mut effects, at),
            // The room goes too: a value that was refused may have taken most of the memory.
            Err(_) => {
                effects.truncate(at);
                effects.shrink_to(EFFECTS_ROOM_BYTES_MAX);
            }
        }
        encoded
    }

    /// Appends an effect with bytes that a caller may have made too large.
    pub(crate) fn push_bytes(
        &self,
        target: u32,
        kind: MessageKind,
        method: u32,
        call_id: u64,
        arguments: &[u8],
    ) -> Result<(), String> {
        self.check_size(arguments.len(), self.effects.borrow().len())?;
        self.push(target, kind, method, call_id, arguments);
        Ok(())
    }

    /// Whether a message with arguments of that many bytes may follow that many bytes of effects.
    fn check_size(&self, bytes: usize, before: usize) -> Result<(), String> {
        if bytes > layout::ARGUMENTS_BYTES_MAX {
            return Err(format!("{bytes} bytes exceed the limit of {} bytes", layout::ARGUMENTS_BYTES_MAX));
        }
        let max = self.large_effects_bytes_max;
        if bytes > layout::SMALL_ARGUMENTS_BYTES && before + bytes > max {
            return Err(format!(
                "with these {bytes} bytes one delivery would bring about more than {max} bytes: try again"
            ));
        }
        Ok(())
    }

    /// Takes what gathered, and makes room for as much again.
    pub(crate) fn take_effects(&self) -> Vec<u8> {
        let mut effects = self.effects.borrow_mut();
        let room = Vec::with_capacity(effects.len().min(EFFECTS_ROOM_BYTES_MAX));
        std::mem::replace(&mut effects, room)
    }

    /// Asks for the end of the instance. The first code counts.
    pub(crate) fn request_exit(&self, code: i32) {
        if self.exit.get().is_none() {
            self.exit.set(Some(code));
        }
    }

    /// True once the application asked to exit: nothing more is handled.
    #[inline]
    pub(crate) fn exiting(&self) -> bool {
        self.exit.get().is_some()
    }

    /// Appends how many tasks an upgrade would wait for, if the host knows of another number.
    #[inline]
    pub(crate) fn push_waiting(&self) {
        let blocking = self.executor.blocking();
        if self.told_waiting.replace(blocking) != blocking {
            self.push(OUTSIDE, MessageKind::Waiting, 0, 0, &blocking.to_le_bytes());
        }
    }

    /// Appends the exit that was asked for, behind all that the message brought about.
    pub(crate) fn push_exit(&self) {
        if let Some(code) = self.exit.get() {
            self.push(OUTSIDE, MessageKind::Exit, 0, 0, &code.to_le_bytes());
        }
    }
}

/// Appends bytes as they are, to test what a host says to effects that can't be.
#[doc(hidden)]
pub fn push_effect_bytes(bytes: &[u8]) {
    with(|runtime| runtime.effects.borrow_mut().extend_from_slice(bytes));
}

/// Room that is kept for the effects of the next delivery, at most.
const EFFECTS_ROOM_BYTES_MAX: usize = 1 << 20;

/// Upgrades.
impl Runtime {
    /// Nothing has happened yet but that the old code gave this.
    pub(crate) fn begin_upgrade<S: Immortal>(&self, state: S, last_id: u64) {
        self.set_state(state);
        self.last_id.set(last_id);
        self.current.set(Current::UPGRADE);
    }

    /// From here on messages are handled.
    pub(crate) fn end_upgrade(&self) {
        self.current.set(Current::UPGRADE);
        let blocking = self.executor.blocking();
        self.told_waiting.set(blocking);
        self.push(OUTSIDE, MessageKind::Waiting, 0, 0, &blocking.to_le_bytes());
        self.push_exit();
        self.current.set(Current { upgrading: false, ..Current::UPGRADE });
    }

    pub(crate) fn last_id(&self) -> u64 {
        self.last_id.get()
    }

    /// The timers that are set.
    pub(crate) fn timers(&self) -> Vec<u64> {
        let waits = self.waits.borrow();
        waits.iter().filter(|(_, wait)| matches!(wait, Wait::Due { .. })).map(|(id, _)| *id).collect()
    }

    /// What of requests and promises is still to come: what would cancel each, and its id.
    pub(crate) fn outside(&self) -> Vec<(MessageKind, u64)> {
        let waits = self.waits.borrow();
        let outside = waits.iter().filter_map(|(id, wait)| match wait {
            Wait::Outside { kind, .. } => Some((cancels(*kind), *id)),
            _ => None,
        });
        outside.collect()
    }

    /// What a call or timer is, in words.
    pub(crate) fn awaited(&self, id: u64) -> String {
        match self.waits.borrow().get(&id) {
            Some(Wait::Answer { peer, method, .. }) => format!("{method} of {}", crate::host::peer_name(*peer)),
            Some(Wait::Due { .. }) => "a timer".to_string(),
            Some(Wait::Outside { kind: MessageKind::Request, .. }) => "an HTTP request".to_string(),
            Some(Wait::Outside { .. }) => "a promise".to_string(),
            _ => "another future".to_string(),
        }
    }
}

/// Waiting for answers and timers.
impl Runtime {
    /// A number that this instance never used before for a call or a timer.
    ///
    /// The first is random, so that a late answer to a call of an earlier instance of this name is not taken for one
    /// to this instance; it leaves room for more than all that follow.
    pub(crate) fn next_id(&self) -> u64 {
        let last = match self.last_id.get() {
            0 => crate::host::random() >> 2,
            last => last,
        };
        let id = last + 1;
        self.last_id.set(id);
        id
    }

    /// From now on an answer to the call `id` is kept.
    pub(crate) fn expect_answer(&self, id: u64, peer: u32, method: &'static str) {
        self.waits.borrow_mut().insert(id, Wait::Answer { peer, method, waker: None });
    }

    /// Sets the timer `id`.
    pub(crate) fn set_timer(&self, id: u64, due: u64) {
        self.push(OUTSIDE, MessageKind::SetTimer, 0, id, &due.to_le_bytes());
        self.waits.borrow_mut().insert(id, Wait::Due { waker: None });
    }

    /// Nobody waits for `id` any more. A timer that is set is cancelled.
    pub(crate) fn forget(&self, id: u64) {
        let wait = self.waits.borrow_mut().remove(&id);
        let cancel = match wait {
            Some(Wait::Due { .. }) => MessageKind::CancelTimer,
            Some(Wait::Outside { kind, .. }) => cancels(kind),
            _ => return,
        };
        self.push(OUTSIDE, cancel, 0, id, &[]);
    }

    /// From now on what comes of the request or promise `id` is kept.
    pub(crate) fn expect_outside(&self, id: u64, kind: MessageKind) {
        self.waits.borrow_mut().insert(id, Wait::Outside { kind, waker: None });
    }

    /// What came of the request or promise `id`, once.
    pub(crate) fn poll_outside(&self, id: u64, context: &Context<'_>) -> Poll<Result<Vec<u8>, String>> {
        let mut waits = self.waits.borrow_mut();
        match waits.remove(&id).expect("what is waited for is known until it has ended") {
            Wait::Settled(outcome) => Poll::Ready(outcome),
            Wait::Outside { kind, .. } => {
                waits.insert(id, Wait::Outside { kind, waker: Some(context.waker().clone()) });
                self.executor.awaits_answer(id);
                Poll::Pending
            }
            _ => unreachable!("the id is a request's or a promise's"),
        }
    }

    /// Something came of a request or a promise. What nobody waits for is ignored.
    pub(crate) fn on_outside(&self, id: u64, outcome: Result<Vec<u8>, String>) {
        let mut waits = self.waits.borrow_mut();
        let Some(wait) = waits.get_mut(&id) else { return };
        let Wait::Outside { waker, .. } = wait else { return };
        let waker = waker.take();
        *wait = Wait::Settled(outcome);
        drop(waits);
        wake(waker);
    }

    /// The answer to the call `id`, once.
    pub(crate) fn poll_answer(&self, id: u64, context: &Context<'_>) -> Poll<Result<Vec<u8>, CallError>> {
        let mut waits = self.waits.borrow_mut();
        match waits.remove(&id).expect("a call is not polled again after it gave its answer") {
            Wait::Answered(answer) => Poll::Ready(answer),
            Wait::Answer { peer, method, .. } => {
                waits.insert(id, Wait::Answer { peer, method, waker: Some(context.waker().clone()) });
                self.executor.awaits_answer(id);
                Poll::Pending
            }
            _ => unreachable!("the id is a call's"),
        }
    }

    /// Whether the timer `id` fired.
    pub(crate) fn poll_timer(&self, id: u64, context: &Context<'_>) -> Poll<()> {
        let mut waits = self.waits.borrow_mut();
        match waits.get_mut(&id).expect("a timer stays known until it is dropped") {
            Wait::Fired => Poll::Ready(()),
            Wait::Due { waker } => {
                *waker = Some(context.waker().clone());
                self.executor.awaits_timer(id);
                Poll::Pending
            }
            _ => unreachable!("the id is a timer's"),
        }
    }

    /// A reply or an error arrived. One that nobody waits for, or of another peer than was asked, is ignored.
    pub(crate) fn on_answer(&self, id: u64, from: u32, answer: Answer<'_>) {
        let mut waits = self.waits.borrow_mut();
        let Some(wait) = waits.get_mut(&id) else { return };
        let Wait::Answer { peer, method, waker } = wait else {
            drop(waits);
            if let (OUTSIDE, Answer::Error(text)) = (from, answer) {
                self.on_outside(id, Err(text));
            }
            return;
        };
        let answer = match answer {
            Answer::Reply(value) if from == *peer => Ok(value.to_vec()),
            Answer::Error(text) if from == *peer => Err(CallError::refused(method, text)),
            Answer::Error(text) if from == OUTSIDE => Err(CallError::lost(method, text)),
            _ => return,
        };
        let waker = waker.take();
        *wait = Wait::Answered(answer);
        drop(waits);
        wake(waker);
    }

    /// A timer is due. One that was cancelled is ignored.
    pub(crate) fn on_timer(&self, id: u64) {
        let mut waits = self.waits.borrow_mut();
        let Some(wait) = waits.get_mut(&id) else { return };
        let Wait::Due { waker } = wait else { return };
        let waker = waker.take();
        *wait = Wait::Fired;
        drop(waits);
        wake(waker);
    }
}

/// What came back for a call.
pub(crate) enum Answer<'a> {
    Reply(&'a [u8]),
    Error(String),
}

/// What says that nobody waits any more for what that kind has asked for.
fn cancels(kind: MessageKind) -> MessageKind {
    match kind {
        MessageKind::Request => MessageKind::CancelRequest,
        _ => MessageKind::CancelPromise,
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}
