//! Requests and answers on their way, and what hosts do with what they learn.

use ambrosia_core::{Epoch, EpochBody, Lsn, Record, RecordHeader, RecordKind, ReplicaIndex, Timestamp};
use ambrosia_shared_log::{
    Answer, Answered, Candidate, EngineHead, Event, Fault, Lane, LogFault, NotReigning, Request, RequestId, Session,
    Standing, TaskId,
};
use ambrosia_storage::{AppendError, LogEvent, LogId, StopCause, Vacancy};

use super::{
    host::{Host, Reign, Stage},
    office::{Arrived, Asker, Node, Replicated},
    options::EngineFault,
    sim::{EngineSim, Happening},
};
use crate::options::MILLISECOND;

/// Hosts divide so few among themselves.
const PLACES: u16 = 2;
const SECOND: u64 = 1_000 * MILLISECOND;

impl EngineSim {
    /// Has all that a committer wants carried out.
    pub(super) fn drain(&mut self, host: usize) {
        loop {
            if let Some((id, lane, request)) = self.hosts[host].committer.next_request() {
                self.send(host, id, lane, request);
            } else if let Some((task, event)) = self.hosts[host].committer.next_event() {
                self.learn(host, task, event);
            } else {
                break;
            }
        }
        let Some(at) = self.hosts[host].committer.next_time() else { return };
        let at = (at.as_nanos() as u64).max(self.now);
        if self.hosts[host].alarm.is_none_or(|alarm| at < alarm) {
            self.hosts[host].alarm = Some(at);
            let life = self.hosts[host].life;
            self.put_at(at, Happening::Alarm(host, life));
        }
    }

    pub(super) fn alarm(&mut self, host: usize, life: u32) {
        // One that was put off does not count.
        if self.lives(host, life) && self.hosts[host].alarm.is_some_and(|at| at <= self.now) {
            self.hosts[host].alarm = None;
            let now = self.time();
            self.hosts[host].committer.on_time(now);
            self.drain(host);
        }
    }

    pub(super) fn lives(&self, host: usize, life: u32) -> bool {
        self.hosts[host].is_up && self.hosts[host].life == life
    }

    fn send(&mut self, host: usize, id: RequestId, lane: Lane, request: Request) {
        let prefers_former = self.is_stormy && self.dice.percent(30);
        let connections = &mut self.hosts[host].connections;
        let session = *connections.entry(lane).or_insert_with(|| self.office.connect(prefers_former));
        let asker = Asker { host, life: self.hosts[host].life, request: id };
        self.note(|| format!("host {host} asks {id:?} by {lane:?} in {session:?}: {}", told(&request)));
        self.hosts[host].asked.insert(id, (lane, session));
        if let Request::Append { groups } = &request {
            self.counts.groups += groups.len() as u64;
            self.counts.requests_with_several_logs += u64::from(groups.len() > 1);
        }
        if self.is_hit(EngineFault::Silence) {
            self.counts.client_silences += 1;
        } else {
            self.put_in((2 * SECOND, 2 * SECOND), Happening::Deadline(asker));
        }
        if self.now < self.refusing_until {
            self.counts.refusals += 1;
            return self.reply(asker, Err(Fault::Unavailable("the connection was refused".to_owned())));
        }
        if self.is_hit(EngineFault::Loss) {
            self.counts.requests_lost += 1;
            return;
        }
        if self.is_hit(EngineFault::Repeat) {
            self.counts.requests_repeated += 1;
            self.put_in((0, 4 * SECOND), Happening::Arrive(asker, session, request.clone()));
        }
        let latency = if self.is_hit(EngineFault::Late) {
            self.counts.requests_late += 1;
            (0, 5 * SECOND)
        } else {
            self.options.latency
        };
        self.put_in(latency, Happening::Arrive(asker, session, request));
    }

    pub(super) fn arrive(&mut self, asker: Asker, session: Session, request: Request) {
        if self.now < self.paused_until {
            let until = self.paused_until;
            return self.put_at(until, Happening::Arrive(asker, session, request));
        }
        let node = self.office.node(session);
        if let (Request::Beat { host, beats, .. }, Some(Node::InOffice)) = (&request, node) {
            // A request that comes a second time says nothing new.
            if self.heard.get(host).is_none_or(|(known, _)| known < beats) {
                self.heard.insert(*host, (*beats, self.now));
            }
            let heard = self.heard.iter().map(|(host, (_, at))| (*host, *at)).collect();
            self.heard_by.insert((asker.host, asker.request), (self.now, heard));
        }
        let is_former = node == Some(Node::OutOfOffice);
        let arrived = self.office.arrive(session, request, asker);
        if !matches!(arrived, Arrived::Answered(_)) {
            self.note_claims();
        }
        match arrived {
            Arrived::Answered(answer) => {
                self.counts.reads_out_of_office += u64::from(is_former);
                self.reply(asker, answer);
            }
            Arrived::Changed => self.put_in(self.options.replication, Happening::Replicate),
            Arrived::Nothing => self.counts.writes_out_of_office += 1,
        }
    }

