//! Threads that drive whoever has something to do: many tasks that are mostly idle share a few threads.
//!
//! Of the threads that have nothing to do one sleeps until the first alarm, the others until they are called: if all of them
//! waited for the same alarm, each of many idle tasks would wake every thread. Whoever fell asleep last is called first, so
//! that those that are not needed end.
//!
//! **Architecture Invariant:** a task is driven by one thread at a time, and a wake while it is driven is never lost: it is
//! driven once more. An alarm is heard while other tasks are driven, unless each thread that there may be drives one.

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

/// A thread that has had nothing to do for this long ends, unless it is one of the last.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// One for whoever is woken, one for the alarms meanwhile: they stay, so that nobody waits for a thread to be started.
const THREADS_KEPT: usize = 2;

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
    /// In the order in which they fell asleep.
    sleepers: Vec<Sleeper>,
    /// Threads that were called, or started, and are not there yet.
    coming: usize,
    is_ended: bool,
}

/// A thread that has nothing to do.
struct Sleeper {
    bell: Arc<Condvar>,
    /// It wakes up by itself then.
    until: Instant,
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
        let (state, waiting) = (Mutex::default(), AtomicUsize::new(0));
        Pool(Arc::new(Owner(Arc::new(Shared { name, threads_max, stack_bytes, state, waiting }))))
    }

    /// A place for a task. It is driven once [`Waker::begin`] has given it one.
    pub fn place(&self) -> Waker {
        let slot = Slot { task: Mutex::new(None), phase: Mutex::new(Phase::Idle(None)) };
        Waker { shared: Arc::downgrade(&self.0.0), slot: Arc::new(slot) }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.is_ended = true;
        state.sleepers.iter().for_each(|sleeper| sleeper.bell.notify_one());
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
        state.coming += 1;
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
                let bell = self.make_ready(&mut state, Arc::clone(slot), 0);
                drop(state);
                if let Some(bell) = bell {
                    bell.notify_one();
                }
            }
            Phase::Driven { .. } => *phase = Phase::Driven { is_woken: true },
            Phase::Ready | Phase::Over => {}
        }
    }

    /// Puts a task behind the others that are ready, and finds somebody for it, if those that are awake and look for a task
    /// are too few. The bell of whoever was found is to be rung.
    fn make_ready(self: &Arc<Self>, state: &mut PoolState, slot: Arc<Slot>, looking: usize) -> Option<Arc<Condvar>> {
        state.ready.push_back(slot);
        self.waiting.store(state.ready.len(), Ordering::Relaxed);
        if state.coming + looking < state.ready.len() { self.call(state) } else { None }
    }

    /// Calls a thread that sleeps: whose bell is to be rung. If none does, a further one is started, if there may be one.
    fn call(self: &Arc<Self>, state: &mut PoolState) -> Option<Arc<Condvar>> {
        let last = (0..state.sleepers.len()).max_by_key(|place| state.sleepers[*place].until);
        if let Some(place) = last {
            state.coming += 1;
            return Some(state.sleepers.remove(place).bell);
        }
        if state.threads < self.threads_max
            && let Err(error) = self.start_thread(state)
        {
            tracing::debug!(%error, "no further thread for {}: those that there are go on", self.name);
        }
        None
    }

    fn drive_all(self: &Arc<Self>) {
        let bell = Arc::default();
        lock(&self.state).coming -= 1;
        while let Some(slot) = self.next(&bell) {
            self.drive(&slot);
        }
    }

    /// Waits for a task that is ready. `None` if the thread is to end.
    fn next(self: &Arc<Self>, bell: &Arc<Condvar>) -> Option<Arc<Slot>> {
        let since = Instant::now();
        let mut state = lock(&self.state);
        loop {
            let now = Instant::now();
            self.ring_alarms(&mut state, now);
            if let Some(slot) = state.ready.pop_front() {
                self.waiting.store(state.ready.len(), Ordering::Relaxed);
                *lock(&slot.phase) = Phase::Driven { is_woken: false };
                self.leave_alarms_to_others(state);
                return Some(slot);
            }
            let is_bored = state.threads > THREADS_KEPT && now.duration_since(since) >= IDLE_MAX;
            if state.is_ended || is_bored {
                state.threads -= 1;
                self.leave_alarms_to_others(state);
                return None;
            }
            state = sleep(state, bell, now);
        }
    }

    fn ring_alarms(self: &Arc<Self>, state: &mut PoolState, now: Instant) {
        while let Some(first) = state.alarms.first_entry()
            && first.key().0 <= now
        {
            let slot = first.remove();
            *lock(&slot.phase) = Phase::Ready;
            if let Some(bell) = self.make_ready(state, slot, 1) {
                bell.notify_one();
            }
        }
    }

    /// This thread has something else to do now: another one is to be awake at the time of the first alarm.
    fn leave_alarms_to_others(self: &Arc<Self>, mut state: MutexGuard<'_, PoolState>) {
        if state.is_ended || state.coming > 0 || state.first_unwatched().is_none() {
            return;
        }
        let bell = self.call(&mut state);
        drop(state);
        if let Some(bell) = bell {
            bell.notify_one();
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
                if let Some(bell) = self.make_ready(&mut state, Arc::clone(slot), 1) {
                    bell.notify_one();
                }
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

impl PoolState {
    /// The time of the first alarm, if nobody is awake then.
    fn first_unwatched(&self) -> Option<Instant> {
        let (first, _) = *self.alarms.first_key_value()?.0;
        self.sleepers.iter().all(|sleeper| sleeper.until > first).then_some(first)
    }
}

/// Sleeps until the bell is rung, or it is time for an alarm that nobody else is awake for.
fn sleep<'a>(mut state: MutexGuard<'a, PoolState>, bell: &Arc<Condvar>, now: Instant) -> MutexGuard<'a, PoolState> {
    let bored = now + IDLE_MAX;
    let until = state.first_unwatched().map_or(bored, |alarm| alarm.min(bored));
    state.sleepers.push(Sleeper { bell: Arc::clone(bell), until });
    let waited = bell.wait_timeout(state, until.saturating_duration_since(now));
    let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
    match state.sleepers.iter().position(|sleeper| Arc::ptr_eq(&sleeper.bell, bell)) {
        Some(place) => drop(state.sleepers.remove(place)),
        None => state.coming -= 1, // it was called
    }
    state
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Barrier,
        mpsc::{Receiver, Sender, channel},
    };

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
    fn one_thread_sleeps_until_the_first_alarm_however_many_have_nothing_to_do() {
        const THREADS: usize = 8;
        struct Together(Arc<Barrier>);
        impl Task for Together {
            fn go_on(&mut self) -> Turn {
                self.0.wait();
                Turn::Ended
            }
            fn end(self: Box<Self>) {}
            fn fail(self: Box<Self>) {}
        }
        let (pool, barrier) = (Pool::new("pool", THREADS, None), Arc::new(Barrier::new(THREADS)));
        let (_waker, _hears) = begin(&pool, &vec![Turn::Wait(Some(Duration::from_secs(1))); 100]);
        for _ in 0..THREADS {
            pool.place().begin(Box::new(Together(Arc::clone(&barrier)))).expect("there are threads");
        }
        let deadline = Instant::now() + LIMIT;
        let watching = loop {
            let state = lock(&pool.0.0.state);
            if let Some((first, _)) = state.alarms.first_key_value()
                && state.sleepers.len() == THREADS
            {
                break state.sleepers.iter().filter(|sleeper| sleeper.until == first.0).count();
            }
            drop(state);
            assert!(Instant::now() < deadline, "not all of them sleep");
            thread::yield_now();
        };
        assert_eq!(watching, 1, "the others are not woken by it");
    }

    #[test]
    fn an_alarm_is_heard_while_another_task_is_driven() {
        struct Waiter(Receiver<&'static str>, Sender<&'static str>);
        impl Task for Waiter {
            fn go_on(&mut self) -> Turn {
                self.1.send(hear(&self.0)).expect("the test listens");
                Turn::Ended
            }
            fn end(self: Box<Self>) {}
            fn fail(self: Box<Self>) {}
        }
        let pool = Pool::new("pool", 2, None);
        let (_waker, hears) = begin(&pool, &[Turn::Wait(Some(Duration::from_millis(100))), Turn::Ended]);
        assert_eq!(hear(&hears), "turn");
        let (tell, told) = channel();
        pool.place().begin(Box::new(Waiter(hears, tell))).expect("there is a thread");
        assert_eq!(hear(&told), "turn", "the other one was driven although this one waited for it");
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
