//! Very many instances with a replica on each of three hosts, and a client of each.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_tests::{
    Sample, at_most, line, ms, note, processor_time,
    torture::{HOSTS, Interrupt, Site},
};
use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{bare_commits, clients::Clients, commits, database, site, transactions};

/// Nobody gives up a place in the course of it: deaths are what is measured.
const SERVE: &[&str] = &["--move-after", "60min"];

/// The goal says all of a thousand are served after two seconds; it stands for fewer, too.
const ALL_SERVED_GOAL: Duration = Duration::from_secs(2);

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A long time in which nobody may take over.
pub(crate) struct Hours {
    pub(crate) minutes: u64,
    pub(crate) load: usize,
}

pub(crate) fn crowd(instances: usize, time: Duration, hours: Hours, interrupt: &Interrupt) -> anyhow::Result<()> {
    let names: Vec<_> = (0..instances).map(|number| format!("i{number:05}")).collect();
    let began = Instant::now();
    let site = site(names.clone(), SERVE)?;
    note(&format!("{instances} instances registered, and the machines"), seconds(began.elapsed()));
    let mut crowd = Crowd { clients: None, site, instances };
    let began = Instant::now();
    (0..HOSTS.len()).try_for_each(|number| crowd.site.serve(number))?;
    crowd.wait(interrupt, "each has a primary", |crowd| {
        Ok(crowd.site.primaries(database(&crowd.site)?)?.len() == instances)
    })?;
    note("three hosts began: each has a primary after", seconds(began.elapsed()));
    crowd.site.wait_until_all_follow()?;
    note("three hosts began: all replicas follow after", seconds(began.elapsed()));
    crowd.memory("memory of an instance, in a host with all of them")?;
    crowd.idle(interrupt)?;
    let mut clients = Clients::begin(&crowd.site, &names)?;
    clients.once(interrupt)?;
    crowd.clients = Some(clients);
    crowd.busy(time, interrupt)?;
    crowd.host_with_all_dies(interrupt)?;
    if hours.minutes > 0 {
        // Last: hosts that begin behind it would have the log of all of it to read.
        crowd.site.machines.plug(HOSTS[0])?;
        crowd.site.wait_until_all_follow()?;
        crowd.clients().once(interrupt)?;
        crowd.long(&hours, interrupt)?;
    }
    let answers = crowd.clients().answers();
    note("requests answered, each done once", answers.to_string());
    Ok(())
}

struct Crowd {
    /// Ends before what it calls.
    clients: Option<Clients>,
    site: Site,
    instances: usize,
}

impl Crowd {
    fn clients(&mut self) -> &mut Clients {
        self.clients.as_mut().expect("they have begun")
    }

    fn wait(
        &mut self,
        interrupt: &Interrupt,
        what: &str,
        mut holds: impl FnMut(&Crowd) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + ambrosia_tests::PATIENCE * 10;
        while !holds(self)? {
            self.site.check_alive()?;
            ensure!(Instant::now() < deadline, "it never came that {what}");
            ensure!(!interrupt.wait(LOOK_INTERVAL), "interrupted");
        }
        Ok(())
    }

