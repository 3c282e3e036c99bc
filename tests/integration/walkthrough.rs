//! HelloWorld, as the README has a person do it.

use ambrosia_storage::ProcessPlace;
use ambrosia_tests::Cluster;
use serde_json::{Value, json};

use crate::support::{Replicas, cluster, lines, roles, wait_for_status};

const CLIENT3: &str = "

!! Client: Sent message #1.

!! Client: Message #1 completed. Server acknowledges processing 1 messages.

!! Client: Sent message #2.

!! Client: Message #2 completed. Server acknowledges processing 2 messages.

!! Client: Shutting down";

const SERVER_OF_CLIENT3: &str = "

!! SERVER Received message from a client: 
!! Client: Hello World 3 Message #1!

!! SERVER Received message from a client: 
!! Client: Hello World 3 Message #2!";

#[test]
fn a_server_of_three_replicas_and_client3_print_exactly_their_lines() {
    let cluster = cluster();
    let server = Replicas::of(&cluster, "server", "server", 3);
    cluster.register("client", "client3", 1);
    let mut client = cluster.start("client", 0);
    assert_eq!(client.exit_code(), 0);
    assert_eq!(client.printed(), lines(CLIENT3));
    assert_eq!(server.printed(), lines(SERVER_OF_CLIENT3));
    assert_eq!(server.host(1).printed().len() + server.host(2).printed().len(), 0, "standbys print nothing");
    assert!(client.said().contains("instance client finished with exit code 0 at lsn"), "{}", client.said());
}

