//! All that one host wants of the logs of an engine: what several logs want is asked in one request.
//!
//! Families of methods, and their order:
//!
//! * what is wanted: [`Committer::take_over`], [`Committer::append`], [`Committer::close`], [`Committer::give_up`],
//!   [`Committer::abandon`], [`Committer::read`], [`Committer::find`], [`Committer::head`], [`Committer::look`], [`Committer::follow`],
//!   [`Committer::watch`];
//! * what happens: [`Committer::on_answer`], and [`Committer::on_time`] when [`Committer::next_time`] has come;
//! * after any of these: [`Committer::next_request`] and [`Committer::next_event`] until there is none.
//!
//! What several logs want is asked together: a file for each kind of request says how.
//!
//! **Architecture Invariant:** it has no clock, thread or socket; time is an argument, and each request that it makes is carried
//! out by whoever drives it. What an answer that comes too late says is not heard.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ambrosia_core::{Lsn, Record};
use ambrosia_storage::{AppendError, LogId};

use self::{
    barriers::Barriers, beats::Beats, fences::Fences, followers::Followers, lanes::Lanes, looks::Looks, raises::Raises,
    reads::Reads,
};
use crate::{
    engine::{Answer, Claim, EngineFacts, Fault, HostId, Lane, Request, Session},
    event::Event,
    fault::LogFault,
    head_once::HeadOnce,
    limits::ANSWER_TIME_MAX,
    lives::Lives,
    read_once::ReadOnce,
    reader::{Reader, Standing},
    takeover::{Candidate, Takeover},
    task::{Follow, Task, TaskId, Want},
};

mod answers;
mod barriers;
mod beats;
mod fences;
mod followers;
mod lanes;
mod looks;
mod raises;
mod reads;
mod releases;

/// Names a request, so that its answer is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What a host wants of all its logs.
#[derive(Debug)]
pub struct Committer {
    facts: EngineFacts,
    lives: Lives,
    claims_ever: u64,
    tasks: BTreeMap<TaskId, Task>,
    tasks_ever: u64,
    /// How many of the tasks are writers.
    writers: usize,
    /// For how many reasons beside its tasks others should know that this host is alive.
    announced: usize,
    requests_ever: u64,
    /// Requests on their way, with the time at which they count as not answered.
    pending: BTreeMap<RequestId, (Duration, Purpose)>,
    /// Tasks that want something later.
    later: BTreeSet<(Duration, TaskId)>,
    lanes: Lanes,
    looks: Looks,
    barriers: Barriers,
    raises: Raises,
    reads: Reads,
    releasing: VecDeque<TaskId>,
    fences: Fences,
    followers: Followers,
    beats: Beats,
    requests: VecDeque<(RequestId, Lane, Request)>,
    events: VecDeque<(TaskId, Event)>,
}

/// Whom an answer is for.
#[derive(Debug)]
enum Purpose {
    /// In the order of the groups.
    Append(usize, Vec<TaskId>),
    Look(Vec<TaskId>),
    /// Idle writers, by what they know.
    Watch(Vec<TaskId>),
    Barrier(Session, Vec<TaskId>),
    /// In the order of what is wanted.
    Raise(Vec<TaskId>),
    /// In the order of what is wanted.
    Read(Vec<TaskId>),
    Release(TaskId),
    Follow,
    /// Which hosts were asked about.
    Beat(Vec<HostId>),
}

