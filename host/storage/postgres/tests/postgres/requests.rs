//! What each request does, and what is told of it when the server or its standby fails.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, Lsn, ReplicaIndex};
use ambrosia_postgres::{PostgresEngine, PostgresPlace};
use ambrosia_shared_log::{
    ANSWER_TIME, Answer, Answered, AppendFault, Claim, Engine, EngineHead, Fault, Group, HostId, KeyEntry, KeysAnswer,
    KeysRequest, Lane, News, Position, Put, PutRefused, Raise, Request, Rows, Seen, Session, Space,
};
use ambrosia_storage::{LogId, Revision};
use bytes::Bytes;

use ambrosia_test_database::Server;

use crate::support::{append, ask, create, engine, genesis, group, log, place, position, remove};

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn flips(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What differs between two engines though they do the same.
fn plain(answer: Answered) -> Answered {
    let session = Session(0);
    match answer {
        Answered::Heads { mut heads, mut gone, .. } => {
            heads.sort_by_key(|head| head.log);
            gone.sort();
            Answered::Heads { session, heads, gone }
        }
        Answered::Read { head, groups, .. } => Answered::Read { session, head, groups },
        Answered::Beats { mut beats, .. } => {
            beats.sort();
            Answered::Beats { session, beats }
        }
        Answered::Logs { mut logs, .. } => {
            logs.sort();
            Answered::Logs { session, logs }
        }
        Answered::Keys(answer) => Answered::Keys(match answer {
            KeysAnswer::Got { entry, .. } => KeysAnswer::Got { session, entry },
            KeysAnswer::Listed { entries, is_all, .. } => KeysAnswer::Listed { session, entries, is_all },
            answer => answer,
        }),
        answer => answer,
    }
}

/// The same revisions on both sides: by the order in which they were given, for each engine gives its own.
#[derive(Default)]
struct Revisions(Vec<(Revision, Revision)>);

impl Revisions {
    fn learn(&mut self, of_rows: &Answered, of_server: &Answered) {
        if let (Answered::Keys(KeysAnswer::Put(Ok(of_rows))), Answered::Keys(KeysAnswer::Put(Ok(of_server)))) =
            (of_rows, of_server)
        {
            self.0.push((*of_rows, *of_server));
        }
    }

    fn to_server(&self, request: &Request) -> Request {
        let mut request = request.clone();
        let to = |revision: &mut Revision| {
            // One that was never given is none of the server's either.
            *revision =
                self.0.iter().find(|(rows, _)| rows == revision).map_or(Revision(1 << 60), |(_, server)| *server);
        };
        match &mut request {
            Request::Keys(KeysRequest::Put(put)) => put.expected.iter_mut().for_each(to),
            Request::Keys(KeysRequest::Delete { expected, .. }) => to(expected),
            _ => {}
        }
        request
    }

    fn of_server(&self, answer: Answered) -> Answered {
        let of = |revision: Revision| {
            self.0.iter().find(|(_, server)| *server == revision).map_or(revision, |(rows, _)| *rows)
        };
        let entry = |entry: KeyEntry| KeyEntry { revision: of(entry.revision), ..entry };
        let Answered::Keys(answer) = answer else { return answer };
        Answered::Keys(match answer {
            KeysAnswer::Got { session, entry: got } => KeysAnswer::Got { session, entry: got.map(entry) },
            KeysAnswer::Listed { session, entries, is_all } => {
                KeysAnswer::Listed { session, entries: entries.into_iter().map(entry).collect(), is_all }
            }
            KeysAnswer::Put(put) => KeysAnswer::Put(put.map(of).map_err(|refused| match refused {
                PutRefused::Stands(stands) => PutRefused::Stands(stands.map(of)),
                PutRefused::NoLog => PutRefused::NoLog,
            })),
            KeysAnswer::Deleted(deleted) => KeysAnswer::Deleted(deleted.map_err(|stands| stands.map(of))),
            answer => answer,
        })
    }
}

fn about_keys(dice: &mut Dice, rows: &mut Rows) -> KeysRequest {
    let space = if dice.flips() { Space::Registry } else { Space::Store };
    let key = ["a", "a/b", "a/c", "a/\u{7f}", "a0", "b"][dice.below(6) as usize].to_owned();
    let stands = match rows.execute(&Request::Keys(KeysRequest::Get { space, key: key.clone() }), Session(0)) {
        Answered::Keys(KeysAnswer::Got { entry, .. }) => entry.map(|entry| entry.revision),
        other => panic!("{other:?}"),
    };
    let wrong = Revision(dice.below(100));
    let prefix = ["", "a", "a/", "c"][dice.below(4) as usize].to_owned();
    let value = |dice: &mut Dice| Bytes::from(vec![dice.below(256) as u8; dice.below(2000) as usize]);
    match dice.below(12) {
        0 | 1 => KeysRequest::Get { space, key },
        2 | 3 => {
            let after = dice.flips().then_some(key);
            KeysRequest::List { space, prefix, after, values: dice.flips() }
        }
        4..8 => KeysRequest::Put(Put {
            space,
            key,
            expected: if dice.below(4) > 0 { stands } else { dice.flips().then_some(wrong) },
            value: value(dice),
            claim: Claim { host: HostId([1; 16]), attempt: dice.below(1000) },
            beside: dice.flips().then(|| log(dice.below(5) as u8)),
        }),
        8 => KeysRequest::Delete { space, key, expected: stands.filter(|_| dice.below(4) > 0).unwrap_or(wrong) },
        9 => KeysRequest::Changes,
        10 => {
            let notes = ["m/1", "m/2", "n"].into_iter().filter(|_| dice.below(3) > 0).collect::<Vec<_>>();
            let note = |name: &str| (name.to_owned(), (dice.below(3) > 0).then(|| value(dice)));
            KeysRequest::Note { notes: notes.into_iter().map(note).collect() }
        }
        _ => KeysRequest::Notes { prefix: ["", "m/"][dice.below(2) as usize].to_owned() },
    }
}

/// A request that may be sound or not, about logs as they are in `rows`.
fn request(dice: &mut Dice, rows: &mut Rows) -> Request {
    let any_log = |dice: &mut Dice| log(dice.below(5) as u8);
    let head = |of| {
        rows.head(of).unwrap_or(EngineHead {
            log: of,
            epoch: Epoch(1),
            claim: Claim::default(),
            replica: ReplicaIndex(0),
            is_reigned: true,
            is_announced: false,
            checkpoint: Lsn(0),
            first: Lsn(1),
            last: Position::default(),
            bytes: 0,
        })
    };
    let claim = |dice: &mut Dice| Claim { host: HostId([dice.below(2) as u8; 16]), attempt: dice.below(3) };
    match dice.below(20) {
        0..4 => {
            let mut logs: Vec<_> = (0..5).filter(|_| dice.flips()).map(log).collect();
            logs.sort_by_cached_key(|_| dice.below(100));
            let groups = logs.into_iter().map(|of| {
                let EngineHead { mut epoch, mut last, .. } = head(of);
                match dice.below(8) {
                    0 => epoch = Epoch(epoch.0.saturating_sub(1)),
                    1 => epoch = Epoch(epoch.0 + 1),
                    2 => last.lsn = Lsn(last.lsn.0 + 1),
                    3 => last.lsn = Lsn(last.lsn.0.saturating_sub(1)),
                    4 => last.link ^= 1 << 63,
                    _ => {}
                }
                let body = vec![dice.below(256) as u8; dice.below(3000) as usize];
                Group { bytes: Bytes::from(body), ..group(of, epoch.0, last, b"") }
            });
            Request::Append { groups: groups.collect() }
        }
        4..6 => {
            let mut wanted = Vec::new();
            for of in (0..5).rev().map(log) {
                if dice.flips() {
                    let over = Epoch(head(of).epoch.0.saturating_sub(dice.below(2)));
                    let replica = ReplicaIndex(dice.below(4) as u16);
                    wanted.push(Raise { log: of, over, claim: claim(dice), replica });
                }
            }
            Request::Raise { wanted }
        }
        6 => {
            let seen = |of| Seen {
                log: of,
                known: dice.flips().then(|| {
                    let mut known = head(of).known();
                    match dice.below(10) {
                        0 => known.last.lsn.0 += 1,
                        1 => known.last.link ^= 1 << 63,
                        2 => known.is_reigned ^= true,
                        3 => known.claim.attempt += 1,
                        4 => known.claim.host.0[3] ^= 1,
                        5 => known.epoch.0 += 1,
                        6 => known.is_announced ^= true,
                        7 => known.checkpoint.0 += 1,
                        _ => {}
                    }
                    known
                }),
            };
            Request::Heads { logs: (0..5).map(log).map(seen).collect() }
        }
        7 | 8 => {
            let of = any_log(dice);
            let from = Lsn(head(of).first.0 + dice.below(head(of).last.lsn.0 + 2));
            Request::Read { log: of, from, bytes: dice.below(10_000) as usize }
        }
        9 => {
            let of = any_log(dice);
            Request::Release { log: of, epoch: head(of).epoch, claim: claim(dice) }
        }
        10 => {
            let host = |number| HostId([number; 16]);
            let of = (0..3).filter(|_| dice.flips()).map(host).collect();
            Request::Beat { host: host(dice.below(3) as u8), beats: dice.below(100), of }
        }
        11 => {
            let host = |number| HostId([number; 16]);
            Request::Lives { of: (0..3).filter(|_| dice.flips()).map(host).collect() }
        }
        12 => Request::Logs,
        13 => {
            let news = (0..dice.below(4)).map(|_| {
                let log = any_log(dice);
                match dice.flips() {
                    true => News::Announced {
                        log,
                        epoch: Epoch(head(log).epoch.0.saturating_sub(dice.below(2))),
                        host: if dice.flips() { head(log).claim.host } else { HostId([1; 16]) },
                    },
                    false => News::Checkpoint { log, lsn: Lsn(dice.below(50)) },
                }
            });
            Request::Tell { news: news.collect() }
        }
        14..19 => Request::Keys(about_keys(dice, rows)),
        _ => {
            let of = any_log(dice);
            Request::Trim { log: of, before: Lsn(dice.below(head(of).last.lsn.0 + 3)) }
        }
    }
}

#[test]
fn each_request_does_what_it_does_to_rows_in_memory() {
    let Some(server) = Server::begin(&[]) else { return };
    let (engine, mut rows, mut dice) = (engine(&server), Rows::default(), Dice(7));
    for of in (0..4).map(log) {
        assert!(rows.create(of, &genesis(of)));
        assert!(create(&engine, of, &genesis(of)));
        assert!(!create(&engine, of, &genesis(of)), "it is made once");
    }
    let (mut appended, mut refused) = (0, 0);
    let mut revisions = Revisions::default();
    let (mut put, mut not_put) = (0, 0);
    for number in 0..4000 {
        let request = request(&mut dice, &mut rows);
        let lane =
            if matches!(request, Request::Append { .. }) { Lane::Groups((number % 2) as u8) } else { Lane::Other };
        let expected = rows.execute(&request, Session(0));
        let answered = ask(&engine, lane, revisions.to_server(&request)).expect("the server is there");
        revisions.learn(&expected, &answered);
        if let Answered::Keys(KeysAnswer::Put(result)) = &expected {
            *if result.is_ok() { &mut put } else { &mut not_put } += 1;
        }
        assert_eq!(plain(revisions.of_server(answered)), plain(expected.clone()), "request {number}: {request:?}");
        if let Answered::Appended(answers) = expected {
            appended += answers.iter().filter(|answer| answer.is_ok()).count();
            refused += answers.iter().filter(|answer| answer.is_err()).count();
        }
    }
    assert!(appended > 300 && refused > 300, "{appended} and {refused} are no test");
    assert!(put > 50 && not_put > 50, "{put} and {not_put} are no test");
    assert_eq!((remove(&engine, log(0)), remove(&engine, log(0))), (true, false));
    assert_eq!(server.sql("select count(*) from shop.log where log = '00000000-0000-0000-0000-000000000000'"), "0\n");
}

#[test]
fn who_was_deposed_appends_nothing_even_where_the_log_was_trimmed() {
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    let (of, first) = (log(1), genesis(log(1)));
    assert!(create(&engine, of, &first));
    let claim = Claim { host: HostId([1; 16]), attempt: 1 };
    let raise = |over| {
        ask(
            &engine,
            Lane::Other,
            Request::Raise { wanted: vec![Raise { log: of, over: Epoch(over), claim, replica: ReplicaIndex(0) }] },
        )
    };
    raise(0).expect("the server is there");
    raise(1).expect("the server is there");
    let mut last = position(&first);
    let mut places = vec![last];
    for _ in 0..5 {
        let next = group(of, 2, last, b"");
        last = next.last;
        places.push(last);
        assert_eq!(append(&engine, vec![next]), Ok(Answered::Appended(vec![Ok(())])));
    }
    ask(&engine, Lane::Other, Request::Trim { log: of, before: Lsn(5) }).expect("the server is there");
    for after in places {
        let late = append(&engine, vec![group(of, 1, after, b"late")]);
        let Ok(Answered::Appended(answers)) = late else { panic!("{late:?}") };
        assert!(matches!(answers[..], [Err(AppendFault::Refused(Some(head)))] if head.last == last), "{answers:?}");
    }
}

#[test]
fn hosts_that_want_the_same_logs_in_other_orders_do_not_wait_for_each_other_for_ever() {
    const LOGS: u8 = 60;
    let Some(server) = Server::begin(&["deadlock_timeout = '100ms'"]) else { return };
    let engine = engine(&server);
    for number in 0..LOGS {
        assert!(create(&engine, log(number), &genesis(log(number))));
    }
    // Among many others, so that the rows are looked up one by one and not in the order in which they lie.
    server.sql(
        "insert into shop.head select gen_random_uuid(), 0, gen_random_uuid(), 0, 0, false, false, 0, 1, 1, 0, 0 from generate_series(1, 20000);
         analyze shop.head",
    );
    let together = Arc::new(Barrier::new(4));
    let hosts = (0..4_u8).map(|host| {
        let (together, place) = (Arc::clone(&together), place(&server));
        thread::spawn(move || {
            let engine = PostgresEngine::open(place).expect("it is there");
            let claim = Claim { host: HostId([host; 16]), attempt: 1 };
            let mut logs: Vec<_> = (0..LOGS).map(log).collect();
            let mut dice = Dice(u64::from(host));
            together.wait();
            for _ in 0..30 {
                logs.sort_by_cached_key(|_| dice.below(1000));
                let seen = logs.iter().map(|log| Seen { log: *log, known: None }).collect();
                let told = ask(&engine, Lane::Other, Request::Heads { logs: seen });
                let Ok(Answered::Heads { heads, .. }) = told else { panic!("{told:?}") };
                let head = |of: LogId| heads.iter().find(|head| head.log == of).expect("all are wanted");
                let wanted = logs
                    .iter()
                    .map(|of| Raise { log: *of, over: head(*of).epoch, claim, replica: ReplicaIndex(0) })
                    .collect();
                let raised = ask(&engine, Lane::Other, Request::Raise { wanted });
                assert!(matches!(raised, Ok(Answered::Raised(_))), "{raised:?}");
                let groups = logs.iter().map(|of| group(*of, head(*of).epoch.0 + 1, head(*of).last, b"")).collect();
                let appended = append(&engine, groups);
                assert!(matches!(appended, Ok(Answered::Appended(_))), "{appended:?}");
            }
        })
    });
    let hosts: Vec<_> = hosts.collect();
    for host in hosts {
        host.join().expect("none has failed");
    }
    assert_eq!(server.sql("select deadlocks from pg_stat_database where datname = 'postgres'"), "0\n");
    let won =
        server.sql(&format!("select count(*) from shop.head where epoch > 1 and last > 1 and epoch <= {}", 4 * 30));
    assert_eq!(won, format!("{LOGS}\n"), "some of them have won each time");
}

/// A server whose commits wait for a standby that there is not, and a log in it that was made before.
fn without_its_standby() -> Option<(Server, PostgresEngine)> {
    let server = Server::begin(&[])?;
    let engine = engine(&server);
    assert!(create(&engine, log(1), &genesis(log(1))));
    let claim = Claim { host: HostId([1; 16]), attempt: 1 };
    let raised = ask(
        &engine,
        Lane::Other,
        Request::Raise { wanted: vec![Raise { log: log(1), over: Epoch(0), claim, replica: ReplicaIndex(0) }] },
    );
    assert!(matches!(raised, Ok(Answered::Raised(_))), "{raised:?}");
    server.set("synchronous_standby_names", "nobody");
    Some((server, engine))
}

fn read(engine: &PostgresEngine) -> (Session, Lsn) {
    match ask(engine, Lane::Other, Request::Read { log: log(1), from: Lsn(1), bytes: 1 << 20 }) {
        Ok(Answered::Read { session, head, .. }) => (session, head.expect("it is there").last.lsn),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_standby_has_is_never_told_to_be_durable() {
    let Some((server, engine)) = without_its_standby() else { return };
    let began = Instant::now();
    let waits = append(&engine, vec![group(log(1), 1, position(&genesis(log(1))), b"")]);
    assert!(matches!(waits, Err(Fault::Unknown(_))), "{waits:?}");
    assert!(began.elapsed() >= ANSWER_TIME, "it was waited for");
    // The server broke the wait off when its client was gone, and everybody sees the record by now, or when it does.
    let until = Instant::now() + PATIENCE;
    let session = loop {
        let (session, last) = read(&engine);
        if last == Lsn(2) {
            break session;
        }
        assert!(Instant::now() < until, "it is never seen");
        server.sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    };
    let barrier = ask(&engine, Lane::Other, Request::Barrier { session });
    assert!(matches!(barrier, Err(Fault::Unknown(_))), "{barrier:?}");
    let over = ask(&engine, Lane::Other, Request::Barrier { session });
    assert!(matches!(over, Err(Fault::Unavailable(_))), "the session is over: {over:?}");
    server.set("synchronous_standby_names", "");
    let (session, last) = read(&engine);
    assert_eq!(last, Lsn(2));
    assert_eq!(ask(&engine, Lane::Other, Request::Barrier { session }), Ok(Answered::Barred));
}

#[test]
fn a_wait_for_the_standby_that_is_broken_off_is_no_success() {
    let Some((server, engine)) = without_its_standby() else { return };
    for broken_off in ["pg_cancel_backend", "pg_terminate_backend"] {
        let (session, last) = read(&engine);
        let after = match ask(&engine, Lane::Other, Request::Heads { logs: vec![Seen { log: log(1), known: None }] }) {
            Ok(Answered::Heads { heads, .. }) => heads[0].last,
            other => panic!("{other:?}"),
        };
        assert_eq!(after.lsn, last);
        let answer: Answer = thread::scope(|scope| {
            let waiting = scope.spawn(|| append(&engine, vec![group(log(1), 1, after, b"")]));
            let until = Instant::now() + PATIENCE;
            let break_off = format!("select {broken_off}(pid) from pg_stat_activity where wait_event = 'SyncRep'");
            while server.sql(&break_off).is_empty() {
                assert!(Instant::now() < until && !waiting.is_finished(), "nobody waits for a standby");
            }
            waiting.join().expect("it is answered")
        });
        assert!(matches!(answer, Err(Fault::Unknown(_))), "{broken_off}: {answer:?}");
        // That it is there says nothing.
        assert_eq!(read(&engine), (session, Lsn(last.0 + 1)), "{broken_off}");
    }
}

#[test]
fn a_server_that_is_away_is_told_and_found_again() {
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    assert!(create(&engine, log(1), &genesis(log(1))));
    let (session, _) = read(&engine);
    server.crash();
    let until = Instant::now() + PATIENCE;
    // What was under way in the moment of the crash may be unknown.
    while !matches!(
        append(&engine, vec![group(log(1), 0, position(&genesis(log(1))), b"")]),
        Err(Fault::Unavailable(_))
    ) {
        assert!(Instant::now() < until, "it is not known to be away");
    }
    server.start();
    assert_eq!(
        append(&engine, vec![group(log(1), 0, position(&genesis(log(1))), b"")]),
        Ok(Answered::Appended(vec![Ok(())]))
    );
    let barrier = ask(&engine, Lane::Other, Request::Barrier { session });
    assert!(matches!(barrier, Err(Fault::Unavailable(_))), "it was another session: {barrier:?}");
    assert_ne!(read(&engine).0, session);
}

#[test]
fn a_record_of_the_largest_size_goes_in_and_comes_out() {
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    assert!(create(&engine, log(1), &genesis(log(1))));
    let after = position(&genesis(log(1)));
    let large = Group { bytes: Bytes::from(vec![7; 90 << 20]), ..group(log(1), 0, after, b"") };
    assert!(large.bytes.len() <= engine.facts().group_bytes_max);
    // A slow disk may take longer than an answer may; then it is found there.
    let until = Instant::now() + PATIENCE;
    while read(&engine).1 < large.last.lsn {
        assert!(Instant::now() < until, "it never comes in");
        let _may_be_late = append(&engine, vec![large.clone()]);
    }
    match ask(&engine, Lane::Other, Request::Read { log: log(1), from: Lsn(2), bytes: 1 }) {
        Ok(Answered::Read { groups, .. }) => assert!(groups == [large], "it is as it was"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_can_not_be_used_is_refused_with_what_to_do() {
    let Some(server) = Server::begin(&[]) else { return };
    let refused = |url: &str| match PostgresEngine::open(PostgresPlace::read(url).expect("it is a URL")) {
        Ok(_) => panic!("{url} was taken"),
        Err(error) => error.to_string(),
    };
    let none = refused(&server.url("shop"));
    assert!(none.contains("no store of Ambrosia in schema shop of") && none.contains("store init"), "{none}");
    let _engine = engine(&server);
    PostgresEngine::create(&place(&server)).expect("it is made again without harm");
    server.sql("update shop.meta set value = '7' where key = 'format'");
    let other = refused(&server.url("shop"));
    assert!(other.contains("format 7") && other.contains("this program reads 1"), "{other}");
    server.sql("update shop.meta set value = '1' where key = 'format'");
    server.set("fsync", "off");
    let until = Instant::now() + PATIENCE;
    while server.sql("show fsync") != "off\n" {
        assert!(Instant::now() < until, "the setting is not taken");
    }
    let unsafe_server = refused(&server.url("shop"));
    assert!(unsafe_server.contains("fsync is off"), "{unsafe_server}");
    server.crash();
    let away = refused(&server.url("shop"));
    assert!(away.contains("no database answers at"), "{away}");
}
