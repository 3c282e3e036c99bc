//! One instance with a replica on each of three hosts, and one client that calls it in a loop.

use std::time::{Duration, Instant};

use ambrosia_tests::{
    Answer, Caller, PATIENCE, Sample, at_most, ms, note, processor_time,
    torture::{CLIENTS, Databases, HOSTS, Interrupt, Site, client_apart},
};
use anyhow::{Context, ensure};
use serde_json::json;

use crate::{bare_commits, database, site, transactions};

const INSTANCE: &str = "one";

/// Nobody gives up a place in the course of it: deaths are what is measured.
const SERVE: &[&str] = &["--move-after", "60min"];

/// Commits and requests that are measured, in turn.
const TURNS: usize = 4;
const COMMITS: usize = 250;
const REQUESTS: usize = 500;

/// Before they are measured.
const WARM: usize = 50;

/// So many answers after a death, all is as before.
const ANSWERS: usize = 20;

struct Alone {
    /// Ends before what it calls.
    caller: Caller,
    site: Site,
}

pub(crate) fn alone(rounds: usize, failovers: usize, interrupt: &Interrupt) -> anyhow::Result<()> {
    let mut site = site(vec![INSTANCE.to_owned()], SERVE)?;
    (0..HOSTS.len()).try_for_each(|number| site.serve(number))?;
    site.wait_until_all_follow()?;
    interrupt.check()?;
    let before = requests(&site)?;
    let caller = call(&site, "bench")?;
    caller.wait_for(100);
    let mut alone = Alone { caller, site };
    let cut = (0..rounds).map(|_| interrupt.check().and_then(|()| alone.machine_dies()));
    tell("its machine is cut off", cut.collect::<anyhow::Result<_>>()?, (700, 1000));
    let killed = (0..rounds).map(|_| interrupt.check().and_then(|()| alone.process_dies()));
    tell("its process is killed", killed.collect::<anyhow::Result<_>>()?, (50, 50));
    let promoted = (0..failovers).map(|_| interrupt.check().and_then(|()| alone.database_dies()));
    tell("behind the promotion of the standby", promoted.collect::<anyhow::Result<_>>()?, (1000, 1000));
    let answers = alone.caller.stop()?;
    check(&answers, before)?;
    note("requests answered, each done once", (before + answers.len() as u64).to_string());
    Ok(())
}

/// A client that calls all the time.
fn call(site: &Site, name: &str) -> anyhow::Result<Caller> {
    let security = site.security_of_clients()?;
    let connect = move || client_apart(INSTANCE, security).expect("it is a plain name");
    Ok(site.machines.on(CLIENTS, || Caller::start(name, connect, "add", |_| json!([1]))))
}

/// Each answer is one more than the one before: nothing lost, nothing twice.
pub(crate) fn check(answers: &[Answer], before: u64) -> anyhow::Result<()> {
    for (answer, expected) in answers.iter().zip(before + 1..) {
        ensure!(answer.value == json!(expected), "answer {expected} was {}", answer.value);
    }
    Ok(())
}

