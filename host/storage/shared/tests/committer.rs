//! What a committer asks, and when: each test answers its requests itself, by rows in memory.

use core::time::Duration;

use ambrosia_core::{Epoch, EpochBody, InstanceUuid, Lsn, Record, RecordHeader, RecordKind, ReplicaIndex, Timestamp};
use ambrosia_shared_log::{
    ANSWER_TIME_MAX, Answer, Answered, AppendFault, Candidate, Claim, Committer, EngineFacts, Event,
    FENCE_LOOK_INTERVAL, FOLLOW_INTERVAL, Fault, GROUP_BYTES_MAX, HostId, Lane, LogFault, NotReigning, READS_MAX,
    RELEASE_TRIES, RETRY_MAX, Raise, Request, RequestId, Rows, STALLED_AFTER, Session, Standing, TaskId,
};
use ambrosia_storage::{
    AppendError, LOG_QUEUE_BYTES_MAX, LogEvent, LogId, StopCause, Vacancy, conformance::genesis_of,
};

const SESSION: Session = Session(1);

/// A committer, the engine that it asks, and what became of its tasks.
struct Host {
    committer: Committer,
    rows: Rows,
    now: Duration,
    events: Vec<(TaskId, Event)>,
}

/// A reign, and the record that was made last in it.
struct Reign {
    task: TaskId,
    epoch: Epoch,
    last: Record,
}

fn log(number: u16) -> LogId {
    let mut uuid = [0; 16];
    uuid[..2].copy_from_slice(&number.to_le_bytes());
    LogId(InstanceUuid(uuid))
}

fn genesis(log: LogId) -> Record {
    genesis_of(log.0)
}

impl Host {
    fn new(logs: u16) -> Host {
        Host::with(
            logs,
            EngineFacts { group_bytes_max: GROUP_BYTES_MAX, lanes: 1, place: "a test".to_owned(), caution: None },
        )
    }

    fn with(logs: u16, facts: EngineFacts) -> Host {
        let mut rows = Rows::default();
        for number in 0..logs {
            assert!(rows.create(log(number), &genesis(log(number))));
        }
        Host {
            committer: Committer::new(facts, HostId([1; 16])),
            rows,
            now: Duration::from_secs(1),
            events: Vec::new(),
        }
    }

    fn take_over(&mut self, log: LogId, over: Epoch) -> TaskId {
        let candidate = Candidate {
            log,
            over,
            claim: self.committer.new_claim(),
            standing: Standing::at(&genesis(log)),
            me: EpochBody { replica: ReplicaIndex(0), engine: [0; 32] },
            time: Timestamp(2),
        };
        self.committer.take_over(candidate, self.now)
    }

    fn reign(&mut self, log: LogId, over: Epoch) -> Reign {
        let task = self.take_over(log, over);
        self.answer_all();
        let mut begun = self.events.extract_if(.., |(of, _)| *of == task);
        let Some((_, Event::Reigns { epoch, records })) = begun.next() else { panic!("nobody else is at it") };
        Reign { task, epoch, last: records.last().expect("the epoch record").clone() }
    }

    fn append(&mut self, reign: &mut Reign, bytes: usize) -> Result<(), AppendError> {
        let before = Standing::at(&reign.last);
        let mut header = RecordHeader::new(RecordKind::Deliver, reign.epoch, before.last.lsn.next(), Timestamp(3));
        header.previous = before.last.link;
        reign.last = Record::seal(header, &vec![7; bytes]);
        self.committer.append(reign.task, reign.last.clone(), self.now)
    }

    /// The requests that wait to be asked.
    fn requests(&mut self) -> Vec<(RequestId, Lane, Request)> {
        std::iter::from_fn(|| self.committer.next_request()).collect()
    }

    fn answer(&mut self, id: RequestId, answer: Answer) {
        self.committer.on_answer(id, answer, self.now);
        self.events.extend(std::iter::from_fn(|| self.committer.next_event()));
    }

    /// Answers as the engine would, until nothing is asked any more.
    fn answer_all(&mut self) {
        while let Some((id, _, request)) = self.committer.next_request() {
            let answered = self.rows.execute(&request, SESSION);
            self.answer(id, Ok(answered));
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.committer.on_time(self.now);
        self.events.extend(std::iter::from_fn(|| self.committer.next_event()));
    }

    fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).map(|(_, event)| event).collect()
    }

    fn last(&self, log: LogId) -> Lsn {
        self.rows.head(log).expect("it is there").last.lsn
    }
}

