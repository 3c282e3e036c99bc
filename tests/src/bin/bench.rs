//! The numbers of the README, each beside its goal and beside what the disk does in the same minute.

#[path = "bench/door.rs"]
mod door;
#[path = "bench/events.rs"]
mod events;
#[path = "bench/many.rs"]
mod many;
#[path = "bench/query.rs"]
mod query;
#[path = "bench/sessions.rs"]
mod sessions;
#[path = "bench/travel.rs"]
mod travel;

use std::time::{Duration, Instant};

use ambrosia_core::RequestId;
use ambrosia_host::encode_arguments;
use ambrosia_tests::{
    Caller, Cluster, Host, PATIENCE, Sample, Signal, at_most, client, disk_sync_times, headline, line, ms, note,
    processor_time,
};
use anyhow::Context;
use clap::{Parser, ValueEnum};
use serde_json::json;

/// Measures takeovers, throughput, round trips, restarts and checkpoints of the real program.
#[derive(Parser)]
struct Arguments {
    /// What to measure; by default everything
    #[arg(value_enum)]
    what: Vec<What>,
    /// Takeovers to measure
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// Takeovers after SIGSTOP to measure
    #[arg(long, default_value_t = 20)]
    pauses: usize,
    /// Messages of one run of the throughput
    #[arg(long, default_value_t = 3_000_000)]
    messages: u64,
    /// Requests of the history before a restart, and of the one that is travelled
    #[arg(long, default_value_t = 1_000_000)]
    history: u64,
    /// Requests of each way to send them that is beside a session, and in it
    #[arg(long, default_value_t = 200_000)]
    requests: u64,
    /// Messages before the restart of a receiver
    #[arg(long, default_value_t = 10_000_000)]
    long: u64,
    /// Instances of one process
    #[arg(long, default_value_t = 1000)]
    instances: usize,
    /// Idle connections of HTTP
    #[arg(long, default_value_t = 10_000)]
    connections: u64,
    /// Those who listen to events
    #[arg(long, default_value_t = 1000)]
    listeners: usize,
    /// Seconds for which the disk in use is watched
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Takeover,
    Pause,
    Throughput,
    Send,
    /// Queries beside updates
    Query,
    /// Requests in a session, beside requests with ids
    Sessions,
    Restart,
    /// How fast a log is replayed, beside how fast it came to be
    Replay,
    /// A receiver that has handled very many messages, restarted
    Long,
    /// Disk in use while messages come without an end, as lines to be plotted
    Disk,
    /// Very many idle instances in one process, and 100 busy ones beside as many processes
    Many,
    /// Journeys to any record of a log
    Travel,
    /// HTTP, beside `send` and a server that makes nothing durable
    Door,
    /// Events at very many who listen over HTTP
    Events,
    /// That server, until it is ended
    #[value(hide = true)]
    Plain,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.what.contains(&What::Plain) {
        return door::plain();
    }
    let wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    headline();
    if wanted(What::Send) {
        round_trips()?;
    }
    if wanted(What::Query) {
        query::query()?;
    }
    if wanted(What::Sessions) {
        sessions::sessions(arguments.requests)?;
    }
    if wanted(What::Throughput) {
        throughput(arguments.messages)?;
    }
    if wanted(What::Restart) {
        restart(arguments.history)?;
    }
    if wanted(What::Replay) {
        replay(arguments.messages)?;
    }
    if wanted(What::Long) {
        long(arguments.long)?;
    }
    if wanted(What::Disk) {
        disk(Duration::from_secs(arguments.seconds))?;
    }
    if wanted(What::Many) {
        many::many(arguments.instances)?;
        many::busy()?;
    }
    if wanted(What::Travel) {
        travel::travel(arguments.history)?;
    }
    if wanted(What::Door) {
        door::door(arguments.connections)?;
    }
    if wanted(What::Events) {
        events::events(arguments.listeners)?;
    }
    if wanted(What::Takeover) {
        takeovers(arguments.rounds)?;
    }
    if wanted(What::Pause) {
        pauses(arguments.pauses)?;
    }
    Ok(())
}

fn note_disk(cluster: &Cluster) -> anyhow::Result<()> {
    let times = disk_sync_times(&cluster.store(), 200)?;
    note("fdatasync p50 / p99 of this disk", format!("{:.3} / {:.3} ms", ms(times.median()), ms(times.quantile(0.99))));
    Ok(())
}