/// Requests, and bare commits of the database from the machine of the primary, in turn: neither has the other beside it. Returns how many
/// requests there were.
fn requests(site: &Site) -> anyhow::Result<u64> {
    const GOAL: Duration = Duration::from_micros(400);
    let primary = primary(site)?;
    let pid = site.host(primary).context("it runs")?.pid();
    let (mut commits, mut times, mut done) = (Vec::new(), Vec::new(), 0);
    let (mut cpu, mut counted, mut took) = (Duration::ZERO, 0.0, Duration::ZERO);
    for turn in 0..TURNS {
        commits.extend(bare_commits(site, HOSTS[primary], COMMITS)?);
        let caller = call(site, &format!("turn-{turn}"))?;
        // It is connected, and knows who is primary.
        caller.wait_for(WARM);
        let (used, before, began) = (processor_time(pid)?, transactions(site)?, Instant::now());
        caller.wait_for(WARM + REQUESTS);
        took += began.elapsed();
        (cpu, counted) = (cpu + processor_time(pid)? - used, counted + transactions(site)? - before);
        let answers = caller.stop()?;
        check(&answers, done)?;
        done += answers.len() as u64;
        times.extend(answers[WARM..].iter().map(|answer| answer.answered - answer.called));
    }
    let (commits, count) = (Sample::new(commits), times.len() as f64);
    let (times, commit) = (Sample::new(times), commits.median());
    let quantiles = |sample: &Sample| format!("{:.2} / {:.2} ms", ms(sample.median()), ms(sample.quantile(0.99)));
    note("bare commit p50 / p99 (pgbench, TLS, standby)", quantiles(&commits));
    note("request p50 / p99", quantiles(&times));
    at_most("request, 1 client, p50: a commit + 0.4 ms", times.median(), commit + GOAL);
    note("request / bare commit, p50", format!("{:.2}", times.median().as_secs_f64() / commit.as_secs_f64()));
    note("CPU of its host a request", format!("{:.0} µs", cpu.as_secs_f64() * 1e6 / count));
    note("transactions of the database a request, by all", format!("{:.2}", counted / count));
    note("requests/s", format!("{:.0}", count / took.as_secs_f64()));
    Ok(done)
}

fn primary(site: &Site) -> anyhow::Result<usize> {
    // After a failover it is not known at once.
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(primary) = site.primaries(database(site)?)?.get(&0) {
            return Ok(*primary);
        }
        ensure!(Instant::now() < deadline, "nobody became primary");
    }
}

/// Gaps, the median and the worst, beside goals in milliseconds.
pub(crate) fn tell(what: &str, gaps: Vec<Duration>, goals: (u64, u64)) {
    if gaps.is_empty() {
        return;
    }
    let gaps = Sample::new(gaps);
    at_most(&format!("no answer: {what}, median of {}", gaps.count()), gaps.median(), Duration::from_millis(goals.0));
    at_most(&format!("no answer: {what}, worst of {}", gaps.count()), gaps.worst(), Duration::from_millis(goals.1));
}

impl Alone {
    /// Waits until it is as before; returns the longest time without an answer.
    fn gap_since(&self, since: Instant) -> Duration {
        self.caller.wait_for(self.caller.count() + ANSWERS);
        self.caller.longest_gap_since(since)
    }

    /// What others see of a machine that has no power any more: nothing.
    fn machine_dies(&mut self) -> anyhow::Result<Duration> {
        let primary = primary(&self.site)?;
        let dies = Instant::now();
        self.site.machines.cut(HOSTS[primary])?;
        let gap = self.gap_since(dies);
        self.site.kill(primary)?;
        self.site.machines.plug(HOSTS[primary])?;
        self.comes_back(primary)?;
        Ok(gap)
    }

    fn process_dies(&mut self) -> anyhow::Result<Duration> {
        let primary = primary(&self.site)?;
        let dies = Instant::now();
        self.site.kill(primary)?;
        let gap = self.gap_since(dies);
        self.comes_back(primary)?;
        Ok(gap)
    }

    fn comes_back(&mut self, host: usize) -> anyhow::Result<()> {
        self.site.serve(host)?;
        self.site.wait_until_all_follow()?;
        self.caller.wait_for(self.caller.count() + ANSWERS);
        Ok(())
    }

    /// Returns the time without an answer from the promotion on.
    fn database_dies(&mut self) -> anyhow::Result<Duration> {
        self.site.with_databases(|databases, _| databases.fail_over())?;
        let promoted = Instant::now();
        self.caller.wait_for(self.caller.count() + ANSWERS);
        let answers = self.caller.answers();
        let first = answers.iter().find(|answer| answer.answered > promoted).context("there are some")?;
        let gap = first.answered - promoted;
        self.site.with_databases(Databases::mend)?;
        self.site.wait_until_all_follow()?;
        self.caller.wait_for(self.caller.count() + ANSWERS);
        Ok(gap)
    }
}
