//! Two banks in a store: the processes of their replicas, and what is known of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    sync::mpsc::{Receiver, Sender, channel},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{namespace::bind_to_this_thread, network::Network};
use crate::{Cluster, Host, PATIENCE, Reign, Signal};

/// The instances, by name.
pub(crate) const INSTANCES: [&str; 2] = ["left", "right"];
/// Each of them, as index.
pub(crate) const EACH: [usize; 2] = [0, 1];
/// How many replicas each has.
pub(crate) const REPLICAS: [u16; 2] = [3, 2];

/// The replicas of both banks in one store.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) network: Network,
    pub(crate) instances: [Instance; 2],
}

/// The replicas of one bank.
pub(crate) struct Instance {
    pub(crate) running: BTreeMap<u16, Running>,
    news: (Sender<Reign>, Receiver<Reign>),
    reigns: BTreeMap<u64, u16>,
    /// Processes that are gone.
    buried: usize,
    /// All that they have printed.
    printed: BTreeSet<String>,
}

/// Checkpoints are taken often, so that faults hit them too. The log is kept, since the whole of it is checked.
const CHECKPOINTS: &[&str] =
    &["--checkpoint-every", "512KiB", "--recovery-target", "50ms", "--keep-checkpoints", "2", "--keep-log"];

/// One process.
pub(crate) struct Running {
    pub(crate) host: Host,
    /// It has got SIGSTOP.
    pub(crate) stopped: bool,
    /// How it may end by itself, if it may.
    pub(crate) may_end: Option<MayEnd>,
}

/// An end that a fault brings about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MayEnd {
    /// By SIGKILL.
    Killed,
    /// With exit code 1, and these words.
    Saying(&'static str),
}

impl World {
    /// Registers both banks in an empty store.
    pub(crate) fn register(cluster: Cluster, network: Network) -> World {
        for (instance, replicas) in INSTANCES.into_iter().zip(REPLICAS) {
            cluster.register(instance, "bank", replicas);
        }
        World::of(cluster, network)
    }

    /// A store in which they are registered. Nobody runs yet.
    pub(crate) fn of(cluster: Cluster, network: Network) -> World {
        let none = || Instance {
            running: BTreeMap::new(),
            news: channel(),
            reigns: BTreeMap::new(),
            buried: 0,
            printed: BTreeSet::new(),
        };
        World { cluster, network, instances: [none(), none()] }
    }

    /// Starts a replica. `tracer` is a program with its arguments that starts it.
    pub(crate) fn start(&mut self, instance: usize, replica: u16, tracer: &[String]) -> anyhow::Result<()> {
        self.start_with(instance, replica, tracer, &[])
    }

    /// The same, with further arguments for `run`.
    pub(crate) fn start_with(
        &mut self,
        instance: usize,
        replica: u16,
        tracer: &[String],
        more: &[&str],
    ) -> anyhow::Result<()> {
        let number = replica.to_string();
        let mut arguments = vec!["run", "--instance", INSTANCES[instance], "--replica", &number];
        arguments.extend(CHECKPOINTS.iter().chain(more));
        let listen = self.network.listen(instance, replica);
        if let Some(listen) = &listen {
            arguments.extend(["--listen", listen]);
        }
        let mut command = traced(self.cluster.command(&arguments), tracer);
        bind_to_this_thread(&mut command);
        let news = self.instances[instance].news.0.clone();
        let hear = move |line: &str| {
            if let Some(reign) = Reign::parse(line) {
                // It fails only when the round is over.
                let _over = news.send(reign);
            }
        };
        let host = self.network.within(instance, || Host::start_heard(command, |_| {}, hear))??;
        let running = Running { host, stopped: false, may_end: None };
        let before = self.instances[instance].running.insert(replica, running);
        assert!(before.is_none(), "a replica that runs is not started");
        Ok(())
    }

    /// Replicas that don't run.
    pub(crate) fn down(&self) -> Vec<(usize, u16)> {
        let all = EACH.into_iter().flat_map(|at| (0..REPLICAS[at]).map(move |replica| (at, replica)));
        all.filter(|(at, replica)| !self.instances[*at].running.contains_key(replica)).collect()
    }

    /// SIGKILL to several at once; waits until they are gone.
    pub(crate) fn kill(&mut self, victims: &[(usize, u16)]) -> anyhow::Result<()> {
        for (at, replica) in victims {
            self.instances[*at].running[replica].host.signal(Signal::Kill);
        }
        for &(at, replica) in victims {
            let mut running = self.instances[at].running.remove(&replica).context("it ran just now")?;
            running.host.kill();
            self.bury(at, replica, &running)?;
        }
        Ok(())
    }

    /// SIGTERM; waits until it has handed over.
    pub(crate) fn end(&mut self, at: usize, replica: u16) -> anyhow::Result<()> {
        let mut running = self.instances[at].running.remove(&replica).context("it runs")?;
        running.host.signal(Signal::Terminate);
        if running.stopped {
            running.host.signal(Signal::Continue);
        }
        let status = running.host.wait();
        self.bury(at, replica, &running)?;
        // Until it is seen, a process does not catch signals.
        let unseen = status.signal() == Some(libc::SIGTERM) && !running.is_ready();
        let in_order = status.code() == Some(0);
        ensure!(in_order || unseen, "replica {replica} of {}, asked to end, ended with {status}", INSTANCES[at]);
        Ok(())
    }

