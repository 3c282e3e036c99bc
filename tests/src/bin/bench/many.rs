//! Many instances in one process: what each of them costs while it is idle and while it is busy, and how fast all of them are
//! taken over.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Limits, ReplicaIndex, Timestamp, limits};
use ambrosia_host::{entropy_u64, fresh_uuid};
use ambrosia_storage::{FileStore, Instances};
use ambrosia_tests::{Caller, Cluster, Host, client, processor_time};
use anyhow::Context;
use serde_json::json;

use super::{at_most, line, note};

/// A slow machine takes this long to start all of them.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// For so long it is watched what idle ones do.
const IDLE_WATCHED: Duration = Duration::from_secs(10);

/// For so long busy ones are called.
const BUSY_WATCHED: Duration = Duration::from_secs(10);

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

/// Instances that are busy.
const BUSY: usize = 100;

/// Each of them has been called that often before anything is measured.
const WARM: usize = 5;

/// What busy instances cost, in one process beside in one each.
pub(crate) fn busy() -> anyhow::Result<()> {
    let cluster = Cluster::new();
    register(&cluster, BUSY)?;
    let together = [serve(&cluster, &["--all"], BUSY, "became primary")?];
    let (rate, cpu) = called(&cluster, &together)?;
    drop(together);
    let cluster = Cluster::new();
    register(&cluster, BUSY)?;
    let apart: Vec<_> = (0..BUSY).map(|number| cluster.start(&name(number), 0)).collect();
    for host in &apart {
        host.wait_until_primary();
    }
    let (rate_apart, cpu_apart) = called(&cluster, &apart)?;
    note(&format!("requests/s of {BUSY} processes, a client each"), format!("{rate_apart:.0}"));
    line(&format!("requests/s of {BUSY} instances in one"), rate, rate_apart, "", rate / rate_apart);
    line("CPU a request, beside that of processes", cpu, cpu_apart, "µs", cpu_apart / cpu);
    Ok(())
}

/// Calls each instance in a loop for a while: requests a second of all, and the microseconds that the hosts work for one.
fn called(cluster: &Cluster, hosts: &[Host]) -> anyhow::Result<(f64, f64)> {
    let call = |number| {
        let (store, instance) = (cluster.store(), name(number));
        Caller::start(&instance.clone(), move || client(&store, &instance), "add", |_| json!([1]))
    };
    let callers: Vec<_> = (0..BUSY).map(call).collect();
    callers.iter().for_each(|caller| caller.wait_for(WARM));
    let answers = || callers.iter().map(Caller::count).sum::<usize>() as f64;
    let processor = || hosts.iter().map(|host| processor_time(host.pid())).sum::<std::io::Result<Duration>>();
    let (began, before, cpu) = (Instant::now(), answers(), processor()?);
    std::thread::park_timeout(BUSY_WATCHED);
    let (took, count, cpu) = (began.elapsed(), answers() - before, processor()? - cpu);
    for caller in callers {
        caller.stop()?;
    }
    Ok((count / took.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count))
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
pub(crate) fn of_status(host: &Host, field: &str) -> anyhow::Result<u64> {
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
