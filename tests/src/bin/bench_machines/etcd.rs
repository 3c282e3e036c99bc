//! A store on three members of etcd, of which the leader dies.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use ambrosia_host::{Addresses, Client};
use ambrosia_test_database::Etcd;
use ambrosia_tests::{
    Caller, Cluster, Host, Sample, at_most, ms, note,
    torture::{Interrupt, Machine, Machines, prefix},
};
use serde_json::json;

use crate::alone::{check, tell};

/// All of it is on one machine, whose loopback needs no TLS: members of etcd, hosts, and the client.
const HERE: Machine = Machine(0);
const HOSTS: [&str; 3] = ["127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7403"];

const REQUESTS: usize = 1000;
const COMMITS: usize = 300;
const ANSWERS: usize = 20;

pub(crate) fn etcd(failovers: usize, interrupt: &Interrupt) -> anyhow::Result<()> {
    let machines = Machines::begin(1)?;
    machines.on(HERE, || {
        let Some(mut etcd) = Etcd::begin(3, &[]) else { return Ok(()) };
        let mut cluster = Cluster::with_prefix(&prefix("bench-etcd"));
        cluster.set_env("AMBROSIA_STORE", etcd.url("bench"));
        cluster.set_env("AMBROSIA_CACHE", cluster.file("cache"));
        cluster.must(&["store", "init"]);
        let module = cluster.guest("counter");
        let module = module.to_str().expect("a plain path");
        cluster.must(&["register-instance", "--instance", "one", "--module", module, "--replicas", "3"]);
        let serve = |at: &&str| {
            let mut command: Command = cluster.command(&["serve", "--listen", at, "--advertise", at]);
            // Ctrl-C is for this process, which ends all of it.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
            Host::start(command, |_| {})
        };
        let hosts = HOSTS.iter().map(serve).collect::<Result<Vec<_>, _>>()?;
        for host in &hosts {
            host.wait_until_caught_up();
        }
        let connect = || {
            let name = InstanceName::new("one").expect("a plain name");
            let addresses = HOSTS.iter().map(|at| at.parse().expect("an address")).collect();
            Client::new(name.clone(), Addresses::new(name, addresses))
        };
        let caller = Caller::start("bench", connect, "add", |_| json!([1]));
        caller.wait_for(100);
        interrupt.check()?;
        requests(&etcd, &caller);
        let mut gaps = Vec::new();
        for _ in 0..failovers {
            interrupt.check()?;
            let leader = etcd.leader();
            let dies = Instant::now();
            etcd.kill(leader);
            caller.wait_for(caller.count() + ANSWERS);
            gaps.push(caller.longest_gap_since(dies));
            etcd.start(leader);
            caller.wait_for(caller.count() + ANSWERS);
        }
        tell("the leader of etcd is killed", gaps, (1000, 1000));
        check(&caller.stop()?, 0)
    })
}

/// Requests beside bare writes to etcd.
fn requests(etcd: &Etcd, caller: &Caller) {
    let leader = etcd.leader();
    let commit = |_| {
        let began = Instant::now();
        // A key and a value of some bytes, and a connection each.
        let put = etcd.gateway(leader, "/v3/kv/put", r#"{"key":"YmFyZQ==","value":"YmFyZSBjb21taXQ="}"#);
        put.map(|_| began.elapsed())
    };
    let commits: Vec<Duration> = (0..COMMITS).filter_map(commit).collect();
    let before = caller.count();
    caller.wait_for(before + REQUESTS);
    let answers = caller.answers();
    let times = Sample::new(answers[before..].iter().map(|answer| answer.answered - answer.called).collect());
    let commits = Sample::new(commits);
    note("bare write of etcd p50, over its gateway", format!("{:.2} ms", ms(commits.median())));
    at_most(
        "request on etcd, 1 client, p50: a write + 0.4 ms",
        times.median(),
        commits.median() + Duration::from_micros(400),
    );
}
