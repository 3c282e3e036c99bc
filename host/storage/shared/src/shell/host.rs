//! All logs of a host on one engine: a committer, and the thread that asks and tells for it.
//!
//! **Architecture Invariant:** nobody is called, and nothing asked, with the committer locked.

use core::time::Duration;
use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use ambrosia_core::{Epoch, Record};
use ambrosia_storage::{Callback, IoError, LogError, LogEvent, LogId, OnVacancy, StopCause, Subscription};

use super::writer::Listener;
use crate::{
    committer::{Committer, RequestId},
    engine::{Answer, Claim, Engine, EngineHead, HostId, Lane, Request},
    event::{Event, NotReigning},
    fault::LogFault,
    limits::{END_TIME, KEYS_TIME, retry_after},
    reader::Standing,
    takeover::Candidate,
    task::TaskId,
};

/// The logs of one host on one engine.
///
/// It ends when nobody has it any more, once the ends of its reigns were told, or after [`END_TIME`].
pub struct EngineHost {
    pub(super) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

pub(super) struct Shared {
    engine: Arc<dyn Engine>,
    state: Mutex<State>,
    changed: Condvar,
    began: Instant,
}

pub(super) struct State {
    pub(super) committer: Committer,
    waiters: BTreeMap<TaskId, Waiter>,
    answers: Vec<(RequestId, Answer)>,
    /// Logs that are followed: by how many, and the head row as it was seen last.
    followed: BTreeMap<LogId, (usize, Option<EngineHead>)>,
    /// How far logs were found to be durable since that was asked last.
    durable: BTreeMap<LogId, Standing>,
    /// Logs that were found to have lost what was durable. Nothing more is read of them for a replica, and none becomes primary.
    lost: BTreeMap<LogId, LogFault>,
    /// Since when nobody has the host.
    ended: Option<Duration>,
}

/// What a candidate becomes: epoch and records of its reign.
pub(super) type Reigning = Result<(Epoch, Vec<Record>), NotReigning>;

/// A place for somebody who is called, until it is emptied.
pub(super) type Slot<C> = Arc<Mutex<Option<C>>>;

/// Told what was read of a log.
pub(super) type OnRecords = Box<dyn FnOnce(Result<Vec<Record>, LogFault>) + Send>;

/// Who is told what becomes of a task.
enum Waiter {
    Candidate(Sender<Reigning>, Arc<Listener>),
    Reign(Arc<Listener>),
    Closing(Arc<Listener>, Sender<()>),
    Read(LogId, OnRecords),
    Found(Sender<Result<Standing, LogFault>>),
    Head(Sender<Result<EngineHead, LogFault>>),
    /// A look of that number.
    Look(Arc<Listener>, ReignId, u64),
    Follow(Slot<Callback>),
    Watch(Slot<OnVacancy>),
}

impl Waiter {
    /// The log that is read.
    fn log(&self) -> Option<LogId> {
        if let Waiter::Read(log, _) = self { Some(*log) } else { None }
    }
}

/// Which reign it is. A store that has gone back may come to the same epoch again, by another claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ReignId {
    pub(super) epoch: Epoch,
    pub(super) claim: Claim,
}

/// Somebody to be told something, once nothing is locked.
type Telling = Box<dyn FnOnce()>;

/// What a turn of the thread has come to.
struct Turn {
    requests: Vec<(RequestId, Lane, Request)>,
    tellings: Vec<Telling>,
}