#[test]
fn a_finished_instance_says_so_when_it_is_run_again() {
    let cluster = cluster();
    let _server = Replicas::of(&cluster, "server", "server", 1);
    cluster.register("client", "client3", 1);
    assert_eq!(cluster.start("client", 0).exit_code(), 0);
    let status = cluster.status("client");
    assert_eq!((&status["state"], &status["outcome"]["code"]), (&json!("finished"), &json!(0)));
    assert_eq!(status["outcome"]["lsn"], status["durable_lsn"]);

    let again = cluster.run(&["run", "--instance", "client"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    let said = format!("instance client finished with exit code 0 at lsn {}", status["durable_lsn"]);
    assert!(again.stderr.contains(&said), "{}", again.stderr);
    assert_eq!(cluster.status("client"), status, "nothing was written");
}

#[test]
fn client1_sends_its_messages_when_enter_is_pressed() {
    let cluster = cluster();
    let server = Replicas::of(&cluster, "server", "server", 1);
    cluster.register("client", "client1", 1);
    let mut client = cluster.start_with("client", 0, &["--stdin", "press_enter"], |_| {});
    client.wait_for_print("Press enter to continue");
    client.type_line("");
    client.wait_for_print("Press enter to shutdown");
    client.type_line("");
    assert_eq!(client.exit_code(), 0);
    assert_eq!(
        client.printed(),
        lines(
            "

            !! Client: Sent message 1.

            !! Client: Press enter to continue (will send 2&3)

            !! Client: Press enter to shutdown."
        )
    );
    server.host(0).wait_for_print("Hello World 3!");
    assert_eq!(received(&server), (1..=3).map(|n| format!("!! Client: Hello World {n}!")).collect::<Vec<_>>());
}

#[test]
fn client2_sends_each_line_until_an_empty_one() {
    let cluster = cluster();
    let server = Replicas::of(&cluster, "server", "server", 1);
    cluster.register("client", "client2", 1);
    let mut client = cluster.start_with("client", 0, &["--stdin", "receive_keyboard_input"], |_| {});
    ["one", "two", ""].iter().for_each(|line| client.type_line(line));
    assert_eq!(client.exit_code(), 0);
    let prompt = "Enter a message (hit ENTER to send, send an empty line to end): ";
    assert_eq!(
        client.printed().join("\n"),
        format!(
            "Finished initializing state/recovering\n{prompt}Sending keyboard input one\n\
             {prompt}Sending keyboard input two\n{prompt}"
        )
    );
    server.host(0).wait_for_print("client: two");
    let text = |text| format!("!! SERVER Received message from a client: {text}");
    assert_eq!(server.printed(), ["", &text("one"), "", &text("two")]);
}

/// What the server received, message by message, of clients whose messages begin with an empty line.
fn received(server: &Replicas) -> Vec<String> {
    let printed = server.printed();
    printed.into_iter().filter(|line| line.starts_with("!! Client: ")).collect()
}

#[test]
fn every_replica_of_the_server_in_turn_is_killed_takes_over_and_joins_again() {
    let cluster = cluster();
    let mut server = Replicas::of(&cluster, "server", "server", 3);
    cluster.register("client", "client2", 1);
    let mut client = cluster.start_with("client", 0, &["--stdin", "receive_keyboard_input"], |_| {});
    let mut expected = Vec::new();
    for round in 1..=6 {
        client.type_line(&format!("round {round}"));
        expected.extend([String::new(), format!("!! SERVER Received message from a client: round {round}")]);
        let primary = server.primary();
        server.host(primary).wait_for_print(&format!("round {round}"));
        let dead = server.kill_primary();
        server.start_standby(dead);
        assert_eq!(server.reign().epoch, round + 1);
        check_status(&cluster, server.reign().replica, round + 1);
    }
    assert_eq!(server.printed(), expected, "each message once and in order, over all replicas");
    client.type_line("");
    assert_eq!(client.exit_code(), 0);
}

/// Checks that `status` tells the truth about a server of three that is idle.
fn check_status(cluster: &Cluster, primary: u16, epoch: u64) {
    let settled = |status: &Value| {
        let replicas = status["replicas"].as_array().expect("a list");
        replicas.iter().all(|replica| replica["applied_lsn"] == status["durable_lsn"])
            && status["primary"]["replica"] == primary
    };
    let status = wait_for_status(cluster, "server", settled);
    assert_eq!((&status["state"], &status["epoch"]), (&json!("running"), &json!(epoch)));
    let mut expected = ["standby"; 3];
    expected[usize::from(primary)] = "primary";
    assert_eq!(roles(&status), expected);
}

#[test]
fn status_has_the_published_shape_and_tells_the_truth() {
    let cluster = cluster();
    assert_eq!(cluster.run(&["status"]).code, 1, "there is no store yet");
    cluster.register("server", "server", 3);
    let status = cluster.status("server");
    let down = |replica: u16| {
        json!({
        "replica": replica, "role": "down", "applied_lsn": null, "pid": null, "host": null,
        "heartbeat_age_ms": null})
    };
    let (uuid, module) = (&status["uuid"], &status["module"]);
    assert_eq!(uuid.as_str().map(str::len), Some(36));
    assert_eq!(module.as_str().map(str::len), Some(64));
    let expected = json!({
        "name": "server", "uuid": uuid, "module": module, "modules": [module],
        "wanted": null, "answered": null, "state": "down", "epoch": 0, "durable_lsn": 1,
        "first_lsn": 1, "history_from_lsn": 1, "disk_bytes": status["disk_bytes"], "checkpoints": [], "capture": null,
        "recovery_ms": null, "waiting_handlers": null,
        "primary": null, "replicas": [down(0), down(1), down(2)], "from_files": false, "peers": null, "outgoing": null,
        "requests": null, "schedules": null, "sessions": null, "stall": null, "lost": null,
    });
    assert_eq!(status, expected);
    assert!(status["disk_bytes"].as_u64().is_some_and(|bytes| (4096..100_000).contains(&bytes)), "{status}");

    let mut server = Replicas::none(&cluster, "server", &[]);
    server.start_all(2);
    let caught_up = |status: &Value| {
        status["replicas"][1]["applied_lsn"] == 3
            && status["replicas"][0]["applied_lsn"] == 3
            && status["peers"].is_array()
    };
    let status = wait_for_status(&cluster, "server", caught_up);
    let address = status["primary"]["address"].as_str().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let host = &ProcessPlace::here().host;
    let up = |replica: u16, role: &str| {
        let age = status["replicas"][usize::from(replica)]["heartbeat_age_ms"].as_u64().expect("a number");
        assert!(age < 5000, "{age}");
        let pid = server.host(replica).pid();
        json!({"replica": replica, "role": role, "applied_lsn": 3, "pid": pid, "host": host, "heartbeat_age_ms": age})
    };
    let expected = json!({
        "name": "server", "uuid": uuid, "module": module, "modules": [module],
        "wanted": null, "answered": null, "state": "running", "epoch": 1, "durable_lsn": 3,
        "from_files": false, "first_lsn": 1, "history_from_lsn": 1, "disk_bytes": status["disk_bytes"], "checkpoints": [],
        "capture": "memory", "recovery_ms": status["recovery_ms"], "waiting_handlers": null,
        "primary": {"replica": 0, "address": address, "pid": server.host(0).pid(), "host": host},
        "replicas": [up(0, "primary"), up(1, "standby"), down(2)], "peers": [], "outgoing": {"pending": 0, "requests": []},
        "requests": {
            "under_way": 0, "results": 0, "result_bytes": 0,
            "results_max": 100_000, "result_bytes_max": 64 << 20, "result_age_s_max": 3600,
        },
        "schedules": [], "sessions": {"sessions": 0, "under_way": 0, "results": 0, "result_bytes": 0}, "stall": null, "lost": null,
    });
    assert_eq!(status, expected);

    server.kill_all();
    let status = cluster.status("server");
    assert_eq!((&status["state"], &status["primary"]), (&json!("down"), &Value::Null));
    assert_eq!(roles(&status), ["down"; 3]);
}
