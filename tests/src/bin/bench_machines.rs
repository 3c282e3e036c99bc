//! The numbers of what machines do together, each beside its goal and beside what their database and disk do in the same run.
//!
//! Network namespaces are the machines: a database and its synchronous standby, three hosts, and clients, with TLS between all of them.

#[path = "bench_machines/alone.rs"]
mod alone;
#[path = "bench_machines/clients.rs"]
mod clients;
#[path = "bench_machines/crowd.rs"]
mod crowd;
#[path = "bench_machines/etcd.rs"]
mod etcd;

use std::{process::ExitCode, time::Duration};

use ambrosia_tests::{
    Cluster, disk_sync_times, headline, ms, note,
    torture::{
        Clocking, Disks, EngineKind, Interrupt, Machine, Setting, Site, machines_impossible, prefix, remove_leftovers,
    },
};
use clap::{Parser, ValueEnum};

/// Measures how long clients have no answer when machines and processes die, and what requests cost when their log is on another machine.
#[derive(Parser)]
#[command(after_help = "Examples:
  bench-machines                                   everything, in a few minutes
  bench-machines alone --rounds 50                 one instance: 50 deaths of machines, and 50 of processes
  bench-machines crowd --instances 1000            a thousand instances: all busy, and all on a machine that dies
  bench-machines crowd --minutes 60 --load 20      an hour in which all are busy and nobody may take over

It needs root, ip and tc for network namespaces, and PostgreSQL; what can't be measured here is SKIPPED, which it says.")]
struct Arguments {
    /// What to measure; by default everything
    #[arg(value_enum)]
    what: Vec<What>,
    /// Deaths of each kind of one host
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: usize,
    /// Failovers of the engine, of each kind
    #[arg(long, value_name = "N", default_value_t = 3)]
    failovers: usize,
    /// Instances that are all busy, and all on a host that dies
    #[arg(long, value_name = "N", default_value_t = 200)]
    instances: usize,
    /// Seconds for which all are busy
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Minutes for which all are busy, beside that, in which nobody may take over
    #[arg(long, value_name = "N", default_value_t = 0)]
    minutes: u64,
    /// Threads that do nothing but use the processor meanwhile
    #[arg(long, value_name = "N", default_value_t = 20, requires = "minutes")]
    load: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// One instance and one client: a request, deaths of its host, and of the database
    Alone,
    /// Very many instances
    Crowd,
    /// One instance and one client, on etcd
    Etcd,
}

fn main() -> ExitCode {
    match bench(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-machines: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> anyhow::Result<()> {
    remove_leftovers()?;
    let interrupt = Interrupt::on_signals()?;
    if let Some(reason) = machines_impossible(EngineKind::Postgres) {
        println!("SKIPPED machines: {reason}");
        return Ok(());
    }
    let wanted = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    headline();
    if wanted(What::Alone) {
        alone::alone(arguments.rounds, arguments.failovers, &interrupt)?;
    }
    if wanted(What::Etcd) {
        etcd::etcd(arguments.failovers, &interrupt)?;
    }
    if wanted(What::Crowd) {
        let hours = crowd::Hours { minutes: arguments.minutes, load: arguments.load };
        crowd::crowd(arguments.instances, Duration::from_secs(arguments.seconds), hours, &interrupt)?;
    }
    Ok(())
}

/// Bytes of a bare commit of the database: a record of a small request has about as many.
const COMMIT_BYTES: usize = 100;

/// Machines and a database; counters are registered, and no host runs yet.
fn site(instances: Vec<String>, serve: &'static [&'static str]) -> anyhow::Result<Site> {
    let instances = instances.into_iter().map(|name| (name, 3)).collect();
    let (engine, disks) = (EngineKind::Postgres, Disks::Shared);
    let clocks = Clocking::Own;
    let setting = Setting { engine, disks, guest: "counter", instances, serve, clocks };
    let site = Site::prepare(Cluster::with_prefix(&prefix("bench")), setting)?;
    let disk = disk_sync_times(site.cluster.directory(), 200)?;
    note("fdatasync p50 / p99 of this disk", format!("{:.3} / {:.3} ms", ms(disk.median()), ms(disk.quantile(0.99))));
    Ok(site)
}

/// How long bare commits take that the database is asked for from that machine.
fn bare_commits(site: &Site, from: Machine, count: usize) -> anyhow::Result<Vec<Duration>> {
    let databases = site.databases()?;
    let commit = || databases.in_office().0.bare_commits(databases.password(), COMMIT_BYTES, count);
    Ok(site.machines.on(from, commit)?)
}

/// Transactions of the database so far, of all who use it. It tells of them up to a second late.
fn transactions(site: &Site) -> anyhow::Result<f64> {
    let count =
        site.databases()?.in_office().0.sql("select xact_commit from pg_stat_database where datname = 'postgres'");
    Ok(count.trim().parse()?)
}

/// Commits of the database so far: its transactions that have written something.
fn commits(site: &Site) -> anyhow::Result<f64> {
    let count = site.databases()?.in_office().0.sql("select pg_snapshot_xmax(pg_current_snapshot())");
    Ok(count.trim().parse()?)
}

/// Which machine the database is on that is primary.
fn database(site: &Site) -> anyhow::Result<Machine> {
    Ok(site.databases()?.in_office().1)
}