fn round_trips() -> anyhow::Result<()> {
    const COUNT: usize = 2000;
    let cluster = Cluster::new();
    cluster.register("counter", "counter", 1);
    let mut host = cluster.start("counter", 0);
    host.wait_until_primary();
    note_disk(&cluster)?;
    let (cpu, began) = (processor_time(host.pid())?, Instant::now());
    let caller = call_counter(&cluster);
    caller.wait_for(COUNT);
    let answers = caller.stop()?;
    let cpu = processor_time(host.pid())? - cpu;
    note_disk(&cluster)?;
    let times = Sample::new(answers.iter().map(|answer| answer.answered - answer.called).collect());
    note("p99 / worst", format!("{:.2} / {:.2} ms", ms(times.quantile(0.99)), ms(times.worst())));
    note("requests/s", format!("{:.0}", answers.len() as f64 / began.elapsed().as_secs_f64()));
    note("CPU a request", format!("{:.1} µs", cpu.as_secs_f64() * 1e6 / answers.len() as f64));
    // The disk changes its pace from minute to minute, so the goal is set by the flushes of this very run.
    let flush = note_log(&mut host, answers.len() as u64).context("the host has said what its log did")?;
    at_most("send round trip, 1 client, p50", times.median(), flush + Duration::from_micros(300));
    Ok(())
}

/// Ends the host in order and prints what its log did; returns the median of its flushes.
fn note_log(host: &mut Host, messages: u64) -> Option<Duration> {
    host.signal(Signal::Terminate);
    host.wait();
    let said = host.said();
    let number = |name| said_number(&said, name);
    let (flushes, records, p50) = (number("flushes")?, number("records")?, number("flush_p50_us")?);
    note("flushes a message", format!("{:.4}", flushes / messages as f64));
    note("messages a record", format!("{:.1}", messages as f64 / records));
    note("flush p50 in the log", format!("{:.3} ms", p50 / 1e3));
    Some(Duration::from_secs_f64(p50 / 1e6))
}

/// The number that a host has told last under that name.
fn said_number(said: &str, name: &str) -> Option<f64> {
    let rest = said.rsplit_once(&format!(" {name}="))?.1;
    rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?.parse().ok()
}

fn call_counter(cluster: &Cluster) -> Caller {
    let store = cluster.store();
    Caller::start("bench", move || client(&store, "counter"), "add", |_| json!([1]))
}

fn throughput(messages: u64) -> anyhow::Result<()> {
    const GOAL: f64 = 300_000.0;
    let mut rates = Vec::new();
    for round in 0..3 {
        let cluster = Cluster::new();
        cluster.register("sender", "sender", 1);
        cluster.register("receiver", "receiver", 1);
        let (mut sender, mut receiver) = (cluster.start("sender", 0), cluster.start("receiver", 0));
        sender.wait_until_primary();
        receiver.wait_until_primary();
        if round == 0 {
            note_disk(&cluster)?;
        }
        let began = Instant::now();
        let cpu = processor_time(sender.pid())? + processor_time(receiver.pid())?;
        cluster.send("sender", "start", json!(["receiver", messages, 4096, 64]));
        let took = wait_for_all(&cluster, messages, began)?;
        let cpu = processor_time(sender.pid())? + processor_time(receiver.pid())? - cpu;
        let rate = messages as f64 / took.as_secs_f64();
        rates.push(rate);
        note("64-B forks/s, instance to instance", format!("{rate:.0}"));
        note("CPU a message, both hosts", format!("{:.3} µs", cpu.as_secs_f64() * 1e6 / messages as f64));
        note_log(&mut receiver, messages);
        note_log(&mut sender, messages);
    }
    rates.sort_by(f64::total_cmp);
    line("throughput, median of 3", rates[1] / 1e3, GOAL / 1e3, "k/s", rates[1] / GOAL);
    Ok(())
}

/// Asks the receiver until it has all messages, none twice and all in order.
fn wait_for_all(cluster: &Cluster, messages: u64, began: Instant) -> anyhow::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = client(&cluster.store(), "receiver");
        for ask in 0.. {
            let request = RequestId::new(format!("ask-{ask}"))?;
            let answer = client.send(&request, "report", &encode_arguments("[]", true)?, true, PATIENCE).await?;
            let ambrosia_host::Answered::Value(value) = answer else { continue };
            let report = ambrosia_host::decode_value(&value);
            anyhow::ensure!(report[1] == 0, "messages came out of order: {report}");
            if report[0] == messages {
                return Ok(began.elapsed());
            }
            anyhow::ensure!(began.elapsed() < Duration::from_secs(300), "only {report} came in 300 s");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("the loop ends by returning")
    })
}

