//! Runs futures, one at a time, in the order in which they were woken.
//!
//! **Architecture Invariant:** a future runs only while a message is handled, so all that it does has that message
//! as its cause, and a replay runs it at the same place.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use crate::runtime::{self, Runtime};

/// A future that has nothing more to say when it ends.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

/// Names one task for its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TaskId {
    slot: usize,
    generation: u64,
}

struct Slot {
    /// Which of the tasks that used this slot it is.
    generation: u64,
    state: SlotState,
    name: &'static str,
    queued: bool,
    waker: Waker,
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
}

/// See the module.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<Tasks>,
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
    pub(crate) fn spawn(&self, name: &'static str, work: Work) -> TaskId {
        let mut tasks = self.tasks.borrow_mut();
        let slot = tasks.free.pop().unwrap_or_else(|| {
            let slot = tasks.slots.len();
            let waker = Waker::from(Arc::new(SlotWaker { slot }));
            tasks.slots.push(Slot { generation: 0, state: SlotState::Free, name, queued: false, waker });
            slot
        });
        let taken = &mut tasks.slots[slot];
        taken.generation += 1;
        taken.state = SlotState::Waiting(work);
        taken.name = name;
        let id = TaskId { slot, generation: taken.generation };
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
                tasks.free.push(id.slot);
                // What the future holds may want the executor when it is dropped.
                drop(tasks);
                drop(work);
            }
        }
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
            return;
        }
        slot.state = SlotState::Free;
        tasks.free.push(at);
        drop(tasks);
        drop(work);
    }
}
