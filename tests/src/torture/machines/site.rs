//! What runs on the machines: a database with its standby, three hosts, and what is known of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use ambrosia_test_database::Node;
use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::super::namespace::bind_to_this_thread;
use super::network::{Machine, Machines};
use crate::{Cluster, Host, PATIENCE, Signal};

/// Where the database and its standby are, whichever is which.
pub(crate) const NODES: [Machine; 2] = [Machine(0), Machine(1)];
pub(crate) const HOSTS: [Machine; 3] = [Machine(2), Machine(3), Machine(4)];
pub(crate) const CLIENTS: Machine = Machine(5);
const MACHINES: usize = 6;

/// Instances, and how many replicas each is to have.
pub(crate) const INSTANCES: [(&str, &str); 5] = [("i0", "3"), ("i1", "3"), ("i2", "3"), ("i3", "2"), ("i4", "2")];

/// Times that are short enough for what they bring about to happen in a round.
const SERVE: [&str; 4] = ["--host-grace", "3s", "--move-after", "2s"];

/// Checkpoints are taken often, so that faults hit them too.
const CHECKPOINTS: [&str; 4] = ["--checkpoint-every", "64KiB", "--keep-checkpoints", "2"];

const PASSWORD: &str = "hush";

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Where the host of a machine answers.
pub(crate) fn at(machine: Machine) -> String {
    format!("{}:7400", machine.address())
}

/// All machines of a round.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) machines: Machines,
    pub(crate) nodes: [Node; 2],
    /// Which node is primary.
    pub(crate) primary: usize,
    hosts: [Option<Host>; 3],
    /// Processes that are gone.
    buried: usize,
    /// All that the instances have printed, of processes that are gone.
    printed: BTreeSet<String>,
}

impl Site {
    /// Sets up everything; when this returns, all replicas follow.
    pub(crate) fn begin(cluster: Cluster) -> anyhow::Result<Site> {
        let machines = Machines::begin(MACHINES)?;
        // The user of the database goes through it; what is secret in it has modes of its own.
        fs::set_permissions(cluster.directory(), PermissionsExt::from_mode(0o711))?;
        let ca = cluster.file("ca");
        let dir = ca.to_str().context("a plain path")?;
        cluster.must(&["cert", "init", "--dir", dir]);
        for machine in NODES.iter().chain(&HOSTS) {
            cluster.must(&["cert", "issue", "--dir", dir, "--host", &machine.address()]);
        }
        cluster.must(&["cert", "issue", "--dir", dir, "--client", "caller"]);
        let node = |machine: Machine| -> anyhow::Result<Node> {
            let file = |ending: &str| ca.join(format!("{}.{ending}", machine.address()));
            let directory = cluster.file(&format!("database-{}", machine.0));
            let node = Node::new(&directory, &machine.address(), &file("crt"), &file("key"))?;
            node.context("PostgreSQL is not installed")
        };
        let nodes = [node(NODES[0])?, node(NODES[1])?];
        nodes[0].make(PASSWORD)?;
        let store = cluster.file("store.url");
        let (addresses, ca) = (NODES.map(Machine::address).join(","), ca.join("ca.crt"));
        let (url, ca) = ("postgres://ambrosia", ca.display());
        fs::write(&store, format!("{url}:{PASSWORD}@{addresses}/postgres?sslrootcert={ca}\n"))?;
        fs::set_permissions(&store, PermissionsExt::from_mode(0o600))?;
        let (hosts, printed) = (Default::default(), BTreeSet::new());
        let mut site = Site { cluster, machines, nodes, primary: 0, hosts, buried: 0, printed };
        site.start_node(0)?;
        site.follow(1)?;
        site.must(HOSTS[0], &["store", "init"])?;
        let module = site.cluster.guest("history");
        let module = module.to_str().context("a plain path")?;
        for (instance, replicas) in INSTANCES {
            let register = ["register-instance", "--instance", instance, "--module", module, "--replicas", replicas];
            site.must(HOSTS[0], &register)?;
        }
        (0..HOSTS.len()).try_for_each(|number| site.serve(number))?;
        site.wait_until_all_follow()?;
        Ok(site)
    }

