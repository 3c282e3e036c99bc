//! Runs futures, one at a time, in the order in which they were woken.
//!
//! **Architecture Invariant:** a future runs only while a message is handled, so all that it does has that message
//! as its cause, and a replay runs it at the same place.

use std::{
    cell::{Cell, RefCell},
    collections::{BinaryHeap, VecDeque},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    carried::{Kept, Origin, Pending},
    layout,
    runtime::{self, Runtime},
};

/// A future that has nothing more to say when it ends.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Names one task for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    slot: usize,
    generation: u64,
}

/// What a task is, to an upgrade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    /// Run for a message. It may begin again in other code, if that says so; this code says whether it would.
    Handler { restarts: bool },
    /// The same, run by the host.
    Hook { restarts: bool },
    /// Beside the handlers.
    Future,
    /// Ends with the code.
    UntilUpgrade,
}

impl Role {
    /// Whether an upgrade to code like this one waits for it.
    fn blocks(self) -> bool {
        matches!(self, Role::Handler { restarts: false } | Role::Hook { restarts: false } | Role::Future)
    }
}

struct Slot {
    /// Which of all tasks it is, counted from 1.
    generation: u64,
    state: SlotState,
    name: &'static str,
    queued: bool,
    waker: Waker,
    role: Role,
    /// Nanoseconds since 1970, once it waits.
    since: u64,
    /// The peer, and the message, that a handler was begun by, once it waits; empty for what is none. The room is used again.
    kept: (u32, Vec<u8>),
    /// The call or timer that it waits for, 0 for something else.
    awaits: u64,
}

/// A task as an upgrade finds it.
pub(crate) struct PendingTask {
    pub(crate) pending: Pending,
    /// The call or timer that it waits for, 0 for something else.
    pub(crate) awaits: u64,
}

enum SlotState {
    Free,
    Waiting(Work),
    Running,
    /// Cancelled while it was running, by itself.
    Cancelled,
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Slot>,
    free: Vec<usize>,
    ready: VecDeque<usize>,
    running: Option<&'static str>,
    /// How many there were.
    count: u64,
    /// Taken up since [`Executor::keep_begun`].
    begun: Vec<TaskId>,
    /// How many there are that an upgrade waits for.
    blocking: u64,
}

impl Tasks {
    /// The slot has no task any more.
    fn free(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        slot.state = SlotState::Free;
        slot.kept.1.clear();
        if slot.kept.1.capacity() > KEPT_ROOM_BYTES_MAX {
            slot.kept.1 = Vec::new();
        }
        self.blocking -= u64::from(slot.role.blocks());
        self.free.push(at);
    }
}

/// Room that a slot keeps for the message of its next task, at most.
const KEPT_ROOM_BYTES_MAX: usize = 256;

/// See the module.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<Tasks>,
    /// What the task that is running found not there yet.
    awaited: Cell<u64>,
}

/// Puts the task of one slot in the queue. Waking a slot whose task has ended, or was followed by another, is harmless.
struct SlotWaker {
    slot: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Outside of the immortal, as when a harness is dropped, there is nothing left to run.
        runtime::try_with(|runtime| runtime.executor.enqueue(self.slot));
    }
}

impl Executor {
    /// Takes up a future. It is polled for the first time when the handler that is running returns or awaits.
    pub(crate) fn spawn(&self, name: &'static str, role: Role, work: Work) -> TaskId {
        let mut tasks = self.tasks.borrow_mut();
        tasks.count += 1;
        tasks.blocking += u64::from(role.blocks());
        let generation = tasks.count;
        let slot = tasks.free.pop().unwrap_or_else(|| {
            let slot = tasks.slots.len();
            let waker = Waker::from(Arc::new(SlotWaker { slot }));
            let state = SlotState::Free;
            tasks.slots.push(Slot {
                generation,
                state,
                name,
                queued: false,
                waker,
                role,
                since: 0,
                kept: (0, Vec::new()),
                awaits: 0,
            });
            slot
        });
        let taken = &mut tasks.slots[slot];
        taken.generation = generation;
        taken.state = SlotState::Waiting(work);
        taken.name = name;
        taken.role = role;
        let id = TaskId { slot, generation };
        tasks.begun.push(id);
        drop(tasks);
        self.enqueue(slot);
        id
    }

    /// Drops a task where it stands.
    pub(crate) fn cancel(&self, id: TaskId) {
        let mut tasks = self.tasks.borrow_mut();
        let slot = &mut tasks.slots[id.slot];
        if slot.generation != id.generation {
            return;
        }
        match std::mem::replace(&mut slot.state, SlotState::Free) {
            SlotState::Free => {}
            SlotState::Running | SlotState::Cancelled => slot.state = SlotState::Cancelled,
            SlotState::Waiting(work) => {
                tasks.free(id.slot);
                // What the future holds may want the executor when it is dropped.
                drop(tasks);
                drop(work);
            }
        }
    }