    fn memory(&self, what: &str) -> anyhow::Result<()> {
        let resident = |number| -> anyhow::Result<f64> {
            let pid = self.site.host(number).context("it runs")?.pid();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
            let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
            Ok(kib.context("the kernel tells it")?.parse()?)
        };
        let most = (0..HOSTS.len()).map(resident).collect::<anyhow::Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max);
        note(what, format!("{:.0} KiB", most / self.instances as f64));
        Ok(())
    }

    /// Processor time of all hosts.
    fn processor(&self) -> anyhow::Result<Duration> {
        let of = |number| anyhow::Ok(processor_time(self.site.host(number).context("it runs")?.pid())?);
        (0..HOSTS.len()).map(of).sum()
    }

    fn idle(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        const WATCHED: Duration = Duration::from_secs(5);
        let (before, cpu) = (transactions(&self.site)?, self.processor()?);
        if interrupt.wait(WATCHED) {
            anyhow::bail!("interrupted");
        }
        let (count, cpu) = (transactions(&self.site)? - before, self.processor()? - cpu);
        note("idle: transactions of the database a second", format!("{:.0}", count / WATCHED.as_secs_f64()));
        note(
            "idle: part of a core, three hosts together",
            format!("{:.0} %", cpu.as_secs_f64() * 100.0 / WATCHED.as_secs_f64()),
        );
        Ok(())
    }

    fn busy(&mut self, time: Duration, interrupt: &Interrupt) -> anyhow::Result<()> {
        const RATE_GOAL: f64 = 30_000.0;
        const COMMITS_GOAL: f64 = 0.05;
        let bare = Sample::new(bare_commits(&self.site, HOSTS[0], 300)?);
        note(
            "bare commit p50 / p99 (pgbench, TLS, standby), alone",
            format!("{:.2} / {:.2} ms", ms(bare.median()), ms(bare.quantile(0.99))),
        );
        let reigns = self.reigns()?;
        let mut clients = self.clients.take().context("they have begun")?;
        let seen = RefCell::new(Vec::new());
        let look = || {
            let counts = [transactions(&self.site)?, commits(&self.site)?];
            seen.borrow_mut().push((counts, self.processor()?, clients_processor()?));
            Ok(())
        };
        let rate = clients.busy(time, interrupt, look)?;
        self.clients = Some(clients);
        let seen = seen.into_inner();
        let [(before, cpu_before, own_before), (after, cpu_after, own_after)] = seen[..] else {
            anyhow::bail!("it is looked before and behind");
        };
        let count = rate * time.as_secs_f64();
        let [transactions, commits] = [0, 1].map(|of| (after[of] - before[of]) / count);
        line(
            &format!("requests/s, {} busy instances on 3 hosts", self.instances),
            rate,
            RATE_GOAL,
            "/s",
            rate / RATE_GOAL,
        );
        line("commits of the database a request", commits, COMMITS_GOAL, "", COMMITS_GOAL / commits);
        note("transactions of the database a request, with those that only read", format!("{transactions:.3}"));
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / count;
        note("CPU of the hosts a request", format!("{:.0} µs", micros(cpu_after - cpu_before)));
        note("CPU of the clients a request", format!("{:.0} µs", micros(own_after - own_before)));
        line("reigns that ended meanwhile", self.reigns()? - reigns, 0.0, "", 1.0);
        Ok(())
    }

    /// Nobody may take over while all are busy and the machine is, too.
    fn long(&mut self, hours: &Hours, interrupt: &Interrupt) -> anyhow::Result<()> {
        let reigns = self.reigns()?;
        let ends = Arc::new(AtomicBool::new(false));
        let burn = |ends: Arc<AtomicBool>| move || while !ends.load(Ordering::Relaxed) {};
        let burning: Vec<_> = (0..hours.load).map(|_| std::thread::spawn(burn(Arc::clone(&ends)))).collect();
        let rate = self.clients().busy(Duration::from_secs(hours.minutes * 60), interrupt, || Ok(()));
        ends.store(true, Ordering::Relaxed);
        burning.into_iter().for_each(|thread| drop(thread.join()));
        note(&format!("requests/s beside {} threads that use the processor", hours.load), format!("{:.0}", rate?));
        line(&format!("reigns that ended in {} min of it", hours.minutes), self.reigns()? - reigns, 0.0, "", 1.0);
        Ok(())
    }

    /// How many reigns there were, of all instances.
    fn reigns(&self) -> anyhow::Result<f64> {
        let status = self.site.status(database(&self.site)?)?;
        let all = status["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(all.iter().filter_map(|instance: &Value| instance["epoch"].as_f64()).sum())
    }

    /// One host has the primaries of all, and its machine is cut off.
    fn host_with_all_dies(&mut self, interrupt: &Interrupt) -> anyhow::Result<()> {
        let all_on = |crowd: &Crowd| {
            let primaries = crowd.site.primaries(database(&crowd.site)?)?;
            Ok(primaries.len() == crowd.instances && primaries.values().all(|host| *host == 0))
        };
        let began = Instant::now();
        self.site.kill(1)?;
        self.site.kill(2)?;
        let served = Sample::new(self.clients().once(interrupt)?);
        let third = "two of three processes killed";
        note(&format!("{third}: last of all clients served"), seconds(served.worst()));
        self.wait(interrupt, "one host has all", all_on)?;
        let began_again = Instant::now();
        self.site.serve(1)?;
        self.site.serve(2)?;
        self.site.wait_until_all_follow()?;
        note("two hosts began: all replicas follow after", seconds(began_again.elapsed()));
        note("since the two were killed", seconds(began.elapsed()));
        // All are connected with the host that has them.
        self.clients().once(interrupt)?;
        let cut = Instant::now();
        self.site.machines.cut(HOSTS[0])?;
        let served = Sample::new(self.clients().once(interrupt)?);
        let instances = self.instances;
        let began =
            |number| self.site.host(number).map(|host| host.stderr.times(|line| line.contains("became primary")));
        let began = [1, 2].into_iter().filter_map(began).flatten().filter(|at| *at > cut).map(|at| at - cut);
        let began = Sample::new(began.collect());
        let reigns = format!("{:.2} / {:.2} s", began.median().as_secs_f64(), began.worst().as_secs_f64());
        note(&format!("{} reigns began elsewhere, half / all after", began.count()), reigns);
        note(&format!("{instances} on a machine that is cut off: half served"), seconds(served.median()));
        note(&format!("{instances} on a machine that is cut off: 90 % served"), seconds(served.quantile(0.9)));
        at_most(&format!("{instances} on a machine that is cut off: all served"), served.worst(), ALL_SERVED_GOAL);
        Ok(())
    }
}

/// Processor time of this process, which has all clients.
fn clients_processor() -> anyhow::Result<Duration> {
    Ok(processor_time(std::process::id())?)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
