//! What each request does, and what is told of it when the server or its standby fails.

use std::{
    sync::{Arc, Barrier},
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_postgres::{PostgresEngine, PostgresPlace};
use ambrosia_shared_log::{
    ANSWER_TIME, Answer, Answered, Claim, Engine, Fault, Group, HostId, KeysAnswer, KeysRequest, Lane, Put, PutRefused,
    Raise, ReadFrom, Request, Seen, Session, Space,
    conformance::{self, Dice},
};
use ambrosia_storage::{LogId, Revision};
use bytes::Bytes;

use ambrosia_test_database::Server;

use crate::support::{append, ask, create, engine, genesis, group, log, place, position};

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn each_request_does_what_it_does_to_rows_in_memory() {
    let Some(server) = Server::begin(&[]) else { return };
    conformance::each_request_does_what_it_does_to_rows_in_memory(&engine(&server));
    assert_eq!(server.sql("select count(*) from shop.log where log = '00000000-0000-0000-0000-000000000000'"), "0\n");
}

#[test]
fn who_was_deposed_appends_nothing_even_where_the_log_was_trimmed() {
    let Some(server) = Server::begin(&[]) else { return };
    conformance::who_was_deposed_appends_nothing_even_where_the_log_was_trimmed(&engine(&server));
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

#[test]
fn a_put_that_waits_for_an_earlier_try_of_itself_succeeds_and_one_that_waits_for_another_does_not() {
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    let me = HostId([7; 16]);
    for (key, attempt, is_mine) in [("mine", 1_u64, true), ("another's", 2, false)] {
        thread::scope(|scope| {
            // It has the key, and commits once somebody waits for that.
            let tries = format!(
                "do $$ begin
                    insert into shop.entry values (1, '{}', 77, '{}', 1, 'value');
                    perform pg_advisory_xact_lock(1);
                    while not exists (select from pg_locks where not granted) loop perform pg_sleep(0.01); end loop;
                end $$",
                key.replace('\'', "''"),
                uuid::Uuid::from_bytes(me.0)
            );
            let server = &server;
            let first = scope.spawn(move || server.sql(&tries));
            let until = Instant::now() + PATIENCE;
            while server.sql("select count(*) from pg_locks where locktype = 'advisory'") != "1\n" {
                assert!(Instant::now() < until, "the first try never began");
                thread::park_timeout(Duration::from_millis(10));
            }
            let claim = Claim { host: me, attempt };
            let value = Bytes::from_static(b"value");
            let put = Put { space: Space::Store, key: key.to_owned(), expected: None, value, claim, beside: None };
            let answer = ask(&engine, Lane::Other, Request::Keys(KeysRequest::Put(put)));
            let expected = if is_mine { Ok(Revision(77)) } else { Err(PutRefused::Stands(Some(Revision(77)))) };
            assert_eq!(answer, Ok(Answered::Keys(KeysAnswer::Put(expected))), "{key}");
            first.join().expect("it does what it is told");
        });
    }
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
    let until = Instant::now() + PATIENCE;
    loop {
        match conformance::read(engine, log(1), Lsn(1), 1 << 20) {
            Ok((session, read)) => return (session, read.head.expect("it is there").last.lsn),
            // A machine that does much else may be late with a large record.
            Err(fault) => assert!(Instant::now() < until, "it never answers: {fault:?}"),
        }
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

/// Whoever may only read asks for both as often as they like, and a host that is late to say that it lives is taken for dead.
#[test]
fn neither_looks_at_others_nor_barriers_stand_before_a_beat() {
    let Some((_server, engine)) = without_its_standby() else { return };
    let of = vec![HostId([7; 16])];
    let beat = |beats| ask(&engine, Lane::Other, Request::Beat { host: of[0], beats, of: Vec::new() });
    let Ok(Answered::Beats { session: of_beats, .. }) = beat(1) else { panic!("it is alive") };
    let lives = ask(&engine, Lane::Other, Request::Lives { of: of.clone() });
    let Ok(Answered::Beats { session, beats }) = lives else { panic!("{lives:?}") };
    assert_eq!(beats, [(of[0], 1)]);
    assert_ne!(session, of_beats, "they have a connection of their own");
    for session in [of_beats, session] {
        let began = Instant::now();
        let barrier = ask(&engine, Lane::Other, Request::Barrier { session });
        assert!(matches!(barrier, Err(Fault::Unavailable(_))), "{barrier:?}");
        assert!(began.elapsed() < ANSWER_TIME, "it was waited for");
    }
    assert!(matches!(beat(2), Ok(Answered::Beats { session, .. }) if session == of_beats), "the connection goes on");
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

/// A commit that waits for its standby does not see that its client has gone, and a server has room for a hundred connections.
#[test]
fn what_was_given_up_while_a_commit_waits_takes_no_more_room_at_the_server() {
    let Some((server, engine)) = without_its_standby() else { return };
    let after = position(&genesis(log(1)));
    let taken = || -> usize {
        let text = server.sql("select count(*) from pg_stat_activity where wait_event in ('SyncRep', 'transactionid')");
        text.trim().parse().expect("a number")
    };
    for _ in 0..4 {
        let waits = append(&engine, vec![group(log(1), 1, after, b"")]);
        assert!(matches!(waits, Err(Fault::Unknown(_))), "{waits:?}");
    }
    let until = Instant::now() + PATIENCE;
    while taken() > 1 {
        assert!(Instant::now() < until, "{} processes of the server wait for what nobody waits for", taken());
    }
}

#[test]
fn of_what_waits_for_a_standby_no_more_is_ended_than_was_given_up() {
    let Some((server, engine)) = without_its_standby() else { return };
    let others = || {
        let waiting = "select pid from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'psql'";
        server.sql(waiting)
    };
    thread::scope(|scope| {
        let other = scope.spawn(|| server.sql("create table another ()"));
        let until = Instant::now() + PATIENCE;
        while others().is_empty() {
            assert!(Instant::now() < until && !other.is_finished(), "it does not wait for a standby");
        }
        let waits = others();
        let after = position(&genesis(log(1)));
        for _ in 0..3 {
            let given_up = append(&engine, vec![group(log(1), 1, after, b"")]);
            assert!(matches!(given_up, Err(Fault::Unknown(_))), "{given_up:?}");
        }
        assert_eq!(others(), waits, "it is somebody else's");
        server.set("synchronous_standby_names", "");
        other.join().expect("its wait was not broken off");
    });
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
    let (_, read) = conformance::read(&engine, log(1), Lsn(2), 1).expect("it answers");
    assert!(read.groups == [large], "it is as it was");
}

/// A log of so many groups of so many bytes, put past the engine.
fn long_log(server: &Server, groups: u64, bytes: u64) -> LogId {
    let of = log(1);
    server.sql(&format!(
        "insert into shop.head values ('{of}', 1, '{of}', 1, 0, true, true, 0, 1, {groups}, 0, {groups} * {bytes});
         insert into shop.log select '{of}', g, 0, g - 1, 0, 1, decode(repeat('a7', {bytes}), 'hex')
         from generate_series(1, {groups}) as g; analyze shop.log",
    ));
    of
}

/// What the server has counted by now: what was asked over a connection, soon after its end.
fn counted(server: &Server, what: &str) -> u64 {
    server.sql(&format!("select {what}")).trim().parse().expect("a number")
}

#[test]
fn a_long_log_is_trimmed_without_being_read_again_and_again() {
    const GROUPS: u64 = 5000;
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    let of = long_log(&server, GROUPS, 100);
    let read =
        "(select sum(coalesce(idx_tup_fetch, 0) + seq_tup_read) from pg_stat_user_tables where relname ~ '^log_')";
    let before = counted(&server, read);
    assert_eq!(ask(&engine, Lane::Other, Request::Trim { log: of, before: Lsn(GROUPS) }), Ok(Answered::Trimmed));
    drop(engine);
    assert_eq!(counted(&server, "count(*) from shop.log"), 1);
    assert_eq!(server.sql("select first, bytes from shop.head"), format!("{GROUPS}|100\n"));
    let until = Instant::now() + PATIENCE;
    while counted(&server, "sum(n_tup_del) from pg_stat_user_tables where relname ~ '^log_'") < GROUPS - 1 {
        assert!(Instant::now() < until, "it is never counted");
    }
    let each = (counted(&server, read) - before) / GROUPS;
    assert!(each < 20, "each group was read {each} times");
}

/// Whoever follows from far behind has to ask for each part, and a barrier behind it.
#[test]
fn many_small_groups_of_one_log_are_read_at_once() {
    const GROUPS: u64 = 5000;
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    let of = long_log(&server, GROUPS, 100);
    let read = |wanted: Vec<ReadFrom>| {
        let began = Instant::now();
        match ask(&engine, Lane::Other, Request::Read { wanted, bytes: 4 << 20 }) {
            Ok(Answered::Read { logs, .. }) => (logs[0].groups.len() as u64, began.elapsed()),
            other => panic!("{other:?}"),
        }
    };
    let from = ReadFrom { log: of, from: Lsn(1), bytes: 4 << 20 };
    let (groups, time) = read(vec![from]);
    assert!((4000..=GROUPS).contains(&groups), "{groups} groups in {time:?}");
    // With others, each has its part.
    let other = |number| ReadFrom { log: LogId(InstanceUuid([number; 16])), ..from };
    let (groups, time) = read([from].into_iter().chain((100..200).map(other)).collect());
    assert!((256..1000).contains(&groups), "{groups} groups in {time:?}");
}

#[test]
fn large_groups_are_trimmed_few_at_a_time() {
    const GROUPS: u64 = 60;
    let Some(server) = Server::begin(&[]) else { return };
    let engine = engine(&server);
    let of = long_log(&server, GROUPS, 1 << 20);
    let parts = "n_tup_upd from pg_stat_user_tables where relname = 'head'";
    assert_eq!(ask(&engine, Lane::Other, Request::Trim { log: of, before: Lsn(GROUPS) }), Ok(Answered::Trimmed));
    drop(engine);
    assert_eq!(server.sql("select first, bytes from shop.head"), format!("{GROUPS}|{}\n", 1 << 20));
    // 59 MiB, in parts of 4.
    let until = Instant::now() + PATIENCE;
    while counted(&server, parts) < 15 {
        assert!(Instant::now() < until, "it was done in {} parts", counted(&server, parts));
    }
    assert_eq!(counted(&server, parts), 15);
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