fn groups(requests: &[(RequestId, Lane, Request)]) -> Vec<(LogId, Lsn, Lsn)> {
    let groups = requests.iter().flat_map(|(_, _, request)| match request {
        Request::Append { groups } => groups.as_slice(),
        other => panic!("{other:?}"),
    });
    groups.map(|group| (group.log, group.first(), group.last.lsn)).collect()
}

#[test]
fn of_a_thousand_logs_all_that_gathers_is_one_request() {
    let mut host = Host::new(1000);
    let candidates: Vec<_> = (0..1000).map(|number| host.take_over(log(number), Epoch(0))).collect();
    // The first candidate is alone; while it waits the others gather.
    let mut asked = Vec::new();
    while let Some((id, _, request)) = host.committer.next_request() {
        asked.push(std::mem::discriminant(&request));
        let answered = host.rows.execute(&request, SESSION);
        host.answer(id, Ok(answered));
    }
    assert_eq!(host.events.len(), candidates.len());
    assert!(host.events.iter().all(|(_, event)| matches!(event, Event::Reigns { .. })));
    assert!(asked.len() < 10, "{} requests for a thousand takeovers", asked.len());
}

#[test]
fn what_gathers_while_a_group_is_on_its_way_is_the_next_group() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    for _ in 0..4 {
        host.append(&mut reign, 10).expect("the reign goes on");
    }
    let first = host.requests();
    assert_eq!(groups(&first), [(log(0), Lsn(3), Lsn(3))]);
    let answered = host.rows.execute(&first[0].2, SESSION);
    host.answer(first[0].0, Ok(answered));
    let second = host.requests();
    assert_eq!(groups(&second), [(log(0), Lsn(4), Lsn(6))]);
    assert_eq!(host.take_events(), [Event::Log(Epoch(1), LogEvent::Durable(Lsn(3)))]);
}

#[test]
fn a_group_holds_a_mebibyte_or_one_record() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    for bytes in [1, GROUP_BYTES_MAX / 2, GROUP_BYTES_MAX / 3, GROUP_BYTES_MAX / 3, 3 * GROUP_BYTES_MAX, 1] {
        host.append(&mut reign, bytes).expect("the reign goes on");
    }
    let mut seen = Vec::new();
    while let Some((id, _, request)) = host.committer.next_request() {
        seen.extend(
            groups(&[(id, Lane::Other, request.clone())]).into_iter().map(|(_, first, last)| (first.0, last.0)),
        );
        let answered = host.rows.execute(&request, SESSION);
        host.answer(id, Ok(answered));
    }
    assert_eq!(seen, [(3, 3), (4, 5), (6, 6), (7, 7), (8, 8)]);
}

#[test]
fn a_writer_that_was_full_tells_when_there_is_room() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    while host.committer.queued_bytes(reign.task) <= LOG_QUEUE_BYTES_MAX {
        host.append(&mut reign, 1 << 20).expect("it never refuses");
    }
    host.answer_all();
    let events = host.take_events();
    let rooms = events.iter().filter(|event| matches!(event, Event::Log(_, LogEvent::Room))).count();
    assert_eq!((rooms, host.committer.queued_bytes(reign.task)), (1, 0));
    assert_eq!(events.last(), Some(&Event::Log(Epoch(1), LogEvent::Durable(reign.last.lsn()))));
}

#[test]
fn a_group_whose_outcome_is_unknown_is_durable_when_it_stands_there_and_a_barrier_returned() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    host.append(&mut reign, 10).expect("the reign goes on");
    let [(id, _, request)] = &host.requests()[..] else { panic!("one request") };
    host.rows.execute(request, SESSION);
    host.answer(*id, Err(Fault::Unknown("the connection was cut".to_owned())));
    // What comes meanwhile waits: it has to follow what is not known.
    host.append(&mut reign, 10).expect("the reign goes on");
    let [(id, _, Request::Heads { logs })] = &host.requests()[..] else { panic!("it looks") };
    let heads = host.rows.execute(&Request::Heads { logs: logs.clone() }, Session(5));
    host.answer(*id, Ok(heads));
    assert_eq!(host.take_events(), [], "what stands there may vanish");
    let [(id, _, Request::Barrier { session: Session(5) })] = host.requests()[..] else {
        panic!("it waits for a barrier")
    };
    host.answer(id, Ok(Answered::Barred));
    assert_eq!(host.take_events(), [Event::Log(Epoch(1), LogEvent::Durable(Lsn(3)))]);
    host.answer_all();
    assert_eq!(host.last(log(0)), Lsn(4));
}