    /// Starts the server of a node.
    pub(crate) fn start_node(&mut self, node: usize) -> anyhow::Result<()> {
        let Site { machines, nodes, .. } = self;
        let spawn = |command: &mut Command| machines.on(NODES[node], || bind_to_this_thread(command).spawn());
        Ok(nodes[node].start(spawn)?)
    }

    /// Has a node follow the primary, with a fresh copy; commits wait for it from then on.
    pub(crate) fn follow(&mut self, node: usize) -> anyhow::Result<()> {
        let (there, primary) = (NODES[node], &self.nodes[self.primary]);
        self.machines.on(there, || self.nodes[node].copy(primary))?;
        self.start_node(node)?;
        self.nodes[self.primary].wait_for_standby(true);
        self.nodes[self.primary].wait_until_followed();
        Ok(())
    }

    /// The program as somebody on that machine starts it.
    pub(crate) fn command(&self, machine: Machine, arguments: &[&str]) -> Command {
        let file = |name: &str| self.cluster.file("ca").join(name);
        let own = machine.address();
        let mut command = self.cluster.command(arguments);
        command.env_remove("AMBROSIA_STORE").env("AMBROSIA_STORE_FILE", self.cluster.file("store.url"));
        command.env("AMBROSIA_CACHE", self.cluster.file(&format!("cache-{own}")));
        command.env("AMBROSIA_TLS_CERT", file(&format!("{own}.crt"))).env("AMBROSIA_TLS_CA", file("ca.crt"));
        command.env("AMBROSIA_TLS_KEY", file(&format!("{own}.key")));
        command
    }

    /// Runs a verb there that must succeed; returns what it printed.
    pub(crate) fn must(&self, machine: Machine, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(machine, arguments);
        let output = self.machines.on(machine, || bind_to_this_thread(&mut command).output())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} on {machine:?} ended with {}: {said}", output.status);
        ensure!(!said.contains(PASSWORD), "{arguments:?} tells the password: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a host.
    pub(crate) fn serve(&mut self, number: usize) -> anyhow::Result<()> {
        assert!(self.hosts[number].is_none(), "a host is started that does not run");
        let at = at(HOSTS[number]);
        let mut arguments = vec!["serve", "--listen", &at, "--advertise", &at];
        arguments.extend(SERVE.iter().chain(&CHECKPOINTS));
        let mut command = self.command(HOSTS[number], &arguments);
        bind_to_this_thread(&mut command);
        self.hosts[number] = Some(self.machines.on(HOSTS[number], || Host::start(command, |_| {}))?);
        Ok(())
    }

    /// SIGKILL to a host; it is gone when this returns.
    pub(crate) fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        let mut host = self.hosts[number].take().context("it runs")?;
        host.kill();
        self.bury(number, &host)
    }

    /// A signal to a host.
    pub(crate) fn signal(&self, number: usize, signal: Signal) -> anyhow::Result<()> {
        self.hosts[number].as_ref().context("it runs")?.signal(signal);
        Ok(())
    }

