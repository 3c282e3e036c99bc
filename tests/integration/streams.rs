//! Hosts with many instances each, which share the connections between them.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::ffi::OsStrExt,
    time::Duration,
};

use ambrosia_core::{Epoch, EpochBody, InstanceName, Lsn, ReplicaIndex, Timestamp};
use ambrosia_storage::{FileStore, Instances, Role, Store};
use ambrosia_tests::{Cluster, Host};
use serde_json::json;

use crate::{
    serving::{serve, wait_for_primaries},
    support::{Session, begin, cluster, register_with, wait_for_status},
    wire::{
        ACKNOWLEDGE, CONTROL, HELLO, MESSAGES, check_unharmed, connect, frame, next_frame, numbered,
        sends_and_is_cut_off, text, uuid,
    },
};

/// `FrameKind::Stream`, and what is said only within one.
const STREAM: u8 = 6;
const CREDIT: u8 = 7;
const CLOSE: u8 = 8;
/// `Control::Welcome`, `Refused` and `HostWelcome`.
const WELCOME: u8 = 1;
const REFUSED: u8 = 4;
const HOST_WELCOME: u8 = 16;

/// Streams in each direction.
const PAIRS: usize = 6;

const MESSAGE_BYTES: u64 = 64;

fn address_of(cluster: &Cluster, instance: &str) -> SocketAddr {
    let status = cluster.status(instance);
    status["primary"]["address"].as_str().expect("it runs").parse().expect("an address")
}

/// Connections that a process has made to a port of this machine, and that stand.
fn connections_to(host: &Host, port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{}/fd", host.pid()))
        .expect("it runs")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let name = std::str::from_utf8(link.as_os_str().as_bytes()).ok()?;
            Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{}/net/tcp", host.pid())).expect("it runs");
    let port = format!(":{port:04X}");
    let is_one = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&port) && fields[3] == ESTABLISHED && sockets.contains(fields[9])
    };
    table.lines().skip(1).filter(is_one).count()
}

fn names(kind: &str) -> Vec<String> {
    (0..PAIRS).map(|n| format!("{kind}{n}")).collect()
}

fn register_all(cluster: &Cluster, kind: &str, guest: &str, replicas: u16) -> Vec<String> {
    let names = names(kind);
    names.iter().for_each(|name| cluster.register(name, guest, replicas));
    names
}

/// Serves that replica of each, until all are as `word` says.
fn serve_all(cluster: &Cluster, replica: u16, instances: &[&[String]], word: &str) -> Host {
    let named: Vec<String> =
        instances.concat().iter().flat_map(|name| ["--instance".to_owned(), format!("{name}:{replica}")]).collect();
    let host = serve(cluster, &named.iter().map(String::as_str).collect::<Vec<_>>());
    if word == PRIMARY {
        wait_for_primaries(&host, &instances.concat().iter().map(String::as_str).collect::<Vec<_>>());
    } else {
        for name in instances.concat() {
            host.wait_for_word(&format!("member{{instance={name} replica={replica}}}: {word}"));
        }
    }
    host
}

const PRIMARY: &str = "primary";
const STANDBY: &str = "caught up with the log";

/// Each sender sends so many messages to the receiver of its number.
fn start_streams(cluster: &Cluster, count: u64, batch: u64) {
    for (sender, receiver) in names("sender").iter().zip(names("receiver")) {
        cluster.send(sender, "start", json!([receiver, count, batch, MESSAGE_BYTES]));
    }
}

/// Waits until each receiver has got all, each once and in order.
fn check_complete(cluster: &Cluster, count: u64) {
    for receiver in names("receiver") {
        let enough = |report: &serde_json::Value| report[1] != 0 || report[0].as_u64() >= Some(count);
        let report = Session::new(cluster, &receiver).call_until("report", enough);
        assert_eq!(report, json!([count, 0]), "{receiver}");
    }
}