#[test]
fn an_answer_that_comes_after_its_time_is_not_heard() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    host.append(&mut reign, 10).expect("the reign goes on");
    let [(late, ..)] = host.requests()[..] else { panic!("one request") };
    host.pass(ANSWER_TIME_MAX);
    host.answer(late, Ok(Answered::Appended(vec![Ok(())])));
    let events = host.take_events();
    let waited = ANSWER_TIME_MAX;
    assert!(
        matches!(&events[..], [Event::Log(_, LogEvent::Stalled { waited: of, .. })] if *of == waited),
        "{events:?}"
    );
    // It was said to be durable and is not: the same group is sent again.
    host.answer_all();
    let events = host.take_events();
    assert_eq!(events, [LogEvent::Resumed, LogEvent::Durable(Lsn(3))].map(|event| Event::Log(Epoch(1), event)));
    assert_eq!(host.last(log(0)), Lsn(3));
}

#[test]
fn a_writer_with_nothing_to_write_says_once_that_the_engine_is_away_and_once_that_it_is_back() {
    let mut host = Host::new(1);
    host.reign(log(0), Epoch(0));
    let mut told = Vec::new();
    let mut look = |host: &mut Host, is_away: bool| {
        host.pass(FENCE_LOOK_INTERVAL);
        for (id, _, request) in host.requests() {
            let refused = Err(Fault::Unavailable("the connection was refused".to_owned()));
            let answer = if is_away { refused } else { Ok(host.rows.execute(&request, SESSION)) };
            host.answer(id, answer);
        }
        told.extend(host.take_events());
        told.len()
    };
    let tries = (STALLED_AFTER.as_nanos() / FENCE_LOOK_INTERVAL.as_nanos()) as usize;
    for _ in 0..tries {
        assert_eq!(look(&mut host, true), 0, "that may be a moment");
    }
    (0..5).for_each(|_| assert_eq!(look(&mut host, true), 1));
    (0..5).for_each(|_| assert_eq!(look(&mut host, false), 2));
    let [Event::Log(Epoch(1), LogEvent::Stalled { reason, waited }), Event::Log(_, LogEvent::Resumed)] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert!(reason.contains("refused") && *waited == STALLED_AFTER, "{reason} {waited:?}");
}

#[test]
fn groups_that_are_too_large_for_the_engine_become_smaller() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    for _ in 0..9 {
        host.append(&mut reign, 100).expect("the reign goes on");
    }
    let mut largest = 0;
    while let Some((id, _, request)) = host.committer.next_request() {
        let Request::Append { groups } = &request else { panic!("it appends") };
        let is_large = groups[0].bytes.len() > 500;
        largest = largest.max(groups[0].bytes.len());
        let answered = if is_large {
            Answered::Appended(vec![Err(AppendFault::TooLarge { max: 500 })])
        } else {
            host.rows.execute(&request, SESSION)
        };
        host.answer(id, Ok(answered));
    }
    assert!(largest > 500, "there was one to be made smaller");
    assert_eq!(host.last(log(0)), reign.last.lsn());
}

#[test]
fn a_record_that_is_too_large_for_the_engine_ends_the_reign_and_says_so() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    host.append(&mut reign, 1000).expect("the reign goes on");
    let [(id, ..)] = host.requests()[..] else { panic!("one request") };
    host.answer(id, Ok(Answered::Appended(vec![Err(AppendFault::TooLarge { max: 500 })])));
    let events = host.take_events();
    let [Event::Log(Epoch(1), LogEvent::Stopped(StopCause::Failed(reason)))] = &events[..] else {
        panic!("{events:?}")
    };
    assert!(reason.contains("record 3") && reason.contains("500 at most"), "{reason}");
    assert!(matches!(host.append(&mut reign, 1), Err(AppendError::Failed(_))));
}

#[test]
fn an_idle_writer_learns_that_it_was_deposed() {
    let mut host = Host::new(1);
    let mut first = host.reign(log(0), Epoch(0));
    let second = host.reign(log(0), Epoch(1));
    assert!(second.epoch > first.epoch);
    host.pass(FENCE_LOOK_INTERVAL);
    host.answer_all();
    let stopped = Event::Log(Epoch(1), LogEvent::Stopped(StopCause::Fenced { by: Epoch(2) }));
    assert_eq!(host.events, [(first.task, stopped)]);
    for _ in 0..2 {
        assert_eq!(host.append(&mut first, 1), Err(AppendError::Fenced { by: Epoch(2) }));
    }
}

