//! A primary that stands still keeps its locks and sockets. It must not matter.

use std::time::Duration;

use ambrosia_tests::Signal;
use serde_json::json;

use crate::support::{Replicas, Session, begin, cluster, role, wait_for_status};

/// From SIGSTOP until another replica reigns.
const DEPOSED_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn a_stopped_primary_is_deposed_shows_nothing_more_and_follows() {
    let cluster = cluster();
    let mut printer = Replicas::of(&cluster, "printer", "printer", 2);
    let mut session = Session::new(&cluster, "printer");
    session.call("say", json!(["before"]));
    printer.host(0).wait_for_print("1 before");
    let stopped = std::time::Instant::now();
    printer.host(0).signal(Signal::Stop);
    let next = printer.next_reign();
    assert_eq!((next.replica, next.epoch), (1, 2));
    assert!(next.began - stopped < DEPOSED_WITHIN, "took {:?}", next.began - stopped);
    session.call("say", json!(["while it stands"]));

    printer.host(0).signal(Signal::Continue);
    printer.host(0).wait_for_word("stepped down, following again");
    wait_for_status(&cluster, "printer", |status| role(status, 0) == "standby" && role(status, 1) == "primary");
    session.call("say", json!(["after"]));
    printer.host(1).wait_for_print("3 after");
    assert_eq!(printer.host(0).printed(), ["first start", "primary", "1 before"]);
    assert_eq!(printer.host(1).printed(), ["primary", "2 while it stands", "3 after"]);
}

#[test]
fn a_deposed_primary_becomes_primary_again_and_has_everything() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut session = Session::new(&cluster, "counter");
    for round in 1..=2 {
        let primary = counter.primary();
        assert_eq!(session.call("add", json!([1])), 2 * round - 1);
        counter.host(primary).signal(Signal::Stop);
        assert_eq!(counter.next_reign().replica, 1 - primary);
        assert_eq!(session.call("add", json!([1])), 2 * round);
        counter.host(primary).signal(Signal::Continue);
        wait_for_status(&cluster, "counter", |status| role(status, primary) == "standby");
    }
    let dead = counter.kill_primary();
    assert_eq!((dead, session.call("add", json!([1]))), (0, json!(5)));
}

#[test]
fn a_request_that_lies_in_the_socket_of_a_stopped_primary_is_done_once() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let send = ["send", "--instance", "counter", "--method", "add", "--args", "[1]", "--request-id"];
    counter.host(0).signal(Signal::Stop);
    // These connect to the stopped one, which the kernel answers for.
    let pending: Vec<_> = ["a", "b", "c"].iter().map(|id| begin(&cluster, &[&send[..], &[id]].concat())).collect();
    assert_eq!(counter.next_reign().replica, 1);
    let mut results: Vec<_> = pending.into_iter().map(|pending| pending.end().stdout).collect();
    results.sort_unstable();
    assert_eq!(results, ["1", "2", "3"]);
    counter.host(0).signal(Signal::Continue);
    wait_for_status(&cluster, "counter", |status| role(status, 0) == "standby");
    counter.kill_primary();
    assert_eq!(cluster.send("counter", "total", json!([])), 3);
}

#[test]
fn a_request_sent_on_an_open_connection_to_a_stopped_primary_shows_at_the_next_one_only() {
    let cluster = cluster();
    let mut printer = Replicas::of(&cluster, "printer", "printer", 2);
    let mut session = Session::new(&cluster, "printer");
    session.call("say", json!(["before"]));
    printer.host(0).wait_for_print("1 before");
    printer.host(0).signal(Signal::Stop);
    // It goes into the socket of the stopped one, which finds it there when it goes on.
    let asking = std::thread::spawn(move || session.call("say", json!(["into the socket"])));
    assert_eq!(printer.next_reign().replica, 1);
    asking.join().expect("it was answered");
    printer.host(0).signal(Signal::Continue);
    printer.host(0).wait_for_word("stepped down, following again");
    assert_eq!(printer.host(0).printed(), ["first start", "primary", "1 before"]);
    assert_eq!(printer.host(1).wait_for_lines(2), ["primary", "2 into the socket"]);
}

#[test]
fn requests_under_way_while_primaries_are_stopped_and_continued_are_each_done_once() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 3);
    let mut callers: Vec<_> = (0..4).map(|_| crate::requests::add_in_a_loop(&cluster, "counter")).collect();
    for _ in 0..3 {
        callers.iter().for_each(|caller| caller.wait_for(caller.count() + 50));
        let primary = counter.primary();
        counter.host(primary).signal(Signal::Stop);
        assert_ne!(counter.next_reign().replica, primary);
        callers.iter().for_each(|caller| caller.wait_for(caller.count() + 50));
        counter.host(primary).signal(Signal::Continue);
        wait_for_status(&cluster, "counter", |status| role(status, primary) == "standby");
    }
    crate::requests::check_each_once(&cluster, "counter", callers.drain(..));
}

#[test]
fn a_stream_survives_that_both_primaries_are_stopped_and_continued() {
    let cluster = cluster();
    let mut stream = crate::support::Stream::start(&cluster, 2, 100_000);
    for percent in [15, 50] {
        stream.wait_until_received(percent);
        let (sender, receiver) = (stream.sender.primary(), stream.receiver.primary());
        stream.sender.host(sender).signal(Signal::Stop);
        stream.receiver.host(receiver).signal(Signal::Stop);
        stream.sender.next_reign();
        stream.receiver.next_reign();
        stream.sender.host(sender).signal(Signal::Continue);
        stream.receiver.host(receiver).signal(Signal::Continue);
        wait_for_status(&cluster, "sender", |status| role(status, sender) == "standby");
        wait_for_status(&cluster, "receiver", |status| role(status, receiver) == "standby");
    }
    stream.check_complete();
}

#[test]
fn a_call_reaches_the_next_primary_while_the_one_before_stands_still() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let _sender = Replicas::of(&cluster, "sender", "sender", 1);
    let mut session = Session::new(&cluster, "sender");
    assert_eq!(session.call("call_all", json!(["counter", 1])), 1);
    let stopped = counter.primary();
    counter.host(stopped).signal(Signal::Stop);
    assert_ne!(counter.next_reign().replica, stopped);
    // The kernel of the stopped one would take a message still, and nobody would answer.
    assert_eq!(session.call("call_all", json!(["counter", 1])), 2);
    counter.host(stopped).signal(Signal::Continue);
    wait_for_status(&cluster, "counter", |status| role(status, stopped) == "standby");
    assert_eq!(session.call("call_all", json!(["counter", 1])), 3);
}

#[test]
fn a_stopped_standby_bothers_nobody_and_catches_up() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let mut session = Session::new(&cluster, "counter");
    counter.host(1).signal(Signal::Stop);
    (1..=500).for_each(|n| assert_eq!(session.call("add", json!([1])), n));
    counter.host(1).signal(Signal::Continue);
    wait_for_status(&cluster, "counter", |status| status["replicas"][1]["applied_lsn"] == status["durable_lsn"]);
    assert_eq!(counter.reign().epoch, 1);
    counter.kill_primary();
    assert_eq!(session.call("add", json!([1])), 501);
}
