//! What a request of a program costs in a session, beside requests with ids of their own: of as many clients with a connection each, and
//! of as many tasks that share one. All three in one run, each with a store of its own.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, RequestId};
use ambrosia_host::{Session, SharedClient, StoreWhereabouts, encode_arguments, session_with};
use ambrosia_storage::StorePlace;
use ambrosia_tests::{Cluster, Host, PATIENCE, Sample, Signal, client, disk_sync_times, ms, processor_time};
use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::json;

use crate::{WITHOUT_CHECKPOINTS, line, said_number};

/// Requests that are under way at a time.
const UNDER_WAY: u64 = 64;

/// Restarts from a checkpoint that are measured.
const RESTARTS: usize = 5;

/// A session answers at least as many requests a second as clients with ids, which have a socket each.
const RATE_GOAL: f64 = 1.0;

/// What a way to send requests came to, each figure of one request but for the last four.
struct Went {
    rate: f64,
    host_us: f64,
    client_us: f64,
    flushes: f64,
    log_bytes: f64,
    fdatasync: Duration,
    replay: Duration,
    checkpoint: f64,
    restart: Duration,
}

pub(crate) fn sessions(requests: u64) -> anyhow::Result<()> {
    let clients = measure(requests, |cluster| async move {
        Ok((0..UNDER_WAY).map(|number| Asking::Alone(Box::new(client(&cluster.store(), "counter")), number)).collect())
    })?;
    let shared = measure(requests, |cluster| async move {
        let store = StorePlace::from(cluster.store().as_path()).open()?;
        let name = InstanceName::new("counter")?;
        let shared = Arc::new(SharedClient::new(name.clone(), StoreWhereabouts::new(store, name)?));
        Ok((0..UNDER_WAY).map(|number| Asking::Shared(Arc::clone(&shared), number)).collect())
    })?;
    let session = measure(requests, |cluster| async move {
        let store = StorePlace::from(cluster.store().as_path()).open()?;
        let session = session_with(store, InstanceName::new("counter")?, Session::new_id(), PATIENCE).await?;
        let session = Arc::new(session);
        Ok((0..UNDER_WAY).map(|_| Asking::InSession(Arc::clone(&session))).collect())
    })?;
    let each = [&clients, &shared, &session];
    println!("  {requests} requests, {UNDER_WAY} at a time");
    println!("  {:<34} {:>11} {:>13} {:>11} {:>14}", "", "64 clients", "one with ids", "a session", "ids : session");
    let row = |what: &str, figure: fn(&Went) -> f64, places: usize| {
        let [a, b, c] = each.map(figure);
        let ratio = |of: f64| if c > 0.0 { format!("{:.2}", of / c) } else { "-".to_owned() };
        println!("  {what:<34} {a:>11.places$} {b:>13.places$} {c:>11.places$} {:>6}, {:>6}", ratio(a), ratio(b));
    };
    row("requests/s", |went| went.rate, 0);
    row("CPU of the host, µs a request", |went| went.host_us, 2);
    row("CPU of the client, µs a request", |went| went.client_us, 2);
    row("flushes a request", |went| went.flushes, 4);
    row("log, bytes a request", |went| went.log_bytes, 1);
    row("fdatasync p50 meanwhile, ms", |went| ms(went.fdatasync), 3);
    row("replay of all of it, ms", |went| ms(went.replay), 0);
    row("newest checkpoint, KiB", |went| went.checkpoint / 1024.0, 1);
    row("restart from it, first answer, ms", |went| ms(went.restart), 1);
    let ratio = session.rate / clients.rate;
    line("requests/s in a session, beside clients", ratio, RATE_GOAL, "x", ratio / RATE_GOAL);
    Ok(())
}

/// Who asks one request after the other.
enum Asking {
    Alone(Box<ambrosia_host::Client>, u64),
    Shared(Arc<SharedClient>, u64),
    InSession(Arc<Session>),
}

