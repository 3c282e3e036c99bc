//! Threads that drive whoever has something to do: many tasks that are mostly idle share a few threads.
//!
//! **Architecture Invariant:** a task is driven by one thread at a time, and a wake while it is driven is never lost: it is
//! driven once more.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A task is driven for about so long before another one that waits has its turn.
const SLICE: Duration = Duration::from_millis(2);

/// A thread that has had nothing to do for this long ends, unless it is the last.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// Something that has work now and then.
pub trait Task: Send {
    /// Does some of what there is to do.
    fn go_on(&mut self) -> Turn;

    /// It is not driven for a while although it has more to do: others have their turn.
    fn rest(&mut self) {}

    /// It has said that it is over.
    fn end(self: Box<Self>);

    /// It has panicked.
    fn fail(self: Box<Self>);
}

/// What a task does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// There is more to do.
    Again,
    /// Nothing, until it is woken or that time has passed.
    Wait(Option<Duration>),
    /// It is over.
    Ended,
}

/// A pool of threads. Clones are the same; with the last of them the threads end, each after what it is at.
#[derive(Clone)]
pub struct Pool(Arc<Owner>);

struct Owner(Arc<Shared>);

struct Shared {
    name: &'static str,
    threads_max: usize,
    stack_bytes: Option<usize>,
    state: Mutex<PoolState>,
    changed: Condvar,
    /// Tasks that are ready, for a look without the lock.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct PoolState {
    ready: VecDeque<Arc<Slot>>,
    alarms: BTreeMap<(Instant, u64), Arc<Slot>>,
    /// Alarms so far.
    alarms_set: u64,
    threads: usize,
    sleeping: usize,
    is_ended: bool,
}

/// The place of a task in its pool.
struct Slot {
    task: Mutex<Option<Box<dyn Task>>>,
    /// Changed only while the state of the pool is locked.
    phase: Mutex<Phase>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle(Option<(Instant, u64)>),
    Ready,
    Driven { is_woken: bool },
    Over,
}

/// Wakes one task.
#[derive(Clone)]
pub struct Waker {
    shared: Weak<Shared>,
    slot: Arc<Slot>,
}

impl Pool {
    /// A pool of up to `threads_max` threads, none of which is started yet.
    ///
    /// # Panics
    /// If that is none.
    pub fn new(name: &'static str, threads_max: usize, stack_bytes: Option<usize>) -> Pool {
        assert!(threads_max > 0, "somebody has to do it");
        let (state, changed, waiting) = (Mutex::default(), Condvar::new(), AtomicUsize::new(0));
        Pool(Arc::new(Owner(Arc::new(Shared { name, threads_max, stack_bytes, state, changed, waiting }))))
    }