impl Committer {
    /// One that wants nothing yet.
    pub fn new(facts: EngineFacts, me: HostId) -> Committer {
        Committer {
            lanes: Lanes::new(facts.lanes),
            facts,
            lives: Lives::new(me),
            claims_ever: 0,
            tasks: BTreeMap::new(),
            tasks_ever: 0,
            writers: 0,
            announced: 0,
            requests_ever: 0,
            pending: BTreeMap::new(),
            later: BTreeSet::new(),
            looks: Looks::default(),
            barriers: Barriers::default(),
            raises: Raises::default(),
            reads: Reads::default(),
            releasing: VecDeque::new(),
            fences: Fences::default(),
            followers: Followers::default(),
            beats: Beats::default(),
            requests: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Becomes the writer of a log: ends with [`Event::Reigns`] or [`Event::NotReigning`].
    pub fn take_over(&mut self, candidate: Candidate, now: Duration) -> TaskId {
        let takeover = Takeover::new(candidate, self.facts.group_bytes_max, now);
        self.begin(Task::Takeover(Box::new(takeover)), now)
    }

    /// Queues a record of a reign.
    ///
    /// # Errors
    /// If the reign is over, or the record does not follow the one before it.
    pub fn append(&mut self, reign: TaskId, record: Record, now: Duration) -> Result<(), AppendError> {
        match self.tasks.get_mut(&reign) {
            Some(Task::Writer(writer)) if !writer.is_closed => {
                if writer.append(record, now)? {
                    self.place(reign, now);
                    self.turn(now);
                }
                Ok(())
            }
            _ => Err(AppendError::Failed("its reign is over".to_owned())),
        }
    }

    /// Bytes of records that are queued, or on their way. The caller stops above [`ambrosia_storage::LOG_QUEUE_BYTES_MAX`].
    pub fn queued_bytes(&self, reign: TaskId) -> usize {
        match self.tasks.get(&reign) {
            Some(Task::Writer(writer)) => writer.queued_bytes(),
            _ => 0,
        }
    }

    /// Makes all that is queued durable, and ends the reign: ends with [`Event::Closed`], or with what
    /// stops it before.
    pub fn close(&mut self, reign: TaskId, now: Duration) {
        match self.tasks.get_mut(&reign) {
            Some(Task::Writer(writer)) if !writer.has_ended() => {
                if writer.close(now) {
                    self.place(reign, now);
                    self.turn(now);
                }
            }
            // Others are yet to be told.
            Some(Task::Writer(writer)) if !writer.is_over() => self.events.push_back((reign, Event::Closed)),
            _ => {
                self.forget(reign);
                self.events.push_back((reign, Event::Closed));
            }
        }
    }

    /// Ends the reign as [`Committer::close`] does, but without what is queued and not on its way.
    pub fn abandon(&mut self, reign: TaskId, now: Duration) {
        match self.tasks.get_mut(&reign) {
            Some(Task::Writer(writer)) if !writer.has_ended() => {
                if writer.abandon(now) {
                    self.place(reign, now);
                    self.turn(now);
                }
            }
            _ => self.close(reign, now),
        }
    }

    /// Forgets a task, whatever of it is on its way. Nothing more is heard of it.
    pub fn give_up(&mut self, task: TaskId) {
        self.forget(task);
        self.events.retain(|(other, _)| *other != task);
    }

    /// Reads on behind a record, once: ends with [`Event::Read`].
    pub fn read(&mut self, log: LogId, standing: Standing, now: Duration) -> TaskId {
        self.begin(Task::Read(ReadOnce::new(Reader { log, standing })), now)
    }

    /// Finds what a record follows, so that a reader can begin with it: ends with [`Event::Found`]. It may be the one behind the
    /// last.
    pub fn find(&mut self, log: LogId, from: Lsn, now: Duration) -> TaskId {
        self.begin(Task::Read(ReadOnce::find(log, from)), now)
    }

    /// The head row as it is at some moment after this: ends with [`Event::Head`]. A reign that it shows was the newest then.
    pub fn head(&mut self, log: LogId, now: Duration) -> TaskId {
        self.begin(Task::Head(HeadOnce::new(log)), now)
    }

    /// The same, however long it takes until it is seen. The event has no [`LogFault::Unavailable`].
    pub fn look(&mut self, log: LogId, now: Duration) -> TaskId {
        self.begin(Task::Head(HeadOnce::insisting(log)), now)
    }

    /// Tells by [`Event::Changed`] when there may be more to be read of a log, or another reign, until it is given up.
    pub fn follow(&mut self, log: LogId, now: Duration) -> TaskId {
        self.begin(Task::Follow(Follow { log, head: None, is_watch: false, is_gone: false }), now)
    }

    /// Tells by [`Event::Vacant`] when nobody seems to be primary of a log.
    pub fn watch(&mut self, log: LogId, now: Duration) -> TaskId {
        self.begin(Task::Follow(Follow { log, head: None, is_watch: true, is_gone: false }), now)
    }

    /// How many reigns are not over, or not known to be by whoever has them.
    pub fn reigns(&self) -> usize {
        self.writers
    }

    /// Where the log of a reign is known to be durable, until the reign is forgotten.
    pub fn durable(&self, reign: TaskId) -> Option<(LogId, Standing)> {
        let Some(Task::Writer(writer)) = self.tasks.get(&reign) else { return None };
        let standing = Standing { last: writer.durable(), epoch: writer.epoch, ..Standing::default() };
        Some((writer.log, standing))
    }

    /// What is wrong with the log of a reign that was stopped by that, until the reign is forgotten.
    pub fn fault(&self, reign: TaskId) -> Option<&LogFault> {
        match self.tasks.get(&reign) {
            Some(Task::Writer(writer)) => writer.fault(),
            _ => None,
        }
    }

    /// A claim that nobody has used.
    pub fn new_claim(&mut self) -> Claim {
        self.claims_ever += 1;
        Claim { host: self.lives.me, attempt: self.claims_ever }
    }

    /// The answer to a request. One that was given up already changes nothing.
    pub fn on_answer(&mut self, request: RequestId, answer: Answer, now: Duration) {
        if let Some((_, purpose)) = self.pending.remove(&request) {
            self.take(purpose, answer, now);
            self.turn(now);
        }
    }

    /// Time passes.
    pub fn on_time(&mut self, now: Duration) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| entry.get().0 <= now) {
            let (_, purpose) = entry.remove();
            let seconds = ANSWER_TIME_MAX.as_secs();
            self.take(purpose, Err(Fault::Unknown(format!("no answer came within {seconds} s"))), now);
        }
        self.turn(now);
    }

