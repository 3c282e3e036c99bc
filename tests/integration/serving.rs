//! Replicas of many instances in one process.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use ambrosia_core::{CallId, Message, MessageKind, MethodId, push_message};
use ambrosia_tests::{Cluster, Host, PATIENCE, Signal};
use serde_json::json;

use crate::{
    support::{cluster, fails, register_with, role},
    wire,
};

/// Starts `serve` with these arguments.
pub(crate) fn serve(cluster: &Cluster, arguments: &[&str]) -> Host {
    let arguments = [&["serve"], arguments].concat();
    Host::start(cluster.command(&arguments), |_| {}).expect("the program can be started")
}

pub(crate) fn wait_for_primaries(host: &Host, instances: &[&str]) {
    for instance in instances {
        let whose = format!("{{instance={instance} replica=");
        let is_it = |line: &str| line.contains(&whose) && line.contains(": became primary ");
        let (_, said) = (host.stderr.wait_for(0, PATIENCE, is_it), host.said());
        let lines: Vec<_> = said.lines().filter(|line| is_it(line)).collect();
        assert!(!lines.is_empty(), "no {instance} became primary: {said}");
        assert!(lines.iter().all(|line| line.matches("instance=").count() == 1), "named twice: {lines:?}");
    }
}

const THREE: [&str; 3] = ["anna", "bert", "carl"];

#[test]
fn instances_of_one_process_are_served_at_one_address_and_taken_over_together() {
    let cluster = cluster();
    THREE.iter().for_each(|instance| cluster.register(instance, "counter", 2));
    let mut first = serve(&cluster, &["--instance", "anna", "--instance", "bert:0", "--instance", "carl"]);
    wait_for_primaries(&first, &THREE);
    let second = serve(&cluster, &["--all", "--replica", "1"]);
    for instance in THREE {
        second.wait_for_word(&format!("member{{instance={instance} replica=1}}: caught up with the log"));
    }
    let addresses = THREE.map(|instance| cluster.status(instance)["primary"]["address"].clone());
    assert!(addresses.iter().all(|address| *address == addresses[0]), "{addresses:?}");
    for (n, instance) in THREE.iter().enumerate() {
        assert_eq!(cluster.send(instance, "add", json!([n + 1])), n as u64 + 1);
    }
    first.kill();
    wait_for_primaries(&second, &THREE);
    for (n, instance) in THREE.iter().enumerate() {
        assert_eq!(cluster.send(instance, "add", json!([10])), n as u64 + 11);
    }
}

/// How many threads of that name a process has.
fn threads(host: &Host, name: &str) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("it runs");
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

