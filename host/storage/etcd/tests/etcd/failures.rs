//! What is told of a request when servers fail, and what is there behind it.

use std::{
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, Lsn, ReplicaIndex};
use ambrosia_etcd::{EtcdEngine, EtcdPlace};
use ambrosia_shared_log::{
    Answered, AppendFault, Claim, EngineHead, Fault, Group, HostId, Lane, Position, Raise, Request, Seen, Session,
};
use ambrosia_storage::LogId;
use ambrosia_test_database::Etcd;
use bytes::Bytes;

use crate::support::{append, ask, create, engine, genesis, group, log, place, position, read};

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn head(engine: &EtcdEngine, of: LogId) -> Result<(Session, EngineHead), Fault> {
    match ask(engine, Lane::Other, Request::Heads { logs: vec![Seen { log: of, known: None }] })? {
        Answered::Heads { session, heads, .. } => Ok((session, heads[0])),
        other => panic!("{other:?}"),
    }
}

fn raise(engine: &EtcdEngine, of: LogId, over: u64) -> EngineHead {
    let claim = Claim { host: HostId([1; 16]), attempt: over };
    let wanted = vec![Raise { log: of, over: Epoch(over), claim, replica: ReplicaIndex(0) }];
    match ask(engine, Lane::Other, Request::Raise { wanted }) {
        Ok(Answered::Raised(raised)) => raised[0].expect("nobody else wants it"),
        other => panic!("{other:?}"),
    }
}

fn groups(engine: &EtcdEngine, of: LogId) -> Vec<Group> {
    let (mut all, mut from) = (Vec::new(), Lsn(1));
    loop {
        let (_, read) = read(engine, of, from, 4 << 20).expect("it answers");
        let Some(last) = read.groups.last() else { return all };
        from = last.last.lsn.next();
        all.extend(read.groups);
    }
}