impl Asking {
    async fn ask(&mut self, number: u64, arguments: &Bytes) -> anyhow::Result<()> {
        let id = |of: u64| RequestId::new(format!("{of}-{number}")).context("a short id");
        match self {
            Asking::Alone(client, of) => {
                client.send(&id(*of)?, "add", arguments, true, PATIENCE).await?;
            }
            Asking::Shared(client, of) => {
                client.send(&id(*of)?, "add", arguments.clone(), None, true, PATIENCE).await?;
            }
            Asking::InSession(session) => {
                session.call("add", arguments.clone()).await?;
            }
        }
        Ok(())
    }
}

fn measure<F>(requests: u64, connect: impl FnOnce(Arc<Cluster>) -> F) -> anyhow::Result<Went>
where
    F: Future<Output = anyhow::Result<Vec<Asking>>>,
{
    let cluster = Arc::new(Cluster::new());
    cluster.register("counter", "counter", 1);
    let mut host = cluster.start_with("counter", 0, WITHOUT_CHECKPOINTS, |_| {});
    host.wait_until_primary();
    let fdatasync = disk_sync_times(&cluster.store(), 200)?.median();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let connected = runtime.block_on(connect(Arc::clone(&cluster)))?;
    let used = || anyhow::Ok((processor_time(host.pid())?, processor_time(std::process::id())?));
    let (before, began) = (used()?, Instant::now());
    runtime.block_on(ask_all(connected, requests))?;
    let (took, after) = (began.elapsed(), used()?);
    let each = |time: Duration| time.as_secs_f64() * 1e6 / requests as f64;
    host.signal(Signal::Terminate);
    host.wait();
    let said = host.said();
    let told = |name| said_number(&said, name).with_context(|| format!("the host says {name} at its end"));
    let (flushes, bytes) = (told("flushes")? / requests as f64, told("bytes")? / requests as f64);
    let (host, replay) = replay(&cluster)?;
    let (checkpoint, restart) = restart(&cluster, host, requests)?;
    Ok(Went {
        rate: requests as f64 / took.as_secs_f64(),
        host_us: each(after.0 - before.0),
        client_us: each(after.1 - before.1),
        flushes,
        log_bytes: bytes,
        fdatasync,
        replay,
        checkpoint,
        restart,
    })
}

async fn ask_all(asking: Vec<Asking>, requests: u64) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let arguments = Bytes::from(encode_arguments("[1]", true)?);
    let mut tasks = tokio::task::JoinSet::new();
    for mut one in asking {
        let (next, arguments) = (Arc::clone(&next), arguments.clone());
        tasks.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= requests {
                    return anyhow::Ok(());
                }
                one.ask(number, &arguments).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// A new run, which has nothing but the log, and how long that took it.
fn replay(cluster: &Cluster) -> anyhow::Result<(Host, Duration)> {
    let host = cluster.start_with("counter", 0, WITHOUT_CHECKPOINTS, |_| {});
    host.wait_until_caught_up();
    let said = host.said();
    let seconds = said.split_once("caught up with the log in ").and_then(|(_, rest)| rest.split_once(' '));
    let seconds: f64 = seconds.context("the host says how long it took")?.0.parse()?;
    host.wait_until_primary();
    Ok((host, Duration::from_secs_f64(seconds)))
}

/// Bytes of a checkpoint, and how long a new run that has it takes to its first answer.
fn restart(cluster: &Cluster, mut host: Host, requests: u64) -> anyhow::Result<(f64, Duration)> {
    cluster.must(&["checkpoint", "--instance", "counter"]);
    let status = cluster.status("counter");
    let checkpoints = status["checkpoints"].as_array().context("status tells of checkpoints")?;
    let newest = checkpoints.iter().max_by_key(|checkpoint| checkpoint["lsn"].as_u64());
    let bytes = newest.and_then(|newest| newest["bytes"].as_f64()).context("there is a checkpoint")?;
    let mut times = Vec::new();
    for round in 1..=RESTARTS as u64 {
        host.kill();
        let began = Instant::now();
        host = cluster.start_with("counter", 0, WITHOUT_CHECKPOINTS, |_| {});
        let total = cluster.send("counter", "add", json!([1]));
        times.push(began.elapsed());
        ensure!(total == json!(requests + round), "after the restart the total is {total}");
    }
    Ok((bytes, Sample::new(times).median()))
}
