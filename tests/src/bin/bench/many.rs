//! Many idle instances in one process: what each of them costs, and how fast all of them are taken over.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Limits, ReplicaIndex, Timestamp, limits};
use ambrosia_host::{entropy_u64, fresh_uuid};
use ambrosia_storage::{FileStore, Instances};
use ambrosia_tests::{Cluster, Host, processor_time};
use anyhow::Context;

use super::{at_most, line, note};

/// A slow machine takes this long to start all of them.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// For so long it is watched what idle ones do.
const IDLE_WATCHED: Duration = Duration::from_secs(10);

/// Between two looks at what a host has said.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

pub(crate) fn many(instances: usize) -> anyhow::Result<()> {
    let cluster = Cluster::new();
    register(&cluster, instances)?;
    let mut alone = serve(&cluster, &["--instance", &name(0)], 1, "became primary")?;
    let base = of_status(&alone, "VmRSS:")?;
    alone.kill();
    let began = Instant::now();
    let mut first = serve(&cluster, &["--all", "--replica", "0"], instances, "became primary")?;
    note("all are primary after", format!("{:.2} s", began.elapsed().as_secs_f64()));
    let cpu = idle_processor(&first)?;
    let count = instances as f64;
    let memory = of_status(&first, "VmRSS:")?.saturating_sub(base) as f64 / count;
    let disk = disk_use(&cluster.store().join("logs"))? as f64 / 1024.0 / count;
    let threads = of_status(&first, "Threads:")? as f64;
    for (figure, measured, goal, unit) in [
        (format!("threads of {instances} idle instances"), threads, 64.0, ""),
        ("memory of each".to_owned(), memory, 1024.0, "KiB"),
        ("disk of each".to_owned(), disk, 256.0, "KiB"),
        ("one core, by all".to_owned(), cpu * 100.0, 2.0, "%"),
    ] {
        line(&figure, measured, goal, unit, goal / measured.max(1e-9));
    }
    let second = serve(&cluster, &["--all", "--replica", "1"], instances, "caught up with the log")?;
    let threads = of_status(&second, "Threads:")? as f64;
    let cpu = idle_processor(&second)?;
    for (figure, measured, goal, unit) in [
        (format!("threads of {instances} idle standbys"), threads, 64.0, ""),
        ("one core, by all".to_owned(), cpu * 100.0, 2.0, "%"),
    ] {
        line(&figure, measured, goal, unit, goal / measured.max(1e-9));
    }
    let killed = Instant::now();
    first.kill();
    wait_for(&second, instances, "became primary")?;
    at_most(&format!("takeover of all {instances} after kill -9"), killed.elapsed(), Duration::from_secs(1));
    Ok(())
}

/// The part of a core that an idle host takes.
fn idle_processor(host: &Host) -> anyhow::Result<f64> {
    let before = processor_time(host.pid())?;
    std::thread::park_timeout(IDLE_WATCHED);
    Ok((processor_time(host.pid())? - before).as_secs_f64() / IDLE_WATCHED.as_secs_f64())
}

fn name(number: usize) -> String {
    format!("i{number:05}")
}

/// The first one by the program, which describes its module; the others as that would, without so many processes.
fn register(cluster: &Cluster, instances: usize) -> anyhow::Result<()> {
    cluster.register(&name(0), "counter", 2);
    let module = fs::read(cluster.guest("counter"))?;
    let store = FileStore::open(cluster.store())?;
    let limits = Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
    for number in 1..instances {
        let name = InstanceName::new(name(number))?;
        store.register(&name, &module, entropy_u64(), fresh_uuid(), limits, Timestamp(1))?;
        store.add_replica(&name, ReplicaIndex(1))?;
    }
    Ok(())
}

/// Serves until that word was said of each of them.
fn serve(cluster: &Cluster, which: &[&str], instances: usize, word: &str) -> anyhow::Result<Host> {
    let host = Host::start(cluster.command(&[&["serve"], which].concat()), |_| {})?;
    wait_for(&host, instances, word)?;
    Ok(host)
}

fn wait_for(host: &Host, count: usize, word: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while host.stderr.all().iter().filter(|line| line.contains(word)).count() < count {
        anyhow::ensure!(Instant::now() < deadline, "{word} was not said {count} times:\n{}", last_words(host));
        std::thread::park_timeout(LOOK_INTERVAL);
    }
    Ok(())
}

fn last_words(host: &Host) -> String {
    let lines = host.stderr.all();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A number of `/proc/PID/status`; memory is in KiB.
fn of_status(host: &Host, field: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid()))?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).with_context(|| format!("the kernel tells {field}"))
}

fn disk_use(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512 + if metadata.is_dir() { disk_use(&entry.path())? } else { 0 };
    }
    Ok(bytes)
}
