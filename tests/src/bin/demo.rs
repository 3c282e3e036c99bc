//! The walkthrough of the README, unattended: HelloWorld on three replicas, the primary killed again and again, and
//! the proof at the end that nothing was lost and nothing done twice.

use std::{collections::BTreeMap, process::ExitCode, time::Instant};

use ambrosia_tests::{Caller, Cluster, Host, Sample, Signal, ms};
use anyhow::{Context, ensure};
use clap::Parser;
use serde_json::{Value, json};

/// Shows HelloWorld on three replicas while their primary is killed again and again.
#[derive(Parser)]
struct Arguments {
    /// How often the primary is killed
    #[arg(long, default_value_t = 6)]
    kills: u32,
    /// Answered messages between two kills
    #[arg(long, default_value_t = 300)]
    messages: usize,
}

const REPLICAS: u16 = 3;

/// HelloWorld's client sends two messages of its own before the stream begins.
const FROM_CLIENT: u64 = 2;

fn main() -> ExitCode {
    match demo(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nTHE PROOF FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(arguments: &Arguments) -> anyhow::Result<()> {
    let cluster = Cluster::new();
    title("Register HelloWorld: a server with three replicas, and a client");
    cluster.register("server", "server", REPLICAS);
    cluster.register("client", "client3", 1);
    show_status(&cluster)?;

    title("Start all three replicas of the server: one becomes primary, the others follow it");
    let mut hosts: BTreeMap<u16, Host> = (0..REPLICAS).map(|replica| (replica, start(&cluster, replica))).collect();
    for host in hosts.values() {
        host.wait_until_caught_up();
    }
    primary_of(&cluster, &hosts)?;
    show_status(&cluster)?;

    title("Run the client: it sends a message, waits for the server's word, sends the next, and finishes");
    let mut client = cluster.start_with("client", 0, &[], |line| show("client", line));
    let code = client.wait().code();
    ensure!(code == Some(0), "the client ended with {code:?}:\n{}", client.said());

    title("A steady stream of messages to the server, while its primary is killed again and again");
    let store = cluster.store();
    let caller = Caller::start(
        "demo",
        move || ambrosia_tests::client(&store, "server"),
        "receive_message",
        |number| json!([format!("message {number}")]),
    );
    let mut gaps = Vec::new();
    for kill in 1..=arguments.kills {
        caller.wait_for(caller.count() + arguments.messages);
        let replica = primary_of(&cluster, &hosts)?;
        let host = hosts.get_mut(&replica).context("the primary is one of ours")?;
        let (pid, killed) = (host.pid(), Instant::now());
        host.signal(Signal::Kill);
        host.wait();
        caller.wait_for(caller.count() + 1 + arguments.messages / 10);
        let next = primary_of(&cluster, &hosts)?;
        let gap = caller.longest_gap_since(killed);
        gaps.push(gap);
        println!(
            "  kill {kill}: replica {replica} (process {pid}) was primary; replica {next} took over; the client waited \
             {:.1} ms",
            ms(gap)
        );
        hosts.insert(replica, start(&cluster, replica));
        hosts[&replica].wait_until_caught_up();
    }
    show_status(&cluster)?;

    title("The proof");
    let answers = caller.stop()?;
    prove(&cluster, &answers.iter().map(|answer| answer.value.clone()).collect::<Vec<_>>())?;
    let gaps = Sample::new(gaps);
    println!("  gap seen by the client: median {:.1} ms, worst {:.1} ms", ms(gaps.median()), ms(gaps.worst()));

    title("End all replicas in order, with SIGTERM");
    for host in hosts.values_mut() {
        host.signal(Signal::Terminate);
        ensure!(host.wait().success(), "a replica did not end well:\n{}", host.said());
    }
    println!("  done");
    Ok(())
}

/// The server answers each message with how many it has received, so a lost one leaves a gap in the answers and a
/// doubled one skips a number. The log must hold each message once, in order, besides.
fn prove(cluster: &Cluster, answers: &[Value]) -> anyhow::Result<()> {
    let sent = answers.len() as u64;
    let counts: Vec<u64> = answers.iter().map(|value| value.as_u64().unwrap_or(0)).collect();
    let lost = counts.iter().zip(FROM_CLIENT + 1..).filter(|(count, expected)| **count < *expected).count();
    let doubled = counts.iter().zip(FROM_CLIENT + 1..).filter(|(count, expected)| **count > *expected).count();
    let mut logged = Vec::new();
    for record in cluster.log("server") {
        let messages = record["messages"].as_array().cloned().unwrap_or_default();
        let received = messages.iter().filter(|message| message["source"] == "outside");
        let received = received.filter(|message| message["method"] == "receive_message");
        logged.extend(received.map(|message| message["arguments"][0].clone()));
    }
    let expected: Vec<Value> = (1..=sent).map(|number| json!(format!("message {number}"))).collect();
    println!("  messages sent {sent}, handled {}, lost {lost}, doubled {doubled}", logged.len());
    ensure!(lost == 0 && doubled == 0, "the server's counts are not one for each message");
    ensure!(logged == expected, "the log does not hold each message once and in order");
    Ok(())
}

fn start(cluster: &Cluster, replica: u16) -> Host {
    cluster.start("server", replica)
}

/// Waits until a replica that we run is primary; returns its number.
fn primary_of(cluster: &Cluster, hosts: &BTreeMap<u16, Host>) -> anyhow::Result<u16> {
    let deadline = Instant::now() + ambrosia_tests::PATIENCE;
    loop {
        let status = cluster.status("server");
        let primary = status["primary"]["replica"].as_u64().map(|replica| replica as u16);
        if let Some(replica) = primary.filter(|replica| hosts.contains_key(replica)) {
            return Ok(replica);
        }
        ensure!(Instant::now() < deadline, "no replica became primary: {status}");
    }
}

fn show_status(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.must(&["status"]).lines().for_each(|line| println!("  {line}"));
    Ok(())
}

fn title(text: &str) {
    println!("\n== {text}");
}

fn show(who: &str, line: &str) {
    if !line.trim().is_empty() {
        println!("  {who}: {line}");
    }
}
