//! All that one host wants of the logs of an engine: what several logs want is asked in one request.
//!
//! Families of methods, and their order:
//!
//! * what is wanted: [`Committer::take_over`], [`Committer::append`], [`Committer::close`], [`Committer::give_up`],
//!   [`Committer::abandon`], [`Committer::read`], [`Committer::find`], [`Committer::head`], [`Committer::follow`],
//!   [`Committer::watch`];
//! * what happens: [`Committer::on_answer`], and [`Committer::on_time`] when [`Committer::next_time`] has come;
//! * after any of these: [`Committer::next_request`] and [`Committer::next_event`] until there is none.
//!
//! Groups of different logs go together by no timer: while a request of a lane is on its way, what else has a group gathers, and is
//! the next request. The heads that unsettled writers want are one request, and so is each barrier for all that was read in
//! its session.
//!
//! **Architecture Invariant:** it has no clock, thread or socket; time is an argument, and each request that it makes is carried
//! out by whoever drives it. What an answer that comes too late says is not heard.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ambrosia_core::{Lsn, Record};
use ambrosia_storage::{AppendError, LogId, Vacancy};

use crate::{
    engine::{
        Answer, Answered, AppendFault, Claim, EngineFacts, EngineHead, Fault, Group, HostId, Known, Lane, Raise,
        RaiseFault, Request, Seen, Session,
    },
    event::Event,
    fault::LogFault,
    limits::{
        ANSWER_TIME_MAX, BEAT_INTERVAL, FENCE_LOOK_INTERVAL, FOLLOW_INTERVAL, READS_MAX, REQUEST_BYTES_MAX,
        REQUEST_LOGS_MAX,
    },
    lives::Lives,
    reader::{Reader, Standing},
    takeover::{Candidate, Takeover},
    task::{Follow, HeadOnce, ReadOnce, Task, TaskId, Want},
};

/// Names a request, so that its answer is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// What a host wants of all its logs.
#[derive(Debug)]
pub struct Committer {
    facts: EngineFacts,
    lives: Lives,
    claims_ever: u64,
    /// When heads that are followed are looked at.
    follow_at: Duration,
    is_following: bool,
    /// How far those are that are looked at in parts.
    followed: Option<LogId>,
    watched: Option<LogId>,
    /// When it says that it is alive.
    beat_at: Duration,
    is_beating: bool,
    tasks: BTreeMap<TaskId, Task>,
    tasks_ever: u64,
    /// How many of the tasks are writers.
    writers: usize,
    /// Those that follow a log, or watch it.
    followers: BTreeSet<TaskId>,
    requests_ever: u64,
    /// Requests on their way, with the time at which they count as not answered.
    pending: BTreeMap<RequestId, (Duration, Purpose)>,
    lanes: Vec<LaneState>,
    /// Tasks that want something later.
    later: BTreeSet<(Duration, TaskId)>,
    /// Those that want to see their head row; whether a request for some is on its way.
    looking: VecDeque<TaskId>,
    is_looking: bool,
    /// Those that wait for a barrier; whether one for the session is on its way.
    barred: BTreeMap<Session, (Vec<TaskId>, bool)>,
    raising: VecDeque<TaskId>,
    is_raising: bool,
    reading: VecDeque<TaskId>,
    reads: usize,
    releasing: VecDeque<TaskId>,
    /// When idle writers look at the fence.
    look_at: Duration,
    is_watching: bool,
    requests: VecDeque<(RequestId, Lane, Request)>,
    events: VecDeque<(TaskId, Event)>,
}

#[derive(Debug, Default)]
struct LaneState {
    is_busy: bool,
    ready: VecDeque<TaskId>,
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
    Read(TaskId),
    Release(TaskId),
    Follow,
    /// Which hosts were asked about.
    Beat(Vec<HostId>),
}