#[test]
fn two_reigns_of_one_host_have_no_groups_of_one_log_in_one_request() {
    let mut host = Host::new(2);
    let (mut busy, mut first) = (host.reign(log(1), Epoch(0)), host.reign(log(0), Epoch(0)));
    let mut second = host.reign(log(0), Epoch(1));
    for reign in [&mut busy, &mut first, &mut second] {
        host.append(reign, 1).expect("none of them knows that it was deposed");
    }
    while let Some((id, _, request)) = host.committer.next_request() {
        if let Request::Append { groups } = &request {
            let mut logs: Vec<_> = groups.iter().map(|group| group.log).collect();
            logs.dedup();
            assert_eq!(logs.len(), groups.len(), "one group a log");
        }
        let answered = host.rows.execute(&request, SESSION);
        host.answer(id, Ok(answered));
    }
    assert_eq!(host.last(log(0)), second.last.lsn());
}

#[test]
fn a_reign_that_is_closed_leaves_all_its_records_and_a_vacancy() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    for _ in 0..3 {
        host.append(&mut reign, 10).expect("the reign goes on");
    }
    assert!(host.rows.head(log(0)).expect("it is there").is_reigned);
    host.committer.close(reign.task, host.now);
    host.answer_all();
    assert_eq!(host.take_events().last(), Some(&Event::Closed));
    let head = host.rows.head(log(0)).expect("it is there");
    assert_eq!((head.last.lsn, head.is_reigned), (Lsn(5), false));
    assert!(matches!(host.append(&mut reign, 1), Err(AppendError::Failed(_))));
}

#[test]
fn others_are_told_of_the_end_of_a_reign_however_late_and_whoever_had_it_waits_for_nothing() {
    let mut host = Host::new(1);
    let mut reign = host.reign(log(0), Epoch(0));
    host.committer.close(reign.task, host.now);
    let mut tries = 0;
    while host.take_events().is_empty() {
        refuse_all(&mut host);
        tries += 1;
    }
    assert_eq!((tries, host.committer.reigns()), (RELEASE_TRIES, 1));
    assert!(matches!(host.append(&mut reign, 1), Err(AppendError::Failed(_))));
    host.committer.close(reign.task, host.now);
    host.pass(RETRY_MAX);
    assert_eq!(host.take_events(), [Event::Closed], "it is told so as often as it asks");
    for _ in 0..10 {
        refuse_all(&mut host);
    }
    // It is no reign of this host any more, whatever the head row says.
    assert!(host.rows.head(log(0)).expect("it is there").is_reigned);
    host.committer.watch(log(0), host.now);
    refuse_all(&mut host);
    assert_eq!(host.take_events(), [Event::Vacant(Vacancy::Released(Epoch(1)))]);
    host.pass(RETRY_MAX);
    host.answer_all();
    assert!(!host.rows.head(log(0)).expect("it is there").is_reigned);
    assert_eq!((host.committer.reigns(), host.take_events()), (0, Vec::new()));
}

/// Nothing but heads can be seen of what is asked now; then it is time for what is tried again.
fn refuse_all(host: &mut Host) {
    for (id, _, request) in host.requests() {
        let is_look = matches!(request, Request::Heads { .. });
        let refused = || Err(Fault::Unavailable("refused".to_owned()));
        let answer = if is_look { Ok(host.rows.execute(&request, SESSION)) } else { refused() };
        host.answer(id, answer);
    }
    host.pass(RETRY_MAX);
}

#[test]
fn of_two_candidates_for_one_vacancy_one_becomes_the_writer() {
    let mut host = Host::new(1);
    host.reign(log(0), Epoch(0));
    let late = host.take_over(log(0), Epoch(0));
    // It has another claim.
    let mut requests = host.requests();
    let (id, _, Request::Raise { wanted }) = &mut requests[0] else { panic!("it raises the epoch") };
    wanted[0].claim.host = HostId([99; 16]);
    let answered = host.rows.execute(&Request::Raise { wanted: wanted.clone() }, SESSION);
    host.answer(*id, Ok(answered));
    let contended = Event::NotReigning(NotReigning::Contended { epoch: Epoch(1) });
    assert_eq!(host.events, [(late, contended)]);
}