fn restart(history: u64) -> anyhow::Result<()> {
    const CLIENTS: u64 = 64;
    let cluster = Cluster::new();
    cluster.register("counter", "counter", 1);
    let mut host = cluster.start("counter", 0);
    host.wait_until_primary();
    let began = Instant::now();
    make_history(&cluster, history, CLIENTS)?;
    let rate = history as f64 / began.elapsed().as_secs_f64();
    note("requests/s while history was made, 64 clients", format!("{rate:.0}"));
    let mut done = history;
    let mut measure = |what: &str| -> anyhow::Result<()> {
        let mut times = Vec::new();
        for _round in 0..20 {
            host.kill();
            let began = Instant::now();
            host = cluster.start("counter", 0);
            let total = cluster.send("counter", "add", json!([1]));
            times.push(began.elapsed());
            done += 1;
            anyhow::ensure!(total == json!(done), "after the restart the total is {total}");
        }
        let times = Sample::new(times);
        at_most(what, times.median(), Duration::from_millis(200));
        note("worst of 20", format!("{:.0} ms", ms(times.worst())));
        note_checkpoints(&cluster, "counter");
        Ok(())
    };
    measure(&format!("restart after {history} requests, first answer"))?;
    // The log may have been too short for one to be due.
    cluster.must(&["checkpoint", "--instance", "counter"]);
    measure("restart from a checkpoint with their results")
}

