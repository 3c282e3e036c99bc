//! What becomes of questions when hosts go, refuse, or are others than they were.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{Epoch, InstanceUuid};
use ambrosia_relay::{RelayEngine, RelayPlace};
use ambrosia_shared_log::{
    Answer, Answered, AppendFault, Depot, Engine, EngineUrl, Fault, KeysAnswer, KeysRequest, Lane, MemoryEngine,
    Request, Session, Space,
    conformance::{append, ask, create, genesis, group, log, position},
};
use ambrosia_storage::StoreRight;

use crate::support::{CutOff, Host, Manner, Numbered, Shelf, url};

const CHANGES: Manner = Manner::Relay(StoreRight::Change);

fn host(manner: Manner) -> Host {
    Host::begin(Arc::new(MemoryEngine::default()), None, "store", manner)
}

fn open(hosts: &[&Host]) -> RelayEngine {
    RelayEngine::open(RelayPlace::read(&url(hosts)).expect("it is a URL")).expect("one of them is there")
}

fn refused(hosts: &[&Host]) -> String {
    RelayEngine::open(RelayPlace::read(&url(hosts)).expect("it is a URL")).err().expect("none is of use").to_string()
}

fn get(engine: &RelayEngine) -> Answer {
    let get = KeysRequest::Get { space: Space::Store, key: "a".to_owned() };
    ask(engine, Lane::Other, Request::Keys(get))
}

/// In which session something was read.
fn read_in(engine: &RelayEngine) -> Session {
    match get(engine) {
        Ok(Answered::Keys(KeysAnswer::Got { session, .. })) => session,
        other => panic!("{other:?}"),
    }
}

fn barrier(engine: &RelayEngine, session: Session) -> Answer {
    ask(engine, Lane::Other, Request::Barrier { session })
}

