//! What runs on the machines: an engine, three hosts, and what is known of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Limits, Timestamp, limits};
use ambrosia_etcd::EtcdStore;
use ambrosia_host::{Security, entropy_u64, fresh_uuid};
use ambrosia_postgres::PostgresStore;
use ambrosia_storage::{EnginePlace, Instances, StorePlace};
use ambrosia_test_database::{Authority, Lasting};
use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::super::{interrupt::Interrupt, namespace::bind_to_this_thread, tool::run_tool};
use super::{
    callers::security,
    clocks::Clocks,
    databases::{Databases, Disks, PASSWORD},
    members::Members,
    network::{Machine, Machines},
    plan::{EngineKind, FaultKind, HostFault, Paper},
};
use crate::{Cluster, Host, PATIENCE, Signal};

/// Where hosts are, behind those of the engine.
pub const HOSTS: [Machine; 3] = [Machine(3), Machine(4), Machine(5)];
/// Where clients are.
pub const CLIENTS: Machine = Machine(6);
const MACHINES: usize = 7;

/// Instances of torture, and how many replicas each is to have.
pub(crate) const INSTANCES: [(&str, u16); 5] = [("i0", 3), ("i1", 3), ("i2", 3), ("i3", 2), ("i4", 2)];

/// Times that are short enough for what they bring about to happen in a round of torture, and checkpoints that are taken often, so that
/// faults hit them too.
const TORTURE: [&str; 8] =
    ["--host-grace", "3s", "--move-after", "2s", "--checkpoint-every", "64KiB", "--keep-checkpoints", "2"];

/// What the hosts of a site have to run, and how.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What keeps the store.
    pub engine: EngineKind,
    /// Where a database has its data.
    pub disks: Disks,
    /// Of all instances.
    pub guest: &'static str,
    /// Their names, and how many replicas each is to have.
    pub instances: Vec<(String, u16)>,
    /// Further arguments of `serve`.
    pub serve: &'static [&'static str],
    /// What clock processes see.
    pub clocks: Clocking,
}

/// What clock processes of a site see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clocking {
    /// That of this machine.
    Own,
    /// Each that of its machine, which can be set wrong where that is possible here. To look at it takes some microseconds.
    Settable,
}

impl Setting {
    pub(crate) fn of_torture(engine: EngineKind) -> Setting {
        let instances = INSTANCES.iter().map(|(name, replicas)| ((*name).to_owned(), *replicas)).collect();
        Setting {
            engine,
            disks: Disks::Small,
            guest: "history",
            instances,
            serve: &TORTURE,
            clocks: Clocking::Settable,
        }
    }
}

/// Whoever was cut off finds the others again within this time.
const STATUS_PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Where the host of a machine answers.
pub fn at(machine: Machine) -> String {
    format!("{}:7400", machine.address())
}

/// Certificates and tokens, good ones and others.
pub struct Papers(PathBuf);

impl Papers {
    /// Makes those of all machines and of clients.
    fn issue(cluster: &Cluster) -> anyhow::Result<Papers> {
        let papers = Papers(cluster.file("ca"));
        let (dir, other) = (papers.0.clone(), cluster.file("other-ca"));
        let [dir, other] = [&dir, &other].map(|path| path.to_str().map(str::to_owned));
        let (dir, other) = (dir.context("a plain path")?, other.context("a plain path")?);
        for dir in [&dir, &other] {
            cluster.must(&["cert", "init", "--dir", dir]);
        }
        (0..MACHINES).map(Machine).for_each(|machine| {
            cluster.must(&["cert", "issue", "--dir", &dir, "--host", &machine.address()]);
        });
        cluster.must(&["cert", "issue", "--dir", &dir, "--client", "caller"]);
        cluster.must(&["cert", "issue", "--dir", &other, "--client", "caller"]);
        let key = fs::read_to_string(papers.0.join("ca.key"))?;
        let authority = Authority::of("Ambrosia CA", &key);
        for machine in HOSTS {
            let address = machine.address();
            cluster.must(&["cert", "issue", "--dir", &other, "--host", &address]);
            let expired = authority.certify_server(&address, Lasting::Past);
            fs::write(papers.0.join(format!("{address}-expired.crt")), expired.certificate)?;
            fs::write(papers.0.join(format!("{address}-expired.key")), expired.key)?;
        }
        Ok(papers)
    }

