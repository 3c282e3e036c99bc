//! What a round plays on: both banks, their clients, the network, the disk, and what has been measured so far.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{bail, ensure};

use super::{
    disk::Disk,
    draw::Draw,
    interrupt::Interrupt,
    meter::Meter,
    network::Network,
    plan::Ground,
    workload::{Whose, Workload},
    world::{EACH, INSTANCES, World},
};
use crate::{Cluster, PATIENCE};

/// Service is back within this time of the last fault; only time counts in which the machine was running.
const SERVICE_BACK_WITHIN: Duration = Duration::from_secs(2);

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A round under way.
pub(crate) struct Stage {
    pub(crate) workload: Workload,
    pub(crate) world: World,
    pub(crate) meter: Meter,
    /// For what depends on how the round goes; the plan was drawn before.
    pub(crate) draw: Draw,
    /// Faults under way that keep the service from working.
    pub(crate) obstructions: usize,
    pub(crate) tally: Tally,
    interrupt: Interrupt,
    began: Instant,
    journal: File,
    /// Epoch and durable lsn of each instance when it was looked last.
    pub(crate) seen: [(u64, u64); 2],
    /// The disk of the store, if it has one of its own. It goes last.
    pub(crate) disk: Option<Disk>,
}

/// What a round has counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Faults by what they are.
    pub faults: BTreeMap<&'static str, u64>,
    /// Longest time from a fault, or from its end, to the service of both instances.
    pub worst_gap: Duration,
    /// The machine stood still, or was busy with others, for so long within that time.
    pub worst_gap_stalled: Duration,
    /// Requests acknowledged.
    pub requests: u64,
    /// Messages between the instances.
    pub messages: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Reigns of primaries.
    pub reigns: u64,
    /// Checkpoints that were there at the end.
    pub checkpoints: u64,
}

impl Tally {
    /// Counts a fault.
    pub(crate) fn count(&mut self, fault: &'static str) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Adds what another round has counted.
    pub fn add(&mut self, other: &Tally) {
        for (fault, count) in &other.faults {
            *self.faults.entry(fault).or_default() += count;
        }
        if other.worst_gap - other.worst_gap_stalled > self.worst_gap - self.worst_gap_stalled {
            (self.worst_gap, self.worst_gap_stalled) = (other.worst_gap, other.worst_gap_stalled);
        }
        self.requests += other.requests;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.reigns += other.reigns;
        self.checkpoints += other.checkpoints;
    }
}

impl Stage {
    /// Starts all replicas of a world in which none runs, and the clients; the service works.
    pub(crate) fn set(cluster: Cluster, ground: Ground, seed: u64, interrupt: Interrupt) -> anyhow::Result<Stage> {
        let began = Instant::now();
        let journal = File::create(cluster.file("journal"))?;
        let meter = Meter::start(cluster.directory())?;
        let disk = match ground {
            Ground::Disk => Some(Disk::mount(&cluster.store(), &cluster.file("disk.image"))?),
            _ => None,
        };
        let network = match ground {
            Ground::Plain | Ground::Disk => Network::Plain,
            Ground::Wired => Network::wired()?,
            Ground::Proxied => Network::proxied(seed)?,
        };
        let mut world = World::register(cluster, network);
        // The first one compiles the module for all.
        world.start(0, 0, &[])?;
        world.instances[0].running[&0].host.wait_until_primary();
        for (instance, replica) in world.down() {
            world.start(instance, replica, &[])?;
        }
        let workload = Workload::start(world.cluster.store(), seed, world.network.of_clients());
        let draw = Draw::new(!seed);
        let tally = Tally::default();
        let stage = Stage {
            workload,
            world,
            meter,
            draw,
            obstructions: 0,
            tally,
            interrupt,
            began,
            journal,
            seen: [(0, 0); 2],
            disk,
        };
        let now = Instant::now();
        for at in EACH {
            stage.workload.wait_for_answers(Whose::All(at), now)?;
        }
        Ok(stage)
    }