#[test]
fn two_hosts_share_a_connection_each_way_whoever_talks_to_whom() {
    const COUNT: u64 = 20_000;
    const CALLS: u32 = 50;
    let cluster = cluster();
    let (senders, receivers) = (register_all(&cluster, "sender", "sender", 1), names("receiver"));
    register_all(&cluster, "receiver", "receiver", 1);
    let (ones, others) = (register_all(&cluster, "one", "mutual", 1), register_all(&cluster, "other", "mutual", 1));
    let here = serve_all(&cluster, 0, &[&senders, &ones], PRIMARY);
    let there = serve_all(&cluster, 0, &[&receivers, &others], PRIMARY);
    start_streams(&cluster, COUNT, 10);
    for (one, other) in ones.iter().zip(&others) {
        cluster.send(one, "start", json!([other, CALLS]));
        cluster.send(other, "start", json!([one, CALLS]));
    }
    for name in ones.iter().chain(&others) {
        let report = Session::new(&cluster, name).call_until("report", |report| report[0] == CALLS);
        assert_eq!(report[1], 0, "{name}: a call failed");
    }
    check_complete(&cluster, COUNT);
    let (here_port, there_port) = (address_of(&cluster, "one0").port(), address_of(&cluster, "other0").port());
    assert_eq!(connections_to(&here, there_port), 1, "all streams from here are in one connection");
    assert_eq!(connections_to(&there, here_port), 1, "and so are those from there");
    assert_eq!((connections_to(&here, here_port), connections_to(&there, there_port)), (0, 0));
}

#[test]
fn a_member_that_is_stuck_holds_up_nobody_else_on_its_connection() {
    const COUNT: u64 = 100_000;
    const MUCH: u64 = 300;
    const LARGE_BYTES: u64 = 100_000;
    let cluster = cluster();
    let (senders, receivers) = (register_all(&cluster, "sender", "sender", 1), names("receiver"));
    register_all(&cluster, "receiver", "receiver", 1);
    let stuck = ["stuck".to_owned()];
    register_with(&cluster, "stuck", "faulty", &["--fuel", "1000000000000000"]);
    cluster.register("more", "sender", 1);
    let here = serve_all(&cluster, 0, &[&senders, &["more".to_owned()]], PRIMARY);
    let _there = serve_all(&cluster, 0, &[&receivers, &stuck], PRIMARY);
    // It has welcomed the stream before it stands still.
    cluster.send("more", "start", json!(["stuck", 1, 1, MESSAGE_BYTES]));
    wait_for_status(&cluster, "more", |status| {
        status["peers"][0]["state"] == "connected" && status["peers"][0]["unacknowledged"] == 0
    });
    let _asks = begin(&cluster, &["send", "--instance", "stuck", "--method", "spin", "--timeout", "600"]);
    // Its record is written while the guest has begun with it.
    let has_begun = |record: &serde_json::Value| record.to_string().contains("\"spin\"");
    while !cluster.log("stuck").iter().any(has_begun) {}
    // What is sent to it does not fit into what may be on its way.
    cluster.send("more", "start", json!(["stuck", MUCH, 10, LARGE_BYTES]));
    let bytes = MUCH * LARGE_BYTES;
    wait_for_status(&cluster, "more", |status| status["peers"][0]["unacknowledged_bytes"].as_u64() >= Some(bytes));
    start_streams(&cluster, COUNT, 100);
    check_complete(&cluster, COUNT);
    assert_eq!(connections_to(&here, address_of(&cluster, "receiver0").port()), 1);
    let status = cluster.status("more");
    assert_eq!(status["peers"][0]["unacknowledged"], MUCH, "nothing of it was acknowledged");
}

#[test]
fn when_either_host_dies_all_streams_go_on_where_they_were() {
    const COUNT: u64 = 30_000;
    let cluster = cluster();
    let (senders, receivers) =
        (register_all(&cluster, "sender", "sender", 2), register_all(&cluster, "receiver", "receiver", 2));
    let mut here = serve_all(&cluster, 0, &[&senders], PRIMARY);
    let mut there = serve_all(&cluster, 0, &[&receivers], PRIMARY);
    let here_next = serve_all(&cluster, 1, &[&senders], STANDBY);
    let there_next = serve_all(&cluster, 1, &[&receivers], STANDBY);
    let wait_for_some = |share: u64| {
        for receiver in &receivers {
            let some = |report: &serde_json::Value| report[0].as_u64() >= Some(COUNT * share / 100);
            Session::new(&cluster, receiver).call_until("report", some);
        }
    };
    start_streams(&cluster, COUNT, 1);
    wait_for_some(10);
    there.kill();
    wait_for_some(40);
    here.kill();
    check_complete(&cluster, COUNT);
    assert_eq!(connections_to(&here_next, address_of(&cluster, "receiver0").port()), 1);
    drop(there_next);
}

