//! What etcd has limits for, and what is refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{Capture, Lsn, ReplicaIndex, member::Keep};
use ambrosia_etcd::{EtcdEngine, EtcdError, EtcdPlace};
use ambrosia_shared_log::{
    Answered, AppendFault, Claim, Engine, Fault, Group, HostId, KeysAnswer, KeysRequest, Lane, Position, Put, Request,
    Seen, Space,
};
use ambrosia_storage::{Checkpoint, CheckpointHead, LogId, Store, Trimmed};
use ambrosia_test_database::Etcd;
use bytes::Bytes;

use crate::support::{append, ask, create, engine, genesis, group, log, open_with, place, position, read};

/// Far more than any of these takes.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_record_of_the_largest_size_goes_in_and_comes_out() {
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    let engine = engine(&etcd);
    assert!(create(&engine, log(1), &genesis(log(1))));
    let after = position(&genesis(log(1)));
    let large = Group { bytes: Bytes::from(vec![7; 90 << 20]), ..group(log(1), 0, after, b"") };
    assert!(large.bytes.len() <= engine.facts().group_bytes_max);
    // A slow disk takes longer than an answer may; each try goes on where the last one has ended.
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "it never comes in");
        match append(&engine, vec![large.clone()]) {
            Ok(Answered::Appended(answers)) => match &answers[..] {
                [Ok(())] => break,
                [Err(AppendFault::Refused(Some(head)))] if head.last == large.last => break,
                [Err(AppendFault::Failed(_))] => {}
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    loop {
        assert!(Instant::now() < until, "it never comes out");
        if let Ok((_, read)) = read(&engine, log(1), Lsn(2), 1) {
            break assert!(read.groups == [large], "it is as it was");
        }
    }
    let too_large =
        Group { bytes: Bytes::from(vec![7; engine.facts().group_bytes_max + 1]), ..group(log(1), 0, after, b"") };
    match append(&engine, vec![too_large]) {
        Ok(Answered::Appended(answers)) => assert!(matches!(answers[..], [Err(AppendFault::TooLarge { .. })])),
        other => panic!("{other:?}"),
    }
}

#[test]
fn many_logs_are_appended_to_and_looked_at_by_one_request() {
    const LOGS: u8 = 250;
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    let engine = engine(&etcd);
    let logs: Vec<_> = (0..LOGS).map(log).collect();
    logs.iter().for_each(|log| assert!(create(&engine, *log, &genesis(*log))));
    let groups: Vec<_> = logs
        .iter()
        .map(|log| group(*log, u64::from(log.0.0[0] % 10 == 0), position(&genesis(*log)), &[1; 9000]))
        .collect();
    let Ok(Answered::Appended(answers)) = append(&engine, groups.clone()) else { panic!() };
    for (group, answer) in groups.iter().zip(answers) {
        // One that is refused keeps no other one back.
        assert_eq!(answer.is_ok(), group.epoch.0 == 0, "{answer:?}");
    }
    let mut seen: Vec<_> = logs.iter().map(|log| Seen { log: *log, known: None }).collect();
    seen.push(Seen { log: log(LOGS), known: None });
    match ask(&engine, Lane::Other, Request::Heads { logs: seen }) {
        Ok(Answered::Heads { heads, gone, .. }) => {
            assert_eq!((heads.len(), gone), (usize::from(LOGS), vec![log(LOGS)]));
            assert_eq!(heads.iter().filter(|head| head.last.lsn == Lsn(2)).count(), usize::from(LOGS) / 10 * 9);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn large_values_are_files_that_go_with_their_keys() {
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    let engine = engine(&etcd);
    let store = std::fs::read_dir(etcd.blobs()).expect("it is there").next().expect("a store").expect("it is read");
    let files = || std::fs::read_dir(store.path()).expect("it is there").count() - 1;
    let value = Bytes::from(vec![5; 1 << 20]);
    let put = |expected, attempt| {
        let claim = Claim { host: HostId([1; 16]), attempt };
        let put = Put { space: Space::Store, key: "a".into(), expected, value: value.clone(), claim, beside: None };
        match ask(&engine, Lane::Other, Request::Keys(KeysRequest::Put(put))) {
            Ok(Answered::Keys(KeysAnswer::Put(put))) => put,
            other => panic!("{other:?}"),
        }
    };
    let get = || ask(&engine, Lane::Other, Request::Keys(KeysRequest::Get { space: Space::Store, key: "a".into() }));
    let first = put(None, 1).expect("it is new");
    assert_eq!(put(None, 1), Ok(first), "asked again");
    assert!(put(None, 2).is_err());
    assert_eq!(files(), 1, "that of what was refused is gone");
    let second = put(Some(first), 3).expect("it stands there");
    assert_eq!(files(), 1, "the one before is gone");
    match get() {
        Ok(Answered::Keys(KeysAnswer::Got { entry: Some(entry), .. })) => assert!(entry.value == value),
        other => panic!("{other:?}"),
    }
    let file = std::fs::read_dir(store.path()).expect("it is there").map(|entry| entry.expect("it is read").path());
    let file = file.into_iter().find(|path| !path.ends_with("store")).expect("there is one");
    std::fs::write(&file, b"something else").expect("it is the test's own");
    let damaged = get();
    assert!(matches!(&damaged, Err(Fault::Unavailable(words)) if words.contains("is damaged")), "{damaged:?}");
    std::fs::remove_file(&file).expect("it is the test's own");
    let missing = get();
    assert!(matches!(&missing, Err(Fault::Unavailable(words)) if words.contains("is missing")), "{missing:?}");
    let delete = KeysRequest::Delete { space: Space::Store, key: "a".into(), expected: second };
    assert_eq!(ask(&engine, Lane::Other, Request::Keys(delete)), Ok(Answered::Keys(KeysAnswer::Deleted(Ok(())))));
    assert_eq!(files(), 0);
}

/// The URL of a store in an etcd that is soon full.
fn soon_full(etcd: &Etcd) -> EtcdPlace {
    engine(etcd);
    EtcdPlace::read(&format!("{}&quota=128MiB", etcd.url("shop"))).expect("it is a URL")
}

const SMALL_QUOTA: [&str; 2] = ["--quota-backend-bytes", "134217728"];

/// Appends to a log behind that record until nothing is taken any more. Its last record, and why.
fn fill(engine: &EtcdEngine, of: LogId, mut last: Position) -> (Position, String) {
    let until = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < until, "it is never full");
        let next = Group { bytes: Bytes::from(vec![3; 1 << 19]), ..group(of, 0, last, b"") };
        match append(engine, vec![next.clone()]) {
            Ok(Answered::Appended(answers)) => match &answers[..] {
                [Ok(())] => last = next.last,
                [Err(AppendFault::Failed(Fault::Unavailable(words)))] => return (last, words.clone()),
                [Err(AppendFault::Failed(Fault::Unknown(_)))] => {}
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn behind_four_fifths_of_the_quota_no_record_is_put_and_what_is_trimmed_makes_room() {
    let Some(etcd) = Etcd::begin(1, &SMALL_QUOTA) else { return };
    let engine = EtcdEngine::open(soon_full(&etcd)).expect("it is there");
    let of = log(1);
    assert!(create(&engine, of, &genesis(of)));
    let (last, words) = fill(&engine, of, position(&genesis(of)));
    assert!(words.contains("80 % of its quota") && words.contains("defrag"), "{words}");
    ask(&engine, Lane::Other, Request::Trim { log: of, before: last.lsn }).expect("that goes on");
    let revision = etcd.gateway(0, "/v3/maintenance/status", "{}").expect("it answers");
    let revision =
        revision.split_once("\"revision\":\"").and_then(|(_, rest)| rest.split_once('"')).expect("it says it").0;
    let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
    etcd.gateway(0, "/v3/kv/compaction", &body).expect("it forgets");
    etcd.gateway(0, "/v3/maintenance/defragment", "{}").expect("it gives back");
    let (next, until) = (group(of, 0, last, b""), Instant::now() + PATIENCE);
    loop {
        assert!(Instant::now() < until, "there is room, and it is not seen");
        match append(&engine, vec![next.clone()]) {
            Ok(Answered::Appended(answers)) if answers == [Ok(())] => break,
            _ => std::thread::park_timeout(Duration::from_millis(100)),
        }
    }
}

/// All that leads to room being made is done by the store as it does it elsewhere.
#[test]
fn where_no_record_is_put_a_replica_begins_takes_a_checkpoint_and_trims() {
    let Some(etcd) = Etcd::begin(1, &SMALL_QUOTA) else { return };
    let engine = Arc::new(EtcdEngine::open(soon_full(&etcd)).expect("it is there"));
    let cache = tempfile::tempdir().expect("there is room");
    let store = open_with(engine.clone(), engine.depot(), cache.path());
    let of = log(1);
    assert!(create(&*engine, of, &genesis(of)));
    let checkpoints = store.checkpoints(of).expect("it is there");
    let take = |lsn: Lsn| {
        let (module, engine) = ([1; 32], [2; 32]);
        let head = CheckpointHead { lsn, module, engine, state_digest: 0, memory_digest: 0 };
        let capture = Capture { registers: b"registers".to_vec(), memories: Vec::new() };
        let checkpoint = Checkpoint { head, parent: None, state: b"state".to_vec().into(), capture };
        checkpoints.write(&checkpoint, ReplicaIndex(0)).expect("there is room").publish()
    };
    take(Lsn(1)).expect("there is room");
    let (last, words) = fill(&engine, of, position(&genesis(of)));
    assert!(words.contains("80 % of its quota"), "{words}");
    let _place = store.members(of).expect("it is there").enter(ReplicaIndex(0)).expect("it has its place");
    take(last.lsn).expect("its list is put");
    let trimmed = checkpoints.trim(Keep::newest(1), &[last.lsn]).expect("its list is put");
    assert_eq!(trimmed, Trimmed { checkpoints: 1, segments: 1 });
    let first = store.log(of).expect("it is there").first().expect("it is there");
    assert!(first > Lsn(1), "the log has become shorter");
    let refused = append(&*engine, vec![group(of, 0, last, b"")]);
    let Ok(Answered::Appended(answers)) = &refused else { panic!("{refused:?}") };
    assert!(matches!(&answers[..], [Err(AppendFault::Failed(_))]), "all along no record was put: {refused:?}");
}

/// Who has all rights.
const ROOT: (&str, &str) = ("root", "s3cret");

/// Lets nobody in from now on but [`ROOT`].
fn lock_up(etcd: &Etcd) {
    for (path, body) in [
        ("/v3/auth/role/add", r#"{"name":"root"}"#),
        ("/v3/auth/user/add", r#"{"name":"root","password":"s3cret"}"#),
        ("/v3/auth/user/grant", r#"{"user":"root","role":"root"}"#),
        ("/v3/auth/enable", "{}"),
    ] {
        etcd.gateway(0, path, body).expect("it does that");
    }
}

fn open_as(etcd: &Etcd, user: &str) -> Result<EtcdEngine, EtcdError> {
    let url = etcd.url("shop").replace("://", &format!("://{user}"));
    EtcdEngine::open(EtcdPlace::read(&url).expect("it is a URL"))
}

#[test]
fn who_must_say_a_password_says_it_and_it_is_not_shown() {
    let Some(etcd) = Etcd::begin(1, &[]) else { return };
    EtcdEngine::create(&place(&etcd)).expect("a store can be made");
    lock_up(&etcd);
    let engine = open_as(&etcd, "root:s3cret@").expect("it is the right one");
    assert!(create(&engine, log(1), &genesis(log(1))));
    assert!(!engine.facts().place.contains("s3cret"));
    for wrong in ["", "root:wrong@"] {
        let said = open_as(&etcd, wrong).map(|_| ()).expect_err("it is not let in").to_string();
        assert!(!said.contains("wrong") && said.contains("can't be used"), "{said}");
    }
}

#[test]
fn a_token_that_a_change_of_users_has_ended_is_replaced() {
    let directory = tempfile::tempdir().expect("there is room");
    let key = directory.path().join("key");
    std::fs::write(&key, b"what signs tokens").expect("there is room");
    let tokens = format!("jwt,priv-key={},sign-method=HS256,ttl=1h", key.display());
    let Some(etcd) = Etcd::begin(1, &["--auth-token", &tokens]) else { return };
    EtcdEngine::create(&place(&etcd)).expect("a store can be made");
    lock_up(&etcd);
    let engine = open_as(&etcd, "root:s3cret@").expect("it is the right one");
    for number in 1..4 {
        assert!(create(&engine, log(number), &genesis(log(number))));
        let other = format!(r#"{{"name":"other{number}","password":"x"}}"#);
        etcd.gateway_as(ROOT, "/v3/auth/user/add", &other).expect("it does that");
        let logs = ask(&engine, Lane::Other, Request::Logs);
        assert!(matches!(logs, Ok(Answered::Logs { .. })), "{logs:?}");
    }
}
