//! Events: each is heard once and in order, behind a place that any replica knows, whoever dies.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::Stdio,
    time::Instant,
};

use ambrosia_core::{EventId, ReplicaIndex};
use ambrosia_host::{Heard as Told, decode_value};
use ambrosia_tests::{Cluster, Host, PATIENCE, Signal};
use serde_json::{Value, json};

use crate::{
    door::{check_problem, house},
    serving::serve,
    support::{Listener, Replicas, Session, cluster, curl, fails, http_address, post, shown},
};

const PATH: &str = "/v1/outside/events";

/// A host that runs something else, takes HTTP, and is not killed.
fn porter(cluster: &Cluster) -> (Host, SocketAddr) {
    cluster.register("porter", "counter", 1);
    let host = serve(cluster, &["--instance", "porter", "--http", "127.0.0.1:0"]);
    let address = http_address(&host);
    (host, address)
}

fn emit(address: SocketAddr, topic: &str, value: u64) {
    let emitted =
        post(address, "/v1/outside/emit", Some(&format!("{topic}-{value}")), &json!([topic, value]).to_string());
    assert_eq!(emitted.status, 200, "{emitted:?}");
}

fn values(heard: &[crate::support::Heard]) -> Vec<u64> {
    heard.iter().map(|heard| heard.data.as_u64().unwrap_or_else(|| panic!("{heard:?}"))).collect()
}

#[test]
fn a_listener_hears_each_event_once_through_the_death_of_primaries() {
    let cluster = cluster();
    let mut replicas = Replicas::of_with(&cluster, "outside", "outside", 2, &["--http", "127.0.0.1:0"]);
    let (_porter, door) = porter(&cluster);
    // One that is not cut, and one at the host that dies each time, which comes again behind what it heard last.
    let mut lasting = Listener::open(door, PATH, &[]);
    let mut last = lasting.last.clone();
    let (mut heard, mut emitted) = (Vec::new(), 0..);
    for round in 0..4 {
        let primary = replicas.primary();
        let address = http_address(replicas.host(primary));
        let header = format!("Last-Event-ID: {last}");
        let mut moving = Listener::open(address, PATH, &[&header]);
        for value in emitted.by_ref().take(6) {
            emit(door, "told", value);
        }
        let missing = 6 * (round + 1) - heard.len();
        heard.extend(moving.take(missing - 2));
        last = moving.last.clone();
        // Those that it did not read are lost with the connection, and not with the place.
        let dead = replicas.kill_primary();
        drop(moving);
        replicas.start_standby(dead);
    }
    let header = format!("Last-Event-ID: {last}");
    heard.extend(Listener::open(door, PATH, &[&header]).take(2));
    let expected: Vec<u64> = (0..24).collect();
    assert_eq!(values(&heard), expected);
    let of_lasting = lasting.take(24);
    assert_eq!(of_lasting, heard, "the same ids, on whatever way");
    assert!(of_lasting.iter().all(|heard| heard.event == "told"));
    // Both replicas tell the same, also the one that has just come back.
    for replica in 0..2 {
        assert_eq!(Listener::open(door, &format!("{PATH}?after=0&replica={replica}"), &[]).take(24), heard);
    }
    let middle = &heard[11].id;
    assert_eq!(Listener::open(door, &format!("{PATH}?after={middle}&replica=1"), &[]).take(12), heard[12..]);
}

#[test]
fn a_listener_of_a_primary_that_stands_still_hears_the_next_one() {
    let cluster = cluster();
    let mut replicas = Replicas::of(&cluster, "outside", "outside", 2);
    let mut session = Session::new(&cluster, "outside");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (told, hears) = std::sync::mpsc::channel();
    let (begun, begins) = std::sync::mpsc::channel();
    let mut client = runtime.block_on(async { cluster.client("outside") });
    runtime.spawn(async move {
        let mut events = client.events(None, None);
        begun.send(events.begin(PATIENCE).await.expect("somebody answers")).expect("the test waits");
        loop {
            match events.next(PATIENCE).await.expect("somebody answers") {
                Told::Event(event) if told.send(decode_value(&event.value)).is_err() => return,
                Told::Event(_) => {}
                lost @ Told::Lost { .. } => panic!("{lost:?}"),
            }
        }
    });
    begins.recv_timeout(PATIENCE).expect("it listens");
    let hear = || hears.recv_timeout(PATIENCE).expect("it comes");
    session.call("emit", json!(["a", 1]));
    assert_eq!(hear(), 1);
    replicas.host(0).signal(Signal::Stop);
    replicas.next_reign();
    session.call("emit", json!(["a", 2]));
    assert_eq!(hear(), 2);
    replicas.host(0).signal(Signal::Continue);
    session.call("emit", json!(["a", 3]));
    assert_eq!(hear(), 3);
}