    pub(super) fn replicate(&mut self) {
        if self.now < self.unreplicated_until {
            let until = self.unreplicated_until;
            return self.put_at(until, Happening::Replicate);
        }
        // What a failover took with it is not replicated any more.
        let Some(Replicated { request, answered, told }) = self.office.replicate() else { return };
        match (&request, &answered) {
            (Request::Append { groups }, Answered::Appended(results)) => {
                let appended = groups.iter().zip(results).filter(|(_, result)| result.is_ok());
                appended.for_each(|(group, _)| self.witness.on_group(group));
            }
            (_, Answered::Raised(results)) => {
                results.iter().flatten().for_each(|head| self.witness.on_raised(head, self.now));
            }
            (Request::Barrier { .. }, _) => self.counts.barriers += 1,
            _ => {}
        }
        if let Some((asker, told)) = told {
            self.reply(asker, Ok(told));
        }
    }

    /// An answer sets out.
    pub(super) fn reply(&mut self, asker: Asker, answer: Answer) {
        if self.is_hit(EngineFault::Loss) {
            self.counts.answers_lost += 1;
            return;
        }
        let latency = if self.is_hit(EngineFault::Late) {
            self.counts.answers_late += 1;
            (0, 5 * SECOND)
        } else {
            self.options.latency
        };
        self.put_in(latency, Happening::Answer(asker, answer));
    }

    /// The client of the engine gives up a request, and the connection that it went by.
    pub(super) fn give_up(&mut self, asker: Asker) {
        if self.lives(asker.host, asker.life) && self.hosts[asker.host].asked.contains_key(&asker.request) {
            self.answer(asker, Err(Fault::Unknown("no answer came in time".to_owned())));
        }
    }

    pub(super) fn answer(&mut self, asker: Asker, answer: Answer) {
        let Asker { host, life, request } = asker;
        if !self.lives(host, life) {
            return;
        }
        // The client hears each answer once.
        let Some((lane, session)) = self.hosts[host].asked.remove(&request) else { return };
        self.note(|| format!("host {host} hears {request:?}: {answer:?}").chars().take(300).collect());
        if answer.is_err() && self.hosts[host].connections.get(&lane) == Some(&session) {
            self.hosts[host].connections.remove(&lane);
            self.office.cut(session);
        }
        if let Ok(Answered::Appended(results)) = &answer {
            let too_large =
                |result: &&Result<(), _>| matches!(result, Err(ambrosia_shared_log::AppendFault::TooLarge { .. }));
            self.counts.groups_too_large += results.iter().filter(too_large).count() as u64;
        }
        let heard = self.heard_by.remove(&(host, request));
        if let Ok(Answered::Beats { .. }) = answer {
            // A node out of office knows nothing of it.
            self.hosts[host].heard = heard.unwrap_or_default();
        }
        let now = self.time();
        self.is_barred = answer == Ok(Answered::Barred);
        self.hosts[host].committer.on_answer(request, answer, now);
        self.drain(host);
        self.is_barred = false;
    }

    /// A replica reads on, looks whether there is a writer, or appends.
    pub(super) fn turn(&mut self, host: usize, life: u32, log: LogId) {
        if !self.lives(host, life) {
            return;
        }
        let is_reigning = matches!(self.hosts[host].replica(log).stage, Stage::Reigning(_));
        let is_standby = matches!(self.hosts[host].replica(log).stage, Stage::Standby);
        if self.hosts[host].replica(log).fault.is_some() {
            return;
        }
        if is_reigning && self.is_busy {
            self.write(host, log);
            self.look_at_fence(host, log);
        } else if is_standby && !self.follow_up(host, log) && !self.suspect(host, log) {
            self.watch(host, log);
            let (now, standing) = (self.time(), self.hosts[host].replica(log).standing);
            let task = self.hosts[host].committer.read(log, standing, now);
            let begun = self.now;
            self.hosts[host].replica(log).stage = Stage::Reading(task, begun);
        }
        self.drain(host);
        let range = if is_reigning { self.options.think } else { self.options.poll };
        self.put_in(range, Happening::Turn(host, life, log));
    }