/// What is said on a stream, as `docs/formats.md` has it.
fn on_stream(stream: u64, said: &[u8]) -> Vec<u8> {
    let (kind, contents) = (said[4], &said[12..]);
    frame(STREAM, &[&stream.to_le_bytes()[..], &[kind, 0, 0, 0, 0, 0, 0, 0], contents].concat())
}

fn host_hello(version: u8) -> Vec<u8> {
    let nothing = [0; 19];
    frame(CONTROL, &[&[HELLO, version][..], &nothing].concat())
}

fn stream_hello(version: u8, from: &str, uuid: [u8; 16], to: &str) -> Vec<u8> {
    frame(CONTROL, &[vec![HELLO, version], text(from), uuid.to_vec(), vec![1], text(to)].concat())
}

/// The next thing that is said on a stream: its number, the kind, and what.
fn next_on_stream(socket: &mut TcpStream) -> (u64, u8, Vec<u8>) {
    let (kind, body) = next_frame(socket);
    assert_eq!(kind, STREAM, "{}", String::from_utf8_lossy(&body));
    let number = u64::from_le_bytes(std::array::from_fn(|at| body[at]));
    (number, body[8], body[16..].to_vec())
}

#[test]
fn streams_of_one_connection_are_welcomed_and_refused_each_by_itself() {
    let cluster = cluster();
    cluster.register("receiver", "receiver", 1);
    cluster.register("sender", "sender", 1);
    let _host = serve_all(&cluster, 0, &[&["receiver".to_owned()]], PRIMARY);
    let mut socket = connect(&cluster, "receiver");
    // A later version than this one speaks: both speak this one.
    socket.write_all(&host_hello(9)).expect("the host listens");
    let (kind, welcome) = next_frame(&mut socket);
    assert_eq!((kind, &welcome[..2]), (CONTROL, &[HOST_WELCOME, 3][..]));
    let hello = |to| stream_hello(3, "sender", uuid(&cluster, "sender"), to);
    let hellos = [
        on_stream(1, &hello("nobody")),
        on_stream(2, &stream_hello(2, "sender", [7; 16], "receiver")),
        on_stream(3, &stream_hello(3, "sender", [7; 16], "receiver")),
        on_stream(4, &hello("receiver")),
    ];
    socket.write_all(&hellos.concat()).expect("the host listens");
    let mut refused = Vec::new();
    loop {
        let (stream, kind, said) = next_on_stream(&mut socket);
        match (kind, said.first()) {
            (CREDIT | CLOSE, _) => {}
            (CONTROL, Some(&REFUSED)) => refused.push((stream, String::from_utf8_lossy(&said).into_owned())),
            (CONTROL, Some(&WELCOME)) => {
                assert_eq!((stream, &said[1..17]), (4, &uuid(&cluster, "receiver")[..]));
                break;
            }
            other => panic!("{other:?} on stream {stream}"),
        }
    }
    refused.sort();
    let reasons =
        ["this host runs the instance receiver, not \"nobody\"", "versions 1 to 6", "the registry does not say"];
    for ((number, (stream, said)), reason) in (1..).zip(&refused).zip(reasons) {
        assert_eq!(*stream, number);
        assert!(said.contains(reason), "{said:?} does not give {reason:?}");
    }
    assert_eq!(refused.len(), 3);
    socket.write_all(&on_stream(4, &numbered(1, 5))).expect("the host listens");
    let acknowledged = loop {
        match next_on_stream(&mut socket) {
            (4, ACKNOWLEDGE, seq) => break seq,
            (_, CREDIT | CLOSE, _) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(acknowledged, 5_u64.to_le_bytes());
    socket.write_all(&on_stream(4, &frame(CLOSE, &[]))).expect("the host listens");
    while !matches!(next_on_stream(&mut socket), (4, CLOSE, _)) {}
    assert_eq!(cluster.send("receiver", "report", json!([])), json!([5, 0]));
}

#[test]
fn whoever_breaks_a_rule_of_streams_is_told_so_and_harms_nobody() {
    let cluster = cluster();
    let mut counter = crate::support::Replicas::of(&cluster, "counter", "counter", 1);
    cluster.register("sender", "sender", 1);
    let greet = |stream| on_stream(stream, &stream_hello(3, "sender", uuid(&cluster, "sender"), "counter"));
    let acknowledge = frame(ACKNOWLEDGE, &[0; 8]);
    for (bytes, reason) in [
        ([greet(1), greet(1)].concat(), "a second hello of stream 1"),
        (greet(2), "a hello of stream 2 where stream 1 comes next"),
        (on_stream(1, &numbered(1, 1)), "a frame of stream 1, which was never opened"),
        (
            [greet(1), on_stream(1, &acknowledge)].concat(),
            "a frame of kind Acknowledge that does not belong on stream 1",
        ),
        ([greet(1), on_stream(1, &frame(CREDIT, &[255; 8]))].concat(), "a frame of kind Credit that does not belong"),
        (host_hello(3), "a frame that does not belong here"),
        (numbered(1, 1), "a frame of unknown kind 2"),
        (on_stream(0, &frame(CLOSE, &[])), "a frame of kind Stream has a malformed body"),
        (frame(STREAM, &[1; 40]), "a reserved byte of a frame is not zero"),
    ] {
        let answer = sends_and_is_cut_off(&mut connect(&cluster, "counter"), &[host_hello(3), bytes].concat());
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains(reason), "{answer:?} does not give {reason:?}");
    }
    let answer = sends_and_is_cut_off(
        &mut connect(&cluster, "counter"),
        &stream_hello(3, "sender", uuid(&cluster, "sender"), "counter"),
    );
    assert!(String::from_utf8_lossy(&answer).contains("is said within a connection of streams"));
    check_unharmed(&cluster, &mut counter, 1);
}

#[test]
fn a_host_of_an_earlier_version_gets_a_connection_for_each_stream() {
    const COUNT: u64 = 40;
    let cluster = cluster();
    cluster.register("old", "receiver", 1);
    cluster.register("sender", "sender", 1);
    // This test is the host of the primary of `old`, and speaks what hosts spoke before there were streams.
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let store = FileStore::open(cluster.store()).expect("it is there");
    let log = store.instance(&InstanceName::new("old").expect("a plain name")).expect("it is registered").log();
    let presence = store.members(log).expect("it is there").enter(ReplicaIndex(0)).expect("nobody else runs it");
    let tail = store.log(log).expect("it is there").tail(Lsn(1)).expect("it begins there");
    let body = EpochBody { replica: ReplicaIndex(0), engine: [0; 32] };
    let reign = tail.acquire(Epoch(0), body, Timestamp(1), Box::new(|_, _| {})).expect("it has no primary");
    let address = listener.local_addr().expect("it has an address");
    presence.set_address(&address.into()).expect("there is room");
    presence.beat(Role::Primary);
    presence.publish_primary(reign.epoch);

    let _sender = cluster.start("sender", 0);
    let accept = || {
        let (socket, _) = listener.accept().expect("the sender connects");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a time above zero");
        socket
    };
    cluster.send("sender", "start", json!(["old", COUNT, 1, MESSAGE_BYTES]));
    let mut first = accept();
    assert_eq!(next_frame(&mut first), (CONTROL, host_hello(3)[12..].to_vec()), "it tries the newest version");
    let refusal = text("this host speaks versions 1 to 2 of the protocol, the other side version 3");
    first.write_all(&frame(CONTROL, &[vec![REFUSED, 0], refusal].concat())).expect("the sender listens");
    drop(first);
    let mut socket = accept();
    let (kind, hello) = next_frame(&mut socket);
    assert_eq!((kind, &hello[..2]), (CONTROL, &[HELLO, 1][..]));
    assert!(hello.ends_with(b"\x03old"), "{hello:?}");
    let welcome = [&[WELCOME][..], &uuid(&cluster, "old"), &[0]].concat();
    socket.write_all(&frame(CONTROL, &welcome)).expect("the sender listens");
    let mut next = 1;
    while next <= COUNT {
        let (kind, body) = next_frame(&mut socket);
        assert_eq!(kind, MESSAGES);
        assert_eq!(body[..8], next.to_le_bytes());
        next += u64::from(u32::from_le_bytes([body[8], body[9], body[10], body[11]]));
    }
    wait_for_status(&cluster, "sender", |status| status["peers"][0]["state"] == "connected");
    socket.write_all(&frame(ACKNOWLEDGE, &COUNT.to_le_bytes())).expect("the sender listens");
    wait_for_status(&cluster, "sender", |status| status["peers"][0]["unacknowledged"] == 0);
}