#[test]
fn what_is_kept_no_more_is_told_of_and_a_slow_listener_holds_up_nobody() {
    let cluster = cluster();
    let _replicas = Replicas::of(&cluster, "outside", "outside", 2);
    let (_porter, door) = porter(&cluster);
    let mut slow = Listener::open(door, PATH, &[]);
    let mut session = Session::new(&cluster, "outside");
    // More than the socket takes of who does not read, and more than is kept.
    for _ in 0..10 {
        session.call("emit_many", json!(["many", 1000, 3000]));
    }
    session.call("emit", json!(["last", 7]));
    let first = Listener::open(door, &format!("{PATH}?after=0"), &[]).take(2);
    assert_eq!(first[0].event, "ambrosia.lost", "{:?}", first[0].data);
    let lost = &first[0].data;
    assert_eq!((&lost["after"], &lost["oldest"]), (&json!("0.0"), &json!(first[1].id)));
    assert_eq!(lost["through"], json!(first[0].id), "whoever comes again is not told again");
    // The instance keeps less than who listens has heard of it, and each replica the same.
    let kept = |replica: &str| {
        shown(&mut cluster.command(&["events", "--instance", "outside", "--json", "--replica", replica]))
    };
    let (primary, deadline) = (kept("0"), Instant::now() + PATIENCE);
    assert_eq!(
        (&primary[0]["lost"]["after"], primary.last().map(|last| &last["value"])),
        (&json!("0.0"), Some(&json!(7)))
    );
    while kept("1") != primary {
        assert!(Instant::now() < deadline, "the standby comes so far");
    }
    let (mut at, mut lost, mut count) = (slow.last.parse::<EventId>().expect("an id"), 0, 0);
    loop {
        let heard = slow.next().expect("it is not cut");
        let id = heard.id.parse::<EventId>().expect("an id");
        assert!(id > at, "{id} behind {at}");
        match heard.event.as_str() {
            "ambrosia.lost" => {
                assert_eq!(heard.data["after"], json!(at.to_string()), "it knows what it misses");
                lost += 1;
            }
            "last" => break,
            _ => count += 1,
        }
        at = id;
    }
    assert!(lost >= 1, "it was too slow");
    assert!((1000..10_000).contains(&count), "{count}");
}