/// A candidate that is told this of its raised epoch, and reaches nobody from then on; what it is told until it has given up.
fn give_up(host: &mut Host, over: Epoch, told: Result<(), Fault>) -> Vec<Event> {
    host.take_over(log(0), over);
    let [(id, _, request)] = &host.requests()[..] else { panic!("it raises the epoch") };
    let answer = match told {
        Err(fault @ Fault::Unavailable(_)) => Err(fault),
        told => {
            let answered = host.rows.execute(request, SESSION);
            told.map(|()| answered)
        }
    };
    host.answer(*id, answer);
    let mut events = Vec::new();
    while !matches!(events.last(), Some(Event::NotReigning(_))) {
        refuse_all(host);
        events.extend(host.take_events());
    }
    events
}

#[test]
fn a_candidate_that_gives_up_with_its_epoch_raised_knows_that_at_once_and_others_once_they_can_be_told() {
    let unheard = Err(Fault::Unknown("the connection was cut".to_owned()));
    for told in [Ok(()), unheard] {
        let mut host = Host::new(1);
        let reign = host.reign(log(0), Epoch(0));
        host.committer.close(reign.task, host.now);
        host.answer_all();
        host.take_events();
        let events = give_up(&mut host, reign.epoch, told);
        assert!(matches!(events.last(), Some(Event::NotReigning(NotReigning::Fault(LogFault::Unavailable(_))))));
        let head = host.rows.head(log(0)).expect("it is there");
        assert_eq!((head.epoch, head.is_reigned), (Epoch(2), true));
        // It is no reign of this host, whatever the head row says.
        host.committer.watch(log(0), host.now);
        refuse_all(&mut host);
        assert_eq!(host.take_events(), [Event::Vacant(Vacancy::Released(Epoch(2)))]);
        host.pass(RETRY_MAX);
        host.answer_all();
        assert!(!host.rows.head(log(0)).expect("it is there").is_reigned);
        host.pass(RETRY_MAX);
        assert_eq!((host.requests().len(), host.take_events()), (0, Vec::new()), "nothing more is to be done");
    }
}

#[test]
fn a_request_to_raise_an_epoch_that_comes_once_more_begins_no_reign_that_has_ended() {
    let mut host = Host::new(1);
    let task = host.take_over(log(0), Epoch(0));
    let [(id, _, raise)] = &host.requests()[..] else { panic!("it raises the epoch") };
    let answered = host.rows.execute(raise, SESSION);
    host.answer(*id, Ok(answered));
    host.answer_all();
    host.committer.close(task, host.now);
    host.answer_all();
    assert!(matches!(host.rows.execute(raise, SESSION), Answered::Raised(raised) if raised[0].is_ok()));
    assert!(!host.rows.head(log(0)).expect("it is there").is_reigned);
}

#[test]
fn a_candidate_whose_epoch_was_not_raised_has_nothing_to_tell() {
    let mut host = Host::new(1);
    give_up(&mut host, Epoch(0), Err(Fault::Unavailable("refused".to_owned())));
    assert_eq!((host.requests().len(), host.committer.next_time()), (0, None));
}

#[test]
fn a_reader_is_given_nothing_before_a_barrier_has_returned() {
    let mut host = Host::new(1);
    host.reign(log(0), Epoch(0));
    let task = host.committer.read(log(0), Standing::default(), host.now);
    let [(id, _, request)] = &host.requests()[..] else { panic!("it reads") };
    let answered = host.rows.execute(request, Session(7));
    host.answer(*id, Ok(answered));
    assert_eq!(host.take_events(), []);
    let [(id, _, Request::Barrier { session: Session(7) })] = host.requests()[..] else {
        panic!("it waits for a barrier")
    };
    host.answer(id, Ok(Answered::Barred));
    let Some((of, Event::Read(Ok(records)))) = host.events.pop() else { panic!("it has read") };
    assert_eq!((of, records.len(), &records[0]), (task, 2, &genesis(log(0))));
    // There is nothing more, which takes no barrier.
    host.committer.read(log(0), Standing::at(&records[1]), host.now);
    let [(id, _, request)] = &host.requests()[..] else { panic!("it reads") };
    let answered = host.rows.execute(request, SESSION);
    host.answer(*id, Ok(answered));
    assert_eq!(host.take_events(), [Event::Read(Ok(Vec::new()))]);
}