impl Committer {
    /// One that wants nothing yet.
    pub fn new(facts: EngineFacts, me: HostId) -> Committer {
        let lanes = (0..facts.lanes.max(1)).map(|_| LaneState::default()).collect();
        Committer {
            facts,
            lives: Lives::new(me),
            claims_ever: 0,
            follow_at: Duration::ZERO,
            is_following: false,
            followed: None,
            watched: None,
            beat_at: Duration::ZERO,
            is_beating: false,
            tasks: BTreeMap::new(),
            tasks_ever: 0,
            writers: 0,
            followers: BTreeSet::new(),
            requests_ever: 0,
            pending: BTreeMap::new(),
            lanes,
            later: BTreeSet::new(),
            looking: VecDeque::new(),
            is_looking: false,
            barred: BTreeMap::new(),
            raising: VecDeque::new(),
            is_raising: false,
            reading: VecDeque::new(),
            reads: 0,
            releasing: VecDeque::new(),
            look_at: Duration::ZERO,
            is_watching: false,
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
        let Some(Task::Writer(writer)) = self.tasks.get_mut(&reign) else {
            return Err(AppendError::Failed("its reign is over".to_owned()));
        };
        if writer.append(record, now)? {
            self.place(reign, now);
            self.turn(now);
        }
        Ok(())
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
            Some(Task::Writer(writer)) if !writer.is_over() => {
                if writer.close(now) {
                    self.place(reign, now);
                    self.turn(now);
                }
            }
            _ => {
                self.forget(reign);
                self.events.push_back((reign, Event::Closed));
            }
        }
    }