    /// When [`Committer::on_time`] is to be called at the latest; `None` if time changes nothing.
    pub fn next_time(&self) -> Option<Duration> {
        let answer = self.pending.values().next().map(|(at, _)| *at);
        let later = self.later.first().map(|(at, _)| *at);
        let look = self.fences.time().filter(|_| self.writers > 0);
        let follows = self.followers.time();
        let beats = self.beats.time().filter(|_| self.is_active());
        answer.into_iter().chain(later).chain(look).chain(follows).chain(beats).min()
    }

    /// The next request to be asked.
    pub fn next_request(&mut self) -> Option<(RequestId, Lane, Request)> {
        self.requests.pop_front()
    }

    /// What has become of a task.
    pub fn next_event(&mut self) -> Option<(TaskId, Event)> {
        self.events.pop_front()
    }

    fn begin(&mut self, task: Task, now: Duration) -> TaskId {
        self.tasks_ever += 1;
        let id = TaskId(self.tasks_ever);
        if let Task::Follow(_) = task {
            self.followers.add(id, now);
        }
        self.tasks.insert(id, task);
        self.place(id, now);
        self.turn(now);
        id
    }

    /// Puts a task where it waits for what it wants, once for each thing it wants.
    fn place(&mut self, id: TaskId, now: Duration) {
        let Some(task) = self.tasks.get(&id) else { return };
        let want = task.want();
        if let Some(at) = want.time().filter(|at| *at > now) {
            self.later.insert((at, id));
            return;
        }
        match want {
            Want::Nothing => {}
            Want::Append(_) => self.lanes.place(task.log(), id),
            Want::Look(_) => self.looks.waiting.push_back(id),
            Want::Barrier(session) => self.barriers.place(session, id),
            Want::Raise(_) => self.raises.waiting.push_back(id),
            Want::Read(_) => self.reads.waiting.push_back(id),
            Want::Release(_) => self.releasing.push_back(id),
            Want::Reign => self.reign(id, now),
            Want::Ended => self.forget(id),
        }
    }

    fn forget(&mut self, id: TaskId) {
        self.followers.tasks.remove(&id);
        if let Some(Task::Writer(_)) = self.tasks.remove(&id) {
            self.writers -= 1;
        }
    }

    fn reign(&mut self, id: TaskId, now: Duration) {
        let Some(Task::Takeover(takeover)) = self.tasks.get_mut(&id) else { panic!("only a candidate begins a reign") };
        let writer = takeover.reign(now);
        self.tasks.insert(id, Task::Writer(Box::new(writer)));
        self.writers += 1;
        self.place(id, now);
    }

    /// Asks all that can be asked now.
    fn turn(&mut self, now: Duration) {
        while let Some((_, id)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.pop_first();
            self.place(id, now);
        }
        self.ask_to_append(now);
        self.ask_for_heads(now);
        self.ask_for_barriers(now);
        self.ask_to_raise(now);
        self.ask_to_read(now);
        self.ask_to_release(now);
        self.watch_fences(now);
        self.ask_what_is_followed(now);
        self.say_that_it_is_alive(now);
    }

    fn ask(&mut self, request: Request, purpose: Purpose, now: Duration) {
        self.requests_ever += 1;
        let id = RequestId(self.requests_ever);
        let lane = match purpose {
            Purpose::Append(lane, _) => Lane::Groups(lane as u8),
            _ => Lane::Other,
        };
        self.pending.insert(id, (now + ANSWER_TIME_MAX, purpose));
        self.requests.push_back((id, lane, request));
    }

    fn take(&mut self, purpose: Purpose, answer: Answer, now: Duration) {
        match purpose {
            Purpose::Append(lane, ids) => self.on_appended(lane, &ids, answer, now),
            Purpose::Look(ids) => self.on_heads(&ids, answer, now),
            Purpose::Watch(ids) => self.on_watched(&ids, answer, now),
            Purpose::Barrier(session, ids) => self.on_barred(session, &ids, answer, now),
            Purpose::Raise(ids) => self.on_raised(&ids, answer, now),
            Purpose::Read(ids) => self.on_read(&ids, answer, now),
            Purpose::Release(id) => self.on_released(id, answer, now),
            Purpose::Follow => self.on_followed(answer, now),
            Purpose::Beat(of) => self.on_beat(&of, answer, now),
        }
    }

    /// Has a task told something, and puts it where it waits next.
    fn tell(&mut self, id: TaskId, now: Duration, tell: impl FnOnce(&mut Task, &mut Vec<Event>)) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let (log, mut events) = (task.log(), Vec::new());
        tell(task, &mut events);
        if events.iter().any(|event| matches!(event, Event::Read(Err(LogFault::Unavailable(_))))) {
            self.see_anew(log);
        }
        self.events.extend(events.into_iter().map(|event| (id, event)));
        self.place(id, now);
    }
}