    /// Writes down what happens, for whoever looks at a failure.
    pub(crate) fn note(&mut self, what: &str) {
        let line = format!("{:9.3} {what}\n", self.began.elapsed().as_secs_f64());
        self.journal.write_all(line.as_bytes()).expect("the disk of the temporary directory can be written");
    }

    /// Lets time go by, which was drawn. An error if the round is to end.
    pub(crate) fn pause(&mut self, time: Duration) -> anyhow::Result<()> {
        if self.interrupt.wait(time) {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Looks again and again until there is what is waited for.
    pub(crate) fn wait_until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Stage) -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
            self.pause(LOOK_INTERVAL)?;
        }
    }

    /// Starts what does not run: of all instances, or only of those of which nothing runs.
    pub(crate) fn start_dead(&mut self, all: bool) -> anyhow::Result<()> {
        self.world.reap()?;
        let mut down = self.world.down();
        if !all {
            let dead = |at: usize| self.world.instances[at].running.is_empty();
            down.retain(|(at, _)| dead(*at));
        }
        self.draw.shuffle(&mut down);
        for (at, replica) in down {
            self.world.start(at, replica, &[])?;
            if self.draw.percent(30) {
                let pause = self.draw.millis(0..=300);
                self.pause(pause)?;
            }
        }
        Ok(())
    }

    /// Whether every instance has a replica that is able to serve, and can be reached.
    pub(crate) fn can_serve(&self) -> bool {
        self.obstructions == 0 && self.world.instances.iter().all(|instance| instance.can_serve())
    }

    /// Waits until every client of both instances is served again.
    pub(crate) fn wait_for_service(&mut self, since: Instant) -> anyhow::Result<()> {
        for at in EACH {
            self.wait_for_service_of(Whose::All(at), since)?;
        }
        Ok(())
    }

    /// Waits until these clients are served again, which must not take too long.
    pub(crate) fn wait_for_service_of(&mut self, whose: Whose, since: Instant) -> anyhow::Result<()> {
        let served = self.workload.wait_for_answers(whose, since)?;
        let gap = served - since;
        let stalled = self.meter.stalled(since, served).min(gap);
        if gap - stalled > self.tally.worst_gap - self.tally.worst_gap_stalled {
            (self.tally.worst_gap, self.tally.worst_gap_stalled) = (gap, stalled);
        }
        ensure!(
            gap - stalled <= SERVICE_BACK_WITHIN,
            "{} served again {gap:?} after the last fault (of which the machine was busy with others for {stalled:?})",
            INSTANCES[whose.instance()]
        );
        self.note(&format!("{whose:?} served {gap:.0?} after it, {stalled:.0?} of them not ours"));
        Ok(())
    }

    /// `status` must say what is: epochs and durable lsns never fall, and who is said to run does.
    pub(crate) fn check_status(&mut self) -> anyhow::Result<()> {
        for at in EACH {
            let status = self.world.status(at)?;
            let number = |name: &str| status[name].as_u64().unwrap_or(0);
            let now = (number("epoch"), number("durable_lsn"));
            let (epoch, durable) = self.seen[at];
            ensure!(now.0 >= epoch && now.1 >= durable, "the status fell behind ({epoch}, {durable}): {status:#}");
            self.seen[at] = now;
            for replica in status["replicas"].as_array().into_iter().flatten() {
                let number = replica["replica"].as_u64().and_then(|number| u16::try_from(number).ok());
                let running = number.and_then(|number| self.world.instances[at].running.get(&number));
                let pid = running.map(|running| u64::from(running.host.pid()));
                // One that was started just now is not seen yet.
                let said = replica["pid"].as_u64();
                ensure!(said.is_none() || said == pid, "{pid:?} is the process of a replica: {status:#}");
            }
        }
        Ok(())
    }
}