#[test]
fn whoever_begins_to_read_is_brought_one_group_of_the_log() {
    let mut host = Host::new(1);
    host.reign(log(0), Epoch(0));
    assert!(host.rows.groups(log(0)).count() > 1, "there are more");
    let task = host.committer.find(log(0), Lsn(2), host.now);
    let [(id, _, request)] = &host.requests()[..] else { panic!("it reads") };
    let answered = host.rows.execute(request, SESSION);
    let Answered::Read { logs, .. } = &answered else { panic!("{answered:?}") };
    assert_eq!(logs[0].groups.len(), 1);
    host.answer(*id, Ok(answered));
    host.answer_all();
    let Some((of, Event::Found(Ok(standing)))) = host.events.pop() else { panic!("it is found") };
    assert_eq!((of, standing), (task, Standing::at(&genesis(log(0)))));
}

/// Whether the follower is told what there is, if heads are looked at now.
fn is_told(host: &mut Host, follower: TaskId) -> bool {
    host.pass(FOLLOW_INTERVAL);
    host.answer_all();
    let told = host.events.extract_if(.., |(of, event)| *of == follower && matches!(event, Event::Changed(_)));
    told.count() > 0
}

#[test]
fn whoever_follows_is_told_again_when_what_there_is_could_not_be_read() {
    let mut host = Host::new(1);
    let follower = host.committer.follow(log(0), host.now);
    assert!(is_told(&mut host, follower));
    assert!(!is_told(&mut host, follower), "nothing has changed");
    host.committer.read(log(0), Standing::default(), host.now);
    let [(id, _, Request::Read { .. })] = host.requests()[..] else { panic!("it reads") };
    host.answer(id, Err(Fault::Unavailable("the connection was refused".to_owned())));
    assert!(is_told(&mut host, follower));
}

/// Which logs are read.
fn logs_read(request: &Request) -> Vec<LogId> {
    let Request::Read { wanted, .. } = request else { panic!("{request:?}") };
    wanted.iter().map(|wanted| wanted.log).collect()
}

#[test]
fn what_is_wanted_while_logs_are_read_is_read_together_and_what_an_answer_leaves_out_comes_first() {
    let mut host = Host::new(5);
    for number in 0..2 {
        host.committer.read(log(number), Standing::default(), host.now);
    }
    let requests = host.requests();
    assert_eq!(requests.len(), READS_MAX, "each is asked for at once while few are on their way");
    for number in 2..5 {
        host.committer.read(log(number), Standing::default(), host.now);
    }
    assert!(host.requests().is_empty());
    let (id, _, request) = &requests[0];
    let answer = host.rows.execute(request, SESSION);
    host.answer(*id, Ok(answer));
    let [(_, _, Request::Barrier { .. }), (id, _, together)] = &host.requests()[..] else { panic!("both are asked") };
    assert_eq!(logs_read(together), [log(2), log(3), log(4)]);
    // As if the bytes of the first were all that an answer takes.
    let Answered::Read { session, mut logs } = host.rows.execute(together, SESSION) else { panic!("it reads") };
    logs.truncate(1);
    host.committer.read(log(0), Standing::default(), host.now);
    host.answer(*id, Ok(Answered::Read { session, logs }));
    let [(_, _, next)] = &host.requests()[..] else { panic!("they are asked for again") };
    assert_eq!(logs_read(next), [log(3), log(4), log(0)]);
    host.answer_all();
}

#[test]
fn an_answer_for_no_log_or_for_too_many_is_none() {
    for count in [0, 2] {
        let mut host = Host::new(1);
        let task = host.committer.read(log(0), Standing::default(), host.now);
        let [(id, _, request)] = &host.requests()[..] else { panic!("it reads") };
        let Answered::Read { session, logs } = host.rows.execute(request, SESSION) else { panic!("it reads") };
        let logs = logs.iter().cycle().take(count).cloned().collect();
        host.answer(*id, Ok(Answered::Read { session, logs }));
        let [(of, Event::Read(Err(LogFault::Unavailable(_))))] = &host.events[..] else { panic!("{:?}", host.events) };
        assert_eq!(*of, task);
    }
}

#[test]
fn another_reign_of_the_same_number_is_told() {
    let mut host = Host::new(1);
    let before = host.rows.clone();
    let follower = host.committer.follow(log(0), host.now);
    for claim in [1, 2] {
        // What the one has raised vanishes.
        host.rows = before.clone();
        let claim = Claim { host: HostId([claim; 16]), attempt: 1 };
        let wanted = vec![Raise { log: log(0), over: Epoch(0), claim, replica: ReplicaIndex(1) }];
        host.rows.execute(&Request::Raise { wanted }, SESSION);
        assert!(is_told(&mut host, follower), "{claim:?}");
    }
}