    fn write(&mut self, host: usize, log: LogId) {
        for _ in 0..self.dice.between((1, self.options.burst)) {
            let bytes = self.dice.between(self.options.body_bytes) as usize;
            let mut body = self.dice.next().to_le_bytes().to_vec();
            body.resize(bytes.max(8), host as u8);
            let now = self.time();
            let Host { committer, replicas, .. } = &mut self.hosts[host];
            let replica = replicas.get_mut(&log).expect("each host has a replica of each log");
            let Some(reign) = replica.reign().filter(|reign| !reign.is_closing) else { return };
            let time = Timestamp(reign.last.time.0.max(self.now));
            let mut header = RecordHeader::new(RecordKind::Deliver, reign.epoch, reign.last.last.lsn.next(), time);
            header.previous = reign.last.last.link;
            header.durable = reign.durable;
            let record = Record::seal(header, &body);
            reign.last = Standing::at(&record);
            reign.sent.push_back(reign.last);
            match committer.append(reign.task, record, now) {
                Ok(()) => self.counts.records += 1,
                Err(AppendError::Fenced { .. } | AppendError::Failed(_)) => {
                    panic!("a writer goes on after it was told that its reign is over")
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn look_at_fence(&mut self, host: usize, log: LogId) {
        if !self.dice.percent(10) {
            return;
        }
        let (now, at) = (self.time(), self.now);
        let Host { committer, replicas, .. } = &mut self.hosts[host];
        let replica = replicas.get_mut(&log).expect("each host has a replica of each log");
        let Some(epoch) = replica.reign().map(|reign| reign.epoch) else { return };
        let task = if at.is_multiple_of(2) { committer.head(log, now) } else { committer.look(log, now) };
        replica.looks.insert(task, (epoch, at));
    }

    /// Takes a writer that is well for dead, once in a while.
    fn suspect(&mut self, host: usize, log: LogId) -> bool {
        if !(self.is_stormy && self.options.has(EngineFault::Suspicion) && self.dice.percent(2)) {
            return false;
        }
        self.counts.suspicions += 1;
        let head = self.office.shown.head(log).expect("no log is removed");
        self.take_over(host, log, head.epoch);
        true
    }

    /// Takes over where nobody seemed to be primary. Another one may be quicker.
    fn follow_up(&mut self, host: usize, log: LogId) -> bool {
        let Some(over) = self.hosts[host].replica(log).vacant.take() else { return false };
        let takes = self.dice.percent(80);
        if takes {
            self.take_over(host, log, over);
        }
        takes
    }

    fn watch(&mut self, host: usize, log: LogId) {
        let now = self.time();
        if self.hosts[host].replica(log).watch.is_none() {
            let task = self.hosts[host].committer.watch(log, now);
            self.hosts[host].replica(log).watch = Some(task);
        }
    }

    /// There seems to be no writer.
    fn on_vacant(&mut self, host: usize, log: LogId, vacancy: Vacancy) {
        self.hosts[host].replica(log).watch = None;
        match vacancy {
            Vacancy::Released(_) => self.counts.vacancies_released += 1,
            Vacancy::Silent(epoch) => {
                self.counts.vacancies_silent += 1;
                self.check_silent(host, log, epoch);
            }
        }
        self.hosts[host].replica(log).vacant = Some(vacancy.epoch());
    }

    /// Notes who has, or had, which epoch.
    fn note_claims(&mut self) {
        for head in self.office.heads() {
            self.claims.entry((head.log, head.epoch)).or_default().insert(head.claim);
        }
    }

    /// A host that was heard of just now counts as gone for nobody who is connected as it is.
    fn check_silent(&mut self, host: usize, log: LogId, epoch: Epoch) {
        let head = self.office.shown.head(log).expect("no log is removed");
        let session = self.hosts[host].connections.get(&Lane::Other);
        let is_connected = session.is_some_and(|session| self.office.node(*session) == Some(Node::InOffice));
        // A raise that was not replicated may vanish, or be shown by a node out of office, and another writer have its epoch; until a look at the heads that was under way
        // is given up nobody sees that.
        let may_be_another = self.claims.get(&(log, epoch)).is_some_and(|claims| claims.len() > 1);
        if head.epoch != epoch || !is_connected || may_be_another {
            return;
        }
        let (answered, heard) = &self.hosts[host].heard;
        let heard = heard.get(&head.claim.host).copied();
        let is_heard = heard.is_some_and(|at| at + SECOND / 5 > *answered);
        assert!(
            !is_heard,
            "a host that beats, last at {heard:?}, counts as gone for host {host} by what it saw at {answered}: {head:?}"
        );
        let is_calm = self.calm_since.is_some_and(|since| since + 15 * SECOND < self.now);
        let is_alive = self.hosts.iter().any(|other| other.is_up && other.me == head.claim.host);
        assert!(!(is_calm && is_alive), "a host counts as gone although nothing is wrong");
    }

    fn take_over(&mut self, host: usize, log: LogId, over: Epoch) {
        let claim = self.hosts[host].committer.new_claim();
        let candidate = Candidate {
            log,
            over,
            claim,
            standing: self.hosts[host].replica(log).standing,
            // Places are claimed twice: by which replica it is no host is told from another.
            me: EpochBody { replica: ReplicaIndex(host as u16 % PLACES), engine: [0; 32] },
            time: Timestamp(self.now),
        };
        let now = self.time();
        if let Some(watch) = self.hosts[host].replica(log).watch.take() {
            self.hosts[host].committer.give_up(watch);
        }
        let task = self.hosts[host].committer.take_over(candidate, now);
        self.hosts[host].replica(log).stage = Stage::Candidate(task, claim);
    }

    /// A host learns what has become of one of its tasks.
    fn learn(&mut self, host: usize, task: TaskId, event: Event) {
        let log = self.hosts[host].log_of(task).expect("an event belongs to a task");
        self.note(|| format!("host {host}, log {}: {event:?}", log.0.0[0]).chars().take(300).collect());
        match event {
            Event::Reigns { epoch, records } => self.on_reigns(host, log, task, epoch, &records),
            Event::NotReigning(why) => {
                let replica = self.hosts[host].replica(log);
                replica.stage = Stage::Standby;
                match why {
                    NotReigning::Contended { .. } => self.counts.contended += 1,
                    NotReigning::Fault(fault) => self.on_fault(host, log, fault),
                }
            }
            Event::Log(epoch, LogEvent::Durable(lsn)) => self.on_durable(host, log, epoch, lsn),
            Event::Log(_, LogEvent::Room) => {}
            Event::Log(_, LogEvent::Stalled { .. }) => {
                self.counts.stalled += 1;
                self.hosts[host].replica(log).tell_stalled(true);
            }
            Event::Log(_, LogEvent::Looked { .. }) => panic!("a committer knows heads, and no looks"),
            Event::Log(_, LogEvent::Resumed) => {
                self.counts.resumed += 1;
                self.hosts[host].replica(log).tell_stalled(false);
            }
            Event::Log(_, LogEvent::Stopped(cause)) => self.on_stopped(host, log, task, cause),
            Event::Stalled(_) => self.counts.candidates_stalled += 1,
            Event::Resumed => {}
            Event::Closed => self.on_closed(host, log),
            Event::Read(result) => self.on_read(host, log, result),
            Event::Head(result) => self.on_head(host, log, task, result),
            Event::Vacant(vacancy) => self.on_vacant(host, log, vacancy),
            Event::Found(_) | Event::Changed(_) | Event::Gone => panic!("nobody has asked for that"),
        }
    }

    fn on_reigns(&mut self, host: usize, log: LogId, task: TaskId, epoch: Epoch, records: &[Record]) {
        let replica = self.hosts[host].replica(log);
        let Stage::Candidate(own, claim) = replica.stage else { panic!("a candidate begins a reign") };
        assert_eq!(own, task, "a reign is that of its candidate");
        self.witness.check_read(log, replica.standing, records);
        let last = records.last().expect("the epoch record is there");
        assert_eq!((last.header().kind, last.header().epoch), (RecordKind::Epoch, epoch), "it is the last");
        let standing = Standing::at(last);
        replica.standing = standing;
        let durable = standing.last.lsn;
        let sent = std::collections::VecDeque::new();
        let reign = Reign { task, claim, epoch, last: standing, durable, sent, is_closing: false, is_stalled: false };
        replica.stage = Stage::Reigning(reign);
        self.counts.takeovers += 1;
    }

    fn on_durable(&mut self, host: usize, log: LogId, epoch: Epoch, lsn: Lsn) {
        let replica = self.hosts[host].replicas.get_mut(&log).expect("each host has a replica of each log");
        let Stage::Reigning(reign) = &mut replica.stage else { panic!("only a reign has durable records") };
        assert_eq!(reign.epoch, epoch, "an event comes with the epoch of its reign");
        assert!(lsn > reign.durable, "what is durable only rises");
        self.counts.settled_by_a_barrier += u64::from(self.is_barred);
        reign.durable = lsn;
        while let Some(next) = reign.sent.front().copied().filter(|next| next.last.lsn <= lsn) {
            reign.sent.pop_front();
            self.witness.check_durable(log, next.last);
            replica.standing = next;
        }
        assert_eq!(replica.standing.last.lsn, lsn, "what is durable was appended");
    }

    fn on_stopped(&mut self, host: usize, log: LogId, task: TaskId, cause: StopCause) {
        self.hosts[host].committer.give_up(task);
        match cause {
            StopCause::Fenced { by } => {
                self.counts.fenced += 1;
                self.witness.check_fenced(log, by, &self.office.replicated);
                self.begin_anew(host, log);
            }
            StopCause::Failed(reason) => {
                assert!(self.witness.rolled_back.contains(&log), "a log that is whole was refused: {reason}");
                let fault = LogFault::Unavailable(reason);
                self.hosts[host].replica(log).stage = Stage::Standby;
                self.refuse(host, log, fault);
            }
        }
    }

    /// What a primary has applied beyond what is durable is dropped.
    fn begin_anew(&mut self, host: usize, log: LogId) {
        let standing = self.checkpoints[&log];
        let replica = self.hosts[host].replica(log);
        replica.stage = Stage::Standby;
        replica.standing = standing;
    }

    fn on_closed(&mut self, host: usize, log: LogId) {
        self.counts.closed += 1;
        let replica = self.hosts[host].replica(log);
        let reign = replica.reign().expect("a reign was closed");
        assert_eq!(reign.durable, reign.last.last.lsn, "a reign that ends in order leaves nothing behind");
        replica.stage = Stage::Standby;
    }

    fn on_read(&mut self, host: usize, log: LogId, result: Result<Vec<Record>, LogFault>) {
        let replica = self.hosts[host].replica(log);
        let Stage::Reading(_, begun) = std::mem::replace(&mut replica.stage, Stage::Standby) else {
            panic!("only what was asked is read")
        };
        let standing = replica.standing;
        match result {
            Ok(records) => {
                self.witness.check_goes_on(log, standing, begun, &self.office.shown);
                self.witness.check_read(log, standing, &records);
                self.counts.reads += 1;
                self.counts.records_read += records.len() as u64;
                let Some(last) = records.last() else { return };
                let standing = Standing::at(last);
                self.hosts[host].replica(log).standing = standing;
                let newest = self.checkpoints[&log].last.lsn;
                if standing.last.lsn > newest && self.witness.has(log, standing.last) && self.dice.percent(10) {
                    self.checkpoints.insert(log, standing);
                }
            }
            Err(fault) => self.on_fault(host, log, fault),
        }
    }

    fn on_fault(&mut self, host: usize, log: LogId, fault: LogFault) {
        self.witness.check_fault(log, &fault, &self.office.replicated);
        match fault {
            LogFault::Unavailable(_) => {}
            LogFault::Missing { .. } if !self.witness.rolled_back.contains(&log) => {
                self.counts.overtaken += 1;
                self.begin_anew(host, log);
            }
            fault => self.refuse(host, log, fault),
        }
    }

    /// A replica says what is wrong, and goes on no more.
    fn refuse(&mut self, host: usize, log: LogId, fault: LogFault) {
        self.counts.restarts_with_a_fault += 1;
        self.hosts[host].replica(log).fault = Some(fault);
    }

    fn on_head(&mut self, host: usize, log: LogId, task: TaskId, result: Result<EngineHead, LogFault>) {
        let replica = self.hosts[host].replica(log);
        let (epoch, begun) = replica.looks.remove(&task).expect("it was asked for");
        match result {
            Ok(head) if head.epoch == epoch => {
                self.counts.fences_confirmed += 1;
                self.witness.check_confirmed(log, epoch, begun);
            }
            Ok(head) => {
                self.counts.fences_lost += 1;
                self.witness.check_fenced(log, head.epoch, &self.office.replicated);
            }
            Err(fault) => self.witness.check_fault(log, &fault, &self.office.replicated),
        }
    }
}

/// A request in few words.
fn told(request: &Request) -> String {
    match request {
        Request::Append { groups } => {
            let group = |group: &ambrosia_shared_log::Group| {
                format!("{}: {}–{} of epoch {}", group.log.0.0[0], group.first(), group.last.lsn, group.epoch)
            };
            format!("append {}", groups.iter().map(group).collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}").chars().take(160).collect(),
    }
}