/// What is on the disk of an instance.
fn note_checkpoints(cluster: &Cluster, instance: &str) {
    let status = cluster.status(instance);
    let mib = |bytes: &serde_json::Value| format!("{:.1} MiB", bytes.as_f64().unwrap_or(0.0) / f64::from(1 << 20));
    let checkpoints = status["checkpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let bytes: u64 = checkpoints.iter().filter_map(|checkpoint| checkpoint["bytes"].as_u64()).sum();
    note("disk in use", mib(&status["disk_bytes"]));
    note("checkpoints", format!("{} with {}", checkpoints.len(), mib(&json!(bytes))));
    note("records in all / still in the log", format!("{} / from {}", status["durable_lsn"], status["first_lsn"]));
}

/// No checkpoint is taken in time.
const WITHOUT_CHECKPOINTS: &[&str] = &["--checkpoint-every", "1000GiB", "--recovery-target", "600min"];
/// Nothing is kept to be looked at.
const WITHOUT_HISTORY: &[&str] = &["--history", "0"];

/// A sender and a receiver that has all of so many messages; how long that took.
fn receive(messages: u64, options: &[&str]) -> anyhow::Result<(Cluster, Host, Host, Duration)> {
    let cluster = Cluster::new();
    cluster.register("sender", "sender", 1);
    cluster.register("receiver", "receiver", 1);
    let (sender, receiver) = (cluster.start("sender", 0), cluster.start_with("receiver", 0, options, |_| {}));
    sender.wait_until_primary();
    receiver.wait_until_primary();
    let began = Instant::now();
    cluster.send("sender", "start", json!(["receiver", messages, 4096, 64]));
    let took = wait_for_all(&cluster, messages, began)?;
    Ok((cluster, sender, receiver, took))
}

fn replay(messages: u64) -> anyhow::Result<()> {
    const GOAL: f64 = 1_000_000.0;
    let (cluster, _sender, mut receiver, live) = receive(messages, WITHOUT_CHECKPOINTS)?;
    receiver.kill();
    let receiver = cluster.start_with("receiver", 0, WITHOUT_CHECKPOINTS, |_| {});
    receiver.wait_until_caught_up();
    let said = receiver.said();
    let seconds = said.split_once("caught up with the log in ").and_then(|(_, rest)| rest.split_once(' '));
    let seconds: f64 = seconds.context("the host says how long it took")?.0.parse()?;
    let rate = messages as f64 / seconds;
    line("replay of 64-B messages", rate / 1e3, GOAL / 1e3, "k/s", rate / GOAL);
    let faster = live.as_secs_f64() / seconds;
    line("replay beside the live rate", faster, 5.0, "x", faster / 5.0);
    Ok(())
}

fn long(messages: u64) -> anyhow::Result<()> {
    let (cluster, _sender, mut receiver, live) = receive(messages, WITHOUT_HISTORY)?;
    note("64-B forks/s, with checkpoints", format!("{:.0}", messages as f64 / live.as_secs_f64()));
    let mut times = Vec::new();
    for _ in 0..10 {
        receiver.kill();
        let began = Instant::now();
        receiver = cluster.start_with("receiver", 0, WITHOUT_HISTORY, |_| {});
        let report = cluster.send("receiver", "report", json!([]));
        times.push(began.elapsed());
        anyhow::ensure!(report[0] == messages && report[1] == 0, "after the restart the report is {report}");
    }
    let times = Sample::new(times);
    at_most(&format!("restart after {messages} messages"), times.median(), Duration::from_millis(200));
    note("worst of 10", format!("{:.0} ms", ms(times.worst())));
    note_checkpoints(&cluster, "receiver");
    Ok(())
}

fn disk(time: Duration) -> anyhow::Result<()> {
    const STEP: Duration = Duration::from_secs(5);
    let cluster = Cluster::new();
    cluster.register("sender", "sender", 1);
    cluster.register("receiver", "receiver", 2);
    let start = |instance, replica| cluster.start_with(instance, replica, WITHOUT_HISTORY, |_| {});
    let hosts = [start("sender", 0), start("receiver", 0), start("receiver", 1)];
    for host in &hosts {
        host.wait_until_caught_up();
    }
    cluster.send("sender", "start", json!(["receiver", u64::MAX >> 16, 4096, 64]));
    let began = Instant::now();
    let mut most = 0.0_f64;
    println!("  seconds, receiver MiB, sender MiB, records of the receiver");
    while began.elapsed() < time {
        std::thread::park_timeout(STEP.min(time.saturating_sub(began.elapsed())));
        let mib = |instance| cluster.status(instance)["disk_bytes"].as_f64().unwrap_or(0.0) / f64::from(1 << 20);
        let (receiver, sender) = (mib("receiver"), mib("sender"));
        most = most.max(receiver);
        let records = &cluster.status("receiver")["durable_lsn"];
        println!("  {:.0}, {receiver:.1}, {sender:.1}, {records}", began.elapsed().as_secs_f64());
    }
    // Three checkpoints kept and one more upon another base, each with 64 MiB of log behind it, and segments ahead.
    line("disk of a receiver, at most", most, 1024.0, "MiB", 1024.0 / most);
    Ok(())
}

fn make_history(cluster: &Cluster, requests: u64, clients: u64) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..clients {
            let mut client = client(&cluster.store(), "counter");
            let share = requests / clients + u64::from(number < requests % clients);
            tasks.spawn(async move {
                for request in 0..share {
                    let id = RequestId::new(format!("{number}-{request}")).context("a short id")?;
                    client.send(&id, "add", &encode_arguments("[1]", true)?, true, PATIENCE).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    })
}

/// A primary and two standbys of a counter, with a client that calls in a loop.
struct Group {
    cluster: Cluster,
    hosts: Vec<Host>,
    caller: Caller,
}

impl Group {
    fn start() -> Group {
        let cluster = Cluster::new();
        cluster.register("counter", "counter", 3);
        let hosts: Vec<Host> = (0..3).map(|replica| cluster.start("counter", replica)).collect();
        for host in &hosts {
            host.wait_until_caught_up();
        }
        let caller = call_counter(&cluster);
        caller.wait_for(10);
        Group { cluster, hosts, caller }
    }

    fn primary(&self) -> usize {
        let began = Instant::now();
        loop {
            if let Some(replica) = self.cluster.status("counter")["primary"]["replica"].as_u64() {
                return replica as usize;
            }
            assert!(began.elapsed() < PATIENCE, "no replica became primary");
        }
    }

    /// Every answer is one more than the one before: nothing lost, nothing twice.
    fn check(self) -> anyhow::Result<()> {
        let answers = self.caller.stop()?;
        for (answer, expected) in answers.iter().zip(1_u64..) {
            anyhow::ensure!(answer.value == json!(expected), "answer {expected} was {}", answer.value);
        }
        Ok(())
    }
}

fn takeovers(rounds: usize) -> anyhow::Result<()> {
    let mut group = Group::start();
    note_disk(&group.cluster)?;
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        let primary = group.primary();
        let killed = Instant::now();
        group.hosts[primary].kill();
        group.caller.wait_for(group.caller.count() + 20);
        gaps.push(group.caller.longest_gap_since(killed));
        group.hosts[primary] = group.cluster.start("counter", primary as u16);
        group.hosts[primary].wait_until_caught_up();
        group.caller.wait_for(group.caller.count() + 20);
    }
    let gaps = Sample::new(gaps);
    at_most(&format!("takeover after kill -9, median of {rounds}"), gaps.median(), Duration::from_millis(50));
    at_most(&format!("takeover after kill -9, worst of {rounds}"), gaps.worst(), Duration::from_millis(250));
    group.check()
}

fn pauses(rounds: usize) -> anyhow::Result<()> {
    let group = Group::start();
    note_disk(&group.cluster)?;
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        let primary = group.primary();
        let stopped = Instant::now();
        group.hosts[primary].signal(Signal::Stop);
        group.caller.wait_for(group.caller.count() + 20);
        gaps.push(group.caller.longest_gap_since(stopped));
        group.hosts[primary].signal(Signal::Continue);
        group.caller.wait_for(group.caller.count() + 20);
    }
    let gaps = Sample::new(gaps);
    at_most(&format!("takeover after SIGSTOP, median of {rounds}"), gaps.median(), Duration::from_secs(1));
    at_most(&format!("takeover after SIGSTOP, worst of {rounds}"), gaps.worst(), Duration::from_secs(1));
    group.check()
}