#[test]
fn standbys_of_many_instances_share_the_threads_that_wait_for_their_primaries() {
    let cluster = cluster();
    let instances: Vec<_> = (0..20).map(|number| format!("i{number}")).collect();
    instances.iter().for_each(|instance| cluster.register(instance, "counter", 2));
    let mut first = serve(&cluster, &["--all", "--replica", "0"]);
    let names: Vec<_> = instances.iter().map(String::as_str).collect();
    wait_for_primaries(&first, &names);
    let second = serve(&cluster, &["--all", "--replica", "1"]);
    for instance in &instances {
        second.wait_for_word(&format!("member{{instance={instance} replica=1}}: caught up with the log"));
    }
    // Whoever has caught up begins to watch: by a thread that looks at all, and one that waits for the process.
    let deadline = Instant::now() + PATIENCE;
    while threads(&second, "processes") == 0 {
        assert!(Instant::now() < deadline, "nothing waits for the process of the primaries");
        thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!((threads(&second, "processes"), threads(&second, "vacancy")), (1, 1), "no thread waits for a lock");
    first.kill();
    wait_for_primaries(&second, &names);
}

/// A process that would be ended by the system for its memory, in the middle of its work, is not started.
#[test]
fn a_process_takes_no_more_guests_than_it_may_have_memory_for() {
    let cluster = cluster();
    for instance in ["anna", "bert"] {
        register_with(&cluster, instance, "counter", &["--memory-mib", "64"]);
    }
    let words = ["the guests of 2 instances may take 128 MiB of memory together, and this process may take 127 MiB"];
    fails(&cluster, &["serve", "--all", "--process-memory", "127MiB"], &words);
    let host = serve(&cluster, &["--all", "--process-memory", "128MiB"]);
    wait_for_primaries(&host, &["anna", "bert"]);
    cluster.must(&["upgrade", "--instance", "bert", "--memory-mib", "65", "--yes"]);
    drop(host);
    // As their logs say, not as they were registered.
    fails(&cluster, &["serve", "--all", "--process-memory", "128MiB"], &["may take 129 MiB of memory together"]);
}

/// A request for `echo` with a text of that many bytes, under an id that is always the same.
fn echo(bytes: usize) -> Vec<u8> {
    let mut arguments = vec![0x91, 0xdb];
    arguments.extend((bytes as u32).to_be_bytes());
    arguments.resize(arguments.len() + bytes, b'x');
    let (kind, method, call_id) = (MessageKind::Impulse, MethodId::of("echo"), CallId(0));
    let mut message = Vec::new();
    push_message(&mut message, Message { kind, method, call_id, arguments: &arguments });
    wire::frame(wire::REQUEST, &[&[2, 1, 4, 0][..], b"r2", b"echo", &message].concat())
}

/// Asks an instance for a large answer again and again, and takes no more of it once it comes.
fn takes_nothing(cluster: &Cluster, instance: &str) -> TcpStream {
    const ANSWER_BYTES: usize = 512 << 10;
    let mut socket = wire::connect(cluster, instance);
    // More than sockets take, and no more than a host lets wait for a client before it ceases to read it.
    let all = echo(ANSWER_BYTES).repeat(30);
    socket.write_all(&[wire::client_hello(2, instance), all].concat()).expect("it listens");
    socket.read_exact(&mut vec![0; 2 * ANSWER_BYTES]).expect("it answers");
    socket
}

#[test]
fn members_whose_clients_take_nothing_hold_up_no_other_at_the_end() {
    let cluster = cluster();
    // More than there are threads that drive members.
    let count = 8 * thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let stuck: Vec<_> = (0..count).map(|number| format!("a{number}")).collect();
    stuck.iter().for_each(|instance| cluster.register(instance, "counter", 1));
    cluster.register("z", "counter", 1);
    let mut host = serve(&cluster, &["--all"]);
    wait_for_primaries(&host, &stuck.iter().map(String::as_str).chain(["z"]).collect::<Vec<_>>());
    let _sockets: Vec<_> = stuck.iter().map(|instance| takes_nothing(&cluster, instance)).collect();
    host.signal(Signal::Terminate);
    assert_eq!(host.exit_code(), 0, "{}", host.said());
    // Each of the others has left its client a second to take what was sent to it.
    let said = host.said();
    let left: Vec<_> = said.lines().filter(|line| line.contains("handed over")).collect();
    assert_eq!(left.len(), count + 1, "{said}");
    let place = left.iter().position(|line| line.contains("instance=z ")).expect("it was counted");
    assert!(place < count / 2, "z waited for {place} of {count} others: {left:?}");
}

#[test]
fn who_fails_takes_nobody_along_and_each_line_says_whose_it_is() {
    let cluster = cluster();
    cluster.register("anna", "printer", 1);
    cluster.register("bert", "printer", 1);
    cluster.register("fails", "faulty", 1);
    let mut host = serve(&cluster, &["--all"]);
    wait_for_primaries(&host, &["anna", "bert", "fails"]);
    fails(&cluster, &["send", "--instance", "fails", "--method", "trap"], &["instance fails halted at lsn"]);
    host.wait_for_word("replica 0 of instance fails ended: instance fails halted at lsn");
    // Pieces of lines of two instances come by turns, and come out as lines.
    for (instance, method, text) in [
        ("anna", "mutter", "a piece "),
        ("bert", "say", "a line"),
        ("anna", "say", "and the rest"),
        ("bert", "mutter", "no end"),
    ] {
        cluster.send(instance, method, json!([text]));
    }
    host.signal(Signal::Terminate);
    assert_eq!(host.exit_code(), 1, "one has failed: {}", host.said());
    let printed: Vec<_> = host.printed().into_iter().filter(|line| !line.contains("primary")).collect();
    let wanted =
        ["anna: first start", "bert: first start", "bert: 1 a line", "anna: a piece 1 and the rest", "bert: no end"];
    assert!(wanted.iter().all(|line| printed.contains(&(*line).to_owned())), "{printed:?}");
    assert_eq!(printed.len(), wanted.len(), "{printed:?}");
    assert_eq!(role(&cluster.status("anna"), 0), "down");
}

#[test]
fn what_can_not_be_served_is_said_before_anything_is_started() {
    let cluster = cluster();
    cluster.register("anna", "counter", 1);
    fails(&cluster, &["serve", "--instance", "anna", "--instance", "nobody"], &["nobody"]);
    fails(&cluster, &["serve", "--instance", "anna:1"], &["instance anna has no replica 1", "add-replica"]);
    fails(&cluster, &["serve", "--instance", "anna", "--instance", "anna:1"], &["instance anna is named twice"]);
    let alone = cluster.start("anna", 0);
    alone.wait_until_primary();
    fails(
        &cluster,
        &["serve", "--all"],
        &["replica 0 of instance anna can't be served", "replica 0 is already running"],
    );
}