/// Asks until a new connection answers.
fn read_again(engine: &RelayEngine) -> Session {
    loop {
        match get(engine) {
            Ok(Answered::Keys(KeysAnswer::Got { session, .. })) => return session,
            // That the one before is over is seen by the first question at the latest.
            Err(Fault::Unknown(_) | Fault::Unavailable(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Engines number their sessions as they like, so those of two hosts, and of two lives of one, are called the same.
#[test]
fn a_session_of_one_connection_answers_for_no_other_one() {
    let numbered = || Arc::new(Numbered { engine: MemoryEngine::default(), session: Session(1) });
    let first = Host::begin(numbered(), None, "store", CHANGES);
    let second = Host::begin(numbered(), None, "store", CHANGES);
    let (one, other) = (open(&[&first, &second]), open(&[&first]));
    let session = read_in(&one);
    assert_eq!(read_in(&one), session, "it is the same as long as the host's is");
    assert_eq!(barrier(&one, session), Ok(Answered::Barred));
    // Another connection with the same host, whose engine has one session for both.
    assert_ne!(read_in(&other), session);
    assert!(matches!(barrier(&other, session), Err(Fault::Unavailable(_))));
    // A later connection with the same host.
    first.cut();
    let again = read_again(&one);
    assert_ne!(again, session);
    assert!(matches!(barrier(&one, session), Err(Fault::Unavailable(_))), "that connection is over");
    assert_eq!(barrier(&one, again), Ok(Answered::Barred));
    // A connection with another host.
    drop(first);
    let elsewhere = read_again(&one);
    for before in [session, again] {
        assert!(matches!(barrier(&one, before), Err(Fault::Unavailable(_))), "those are over");
    }
    assert_eq!(barrier(&one, elsewhere), Ok(Answered::Barred));
    assert!(matches!(barrier(&one, Session(1)), Err(Fault::Unavailable(_))), "what the host calls it is no name here");
}

#[test]
fn what_was_not_answered_before_the_connection_ended_is_not_known() {
    let host = host(Manner::Silence);
    let engine = open(&[&host]);
    let (tell, told) = std::sync::mpsc::channel();
    engine.ask(Lane::Other, Request::Logs, Box::new(move |answer| tell.send(answer).expect("somebody waits")));
    // Taken by the host, and never answered; it ends before the time of an answer is over.
    host.cut();
    drop(host);
    let answer = told.recv().expect("each question is answered");
    assert!(matches!(answer, Err(Fault::Unknown(_) | Fault::Unavailable(_))), "{answer:?}");
}

#[test]
fn a_host_that_stands_still_is_given_up() {
    let (still, alive) = (host(Manner::Silence), host(CHANGES));
    let engine = open(&[&still]);
    let began = Instant::now();
    let answer = get(&engine);
    assert!(matches!(&answer, Err(Fault::Unknown(words)) if words.contains("has not answered within")), "{answer:?}");
    assert!(began.elapsed() >= Duration::from_secs(2), "its engine has that long");
    drop((still, alive));
}

/// It was cut off from its database, and takes connections all the same.
#[test]
fn a_host_whose_engine_does_not_answer_is_left_for_the_next_one() {
    let cut_off = || Host::begin(Arc::new(CutOff(MemoryEngine::default())), None, "store", CHANGES);
    let (first, alive, last) = (cut_off(), host(CHANGES), cut_off());
    let engine = open(&[&first, &alive, &last]);
    assert!(matches!(get(&engine), Err(Fault::Unavailable(_))), "the first one has said that it can't");
    let session = read_in(&engine);
    assert_eq!(read_in(&engine), session, "the one that answers is kept");
    assert_eq!(barrier(&engine, session), Ok(Answered::Barred));
    drop(alive);
    for _ in 0..3 {
        assert!(matches!(get(&engine), Err(Fault::Unavailable(_) | Fault::Unknown(_))));
    }
}

#[test]
fn the_next_host_is_asked_where_one_can_not_be_reached_or_is_of_no_use() {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    // It takes connections, and says nothing on them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (old, refuses, alive) = (host(Manner::HangUp), host(Manner::Refuse("its store is a directory")), host(CHANGES));
    let addresses = [nobody, silent.local_addr().expect("it listens"), old.address, refuses.address, alive.address];
    let url = format!("ambrosia://{}", addresses.map(|address| address.to_string()).join(","));
    let engine = RelayEngine::open(RelayPlace::read(&url).expect("it is a URL")).expect("the last one is there");
    assert!(get(&engine).is_ok());
}

#[test]
fn why_no_host_is_of_use_is_said_of_each() {
    let (old, refuses) = (host(Manner::HangUp), host(Manner::Refuse("its store is a directory")));
    let said = refused(&[&old, &refuses]);
    for words in [
        "lets its store be used",
        &old.address.to_string(),
        "of a version that relays no store",
        "its store is a directory",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let gone = host(CHANGES);
    let url = url(&[&gone]);
    drop(gone);
    let error = RelayEngine::open(RelayPlace::read(&url).expect("it is a URL")).err().expect("nobody is there");
    assert!(error.to_string().starts_with("no host of ambrosia://127.0.0.1:"), "{error}");
}

#[test]
fn who_may_only_read_is_told_what_is_missing_and_nothing_is_tried_again() {
    let host = host(Manner::Relay(StoreRight::Read));
    let engine = open(&[&host]);
    assert!(get(&engine).is_ok());
    let create = Request::Create { genesis: ambrosia_shared_log::Group::genesis(log(1), &genesis(log(1))) };
    let refused = ask(&engine, Lane::Other, create);
    assert!(
        matches!(&refused, Err(Fault::Refused(words)) if words.contains("certificate of an operator")),
        "{refused:?}"
    );
}

/// What was read of one store would be wrong of another one.
#[test]
fn a_host_with_another_store_is_not_asked_once_one_was() {
    let engine_of = |engine: &MemoryEngine| -> Arc<dyn Engine> { Arc::new(engine.clone()) };
    let (ours, theirs) = (MemoryEngine::default(), MemoryEngine::default());
    theirs.create(InstanceUuid([9; 16]), &genesis(log(9)));
    let first = Host::begin(engine_of(&ours), None, "store", CHANGES);
    let other = Host::begin(engine_of(&theirs), None, "other", CHANGES);
    let engine = open(&[&first, &other]);
    assert!(get(&engine).is_ok());
    drop(first);
    let refused = loop {
        match ask(&engine, Lane::Other, Request::Logs) {
            Err(Fault::Refused(words)) => break words,
            Err(Fault::Unknown(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(refused.contains("another store"), "{refused}");
}

#[test]
fn a_group_of_many_megabytes_goes_through() {
    let host = host(CHANGES);
    let engine = open(&[&host]);
    let (of, first) = (log(1), genesis(log(1)));
    assert!(create(&engine, of, &first));
    let large = group(of, 0, position(&first), &vec![7; 20 << 20]);
    let appended = append(&engine, vec![large.clone()]);
    match appended {
        Ok(Answered::Appended(answers)) => {
            assert!(matches!(answers[..], [Ok(())] | [Err(AppendFault::Refused(_))]), "the engine has looked at it")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(large.epoch, Epoch(0));
}

#[test]
fn a_depot_can_be_used_from_many_threads_while_the_engine_is() {
    let host = Host::begin(Arc::new(MemoryEngine::default()), Some(Arc::<Shelf>::default()), "store", CHANGES);
    let connected = RelayPlace::read(&url(&[&host])).expect("it is a URL").connect().expect("it is there");
    let depot: Arc<dyn Depot> = connected.depot.expect("the host has one");
    assert!(depot.place().contains("a shelf, through ambrosia://"), "{}", depot.place());
    std::thread::scope(|scope| {
        for number in 0_u8..4 {
            let depot = &depot;
            scope.spawn(move || {
                let contents: Vec<u8> = (0..5 << 20).map(|at| (at % 251) as u8 ^ number).collect();
                let name = format!("blob/{number}");
                depot.put(&name, &mut &contents[..]).expect("there is room");
                let mut got = Vec::new();
                depot.get(&name, &mut got).expect("it is there");
                assert!(got == contents);
            });
        }
    });
    assert_eq!(depot.list("blob").expect("it is there").files.len(), 4);
    depot.remove("blob/1").expect("it is there");
    let missing = depot.get("blob/1", &mut Vec::new()).expect_err("it is gone").to_string();
    assert_eq!(missing, "blob/1 of a shelf is missing: look for it");
}