/// Appends until it is known that the group is there: asks again what failed, and looks where that is not known.
fn append_surely(engine: &EtcdEngine, group: &Group) {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "it is never there");
        match append(engine, vec![group.clone()]) {
            Ok(Answered::Appended(answers)) => match &answers[..] {
                [Ok(())] => return,
                [Err(AppendFault::Failed(_))] => {}
                [Err(AppendFault::Refused(Some(head)))] if head.last == group.last => return,
                other => panic!("{other:?}"),
            },
            Err(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn assert_is_chain(groups: &[Group], first: Position) {
    assert_eq!(groups[0].last, first);
    groups.windows(2).for_each(|pair| assert_eq!(pair[1].after, pair[0].last));
}

#[test]
fn the_death_of_the_leader_loses_nothing_that_was_confirmed() {
    const DEATHS: usize = 3;
    let Some(mut etcd) = Etcd::begin(3, &[]) else { return };
    let engine = engine(&etcd);
    let (of, mut last) = (log(1), position(&genesis(log(1))));
    assert!(create(&engine, of, &genesis(of)));
    let mut longest = Vec::new();
    for _ in 0..DEATHS {
        let mut gap = Duration::ZERO;
        let leader = etcd.leader();
        for number in 0..60 {
            if number == 20 {
                etcd.kill(leader);
            }
            let next = group(of, 0, last, &[number; 100]);
            let began = Instant::now();
            append_surely(&engine, &next);
            gap = gap.max(began.elapsed());
            last = next.last;
        }
        longest.push(gap);
        etcd.start(leader);
    }
    eprintln!("without an answer when the leader died: {longest:?}");
    let groups = groups(&engine, of);
    assert_eq!((groups.len(), groups.last().map(|group| group.last)), (60 * DEATHS + 1, Some(last)));
    assert_is_chain(&groups, position(&genesis(of)));
}

#[test]
fn without_a_majority_nothing_is_confirmed_and_nothing_is_read() {
    let Some(mut etcd) = Etcd::begin(3, &[]) else { return };
    let engine = engine(&etcd);
    let (of, first) = (log(1), position(&genesis(log(1))));
    assert!(create(&engine, of, &genesis(of)));
    etcd.kill(0);
    etcd.kill(1);
    let next = group(of, 0, first, b"");
    let until = Instant::now() + PATIENCE;
    let mut refused = 0;
    while refused < 3 {
        assert!(Instant::now() < until);
        match append(&engine, vec![next.clone()]) {
            Ok(Answered::Appended(answers)) => {
                assert!(matches!(answers[..], [Err(AppendFault::Failed(_))]), "{answers:?}")
            }
            Err(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(head(&engine, of).is_err(), "one of three has no say");
        refused += 1;
    }
    etcd.start(0);
    append_surely(&engine, &next);
    assert_eq!(groups(&engine, of).len(), 2, "it is there once");
}

#[test]
fn what_is_not_known_to_have_happened_is_not_said_to_have_and_is_found_by_reading() {
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    let engine = engine(&etcd);
    let (of, first) = (log(1), position(&genesis(log(1))));
    assert!(create(&engine, of, &genesis(of)));
    let warm = group(of, 0, first, b"");
    append_surely(&engine, &warm);
    let next = group(of, 0, warm.last, b"");
    etcd.signal(0, "STOP");
    let unknown = append(&engine, vec![next.clone()]);
    let Ok(Answered::Appended(answers)) = &unknown else { panic!("{unknown:?}") };
    assert!(matches!(&answers[..], [Err(AppendFault::Failed(Fault::Unknown(_)))]), "{unknown:?}");
    let unread = head(&engine, of);
    assert!(matches!(unread, Err(Fault::Unavailable(_))), "{unread:?}");
    etcd.signal(0, "CONT");
    append_surely(&engine, &next);
    assert_eq!(groups(&engine, of).last(), Some(&next));
    assert_eq!(groups(&engine, of).len(), 3, "it is there once");
}

#[test]
fn a_cluster_that_was_set_back_ends_the_session() {
    let Some(mut etcd) = Etcd::begin(1, &[]) else { return };
    let engine = engine(&etcd);
    let (of, mut last) = (log(1), position(&genesis(log(1))));
    assert!(create(&engine, of, &genesis(of)));
    etcd.kill(0);
    etcd.keep(0);
    etcd.start(0);
    for _ in 0..5 {
        let next = group(of, 0, last, b"");
        append_surely(&engine, &next);
        last = next.last;
    }
    let (session, _) = head(&engine, of).expect("it is there");
    let bar = |session| ask(&engine, Lane::Other, Request::Barrier { session });
    assert_eq!(bar(session), Ok(Answered::Barred));
    etcd.kill(0);
    etcd.set_back(0);
    etcd.start(0);
    let over = bar(session);
    assert!(matches!(over, Err(Fault::Unavailable(_))), "{over:?}");
    let (next_session, head) = head(&engine, of).expect("it is there");
    assert_ne!(next_session, session);
    assert_eq!((bar(next_session), head.last), (Ok(Answered::Barred), position(&genesis(of))));
    // A writer that knows the head of before appends nothing to the one of now.
    let late = append(&engine, vec![group(of, 0, last, b"")]);
    let Ok(Answered::Appended(answers)) = late else { panic!("{late:?}") };
    assert!(matches!(answers[..], [Err(AppendFault::Refused(Some(there)))] if there.last == head.last), "{answers:?}");
}

#[test]
fn members_of_two_clusters_are_never_one_store() {
    let (Some(mut one), Some(other)) = (Etcd::begin(1, &[]), Etcd::begin(1, &[])) else { return };
    let (engine_of_one, _engine_of_other) = (engine(&one), engine(&other));
    assert!(create(&engine_of_one, log(1), &genesis(log(1))));
    drop(engine_of_one);
    let url = one.url("shop").replace("/shop", &format!(",{}/shop", other.address(0)));
    let until = Instant::now() + PATIENCE;
    let engine = loop {
        assert!(Instant::now() < until);
        match EtcdEngine::open(EtcdPlace::read(&url).expect("it is a URL")) {
            Ok(engine) if head_of_any(&engine) => break engine,
            // It has begun with the other one, whose directory for blobs is elsewhere.
            _ => {}
        }
    };
    one.kill(0);
    let said = head(&engine, log(1)).expect_err("the other one has another store").to_string();
    assert!(said.contains("another cluster"), "{said}");
}

fn head_of_any(engine: &EtcdEngine) -> bool {
    matches!(ask(engine, Lane::Other, Request::Logs), Ok(Answered::Logs { logs, .. }) if !logs.is_empty())
}

#[test]
fn parts_of_a_group_that_never_came_to_be_are_no_record_and_go_when_their_place_is_trimmed() {
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    let (zombie, owner) = (engine(&etcd), EtcdEngine::open(place(&etcd)).expect("it is there"));
    let (of, first) = (log(1), position(&genesis(log(1))));
    assert!(create(&zombie, of, &genesis(of)));
    raise(&zombie, of, 0);
    raise(&owner, of, 1);
    // It does not know that it was deposed, puts all its parts, and is refused.
    let large = Group { bytes: Bytes::from(vec![7; 5 << 20]), ..group(of, 1, first, b"") };
    let late = append(&zombie, vec![large.clone()]);
    let Ok(Answered::Appended(answers)) = late else { panic!("{late:?}") };
    assert!(matches!(answers[..], [Err(AppendFault::Refused(Some(head)))] if head.epoch == Epoch(2)), "{answers:?}");
    assert_eq!(etcd.count("shop/part/"), 5, "the parts are there");
    assert_eq!(groups(&owner, of).len(), 1, "and are no record");
    let mut last = first;
    for number in 0..3 {
        let next = Group { bytes: Bytes::from(vec![number; 3 << 20]), ..group(of, 2, last, b"") };
        append_surely(&owner, &next);
        assert_eq!(groups(&zombie, of).last(), Some(&next));
        last = next.last;
    }
    assert_eq!(etcd.count("shop/part/"), 5 + 9);
    ask(&owner, Lane::Other, Request::Trim { log: of, before: last.lsn }).expect("it is there");
    assert_eq!(etcd.count("shop/part/"), 3, "those of the last group");
    assert_eq!(groups(&owner, of).len(), 1);
    ask(&owner, Lane::Other, Request::Remove { log: of }).expect("it is there");
    assert_eq!((etcd.count("shop/part/"), etcd.count("shop/log/"), etcd.count("shop/gone/")), (0, 0, 0));
}

#[test]
fn appends_go_on_while_others_change_what_is_beside_the_last_record() {
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    let (writer, other) = (engine(&etcd), EtcdEngine::open(place(&etcd)).expect("it is there"));
    let of = log(1);
    assert!(create(&writer, of, &genesis(of)));
    raise(&writer, of, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for lsn in 0..100 {
                let news = vec![ambrosia_shared_log::News::Checkpoint { log: of, lsn: Lsn(lsn) }];
                assert_eq!(ask(&other, Lane::Other, Request::Tell { news }), Ok(Answered::Told));
            }
        });
        let mut last = position(&genesis(of));
        for _ in 0..200 {
            let next = group(of, 1, last, b"");
            assert_eq!(append(&writer, vec![next.clone()]), Ok(Answered::Appended(vec![Ok(())])));
            last = next.last;
        }
    });
    let (_, head) = head(&other, of).expect("it is there");
    assert_eq!((head.checkpoint, head.last.lsn), (Lsn(99), Lsn(201)));
}