    /// The CA's certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.0.join("ca.crt")
    }

    /// Certificate and key of a machine, by its address, or of a client.
    pub(crate) fn of(&self, name: &str) -> (PathBuf, PathBuf) {
        pair(&self.0, name)
    }

    /// Those of a client whom another CA has signed.
    pub(crate) fn of_stranger(&self) -> (PathBuf, PathBuf) {
        pair(&self.0.with_file_name("other-ca"), "caller")
    }

    /// Those with which nobody believes that machine.
    fn bad(&self, machine: Machine, paper: Paper) -> (PathBuf, PathBuf) {
        let address = machine.address();
        match paper {
            Paper::Expired => self.of(&format!("{address}-expired")),
            Paper::Misnamed => self.of(&CLIENTS.address()),
            Paper::Foreign => pair(&self.0.with_file_name("other-ca"), &address),
        }
    }

    /// The file of the token of clients that have no certificate.
    pub(crate) fn token(&self) -> PathBuf {
        self.0.join("token")
    }

    /// That of a token that is none of the store.
    pub(crate) fn wrong_token(&self) -> PathBuf {
        self.0.join("wrong-token")
    }
}

fn pair(directory: &Path, name: &str) -> (PathBuf, PathBuf) {
    (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")))
}

/// What keeps the store.
pub(crate) enum Engine {
    Postgres(Databases),
    Etcd(Members),
}

impl Engine {
    fn begin(setting: &Setting, cluster: &Cluster, papers: &Papers, machines: &Machines) -> anyhow::Result<Engine> {
        Ok(match setting.engine {
            EngineKind::Postgres => Engine::Postgres(Databases::begin(cluster, papers, machines, setting.disks)?),
            EngineKind::Etcd => Engine::Etcd(Members::begin(cluster, papers, machines)?),
        })
    }

    fn url(&self, papers: &Papers) -> String {
        match self {
            Engine::Postgres(databases) => databases.url(papers),
            Engine::Etcd(members) => members.url(papers),
        }
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        match self {
            Engine::Postgres(databases) => databases.check_alive(),
            Engine::Etcd(members) => members.check_alive(),
        }
    }
}

/// All machines, and what runs on them. Processes belong to the thread that starts them.
pub struct Site {
    /// The machines.
    pub machines: Machines,
    /// What lets in whom.
    pub papers: Papers,
    engine: Engine,
    setting: Setting,
    hosts: [Option<Host>; 3],
    /// Processes that are gone.
    buried: usize,
    /// All that the instances have printed, of processes that are gone.
    printed: BTreeSet<String>,
    /// The files of all of them. They go last: whoever runs would write into what is removed.
    pub cluster: Cluster,
}

impl Site {
    /// Sets up everything; when this returns, all replicas follow.
    pub(crate) fn begin(cluster: Cluster, setting: Setting) -> anyhow::Result<Site> {
        let mut site = Site::prepare(cluster, setting)?;
        let token = site.must(HOSTS[0], &["token", "new", "--name", "callers", "--deed", "send", "--deed", "query"])?;
        write_secret(&site.papers.token(), token.trim())?;
        // Of the same form, and of no store.
        let wrong: String = token.trim().chars().map(|sign| if sign == 'a' { 'b' } else { sign }).collect();
        let wrong = if wrong == token.trim() { format!("{wrong}b") } else { wrong };
        write_secret(&site.papers.wrong_token(), &wrong)?;
        (0..HOSTS.len()).try_for_each(|number| site.serve(number))?;
        site.wait_until_all_follow()?;
        (0..HOSTS.len()).try_for_each(|number| copy(&site.cache(number), &site.old_cache(number)))?;
        Ok(site)
    }

    /// Sets up the machines and the engine, and registers all instances. No host runs yet.
    ///
    /// # Errors
    /// If any of it fails.
    pub fn prepare(cluster: Cluster, setting: Setting) -> anyhow::Result<Site> {
        let machines = Machines::begin(MACHINES)?;
        let machines = match setting.clocks {
            Clocking::Settable => machines.with_clocks(cluster.directory())?,
            Clocking::Own => machines,
        };
        // The user of the database goes through it; what is secret in it has modes of its own.
        fs::set_permissions(cluster.directory(), PermissionsExt::from_mode(0o711))?;
        let papers = Papers::issue(&cluster)?;
        let engine = Engine::begin(&setting, &cluster, &papers, &machines)?;
        write_secret(&cluster.file("store.url"), &engine.url(&papers))?;
        let (hosts, printed) = (Default::default(), BTreeSet::new());
        let site = Site { machines, papers, engine, setting, hosts, buried: 0, printed, cluster };
        site.must(HOSTS[0], &["store", "init"])?;
        site.register()?;
        Ok(site)
    }

    /// The first instance is registered by the program, which describes its module; the others as that would, without so many processes.
    fn register(&self) -> anyhow::Result<()> {
        let module = self.cluster.guest(self.setting.guest);
        let path = module.to_str().context("a plain path")?;
        let Some(((first, replicas), others)) = self.setting.instances.split_first() else { return Ok(()) };
        let replicas = replicas.to_string();
        let register = ["register-instance", "--instance", first, "--module", path, "--replicas", &replicas];
        self.must(HOSTS[0], &register)?;
        let module = fs::read(&module)?;
        let limits = Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
        let (url, cache) = (self.engine.url(&self.papers), self.cluster.file("cache-of-registration"));
        let place: Arc<dyn EnginePlace> = match self.setting.engine {
            EngineKind::Postgres => Arc::new(PostgresStore::read(&url, cache)?),
            EngineKind::Etcd => Arc::new(EtcdStore::read(&url, cache)?),
        };
        self.machines.on(HOSTS[0], || {
            let store = StorePlace::Engine(place).open()?;
            for (name, replicas) in others {
                let name = InstanceName::new(name)?;
                store.register(&name, &module, entropy_u64(), fresh_uuid(), limits, Timestamp(1))?;
                store.add_replicas(&name, *replicas)?;
            }
            Ok(())
        })
    }

    /// The database, if that keeps the store.
    ///
    /// # Errors
    /// If it is another engine.
    pub fn databases(&self) -> anyhow::Result<&Databases> {
        match &self.engine {
            Engine::Postgres(databases) => Ok(databases),
            Engine::Etcd(_) => bail!("the store of this site is in etcd"),
        }
    }

    /// Something happens to the database.
    ///
    /// # Errors
    /// If it can't, or another engine keeps the store.
    pub fn with_databases<T>(
        &mut self,
        what: impl FnOnce(&mut Databases, &Machines) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match &mut self.engine {
            Engine::Postgres(databases) => what(databases, &self.machines),
            Engine::Etcd(_) => bail!("the store of this site is in etcd"),
        }
    }

    /// How clients are let in that have a certificate.
    ///
    /// # Errors
    /// If its files can't be read.
    pub fn security_of_clients(&self) -> anyhow::Result<Security> {
        security(&self.papers, Some(self.papers.of("caller")), None)
    }

    /// Why that can't go wrong here, if so.
    pub(crate) fn impossible(&self, fault: FaultKind) -> Option<String> {
        match (&self.engine, fault) {
            (_, FaultKind::Host(HostFault::WrongClock(_))) => Clocks::impossible(),
            (_, FaultKind::Host(_)) => None,
            (Engine::Postgres(databases), FaultKind::Postgres(fault)) => databases.impossible(fault),
            (Engine::Etcd(members), FaultKind::Etcd(fault)) => members.impossible(fault),
            (_, fault) => Some(format!("{fault:?} is a fault of another engine")),
        }
    }

    /// The engine fails.
    pub(crate) fn begin_engine_fault(&mut self, fault: FaultKind) -> anyhow::Result<()> {
        match (&mut self.engine, fault) {
            (Engine::Postgres(databases), FaultKind::Postgres(fault)) => databases.begin_fault(&self.machines, fault),
            (Engine::Etcd(members), FaultKind::Etcd(fault)) => members.begin_fault(&self.machines, fault),
            (_, fault) => bail!("{fault:?} is no fault of this engine"),
        }
    }

    /// It is mended.
    pub(crate) fn end_engine_fault(&mut self, fault: FaultKind, interrupt: &Interrupt) -> anyhow::Result<()> {
        match (&mut self.engine, fault) {
            (Engine::Postgres(databases), FaultKind::Postgres(fault)) => {
                databases.end_fault(&self.machines, fault, interrupt)
            }
            (Engine::Etcd(members), FaultKind::Etcd(fault)) => members.end_fault(&self.machines, fault),
            (_, fault) => bail!("{fault:?} is no fault of this engine"),
        }
    }

    /// Where a host keeps what it would have to make or download again.
    fn cache(&self, number: usize) -> PathBuf {
        self.cluster.file(&format!("cache-{}", HOSTS[number].address()))
    }

    /// What was there when the round began.
    fn old_cache(&self, number: usize) -> PathBuf {
        self.cluster.file(&format!("old-cache-{}", HOSTS[number].address()))
    }

    /// A host that does not run has what it had when the round began.
    pub(crate) fn set_back(&self, number: usize) -> anyhow::Result<()> {
        fs::remove_dir_all(self.cache(number))?;
        copy(&self.old_cache(number), &self.cache(number))
    }

    /// The program as somebody on that machine starts it.
    fn command(&self, machine: Machine, arguments: &[&str]) -> Command {
        let own = machine.address();
        self.command_as(machine, self.papers.of(&own), arguments)
    }

    fn command_as(&self, machine: Machine, papers: (PathBuf, PathBuf), arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(arguments);
        command.env_remove("AMBROSIA_STORE").env("AMBROSIA_STORE_FILE", self.cluster.file("store.url"));
        command.env("AMBROSIA_CACHE", self.cluster.file(&format!("cache-{}", machine.address())));
        command.env("AMBROSIA_TLS_CA", self.papers.ca());
        command.env("AMBROSIA_TLS_CERT", papers.0).env("AMBROSIA_TLS_KEY", papers.1);
        command
    }

    /// Runs a verb there that must succeed; returns what it printed.
    ///
    /// # Errors
    /// If it does not, or tells the password.
    pub fn must(&self, machine: Machine, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(machine, arguments);
        let output = self.machines.on(machine, || bind_to_this_thread(&mut command).output())?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?} on {machine:?} ended with {}: {said}", output.status);
        ensure!(!said.contains(PASSWORD), "{arguments:?} tells the password: {said}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts a host.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn serve(&mut self, number: usize) -> anyhow::Result<()> {
        let papers = self.papers.of(&HOSTS[number].address());
        self.serve_as(number, papers)
    }

    /// Tries to start a host whom nobody would believe: it is to say so, and to end.
    pub(crate) fn serve_disbelieved(&mut self, number: usize, paper: Paper) -> anyhow::Result<()> {
        self.serve_as(number, self.papers.bad(HOSTS[number], paper))?;
        let mut host = self.hosts[number].take().context("it was started")?;
        let status = host.wait();
        self.bury(number, &host)?;
        let said = host.said();
        ensure!(status.code() == Some(1), "host {number} with a bad certificate ended with {status}: {said}");
        ensure!(said.contains("certificate"), "host {number} does not say that its certificate is bad: {said}");
        Ok(())
    }

    fn serve_as(&mut self, number: usize, papers: (PathBuf, PathBuf)) -> anyhow::Result<()> {
        assert!(self.hosts[number].is_none(), "a host is started that does not run");
        let at = at(HOSTS[number]);
        let mut arguments = vec!["serve", "--listen", &at, "--advertise", &at];
        arguments.extend(self.setting.serve);
        let mut command = self.command_as(HOSTS[number], papers, &arguments);
        bind_to_this_thread(self.machines.equip(HOSTS[number], &mut command));
        self.hosts[number] = Some(self.machines.on(HOSTS[number], || Host::start(command, |_| {}))?);
        Ok(())
    }

    /// SIGKILL to a host; it is gone when this returns.
    ///
    /// # Errors
    /// If it does not run, or what it has said is not as it should be.
    pub fn kill(&mut self, number: usize) -> anyhow::Result<()> {
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
    ///
    /// # Errors
    /// If somebody did.
    pub fn check_alive(&mut self) -> anyhow::Result<()> {
        for number in 0..HOSTS.len() {
            if let Some(status) = self.hosts[number].as_mut().and_then(Host::has_ended) {
                let mut host = self.hosts[number].take().context("it was there")?;
                host.wait(); // until all that it said is read
                self.bury(number, &host)?;
                bail!("host {number} ended by itself with {status}; it said:\n{}", host.said());
            }
        }
        self.engine.check_alive()
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

    /// What `status` says, asked from a machine that can reach the engine, if only a moment after its cable was plugged in.
    ///
    /// # Errors
    /// If it can't be asked.
    pub fn status(&self, from: Machine) -> anyhow::Result<Value> {
        let deadline = Instant::now() + STATUS_PATIENCE;
        let said = loop {
            match self.must(from, &["status", "--json"]) {
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::park_timeout(LOOK_INTERVAL),
                Ok(said) => break said,
            }
        };
        Ok(serde_json::from_str(&said)?)
    }

    /// A host that runs.
    pub fn host(&self, number: usize) -> Option<&Host> {
        self.hosts[number].as_ref()
    }

    /// On which host the primary of each instance is, by its number in the setting, as far as it is known.
    ///
    /// # Errors
    /// If `status` can't be asked.
    pub fn primaries(&self, from: Machine) -> anyhow::Result<BTreeMap<usize, usize>> {
        let status = self.status(from)?;
        let host_of = |instance: &Value| {
            let address = instance["primary"]["address"].as_str()?;
            HOSTS.iter().position(|machine| address == at(*machine))
        };
        let numbers: BTreeMap<&str, usize> =
            self.setting.instances.iter().enumerate().map(|(number, (name, _))| (name.as_str(), number)).collect();
        let number_of = |instance: &Value| instance["name"].as_str().and_then(|name| numbers.get(name)).copied();
        let all = status["instances"].as_array().context("status lists instances")?;
        Ok(all.iter().filter_map(|instance| number_of(instance).zip(host_of(instance))).collect())
    }

    /// Waits until every instance has all its replicas, which have applied what is durable, and one of them reigns.
    ///
    /// # Errors
    /// If that takes too long, or a process has ended.
    pub fn wait_until_all_follow(&mut self) -> anyhow::Result<()> {
        // Very many take their time.
        let deadline = Instant::now() + PATIENCE.max(PATIENCE * self.setting.instances.len() as u32 / 200);
        loop {
            self.check_alive()?;
            let status = self.status(HOSTS[0])?;
            let Some(lacking) = lacking(&self.setting.instances, &status) else { return Ok(()) };
            let there = &status["instances"].as_array().and_then(|all| all.iter().find(|one| one["name"] == *lacking));
            ensure!(Instant::now() < deadline, "{lacking} is not served by all its replicas: {there:#?}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
}

/// An instance that lacks a replica or a primary.
fn lacking(instances: &[(String, u16)], status: &Value) -> Option<String> {
    let all = status["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all: BTreeMap<_, _> = all.iter().filter_map(|instance| Some((instance["name"].as_str()?, instance))).collect();
    let has_all = |name: &str, wanted: u16| {
        let Some(instance) = all.get(name) else { return false };
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
        count == usize::from(wanted) && instance["primary"]["address"].is_string()
    };
    instances.iter().find(|(name, wanted)| !has_all(name, *wanted)).map(|(name, _)| name.clone())
}

fn write_secret(path: &Path, line: &str) -> anyhow::Result<()> {
    fs::write(path, format!("{line}\n"))?;
    Ok(fs::set_permissions(path, PermissionsExt::from_mode(0o600))?)
}

/// Copies a directory to a place where nothing is.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a plain path");
    run_tool("cp", &["-a", &text(from)?, &text(to)?])
}