#[test]
fn events_are_chosen_by_topic_and_shown_by_the_program() {
    let cluster = cluster();
    let (host, address) = house(&cluster, &[("outside", "outside")]);
    let mut of_b = Listener::open(address, &format!("{PATH}?topic=b&topic=c%20d"), &[]);
    for (value, topic) in ["a", "b", "a", "c d", "b"].into_iter().enumerate() {
        emit(address, topic, value as u64);
    }
    let heard = of_b.take(3);
    assert_eq!(values(&heard), [1, 3, 4]);
    assert_eq!(heard[1].event, "c d");
    let events = ["events", "--instance", "outside"];
    let json = |more: &[&str]| shown(&mut cluster.command(&[&events[..], &["--json"], more].concat()));
    let all = json(&[]);
    assert_eq!(all.iter().map(|one| one["value"].clone()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!((&all[1]["topic"], &all[1]["id"]), (&json!("b"), &json!(heard[0].id)));
    assert!(all[0]["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{all:?}");
    assert_eq!(json(&["--topic", "b"]), [all[1].clone(), all[4].clone()]);
    assert_eq!(json(&["--after", &heard[1].id, "--replica", "0"]), [all[4].clone()]);
    let record = heard[1].id.split('.').next().expect("a record");
    assert_eq!(json(&["--after", record]), [all[4].clone()], "a record alone is behind all of its events");
    let listen = cluster.status("outside")["primary"]["address"].as_str().expect("an address").to_owned();
    let mut anywhere = cluster.command(&[&events[..], &["--json", "--at", &listen]].concat());
    assert_eq!(shown(anywhere.env("AMBROSIA_STORE", cluster.file("none"))), all);
    let plain = cluster.must(&events);
    assert!(plain.lines().nth(3).is_some_and(|line| line.ends_with("Z  c d 3")), "{plain}");
    // It goes on as they come.
    let mut following = cluster.command(&[&events[..], &["--follow", "--after", &heard[1].id]].concat());
    let mut following = following.stdout(Stdio::piped()).spawn().expect("the program can be started");
    let mut lines = BufReader::new(following.stdout.take().expect("it is a pipe")).lines();
    let mut line = || lines.next().expect("it goes on").expect("text");
    assert!(line().ends_with("  b 4"));
    emit(address, "a", 5);
    assert!(line().ends_with("  a 5"));
    following.kill().expect("it runs");
    following.wait().expect("it ends");
    drop(host);
    fails(&cluster, &[&events[..], &["--timeout", "1"]].concat(), &["has no primary"]);
    fails(&cluster, &["events", "--instance", "nobody"], &["nobody"]);
    fails(&cluster, &[&events[..], &["--timeout", "1", "--replica", "3"]].concat(), &["replica 3", "does not run"]);
}

#[test]
fn who_may_not_listen_or_asks_for_what_is_not_there_is_told_so() {
    let cluster = cluster();
    let (mut host, address) = house(&cluster, &[("outside", "outside"), ("counter", "counter")]);
    let ask = |path: &str, more: &[&str]| curl(address, path, more);
    check_problem(&ask("/v1/nobody/events", &[]), 404, "unknown-instance");
    for path in ["?after=x", "?since=1", "?replica=one", "?topic=%ff"] {
        check_problem(&ask(&format!("{PATH}{path}"), &[]), 400, "bad-arguments");
    }
    check_problem(&ask(PATH, &["-H", "Last-Event-ID: 1.2.3"]), 400, "bad-arguments");
    check_problem(&ask(PATH, &["-X", "PUT"]), 405, "method-not-allowed");
    check_problem(&ask(PATH, &["-X", "POST"]), 404, "unknown-method");
    check_problem(&ask(&format!("{PATH}?replica=5"), &["-H", "Prefer: wait=1"]), 503, "no-replica");
    let make = |arguments: &[&str]| cluster.must(&[&["token", "new"], arguments].concat()).trim().to_owned();
    let asker = make(&["--name", "asker", "--deed", "query", "--instance", "outside"]);
    let sender = make(&["--name", "sender", "--deed", "send"]);
    check_problem(&ask(PATH, &[]), 401, "unauthorized");
    check_problem(&ask(PATH, &["-H", &format!("Authorization: Bearer {sender}")]), 403, "forbidden");
    let bearer = format!("Authorization: Bearer {asker}");
    check_problem(&ask("/v1/counter/events", &["-H", &bearer]), 403, "forbidden");
    let mut listener = Listener::open(address, PATH, &[&bearer]);
    cluster.send("outside", "emit", json!(["a", 1]));
    assert_eq!(listener.take(1)[0].data, 1);
    // The stream ends when the host does.
    host.signal(Signal::Terminate);
    assert_eq!(listener.next(), None);
    host.wait();
}

/// What a replica has of events is what it has applied, and nothing that is not durable.
#[test]
fn a_standby_that_emits_as_it_follows_goes_on_and_is_listened_to() {
    let cluster = cluster();
    let replicas = Replicas::of(&cluster, "outside", "outside", 2);
    let mut session = Session::new(&cluster, "outside");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut client = runtime.block_on(async { cluster.client("outside") });
    let mut events = client.events(Some(EventId::default()), Some(ReplicaIndex(1)));
    for value in 0..5_u64 {
        session.call("emit", json!(["a", value]));
        let heard = runtime.block_on(events.next(PATIENCE)).expect("the standby answers");
        let Told::Event(event) = heard else { panic!("{heard:?}") };
        assert_eq!((decode_value(&event.value), event.topic.as_str()), (Value::from(value), "a"));
        assert_eq!(events.place(), Some(event.id));
    }
    assert!(!replicas.host(1).said().contains("panicked"), "{}", replicas.host(1).said());
}