    /// From now on no upgrade waits for a task: it ends with the code.
    pub(crate) fn end_with_code(&self, id: TaskId) {
        let mut tasks = self.tasks.borrow_mut();
        let slot = &mut tasks.slots[id.slot];
        let is_there = slot.generation == id.generation && !matches!(slot.state, SlotState::Free);
        if is_there && std::mem::replace(&mut slot.role, Role::UntilUpgrade).blocks() {
            tasks.blocking -= 1;
        }
    }

    /// How many tasks there are that an upgrade waits for.
    pub(crate) fn blocking(&self) -> u64 {
        self.tasks.borrow().blocking
    }

    /// Notes since when the tasks wait that were taken up since this was called before, and of handlers the message that
    /// they were begun by: the peer, and the bytes as they came.
    pub(crate) fn keep_begun(&self, message: Option<(u32, &[u8])>, now: impl Fn() -> u64) {
        let mut tasks = self.tasks.borrow_mut();
        while let Some(id) = tasks.begun.pop() {
            let slot = &mut tasks.slots[id.slot];
            if slot.generation != id.generation || !matches!(slot.state, SlotState::Waiting(_)) {
                continue;
            }
            slot.since = now();
            if let (Role::Handler { .. }, Some((peer, message))) = (slot.role, message) {
                slot.kept.0 = peer;
                slot.kept.1.extend_from_slice(message);
            }
        }
    }

    /// The tasks that an upgrade has to do with, in the order in which they began.
    pub(crate) fn pending(&self) -> Vec<PendingTask> {
        let tasks = self.tasks.borrow();
        // It sorts with less code than a sort, which each guest would carry.
        let mut numbered = BinaryHeap::new();
        for (at, slot) in tasks.slots.iter().enumerate() {
            if matches!(slot.state, SlotState::Waiting(_)) && slot.role != Role::UntilUpgrade {
                numbered.push((slot.generation, at));
            }
        }
        let task = |slot: &Slot| {
            let origin = match (slot.role, layout::split_message(&slot.kept.1)) {
                (Role::Handler { .. }, Some((message, _))) => Origin::Handler(Kept::of(slot.kept.0, message)),
                (Role::Hook { .. }, _) => Origin::Hook,
                _ => Origin::Future,
            };
            let pending = Pending { name: slot.name.to_string(), since: slot.since, origin };
            PendingTask { pending, awaits: slot.awaits }
        };
        numbered.into_sorted_vec().into_iter().map(|(_, at)| task(&tasks.slots[at])).collect()
    }

    /// The name of the task that is running.
    pub(crate) fn running(&self) -> Option<&'static str> {
        self.tasks.try_borrow().ok().and_then(|tasks| tasks.running)
    }

    /// True when no task waits to be polled.
    #[inline]
    pub(crate) fn idle(&self) -> bool {
        self.tasks.borrow().ready.is_empty()
    }

    /// Polls what is ready, and what becomes so by that, until nothing is or the application asked to exit.
    pub(crate) fn run(&self, runtime: &Runtime) {
        while !runtime.exiting() {
            let Some((slot, mut work, waker)) = self.begin() else { return };
            let finished = work.as_mut().poll(&mut Context::from_waker(&waker)) == Poll::Ready(());
            self.end(slot, work, finished);
        }
    }

    /// The task that is running waits for a call's answer.
    #[inline]
    pub(crate) fn awaits_answer(&self, id: u64) {
        self.awaited.set(id);
    }

    /// The task that is running waits for a timer. If it waits for an answer too, that says more.
    #[inline]
    pub(crate) fn awaits_timer(&self, id: u64) {
        if self.awaited.get() == 0 {
            self.awaited.set(id);
        }
    }

    /// Drops all tasks.
    #[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "in wasm the runtime lives as long as the memory"))]
    pub(crate) fn clear(&self) {
        let tasks = self.tasks.take();
        drop(tasks);
    }

    fn enqueue(&self, slot: usize) {
        let mut tasks = self.tasks.borrow_mut();
        let Some(entry) = tasks.slots.get_mut(slot) else { return };
        if !std::mem::replace(&mut entry.queued, true) {
            tasks.ready.push_back(slot);
        }
    }

    fn begin(&self) -> Option<(usize, Work, Waker)> {
        let mut tasks = self.tasks.borrow_mut();
        loop {
            let at = tasks.ready.pop_front()?;
            let slot = &mut tasks.slots[at];
            slot.queued = false;
            let name = slot.name;
            match std::mem::replace(&mut slot.state, SlotState::Running) {
                SlotState::Waiting(work) => {
                    let waker = slot.waker.clone();
                    tasks.running = Some(name);
                    self.awaited.set(0);
                    return Some((at, work, waker));
                }
                other => slot.state = other,
            }
        }
    }

    fn end(&self, at: usize, work: Work, finished: bool) {
        let mut tasks = self.tasks.borrow_mut();
        tasks.running = None;
        let slot = &mut tasks.slots[at];
        if !finished && matches!(slot.state, SlotState::Running) {
            slot.state = SlotState::Waiting(work);
            slot.awaits = self.awaited.get();
            return;
        }
        tasks.free(at);
        drop(tasks);
        drop(work);
    }
}