    /// Finds those that have ended by themselves. It is an error if they must not, or say something else.
    pub(crate) fn reap(&mut self) -> anyhow::Result<Vec<(usize, u16)>> {
        let mut ended = Vec::new();
        for at in EACH {
            let instance = &mut self.instances[at];
            let gone = instance.running.iter_mut().filter_map(|(replica, running)| {
                let status = running.host.has_ended()?;
                Some((*replica, status))
            });
            for (replica, status) in gone.collect::<Vec<_>>() {
                let mut running = self.instances[at].running.remove(&replica).context("it was there")?;
                running.host.wait(); // until all that it said is read
                self.bury(at, replica, &running)?;
                let name = INSTANCES[at];
                ensure!(
                    running.may_end.is_some_and(|how| how.fits(status, &running.host.said())),
                    "replica {replica} of {name} ended by itself with {status}; it said:\n{}",
                    running.host.said()
                );
                ended.push((at, replica));
            }
        }
        Ok(ended)
    }

    /// Keeps what a process has said beside the store. What it printed nobody else may have printed.
    fn bury(&mut self, at: usize, replica: u16, running: &Running) -> anyhow::Result<()> {
        let instance = &mut self.instances[at];
        instance.buried += 1;
        let file = format!("said-by-{}-{replica}-as-process-{}", INSTANCES[at], instance.buried);
        for line in running.host.printed() {
            if let Some(twice) = instance.printed.replace(line) {
                bail!("{} printed {twice:?} twice, the second time by replica {replica}", INSTANCES[at]);
            }
        }
        let said = running.host.said();
        std::fs::write(self.cluster.file(&file), &said).context("keep what a host has said")?;
        if said.contains("panicked at") {
            bail!("replica {replica} of {} panicked; it said:\n{said}", INSTANCES[at]);
        }
        Ok(())
    }

    /// Keeps what all have said, for whoever looks at a failure.
    pub(crate) fn bury_all(&mut self) -> anyhow::Result<()> {
        let running = self.instances.iter().enumerate();
        let all: Vec<_> = running.flat_map(|(at, one)| one.running.keys().map(move |replica| (at, *replica))).collect();
        self.kill(&all)
    }

    /// The replica of the newest reign, if it runs.
    pub(crate) fn primary(&mut self, at: usize) -> anyhow::Result<Option<u16>> {
        self.instances[at].hear()?;
        let instance = &self.instances[at];
        Ok(instance.reigns.last_key_value().map(|(_, replica)| *replica).filter(|it| instance.running.contains_key(it)))
    }

    /// The same, when somebody has answered: what it said of its reign may still be on its way to us.
    pub(crate) fn wait_for_primary(&mut self, at: usize) -> anyhow::Result<u16> {
        loop {
            if let Some(primary) = self.primary(at)? {
                return Ok(primary);
            }
            let reign = self.instances[at].news.1.recv_timeout(PATIENCE);
            let reign = reign.context("somebody answered, and nobody has said that it is primary")?;
            self.instances[at].note(&reign)?;
        }
    }

    /// The newest epoch of which a primary has said that it is its own.
    pub(crate) fn epoch(&mut self, at: usize) -> anyhow::Result<u64> {
        self.instances[at].hear()?;
        Ok(self.instances[at].reigns.last_key_value().map_or(0, |(epoch, _)| *epoch))
    }

    /// What `status --json` says of an instance.
    pub(crate) fn status(&self, at: usize) -> anyhow::Result<Value> {
        let ran = self.cluster.run(&["status", "--instance", INSTANCES[at], "--json"]);
        ensure!(ran.code == 0, "status ended with {}: {}", ran.code, ran.stderr);
        let status: Value = serde_json::from_str(&ran.stdout).context("status prints JSON")?;
        Ok(status["instances"][0].clone())
    }
}

impl Instance {
    fn hear(&mut self) -> anyhow::Result<()> {
        while let Ok(reign) = self.news.1.try_recv() {
            self.note(&reign)?;
        }
        Ok(())
    }

    fn note(&mut self, reign: &Reign) -> anyhow::Result<()> {
        if let Some(other) = self.reigns.insert(reign.epoch, reign.replica) {
            bail!("epoch {} had two primaries: replicas {other} and {}", reign.epoch, reign.replica);
        }
        Ok(())
    }

    /// Whether there is a replica that can be primary at once.
    pub(crate) fn can_serve(&self) -> bool {
        self.running.values().any(|running| !running.stopped && running.may_end.is_none() && running.is_ready())
    }
}

impl Running {
    /// Whether it has read the log, so that it can be primary.
    pub(crate) fn is_ready(&self) -> bool {
        let lines = self.host.stderr.all();
        lines.iter().any(|line| line.contains("caught up with the log") || line.contains("became primary"))
    }
}

impl MayEnd {
    fn fits(self, status: ExitStatus, said: &str) -> bool {
        match self {
            MayEnd::Killed => status.signal() == Some(libc::SIGKILL),
            MayEnd::Saying(words) => status.code() == Some(1) && said.contains(words),
        }
    }
}

/// The same command, started by another one.
fn traced(command: Command, tracer: &[String]) -> Command {
    let Some((program, first)) = tracer.split_first() else { return command };
    let mut by = Command::new(program);
    by.args(first).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => by.env(name, value),
            None => by.env_remove(name),
        };
    }
    by
}
