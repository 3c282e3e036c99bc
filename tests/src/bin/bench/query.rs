//! What a query costs beside an update of the same instance, in the same run.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::{Lsn, RequestId};
use ambrosia_host::encode_arguments;
use ambrosia_tests::{Cluster, PATIENCE, Sample, client, ms, processor_time};

use crate::{at_most, line, note, note_disk};

/// Updates and queries of the one client.
const COUNT: u64 = 2000;
/// Clients at a time, and for how long.
const CLIENTS: u64 = 64;
const SECONDS: u64 = 3;
/// Queries a second that are the goal with these.
const RATE_GOAL: f64 = 100_000.0;

pub(crate) fn query() -> anyhow::Result<()> {
    let cluster = Cluster::new();
    cluster.register("asked", "asked", 1);
    let host = cluster.start("asked", 0);
    host.wait_until_primary();
    note_disk(&cluster)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let _within = runtime.enter();
    let no_arguments = encode_arguments("[]", true)?;
    let mut one = client(&cluster.store(), "asked");
    let updates = runtime.block_on(async {
        let arguments = encode_arguments("[1]", true)?;
        let mut times = Vec::new();
        for number in 0..COUNT {
            let (request, began) = (RequestId::new(format!("{number}"))?, Instant::now());
            one.send(&request, "add", &arguments, true, PATIENCE).await?;
            times.push(began.elapsed());
        }
        anyhow::Ok(Sample::new(times))
    })?;
    let (first, queries, cpu) = runtime.block_on(async {
        let began = Instant::now();
        one.query("total", &no_arguments, Lsn(0), None, PATIENCE).await?;
        let first = began.elapsed();
        let (mut times, cpu) = (Vec::new(), processor_time(host.pid())?);
        for _ in 0..COUNT {
            let began = Instant::now();
            one.query("total", &no_arguments, Lsn(0), None, PATIENCE).await?;
            times.push(began.elapsed());
        }
        anyhow::Ok((first, Sample::new(times), processor_time(host.pid())? - cpu))
    })?;
    note("update p50 / p99", format!("{:.3} / {:.3} ms", ms(updates.median()), ms(updates.quantile(0.99))));
    note("query p50 / p99", format!("{:.3} / {:.3} ms", ms(queries.median()), ms(queries.quantile(0.99))));
    note("first query, for which memory moves", format!("{:.3} ms", ms(first)));
    note("CPU of the host a query, one client", format!("{:.1} µs", micros(cpu) / COUNT as f64));
    at_most("query p50, a quarter of an update's", queries.median(), updates.median() / 4);
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = client(&cluster.store(), "asked");
            let (stop, answered, arguments) = (Arc::clone(&stop), Arc::clone(&answered), no_arguments.clone());
            runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.query("total", &arguments, Lsn(0), None, PATIENCE).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    runtime.block_on(tokio::time::sleep(Duration::from_secs(1))); // until all are connected
    let me = std::process::id();
    let (before, cpu, mine) = (answered.load(Ordering::Relaxed), processor_time(host.pid())?, processor_time(me)?);
    let began = Instant::now();
    runtime.block_on(tokio::time::sleep(Duration::from_secs(SECONDS)));
    let count = answered.load(Ordering::Relaxed) - before;
    let (took, cpu, mine) = (began.elapsed(), processor_time(host.pid())? - cpu, processor_time(me)? - mine);
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        runtime.block_on(task)??;
    }
    note("CPU of the host a query, 64 clients", format!("{:.1} µs", micros(cpu) / count as f64));
    note("CPU of the clients a query, all 64", format!("{:.1} µs", micros(mine) / count as f64));
    let rate = count as f64 / took.as_secs_f64();
    line("queries, 64 clients", rate, RATE_GOAL, "/s", rate / RATE_GOAL);
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