    /// A place for a task. It is driven once [`Waker::begin`] has given it one.
    pub fn place(&self) -> Waker {
        let slot = Slot { task: Mutex::new(None), phase: Mutex::new(Phase::Idle(None)) };
        Waker { shared: Arc::downgrade(&self.0.0), slot: Arc::new(slot) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        lock(&self.0.state).is_ended = true;
        self.0.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waker {
    /// Has the task driven from now on.
    ///
    /// # Errors
    /// If the system has no thread for it.
    pub fn begin(&self, task: Box<dyn Task>) -> io::Result<()> {
        let there = lock(&self.slot.task).replace(task);
        assert!(there.is_none(), "a place is for one task");
        let Some(shared) = self.shared.upgrade() else { return Ok(()) };
        let mut state = lock(&shared.state);
        if state.threads == 0
            && let Err(error) = shared.start_thread(&mut state)
        {
            // Nobody will drive it, so it goes, with all that it holds.
            drop(state);
            drop(lock(&self.slot.task).take());
            return Err(error);
        }
        shared.wake(state, &self.slot);
        Ok(())
    }

    /// The task has something to do.
    pub fn wake(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.wake(lock(&shared.state), &self.slot);
        }
    }
}

impl Shared {
    fn start_thread(self: &Arc<Self>, state: &mut PoolState) -> io::Result<()> {
        let there = Arc::clone(self);
        let mut builder = thread::Builder::new().name(self.name.to_owned());
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        builder.spawn(move || there.drive_all())?;
        state.threads += 1;
        Ok(())
    }

    fn wake(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>, slot: &Arc<Slot>) {
        let mut phase = lock(&slot.phase);
        match *phase {
            Phase::Idle(alarm) => {
                if let Some(alarm) = alarm {
                    state.alarms.remove(&alarm);
                }
                *phase = Phase::Ready;
                drop(phase);
                self.make_ready(&mut state, Arc::clone(slot));
                drop(state);
                self.changed.notify_one();
            }
            Phase::Driven { .. } => *phase = Phase::Driven { is_woken: true },
            Phase::Ready | Phase::Over => {}
        }
    }

    fn make_ready(self: &Arc<Self>, state: &mut PoolState, slot: Arc<Slot>) {
        state.ready.push_back(slot);
        self.waiting.store(state.ready.len(), Ordering::Relaxed);
        let is_short = state.sleeping < state.ready.len() && state.threads < self.threads_max;
        if is_short && let Err(error) = self.start_thread(state) {
            tracing::debug!(%error, "no further thread for {}: those that there are go on", self.name);
        }
    }

    fn drive_all(self: &Arc<Self>) {
        while let Some(slot) = self.next() {
            self.drive(&slot);
        }
    }

    /// Waits for a task that is ready. `None` if the thread is to end.
    fn next(self: &Arc<Self>) -> Option<Arc<Slot>> {
        let since = Instant::now();
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            self.ring_alarms(&mut state, now);
            if let Some(slot) = state.ready.pop_front() {
                self.waiting.store(state.ready.len(), Ordering::Relaxed);
                *lock(&slot.phase) = Phase::Driven { is_woken: false };
                return Some(slot);
            }
            let is_bored = state.threads > 1 && now.duration_since(since) >= IDLE_MAX;
            if state.is_ended || is_bored {
                state.threads -= 1;
                return None;
            }
            let alarm = state.alarms.first_key_value().map(|((at, _), _)| at.saturating_duration_since(now));
            // One of those that sleep waits for the alarm; if that is woken for something else, another look is near.
            let limit = alarm.unwrap_or(IDLE_MAX).min(IDLE_MAX);
            state.sleeping += 1;
            state = self.changed.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0;
            state.sleeping -= 1;
        }
    }

    fn ring_alarms(self: &Arc<Self>, state: &mut PoolState, now: Instant) {
        while let Some(first) = state.alarms.first_entry()
            && first.key().0 <= now
        {
            let slot = first.remove();
            *lock(&slot.phase) = Phase::Ready;
            self.make_ready(state, slot);
        }
    }

    fn drive(self: &Arc<Self>, slot: &Arc<Slot>) {
        let mut task = lock(&slot.task).take().expect("whoever is ready has a task, and nobody else drives it");
        let began = Instant::now();
        let turn = loop {
            match catch_unwind(AssertUnwindSafe(|| task.go_on())) {
                Ok(Turn::Again) if self.waiting.load(Ordering::Relaxed) == 0 || began.elapsed() < SLICE => {}
                turn => break turn,
            }
        };
        let pause = match turn {
            Ok(Turn::Again) => {
                task.rest();
                None
            }
            Ok(Turn::Wait(limit)) => Some(limit),
            Ok(Turn::Ended) | Err(_) => {
                // Nobody may wake it any more when whoever waits for its end is told.
                let state = lock(&self.state);
                *lock(&slot.phase) = Phase::Over;
                drop(state);
                return if turn.is_ok() { task.end() } else { task.fail() };
            }
        };
        *lock(&slot.task) = Some(task);
        self.put_back(slot, pause);
    }

    /// `pause` is `None` if the task has more to do.
    fn put_back(self: &Arc<Self>, slot: &Arc<Slot>, pause: Option<Option<Duration>>) {
        let mut state = lock(&self.state);
        let mut phase = lock(&slot.phase);
        let is_woken = *phase == Phase::Driven { is_woken: true };
        match pause.filter(|_| !is_woken) {
            None => {
                *phase = Phase::Ready;
                drop(phase);
                self.make_ready(&mut state, Arc::clone(slot));
            }
            Some(limit) => {
                let alarm = limit.map(|limit| {
                    state.alarms_set += 1;
                    (Instant::now() + limit, state.alarms_set)
                });
                *phase = Phase::Idle(alarm);
                if let Some(alarm) = alarm {
                    state.alarms.insert(alarm, Arc::clone(slot));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Nothing here takes that long.
    const LIMIT: Duration = Duration::from_secs(20);

    struct Teller {
        told: Sender<&'static str>,
        turns: Vec<Turn>,
    }

    impl Task for Teller {
        fn go_on(&mut self) -> Turn {
            self.told.send("turn").expect("the test listens");
            match self.turns.is_empty() {
                true => panic!("it was driven once too often"),
                false => self.turns.remove(0),
            }
        }

        fn end(self: Box<Self>) {
            self.told.send("end").expect("the test listens");
        }

        fn fail(self: Box<Self>) {
            self.told.send("fail").expect("the test listens");
        }
    }

    fn begin(pool: &Pool, turns: &[Turn]) -> (Waker, Receiver<&'static str>) {
        let (told, hears) = channel();
        let waker = pool.place();
        waker.begin(Box::new(Teller { told, turns: turns.to_vec() })).expect("there are threads");
        (waker, hears)
    }

    fn hear(hears: &Receiver<&'static str>) -> &'static str {
        hears.recv_timeout(LIMIT).expect("it is driven")
    }

    #[test]
    fn a_task_is_driven_until_it_waits_and_again_when_it_is_woken() {
        let pool = Pool::new("pool", 2, None);
        let (waker, hears) = begin(&pool, &[Turn::Again, Turn::Wait(None), Turn::Ended]);
        assert_eq!([hear(&hears), hear(&hears)], ["turn"; 2]);
        assert!(hears.try_recv().is_err(), "it waits");
        waker.wake();
        assert_eq!([hear(&hears), hear(&hears)], ["turn", "end"]);
        waker.wake();
        assert!(hears.recv().is_err(), "it is over, and dropped");
    }

    #[test]
    fn a_task_is_driven_again_when_its_time_has_passed() {
        let pool = Pool::new("pool", 1, None);
        let pause = Turn::Wait(Some(Duration::from_millis(1)));
        let (_waker, hears) = begin(&pool, &[pause, pause, Turn::Ended]);
        assert_eq!([hear(&hears), hear(&hears), hear(&hears), hear(&hears)], ["turn", "turn", "turn", "end"]);
    }

    #[test]
    fn a_task_that_panics_is_told_and_takes_no_thread_along() {
        let pool = Pool::new("pool", 1, None);
        let (_waker, hears) = begin(&pool, &[]);
        assert_eq!([hear(&hears), hear(&hears)], ["turn", "fail"]);
        let (_waker, hears) = begin(&pool, &[Turn::Ended]);
        assert_eq!([hear(&hears), hear(&hears)], ["turn", "end"]);
    }

    #[test]
    fn whoever_has_much_to_do_lets_others_have_their_turn() {
        struct Busy(Arc<AtomicUsize>);
        impl Task for Busy {
            fn go_on(&mut self) -> Turn {
                if self.0.load(Ordering::SeqCst) == 0 { Turn::Again } else { Turn::Ended }
            }
            fn end(self: Box<Self>) {}
            fn fail(self: Box<Self>) {}
        }
        let (pool, is_done) = (Pool::new("pool", 1, None), Arc::new(AtomicUsize::new(0)));
        pool.place().begin(Box::new(Busy(Arc::clone(&is_done)))).expect("there is a thread");
        let (_waker, hears) = begin(&pool, &[Turn::Ended]);
        assert_eq!([hear(&hears), hear(&hears)], ["turn", "end"]);
        is_done.store(1, Ordering::SeqCst);
    }

    #[test]
    fn each_wake_among_many_threads_is_followed_by_a_turn() {
        struct Counter(Arc<AtomicUsize>, Arc<AtomicUsize>);
        impl Task for Counter {
            fn go_on(&mut self) -> Turn {
                self.1.store(self.0.load(Ordering::SeqCst), Ordering::SeqCst);
                Turn::Wait(None)
            }
            fn end(self: Box<Self>) {}
            fn fail(self: Box<Self>) {}
        }
        let pool = Pool::new("pool", 3, None);
        let (wanted, seen) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let waker = pool.place();
        waker.begin(Box::new(Counter(Arc::clone(&wanted), Arc::clone(&seen)))).expect("there are threads");
        for round in 1..20_000 {
            wanted.store(round, Ordering::SeqCst);
            waker.wake();
            if round % 100 == 0 {
                let deadline = Instant::now() + LIMIT;
                while seen.load(Ordering::SeqCst) < round {
                    assert!(Instant::now() < deadline, "a wake was lost in round {round}");
                    std::hint::spin_loop();
                }
            }
        }
    }
}
