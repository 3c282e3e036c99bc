//! Lines of stdin across failures, and what the guest prints.

use ambrosia_tests::{Cluster, Host};
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

fn start_client2(cluster: &Cluster) -> Host {
    let client = cluster.start_with("client", 0, &["--stdin", "receive_keyboard_input"], |_| {});
    client.wait_for_print("Finished initializing state/recovering");
    client
}

#[test]
fn lines_reach_the_server_once_although_the_client_is_killed_between_them() {
    let cluster = cluster();
    let server = Replicas::of(&cluster, "server", "server", 1);
    cluster.register("client", "client2", 1);
    let mut expected = Vec::new();
    for round in 1..=4 {
        let mut client = start_client2(&cluster);
        for line in 1..=5 {
            client.type_line(&format!("{round}.{line}"));
            expected.extend([String::new(), format!("!! SERVER Received message from a client: {round}.{line}")]);
        }
        client.wait_for_print(&format!("Sending keyboard input {round}.5"));
        client.kill();
    }
    let mut client = start_client2(&cluster);
    server.host(0).wait_for_print("client: 4.5");
    client.type_line("");
    assert_eq!((client.exit_code(), server.printed()), (0, expected));
}

#[test]
fn lines_typed_while_the_server_is_down_reach_it_later() {
    let cluster = cluster();
    let mut server = Replicas::of(&cluster, "server", "server", 1);
    server.kill(0);
    cluster.register("client", "client2", 1);
    let mut client = start_client2(&cluster);
    ["one", "two"].iter().for_each(|line| client.type_line(line));
    client.wait_for_print("input two");
    client.kill();
    let _client = start_client2(&cluster);
    server.start(0);
    server.host(0).wait_for_print("client: two");
    let text = |text| format!("!! SERVER Received message from a client: {text}");
    assert_eq!(server.printed(), ["", &text("one"), "", &text("two")]);
}

#[test]
fn a_line_that_is_no_text_is_left_out_and_the_others_are_not() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let mut host = cluster.start_with("printer", 0, &["--stdin", "say"], |_| {});
    host.type_bytes(b"one\ntwo\ncaf\xe9\nfour\nfive\n");
    host.wait_for_print("4 five");
    assert_eq!(host.printed(), ["first start", "primary", "1 one", "2 two", "3 four", "4 five"]);
    host.wait_for_word("a line of stdin is left out: the line is not UTF-8 from byte 4 on");
    assert!(host.said().contains("line=3"), "{}", host.said());
}

#[test]
fn the_end_of_stdin_ends_nothing() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let mut host = cluster.start_with("counter", 0, &["--stdin", "echo"], |_| {});
    host.close_stdin();
    host.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
}

#[test]
fn lines_become_impulses_of_the_primary_only() {
    let cluster = cluster();
    cluster.register("printer", "printer", 2);
    let mut replicas = Replicas::none(&cluster, "printer", &["--stdin", "say"]);
    replicas.start_all(2);
    replicas.host_mut(1).type_line("typed at the standby");
    replicas.host_mut(0).type_line("typed at the primary");
    replicas.host(0).wait_for_print("1 typed at the primary");
    replicas.kill_primary();
    // The standby reads its own stdin once it is primary.
    replicas.host(1).wait_for_print("2 typed at the standby");
    let expected = ["first start", "primary", "1 typed at the primary", "primary", "2 typed at the standby"];
    assert_eq!(replicas.printed(), expected);
}

#[test]
fn a_thousand_lines_are_printed_once_and_in_order() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let mut host = cluster.start_with("printer", 0, &["--stdin", "say"], |_| {});
    (1..=1000).for_each(|n| host.type_line(&format!("line {n}")));
    let mut expected = vec!["first start".to_owned(), "primary".to_owned()];
    expected.extend((1..=1000).map(|n| format!("{n} line {n}")));
    assert_eq!(host.wait_for_lines(1002), expected);
}

#[test]
fn prints_are_not_repeated_by_replay_unless_asked_for() {
    let cluster = cluster();
    let mut printer = Replicas::of(&cluster, "printer", "printer", 2);
    let mut session = Session::new(&cluster, "printer");
    (1..=20).for_each(|n| drop(session.call("say", json!([format!("text {n}")]))));
    let mut all = printer.host(0).wait_for_lines(22);
    assert_eq!(printer.kill_primary(), 0);
    assert_eq!(printer.host(1).wait_for_lines(1), ["primary"]);
    printer.kill_all();
    all.push("primary".to_owned());

    let mut quiet = cluster.start("printer", 0);
    assert_eq!(quiet.wait_for_lines(1), ["primary"]);
    quiet.kill();
    all.push("primary".to_owned());

    let again = cluster.start_with("printer", 0, &["--print-replay"], |_| {});
    all.push("primary".to_owned());
    assert_eq!(again.wait_for_lines(all.len()), all, "the same output as the first time, and the new reign");
}

#[test]
fn prints_under_way_when_the_primary_dies_are_in_order_and_never_doubled() {
    let cluster = cluster();
    let mut printer = Replicas::of(&cluster, "printer", "printer", 2);
    let mut session = Session::new(&cluster, "printer");
    for round in 1..=4 {
        (1..=50).for_each(|_| drop(session.call("say", json!([""]))));
        let dead = printer.kill_primary();
        printer.start_standby(dead);
        assert_eq!(printer.reign().epoch, round + 1);
    }
    let numbers: Vec<u64> = printer.printed().iter().filter_map(|line| line.trim().parse().ok()).collect();
    // Lines that were durable and not shown when their host died are lost to the eye: only the last ones of a reign.
    let mut shown_of_reign = numbers.chunk_by(|one, next| (one - 1) / 50 == (next - 1) / 50);
    assert!(!numbers.is_empty() && numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(
        shown_of_reign.all(|shown| shown.iter().copied().eq((shown[0] - 1) / 50 * 50 + 1..=shown[shown.len() - 1]))
    );
    assert!(numbers.last() <= Some(&200), "{numbers:?}");
    printer.kill_all();
    let again = cluster.start_with("printer", 0, &["--print-replay"], |_| {});
    again.wait_for_print("200");
    let replayed: Vec<u64> = again.printed().iter().filter_map(|line| line.trim().parse().ok()).collect();
    assert_eq!(replayed, (1..=200).collect::<Vec<_>>());
}

#[test]
fn what_the_guest_says_on_standard_error_goes_there() {
    let cluster = cluster();
    let printer = Replicas::of(&cluster, "printer", "printer", 1);
    cluster.send("printer", "complain", json!(["loudly"]));
    printer.host(0).wait_for_word("1 loudly");
    assert_eq!(printer.host(0).wait_for_lines(2), ["first start", "primary"]);
}

#[test]
fn the_death_of_who_reads_the_output_does_not_end_the_instance() {
    let cluster = cluster();
    cluster.register("printer", "printer", 1);
    let mut command = cluster.command(&["run", "--instance", "printer"]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("the program can be started");
    drop(child.stdout.take());
    for n in 1..=3 {
        assert_eq!(cluster.send("printer", "say", json!(["to nobody"])), json!(null), "{n}");
    }
    assert_eq!(child.try_wait().expect("the process is ours"), None, "it still runs");
    child.kill().and_then(|()| child.wait()).expect("the process is ours");
    let said = cluster.log("printer").into_iter().flat_map(|record| record["messages"].as_array().cloned()).flatten();
    assert_eq!(said.filter(|message| message["method"] == "say").count(), 3);
}