impl EngineHost {
    /// Begins, as a host that none was before: `me` is to be random.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub fn begin(engine: Arc<dyn Engine>, me: HostId) -> io::Result<Arc<EngineHost>> {
        let state = State::new(Committer::new(engine.facts(), me));
        let shared =
            Arc::new(Shared { engine, state: Mutex::new(state), changed: Condvar::new(), began: Instant::now() });
        let there = Arc::clone(&shared);
        let thread = thread::Builder::new().name("shared-log".to_owned()).spawn(move || there.run())?;
        Ok(Arc::new(EngineHost { shared, thread: Some(thread) }))
    }

    /// Becomes the writer; waits until it is, or is not.
    pub(super) fn take_over(&self, listener: &Arc<Listener>, candidate: Candidate) -> (TaskId, Reigning) {
        let (sender, receiver) = channel();
        let task = self.shared.with(|state, now| {
            let task = state.committer.take_over(candidate, now);
            state.waiters.insert(task, Waiter::Candidate(sender, Arc::clone(listener)));
            task
        });
        let ended = || Err(NotReigning::Fault(LogFault::Unavailable("the host ends".to_owned())));
        (task, receiver.recv().unwrap_or_else(|_| ended()))
    }

    /// Reads on behind a record, for whoever does not wait. It is told nothing only if the host ends.
    pub(super) fn begin_read(&self, log: LogId, standing: Standing, told: OnRecords) {
        self.shared.with(|state, now| state.begin_read(log, standing, now, told));
    }

    /// The same, for whoever takes nothing for the end but the end.
    pub(super) fn read_patiently(&self, log: LogId, standing: Standing) -> Result<Vec<Record>, LogFault> {
        self.wait_patiently(|state, now, sender| state.begin_read(log, standing, now, sends(sender)))
    }

    /// What a record follows.
    pub(super) fn find(&self, log: LogId, from: ambrosia_core::Lsn) -> Result<Standing, LogFault> {
        self.wait_patiently(|state, now, sender| {
            let task = state.committer.find(log, from, now);
            state.waiters.insert(task, Waiter::Found(sender));
        })
    }

    /// The head row as it is now.
    pub(super) fn head(&self, log: LogId) -> Result<EngineHead, LogFault> {
        self.wait_patiently(|state, now, sender| {
            let task = state.committer.head(log, now);
            state.waiters.insert(task, Waiter::Head(sender));
        })
    }

    /// Waits for the one answer to what is begun.
    fn wait<T>(&self, begin: impl FnOnce(&mut State, Duration, Sender<Result<T, LogFault>>)) -> Result<T, LogFault> {
        let (sender, receiver): (_, Receiver<Result<T, LogFault>>) = channel();
        self.shared.with(|state, now| begin(state, now, sender));
        receiver.recv().unwrap_or_else(|_| Err(LogFault::Unavailable("the host ends".to_owned())))
    }

    /// The same, and while the engine can't be reached begins again, for [`KEYS_TIME`].
    fn wait_patiently<T>(
        &self,
        begin: impl Fn(&mut State, Duration, Sender<Result<T, LogFault>>),
    ) -> Result<T, LogFault> {
        let (since, mut tries) = (Instant::now(), 0);
        loop {
            match self.wait(&begin) {
                Err(LogFault::Unavailable(_)) if since.elapsed() < KEYS_TIME => {
                    thread::park_timeout(retry_after(tries));
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Looks whether a reign is the newest, and tells its listener.
    pub(super) fn look(&self, log: LogId, reign: ReignId, number: u64, listener: &Arc<Listener>) -> TaskId {
        self.shared.with(|state, now| {
            let task = state.committer.look(log, now);
            state.waiters.insert(task, Waiter::Look(Arc::clone(listener), reign, number));
            task
        })
    }

    /// The head row of a log that somebody follows, as it was seen last: a hint that is cheap.
    pub(super) fn seen(&self, log: LogId) -> Option<EngineHead> {
        self.shared.lock().followed.get(&log)?.1
    }

    /// How far logs were found to be durable since this was asked last.
    pub(super) fn take_durable(&self) -> BTreeMap<LogId, Standing> {
        std::mem::take(&mut self.shared.lock().durable)
    }

    /// Logs that were found to have lost what was durable.
    pub(super) fn lost(&self) -> BTreeMap<LogId, LogFault> {
        self.shared.lock().lost.clone()
    }

    /// # Errors
    /// If the log was found to have lost what was durable.
    pub(super) fn check_kept(&self, log: LogId) -> Result<(), LogFault> {
        self.shared.lock().lost.get(&log).map_or(Ok(()), |fault| Err(fault.clone()))
    }

    /// A log was found to have lost what was durable.
    pub(super) fn lose(&self, fault: &LogFault) {
        self.shared.lock().lose(fault);
    }

    /// What the log has lost was given up.
    pub(super) fn forgive(&self, log: LogId) {
        let mut state = self.shared.lock();
        state.lost.remove(&log);
        state.durable.remove(&log);
    }

    /// A claim that nobody has used for a log.
    pub(super) fn new_claim(&self) -> Claim {
        self.shared.with(|state, _| state.committer.new_claim())
    }

    /// Says that this host is alive until that is dropped, also while it has no log.
    pub(super) fn stay_alive(self: &Arc<Self>) -> Subscription {
        self.shared.with(|state, _| state.committer.announce());
        let host = Arc::clone(self);
        Subscription::new(move || host.shared.with(|state, _| state.committer.withdraw()))
    }

    pub(super) fn follow(self: &Arc<Self>, log: LogId, call: Callback) -> Subscription {
        let slot = Arc::new(Mutex::new(Some(call)));
        self.shared.lock().followed.entry(log).or_default().0 += 1;
        let following =
            self.subscribe(&slot, Waiter::Follow(Arc::clone(&slot)), |committer, now| committer.follow(log, now));
        let host = Arc::clone(self);
        Subscription::new(move || {
            drop(following);
            host.shared.lock().unfollow(log);
        })
    }

    pub(super) fn watch(self: &Arc<Self>, log: LogId, call: OnVacancy) -> Subscription {
        let slot = Arc::new(Mutex::new(Some(call)));
        self.subscribe(&slot, Waiter::Watch(Arc::clone(&slot)), |committer, now| committer.watch(log, now))
    }

    fn subscribe<C: Send + 'static>(
        self: &Arc<Self>,
        slot: &Slot<C>,
        waiter: Waiter,
        begin: impl FnOnce(&mut Committer, Duration) -> TaskId,
    ) -> Subscription {
        let task = self.shared.with(|state, now| {
            let task = begin(&mut state.committer, now);
            state.waiters.insert(task, waiter);
            task
        });
        let (host, slot) = (Arc::clone(self), Arc::clone(slot));
        Subscription::new(move || {
            host.shared.with(|state, _| {
                state.committer.give_up(task);
                state.waiters.remove(&task);
            });
            // Waits for a call under way.
            let _gone = lock(&slot).take();
        })
    }

    /// Makes all durable that a reign has, and ends it. The sender is told when that is done.
    pub(super) fn close(&self, reign: TaskId, done: Sender<()>) {
        self.shared.with(|state, now| {
            if let Some(Waiter::Reign(listener)) = state.waiters.remove(&reign) {
                state.waiters.insert(reign, Waiter::Closing(listener, done));
                state.committer.close(reign, now);
            }
        });
    }

    /// Ends a reign without what is not on its way yet, and a look of it. Nobody is told more of it.
    pub(super) fn abandon(&self, reign: TaskId, look: Option<TaskId>) {
        self.shared.with(|state, now| state.abandon(reign, look, now));
    }
}

impl Drop for EngineHost {
    fn drop(&mut self) {
        self.shared.with(|state, now| state.ended = Some(now));
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // It has nothing that panics of its own.
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Does something with the committer, and has the thread look what that has changed.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Duration) -> T) -> T {
        let done = act(&mut self.lock(), self.now());
        self.changed.notify_one();
        done
    }

    /// Looks, and has nothing changed.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Committer) -> T) -> T {
        look(&self.lock().committer)
    }

    fn answer(&self, request: RequestId, answer: Answer) {
        self.lock().answers.push((request, answer));
        self.changed.notify_one();
    }

    fn run(self: Arc<Self>) {
        while let Some(Turn { requests, tellings }) = self.turn() {
            for (id, lane, request) in requests {
                let there: Weak<Shared> = Arc::downgrade(&self);
                let answer = move |answer| {
                    if let Some(there) = there.upgrade() {
                        there.answer(id, answer);
                    }
                };
                self.engine.ask(lane, request, Box::new(answer));
            }
            tellings.into_iter().for_each(|tell| tell());
        }
        // Whoever waits is told that nothing comes, and may have the host, which is locked when it goes.
        let waiters = std::mem::take(&mut self.lock().waiters);
        drop(waiters);
    }

    /// Waits until there is something to be asked or told; `None` once it is over.
    fn turn(&self) -> Option<Turn> {
        let mut state = self.lock();
        loop {
            let now = self.now();
            for (id, answer) in std::mem::take(&mut state.answers) {
                state.committer.on_answer(id, answer, now);
            }
            state.committer.on_time(now);
            let requests: Vec<_> = std::iter::from_fn(|| state.committer.next_request()).collect();
            let tellings = state.tellings();
            if !requests.is_empty() || !tellings.is_empty() {
                return Some(Turn { requests, tellings });
            }
            let is_over = |since: Duration| state.committer.reigns() == 0 || now.saturating_sub(since) >= END_TIME;
            if state.ended.is_some_and(is_over) {
                return None;
            }
            let next = state.committer.next_time();
            let end = state.ended.map(|since| since + END_TIME);
            let until = next.into_iter().chain(end).min().map(|at| at.saturating_sub(now));
            state = match until {
                Some(time) => self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl State {
    fn new(committer: Committer) -> State {
        State {
            committer,
            waiters: BTreeMap::new(),
            answers: Vec::new(),
            followed: BTreeMap::new(),
            durable: BTreeMap::new(),
            lost: BTreeMap::new(),
            ended: None,
        }
    }

    fn begin_read(&mut self, log: LogId, standing: Standing, now: Duration, told: OnRecords) {
        let task = self.committer.read(log, standing, now);
        self.waiters.insert(task, Waiter::Read(log, told));
    }

    fn abandon(&mut self, reign: TaskId, look: Option<TaskId>, now: Duration) {
        if let Some(look) = look {
            self.waiters.remove(&look);
            self.committer.give_up(look);
        }
        self.waiters.remove(&reign);
        self.committer.abandon(reign, now);
    }

    /// What was seen of a log says nothing once nobody follows it.
    fn unfollow(&mut self, log: LogId) {
        let Some((count, _)) = self.followed.get_mut(&log) else { panic!("it is followed until that is given up") };
        *count -= 1;
        if *count == 0 {
            self.followed.remove(&log);
        }
    }

    /// Whom to tell what.
    fn tellings(&mut self) -> Vec<Telling> {
        let mut tellings = Vec::new();
        while let Some((task, event)) = self.committer.next_event() {
            self.remember(task, &event);
            tellings.extend(self.telling(task, event));
        }
        tellings
    }

    /// Keeps what it tells of the log, beyond the task.
    fn remember(&mut self, task: TaskId, event: &Event) {
        match event {
            Event::Read(Ok(records)) => {
                let log = self.waiters.get(&task).and_then(Waiter::log);
                let found = log.zip(records.last()).map(|(log, last)| (log, Standing::at(last)));
                self.keep(found);
            }
            Event::Reigns { .. } | Event::Log(_, LogEvent::Durable(_)) => {
                let found = self.committer.durable(task);
                self.keep(found);
            }
            Event::Log(_, LogEvent::Stopped(StopCause::Failed(_))) => {
                let fault = self.committer.fault(task).cloned();
                fault.iter().for_each(|fault| self.lose(fault));
            }
            Event::Read(Err(fault)) | Event::Found(Err(fault)) | Event::NotReigning(NotReigning::Fault(fault)) => {
                self.lose(fault);
            }
            _ => {}
        }
    }

    /// Several read a log at once, not all from the same place.
    fn keep(&mut self, found: Option<(LogId, Standing)>) {
        let Some((log, found)) = found else { return };
        let newest = self.durable.entry(log).or_insert(found);
        if found.last.lsn > newest.last.lsn {
            *newest = found;
        }
    }

    fn lose(&mut self, fault: &LogFault) {
        if let LogFault::WentBack { log, .. } | LogFault::Rewritten { log, .. } = fault {
            self.lost.entry(*log).or_insert_with(|| fault.clone());
        }
    }

    fn telling(&mut self, task: TaskId, event: Event) -> Option<Telling> {
        let Some(waiter) = self.waiters.remove(&task) else {
            // Whoever had the reign has gone, and does not give it up.
            if let Event::Log(_, LogEvent::Stopped(_)) = event {
                self.committer.give_up(task);
            }
            return None;
        };
        match (waiter, event) {
            (Waiter::Candidate(sender, listener), Event::Reigns { epoch, records }) => {
                self.waiters.insert(task, Waiter::Reign(listener));
                Some(send(sender, Ok((epoch, records))))
            }
            (Waiter::Candidate(sender, _), Event::NotReigning(why)) => Some(send(sender, Err(why))),
            (Waiter::Reign(listener), event) => {
                self.waiters.insert(task, Waiter::Reign(Arc::clone(&listener)));
                Some(Box::new(move || listener.tell(event)))
            }
            (Waiter::Closing(listener, sender), Event::Closed) => {
                listener.silence();
                Some(send(sender, ()))
            }
            (Waiter::Closing(listener, sender), event) => {
                let is_over = matches!(event, Event::Log(_, LogEvent::Stopped(_)));
                if !is_over {
                    self.waiters.insert(task, Waiter::Closing(Arc::clone(&listener), sender));
                }
                Some(Box::new(move || listener.tell(event)))
            }
            (Waiter::Read(_, told), Event::Read(result)) => Some(Box::new(move || told(result))),
            (Waiter::Found(sender), Event::Found(result)) => Some(send(sender, result)),
            (Waiter::Head(sender), Event::Head(result)) => Some(send(sender, result)),
            (Waiter::Look(listener, reign, number), Event::Head(result)) => {
                let newest = found_newest(reign, result);
                let event = Event::Log(reign.epoch, LogEvent::Looked { number, newest });
                Some(Box::new(move || listener.tell(event)))
            }
            (Waiter::Follow(slot), event) => {
                if let Event::Changed(head) = event
                    && let Some((_, seen)) = self.followed.get_mut(&head.log)
                {
                    *seen = Some(head);
                }
                self.waiters.insert(task, Waiter::Follow(Arc::clone(&slot)));
                Some(Box::new(move || {
                    if let Some(call) = &*lock(&slot) {
                        call();
                    }
                }))
            }
            (Waiter::Watch(slot), Event::Vacant(vacancy)) => Some(Box::new(move || {
                let mut slot = lock(&slot);
                if let Some(call) = slot.take() {
                    call(Ok(vacancy));
                }
            })),
            // Such as a candidate that stands: it goes on waiting.
            (waiter, _) => {
                self.waiters.insert(task, waiter);
                None
            }
        }
    }
}

/// Whether a reign was the newest. One whose log is gone, or is not what it was, is not; which one is, is not known then.
fn found_newest(reign: ReignId, head: Result<EngineHead, LogFault>) -> Result<(), Epoch> {
    let later = Epoch(reign.epoch.0 + 1);
    match head {
        Ok(head) if (head.epoch, head.claim) == (reign.epoch, reign.claim) => Ok(()),
        Ok(head) => Err(head.epoch.max(later)),
        Err(_) => Err(later),
    }
}

/// Whoever waited may have gone.
fn send<T: 'static>(sender: Sender<T>, value: T) -> Telling {
    Box::new(move || drop(sender.send(value)))
}

fn sends(sender: Sender<Result<Vec<Record>, LogFault>>) -> OnRecords {
    // Whoever waited may have gone.
    Box::new(move |read| drop(sender.send(read)))
}

pub(super) fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same fault as whoever has any log sees it.
pub(super) fn log_error(fault: LogFault) -> LogError {
    let place = |log: LogId| format!("log {log} of the engine");
    match fault {
        LogFault::Gone { log } => LogError::Gone { place: place(log) },
        LogFault::Missing { log, asked, first, last } => LogError::Missing { place: place(log), asked, first, last },
        LogFault::Corrupt { log, lsn, reason } => LogError::Corrupt { place: place(log), lsn, reason },
        LogFault::WentBack { .. } | LogFault::Rewritten { .. } => LogError::Lost { reason: fault.to_string() },
        LogFault::TooLarge { .. } | LogFault::Unavailable(_) => LogError::Io(io_error(&fault)),
    }
}

pub(super) fn io_error(fault: &LogFault) -> IoError {
    IoError { action: "use", place: "the engine".to_owned(), source: io::Error::other(fault.to_string()) }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{EpochBody, InstanceUuid, RecordHeader, RecordKind, ReplicaIndex, Timestamp};
    use ambrosia_storage::conformance::genesis_of;

    use super::*;
    use crate::{
        engine::{EngineFacts, HostId, Raise, Session},
        limits::GROUP_BYTES_MAX,
        rows::Rows,
    };

    const LOG: LogId = LogId(InstanceUuid([7; 16]));
    const NOW: Duration = Duration::from_secs(1);

    /// Answers all that is asked, and tells whoever waits for it.
    fn answer_all(state: &mut State, rows: &mut Rows) {
        while let Some((id, _, request)) = state.committer.next_request() {
            state.committer.on_answer(id, Ok(rows.execute(&request, Session(1))), NOW);
        }
        state.tellings().into_iter().for_each(|tell| tell());
    }

    fn reign(state: &mut State, rows: &mut Rows) -> TaskId {
        let claim = state.committer.new_claim();
        let (standing, me) =
            (Standing::at(&genesis_of(LOG.0)), EpochBody { replica: ReplicaIndex(0), engine: [0; 32] });
        let candidate = Candidate { log: LOG, over: Epoch(0), claim, standing, me, time: Timestamp(2) };
        let task = state.committer.take_over(candidate, NOW);
        state.waiters.insert(task, Waiter::Candidate(channel().0, Listener::new(Box::new(|_, _| ()))));
        answer_all(state, rows);
        task
    }

    fn append(state: &mut State, reign: TaskId) {
        let (_, at) = state.committer.durable(reign).expect("it reigns");
        let mut header = RecordHeader::new(RecordKind::Deliver, at.epoch, at.last.lsn.next(), Timestamp(3));
        header.previous = at.last.link;
        state.committer.append(reign, Record::seal(header, b"lost"), NOW).expect("it does not know");
    }

    #[test]
    fn a_reign_that_was_dropped_is_forgotten_when_it_is_found_to_be_over_and_what_was_found_is_not() {
        for has_gone_back in [false, true] {
            let facts = EngineFacts { group_bytes_max: GROUP_BYTES_MAX, lanes: 1, place: String::new(), caution: None };
            let (mut rows, mut state) = (Rows::default(), State::new(Committer::new(facts, HostId([1; 16]))));
            rows.create(LOG, &genesis_of(LOG.0));
            let before = rows.clone();
            let task = reign(&mut state, &mut rows);
            append(&mut state, task);
            let claim = Claim { host: HostId([2; 16]), attempt: 1 };
            let raise = Raise { log: LOG, over: Epoch(1), claim, replica: ReplicaIndex(1) };
            rows.execute(&Request::Raise { wanted: vec![raise] }, Session(1));
            if has_gone_back {
                rows = before;
            }
            state.abandon(task, None, NOW);
            answer_all(&mut state, &mut rows);
            assert_eq!((state.committer.reigns(), state.waiters.len()), (0, 0));
            assert_eq!(state.lost.contains_key(&LOG), has_gone_back);
        }
    }
}