    /// Ends the reign as [`Committer::close`] does, but without what is queued and not on its way.
    pub fn abandon(&mut self, reign: TaskId, now: Duration) {
        match self.tasks.get_mut(&reign) {
            Some(Task::Writer(writer)) if !writer.is_over() => {
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
        let look = (self.writers > 0 && !self.is_watching).then_some(self.look_at);
        let follows = (!self.followers.is_empty() && !self.is_following).then_some(self.follow_at);
        let beats = (self.is_active() && !self.is_beating).then_some(self.beat_at);
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
            self.followers.insert(id);
            // Whoever comes is told at once.
            self.follow_at = now;
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
            Want::Append(_) => {
                let lane = self.lane(task.log());
                self.lanes[lane].ready.push_back(id);
            }
            Want::Look(_) => self.looking.push_back(id),
            Want::Barrier(session) => self.barred.entry(session).or_default().0.push(id),
            Want::Raise(_) => self.raising.push_back(id),
            Want::Read(_) => self.reading.push_back(id),
            Want::Release(_) => self.releasing.push_back(id),
            Want::Reign => self.reign(id, now),
            Want::Ended => self.forget(id),
        }
    }

    fn forget(&mut self, id: TaskId) {
        self.followers.remove(&id);
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

    fn lane(&self, log: LogId) -> usize {
        let sum = log.0.0.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        (sum % self.lanes.len() as u64) as usize
    }

    /// Asks all that can be asked now.
    fn turn(&mut self, now: Duration) {
        while let Some((_, id)) = self.later.first().copied().filter(|(at, _)| *at <= now) {
            self.later.pop_first();
            self.place(id, now);
        }
        for lane in 0..self.lanes.len() {
            self.ask_to_append(lane, now);
        }
        self.ask_for_heads(now);
        self.ask_for_barriers(now);
        self.ask_to_raise(now);
        self.ask_to_read(now);
        self.ask_to_release(now);
        self.watch_fences(now);
        self.ask_what_is_followed(now);
        self.say_that_it_is_alive(now);
    }

    /// Whether others should know that this host is alive, or it them.
    fn is_active(&self) -> bool {
        self.writers > 0 || !self.followers.is_empty()
    }

    fn ask_what_is_followed(&mut self, now: Duration) {
        if self.is_following || self.follow_at > now || self.followers.is_empty() {
            return;
        }
        self.follow_at = now + FOLLOW_INTERVAL;
        let mut known: BTreeMap<LogId, Option<Known>> = BTreeMap::new();
        for id in &self.followers {
            let Some(Task::Follow(follow)) = self.tasks.get(id) else { panic!("a follower is a task") };
            let own = follow.head.map(|head| head.known());
            // Whoever knows less is told what is no news for others.
            let of = known.entry(follow.log).or_insert(own);
            *of = of.filter(|of| own == Some(*of));
        }
        let part = next_part(known, &mut self.followed);
        if self.followed.is_some() {
            self.follow_at = now;
        }
        let logs = part.into_iter().map(|(log, known)| Seen { log, known }).collect();
        self.is_following = true;
        self.ask(Request::Heads { logs }, Purpose::Follow, now);
    }

    fn on_followed(&mut self, answer: Answer, now: Duration) {
        self.is_following = false;
        let Ok(Answered::Heads { heads, gone, .. }) = answer else { return };
        let heads: BTreeMap<LogId, EngineHead> = heads.into_iter().map(|head| (head.log, head)).collect();
        for id in self.followers.clone() {
            let Some(Task::Follow(follow)) = self.tasks.get_mut(&id) else { panic!("a follower is a task") };
            let is_gone = gone.contains(&follow.log);
            if is_gone && !follow.is_gone && !follow.is_watch {
                self.events.push_back((id, Event::Gone));
            }
            follow.is_gone = is_gone;
            if let Some(head) = heads.get(&follow.log)
                && follow.head != Some(*head)
            {
                follow.head = Some(*head);
                if !follow.is_watch {
                    self.events.push_back((id, Event::Changed(*head)));
                }
            }
        }
        self.look_for_vacancies(now);
    }

    /// What was to be read of a log could not be: whoever follows it is told again what there is.
    fn see_anew(&mut self, log: LogId) {
        for id in &self.followers {
            if let Some(Task::Follow(follow)) = self.tasks.get_mut(id)
                && follow.log == log
            {
                follow.head = None;
            }
        }
    }

    /// Tells whoever watches a log that nobody seems to be its primary.
    fn look_for_vacancies(&mut self, now: Duration) {
        let mut vacant = Vec::new();
        for id in &self.followers {
            if let Some(Task::Follow(Follow { log, head: Some(head), is_watch: true, .. })) = self.tasks.get(id) {
                let epoch = head.epoch;
                if !head.is_reigned || head.claim.host == self.lives.me && !self.has_claim(*log, head.claim) {
                    vacant.push((*id, Vacancy::Released(epoch)));
                } else if self.lives.is_silent(head.claim.host, now) {
                    vacant.push((*id, Vacancy::Silent(epoch)));
                }
            }
        }
        for (id, vacancy) in vacant {
            self.forget(id);
            self.events.push_back((id, Event::Vacant(vacancy)));
        }
    }

    /// Whether a reign that the engine says is of this host is: one whose end it did not hear of is not.
    fn has_claim(&self, log: LogId, claim: Claim) -> bool {
        self.tasks.values().any(|task| match task {
            Task::Writer(writer) => writer.log == log && writer.claim() == claim && !writer.is_over(),
            Task::Takeover(takeover) => takeover.raise().claim == claim,
            _ => false,
        })
    }

    fn say_that_it_is_alive(&mut self, now: Duration) {
        if self.is_beating || self.beat_at > now || !self.is_active() {
            return;
        }
        (self.beat_at, self.is_beating) = (now + BEAT_INTERVAL, true);
        let watched = self.followers.iter().filter_map(|id| match self.tasks.get(id) {
            Some(Task::Follow(Follow { head: Some(head), is_watch: true, .. })) => Some(head.claim.host),
            _ => None,
        });
        let of: BTreeSet<HostId> = watched.filter(|host| *host != self.lives.me).collect();
        let of: Vec<HostId> = of.into_iter().collect();
        let (host, beats) = (self.lives.me, self.lives.beat());
        self.ask(Request::Beat { host, beats, of: of.clone() }, Purpose::Beat(of), now);
    }

    fn on_beat(&mut self, of: &[HostId], answer: Answer, now: Duration) {
        self.is_beating = false;
        if let Ok(Answered::Beats { session, beats }) = answer {
            self.lives.on_answer(session, of, &beats, now);
            self.look_for_vacancies(now);
        }
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

    fn ask_to_append(&mut self, lane: usize, now: Duration) {
        if self.lanes[lane].is_busy {
            return;
        }
        let (mut groups, mut ids, mut left) = (Vec::<Group>::new(), Vec::new(), Vec::new());
        let (mut logs, mut bytes) = (BTreeSet::new(), 0);
        while let Some(id) = self.lanes[lane].ready.pop_front() {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(&id) else { continue };
            let group = writer.group();
            if !logs.insert(group.log) {
                // An earlier reign of this host has a group of the same log.
                left.push(id);
                continue;
            }
            if !groups.is_empty() && (bytes + group.bytes.len() > REQUEST_BYTES_MAX || ids.len() == REQUEST_LOGS_MAX) {
                self.lanes[lane].ready.push_front(id);
                break;
            }
            bytes += group.bytes.len();
            groups.push(group.clone());
            writer.on_sent();
            ids.push(id);
        }
        self.lanes[lane].ready.extend(left);
        if !groups.is_empty() {
            self.lanes[lane].is_busy = true;
            self.ask(Request::Append { groups }, Purpose::Append(lane, ids), now);
        }
    }

    fn ask_for_heads(&mut self, now: Duration) {
        if self.is_looking {
            return;
        }
        let (mut logs, mut ids) = (BTreeSet::new(), Vec::new());
        while let Some(id) = self.looking.pop_front() {
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            match task {
                Task::Writer(writer) => writer.on_looking(),
                Task::Head(head) => head.on_looking(),
                Task::Takeover(_) | Task::Read(_) | Task::Follow(_) => unreachable!("they do not ask for it"),
            }
            logs.insert(task.log());
            ids.push(id);
            if logs.len() == REQUEST_LOGS_MAX {
                break;
            }
        }
        if !ids.is_empty() {
            self.is_looking = true;
            let logs = logs.into_iter().map(|log| Seen { log, known: None }).collect();
            self.ask(Request::Heads { logs }, Purpose::Look(ids), now);
        }
    }

    fn ask_for_barriers(&mut self, now: Duration) {
        let mut asked = Vec::new();
        for (session, (waiting, is_asked)) in &mut self.barred {
            if !*is_asked && !waiting.is_empty() {
                *is_asked = true;
                let mut ids = std::mem::take(waiting);
                ids.retain(|id| self.tasks.contains_key(id));
                ids.iter().for_each(|id| self.tasks.get_mut(id).expect("it is there").on_barring());
                asked.push((*session, ids));
            }
        }
        for (session, ids) in asked {
            self.ask(Request::Barrier { session }, Purpose::Barrier(session, ids), now);
        }
    }

    fn ask_to_raise(&mut self, now: Duration) {
        if self.is_raising {
            return;
        }
        let (mut logs, mut wanted) = (BTreeSet::new(), Vec::<Raise>::new());
        let (mut ids, mut left) = (Vec::new(), Vec::new());
        while let Some(id) = self.raising.pop_front() {
            let Some(Task::Takeover(takeover)) = self.tasks.get_mut(&id) else { continue };
            let raise = takeover.raise();
            if wanted.len() == REQUEST_LOGS_MAX || !logs.insert(raise.log) {
                left.push(id);
                continue;
            }
            takeover.on_raising();
            wanted.push(raise);
            ids.push(id);
        }
        self.raising.extend(left);
        if !wanted.is_empty() {
            self.is_raising = true;
            self.ask(Request::Raise { wanted }, Purpose::Raise(ids), now);
        }
    }

    fn ask_to_read(&mut self, now: Duration) {
        while self.reads < READS_MAX
            && let Some(id) = self.reading.pop_front()
        {
            let request = match self.tasks.get_mut(&id) {
                None => continue,
                Some(Task::Takeover(takeover)) => {
                    takeover.on_reading();
                    takeover.reader().request()
                }
                Some(Task::Read(read)) => {
                    read.on_reading();
                    read.request()
                }
                Some(Task::Writer(_) | Task::Head(_) | Task::Follow(_)) => unreachable!("they look at heads"),
            };
            self.reads += 1;
            self.ask(request, Purpose::Read(id), now);
        }
    }

    fn ask_to_release(&mut self, now: Duration) {
        while let Some(id) = self.releasing.pop_front() {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(&id) else { continue };
            writer.on_releasing();
            let (log, epoch, claim) = (writer.log, writer.epoch, writer.claim());
            self.ask(Request::Release { log, epoch, claim }, Purpose::Release(id), now);
        }
    }

    /// Idle writers look whether they were deposed.
    fn watch_fences(&mut self, now: Duration) {
        if self.is_watching || self.look_at > now {
            return;
        }
        let mut logs = BTreeMap::new();
        for (id, task) in &self.tasks {
            if let Task::Writer(writer) = task
                && writer.is_idle()
            {
                logs.entry(writer.log).or_insert((*id, writer.known()));
            }
        }
        let part = next_part(logs, &mut self.watched);
        self.look_at = if self.watched.is_some() { now } else { now + FENCE_LOOK_INTERVAL };
        if !part.is_empty() {
            self.is_watching = true;
            let ids = part.iter().map(|(_, (id, _))| *id).collect();
            let seen = |(log, (_, known))| Seen { log, known: Some(known) };
            let logs = part.into_iter().map(seen).collect();
            self.ask(Request::Heads { logs }, Purpose::Watch(ids), now);
        }
    }

    fn take(&mut self, purpose: Purpose, answer: Answer, now: Duration) {
        match purpose {
            Purpose::Append(lane, ids) => self.on_appended(lane, &ids, answer, now),
            Purpose::Look(ids) => self.on_heads(&ids, answer, now),
            Purpose::Watch(ids) => self.on_watched(&ids, answer, now),
            Purpose::Barrier(session, ids) => self.on_barred(session, &ids, answer, now),
            Purpose::Raise(ids) => self.on_raised(&ids, answer, now),
            Purpose::Read(id) => self.on_read(id, answer, now),
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

    fn on_appended(&mut self, lane: usize, ids: &[TaskId], answer: Answer, now: Duration) {
        self.lanes[lane].is_busy = false;
        let failed = |fault: Fault| ids.iter().map(|_| Err(AppendFault::Failed(fault.clone()))).collect();
        let results: Vec<_> = match answer {
            Ok(Answered::Appended(results)) if results.len() == ids.len() => results,
            Ok(other) => failed(Fault::Unknown(unfit(&other))),
            Err(fault) => failed(fault),
        };
        for (id, result) in ids.iter().zip(results) {
            self.tell(*id, now, |task, events| match task {
                Task::Writer(writer) => writer.on_appended(result, now, events),
                _ => unreachable!("only a writer appends"),
            });
        }
    }

    fn on_heads(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.is_looking = false;
        let result = match answer {
            Ok(Answered::Heads { session, heads, .. }) => {
                Ok((session, heads.into_iter().map(|head| (head.log, head)).collect::<BTreeMap<_, _>>()))
            }
            other => Err(reason(other)),
        };
        for id in ids {
            self.tell(*id, now, |task, events| match (&result, task) {
                (Ok((session, heads)), Task::Writer(writer)) => {
                    writer.on_head(*session, heads.get(&writer.log).copied(), now);
                }
                (Err(reason), Task::Writer(writer)) => writer.on_look_failed(reason.clone(), now, events),
                (Ok((session, heads)), Task::Head(once)) => {
                    once.on_head(*session, heads.get(&once.log()).copied());
                }
                (Err(reason), Task::Head(once)) => once.on_look_failed(reason.clone(), events),
                _ => unreachable!("only these look at heads"),
            });
        }
    }

    /// What has changed is looked at again by whoever it concerns; what could not be seen is seen next time.
    fn on_watched(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.is_watching = false;
        let Ok(Answered::Heads { heads, gone, .. }) = answer else { return };
        let heads: BTreeMap<LogId, EngineHead> = heads.into_iter().map(|head| (head.log, head)).collect();
        for id in ids {
            let Some(Task::Writer(writer)) = self.tasks.get_mut(id) else { continue };
            let is_other = heads.get(&writer.log).is_some_and(|head| head.epoch != writer.epoch);
            if writer.is_idle() && (is_other || gone.contains(&writer.log)) {
                writer.on_doubt(now);
                self.place(*id, now);
            }
        }
    }

    fn on_barred(&mut self, session: Session, ids: &[TaskId], answer: Answer, now: Duration) {
        let result = match answer {
            Ok(Answered::Barred) => Ok(()),
            other => Err(reason(other)),
        };
        // What was read in a session that is over fails too when it asks.
        if let Some((waiting, is_asked)) = self.barred.get_mut(&session) {
            *is_asked = false;
            if waiting.is_empty() {
                self.barred.remove(&session);
            }
        }
        for id in ids {
            self.tell(*id, now, |task, events| task.on_barred(result.clone(), now, events));
        }
    }

    fn on_raised(&mut self, ids: &[TaskId], answer: Answer, now: Duration) {
        self.is_raising = false;
        let failed = |reason: String| ids.iter().map(|_| Err(reason.clone())).collect();
        let results: Vec<Result<Result<EngineHead, RaiseFault>, String>> = match answer {
            Ok(Answered::Raised(results)) if results.len() == ids.len() => results.into_iter().map(Ok).collect(),
            other => failed(reason(other)),
        };
        for (id, result) in ids.iter().zip(results) {
            self.tell(*id, now, |task, events| match task {
                Task::Takeover(takeover) => takeover.on_raised(result, now, events),
                _ => unreachable!("only a candidate raises an epoch"),
            });
        }
    }

    fn on_read(&mut self, id: TaskId, answer: Answer, now: Duration) {
        self.reads -= 1;
        let read = match answer {
            Ok(Answered::Read { session, head, groups }) => Ok((session, head, groups)),
            other => Err(reason(other)),
        };
        self.tell(id, now, |task, events| match task {
            Task::Takeover(takeover) => takeover.on_read(read, now, events),
            Task::Read(once) => once.on_read(read, events),
            Task::Writer(_) | Task::Head(_) | Task::Follow(_) => unreachable!("they look at heads"),
        });
    }

    fn on_released(&mut self, id: TaskId, answer: Answer, now: Duration) {
        let result = match answer {
            Ok(Answered::Released) => Ok(()),
            other => Err(reason(other)),
        };
        self.tell(id, now, |task, events| match task {
            Task::Writer(writer) => writer.on_released(result, now, events),
            _ => unreachable!("only a writer ends a reign"),
        });
    }
}

/// As many logs as one request names, behind those of the part before; `after` is none when these were the last.
fn next_part<T>(mut all: BTreeMap<LogId, T>, after: &mut Option<LogId>) -> Vec<(LogId, T)> {
    if let Some(after) = after.take() {
        all.retain(|log, _| *log > after);
    }
    let is_more = all.len() > REQUEST_LOGS_MAX;
    let part: Vec<_> = all.into_iter().take(REQUEST_LOGS_MAX).collect();
    *after = part.last().filter(|_| is_more).map(|(log, _)| *log);
    part
}

/// Why that is not the answer that was wanted.
fn reason(answer: Answer) -> String {
    match answer {
        Err(fault) => fault.to_string(),
        Ok(other) => unfit(&other),
    }
}

fn unfit(answered: &Answered) -> String {
    let kind = match answered {
        Answered::Appended(results) => return format!("the engine has answered for {} groups instead", results.len()),
        Answered::Raised(results) => return format!("the engine has answered for {} epochs instead", results.len()),
        Answered::Heads { .. } => "head rows",
        Answered::Barred => "a barrier",
        Answered::Read { .. } => "records",
        Answered::Released => "the end of a reign",
        Answered::Beats { .. } => "the lives of hosts",
        Answered::Trimmed => "trimming",
    };
    format!("the engine has answered with {kind} instead")
}