    /// Nobody ends by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for number in 0..HOSTS.len() {
            if let Some(status) = self.hosts[number].as_mut().and_then(Host::has_ended) {
                let mut host = self.hosts[number].take().context("it was there")?;
                host.wait(); // until all that it said is read
                self.bury(number, &host)?;
                bail!("host {number} ended by itself with {status}; it said:\n{}", host.said());
            }
        }
        for (number, node) in self.nodes.iter_mut().enumerate() {
            ensure!(!node.has_ended()?, "the database on {:?} ended by itself: see its log", NODES[number]);
        }
        Ok(())
    }

    /// Ends all hosts in order.
    pub(crate) fn end_hosts(&mut self) -> anyhow::Result<()> {
        for number in 0..HOSTS.len() {
            let Some(mut host) = self.hosts[number].take() else { continue };
            host.signal(Signal::Terminate);
            let status = host.wait();
            self.bury(number, &host)?;
            ensure!(status.code() == Some(0), "host {number}, asked to end, ended with {status}");
        }
        Ok(())
    }

    /// Keeps what all have said, for whoever looks at a failure.
    pub(crate) fn bury_all(&mut self) -> anyhow::Result<()> {
        (0..HOSTS.len()).filter(|number| self.hosts[*number].is_some()).collect::<Vec<_>>().into_iter().try_for_each(
            |number| {
                // What stands still can be killed all the same.
                self.kill(number)
            },
        )
    }

    /// Keeps what a process has said beside the store. What it printed nobody else may have printed.
    fn bury(&mut self, number: usize, host: &Host) -> anyhow::Result<()> {
        self.buried += 1;
        let (said, file) = (host.said(), self.file_of(number));
        fs::write(file, &said).context("keep what a host has said")?;
        for line in host.printed() {
            if let Some(twice) = self.printed.replace(line) {
                bail!("{twice:?} was printed twice, the second time by host {number}");
            }
        }
        ensure!(!said.contains("panicked at"), "host {number} panicked; it said:\n{said}");
        ensure!(!said.contains(PASSWORD), "host {number} tells the password");
        Ok(())
    }

    fn file_of(&self, number: usize) -> PathBuf {
        self.cluster.file(&format!("said-by-host-{number}-as-process-{}", self.buried))
    }

    /// All that was printed, once all hosts are gone.
    pub(crate) fn printed(&self) -> &BTreeSet<String> {
        assert!(self.hosts.iter().all(Option::is_none), "who runs may print");
        &self.printed
    }

    /// What `status` says, asked from a machine that can reach the database.
    pub(crate) fn status(&self, from: Machine) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.must(from, &["status", "--json"])?)?)
    }

    /// On which host the primary of each instance is, as far as it is known.
    pub(crate) fn primaries(&self, from: Machine) -> anyhow::Result<BTreeMap<usize, usize>> {
        let status = self.status(from)?;
        let host_of = |instance: &Value| {
            let address = instance["primary"]["address"].as_str()?;
            HOSTS.iter().position(|machine| address == at(*machine))
        };
        let number_of = |instance: &Value| INSTANCES.iter().position(|(name, _)| instance["name"] == **name);
        let all = status["instances"].as_array().context("status lists instances")?;
        Ok(all.iter().filter_map(|instance| number_of(instance).zip(host_of(instance))).collect())
    }

    /// Waits until every instance has all its replicas, which have applied what is durable, and one of them reigns.
    pub(crate) fn wait_until_all_follow(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check_alive()?;
            let status = self.status(HOSTS[0])?;
            let Some(lacking) = lacking(&status) else { return Ok(()) };
            ensure!(Instant::now() < deadline, "{lacking} is not served by all its replicas: {status:#}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

/// An instance that lacks a replica or a primary.
fn lacking(status: &Value) -> Option<String> {
    let all = status["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let has_all = |name: &str, wanted: &str| {
        let Some(instance) = all.iter().find(|instance| instance["name"] == *name) else { return false };
        let replicas = instance["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
        // The log goes on meanwhile, so they are a few records behind.
        let follows = |replica: &&Value| {
            replica["role"] != "down"
                && replica["applied_lsn"]
                    .as_u64()
                    .zip(instance["durable_lsn"].as_u64())
                    .is_some_and(|(applied, durable)| applied + 1000 >= durable)
        };
        let count = replicas.iter().filter(follows).count();
        wanted.parse() == Ok(count) && instance["primary"]["address"].is_string()
    };
    INSTANCES.iter().find(|(name, wanted)| !has_all(name, wanted)).map(|(name, _)| (*name).to_owned())
}
