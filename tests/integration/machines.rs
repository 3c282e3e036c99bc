//! A database, three hosts and a client, each on a machine of its own: what docs/operating.md sets up.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use ambrosia_test_database::Server;
use ambrosia_tests::{
    Cluster, Host, PATIENCE,
    torture::{Machine, Machines},
};
use serde_json::Value;

use crate::support::{certify, cluster, distant_server, issue, machines};

const DATABASE: Machine = Machine(0);
const HOSTS: [Machine; 3] = [Machine(1), Machine(2), Machine(3)];
const CLIENT: Machine = Machine(4);

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Where the host of a machine answers.
fn at(machine: Machine) -> String {
    format!("{}:7400", machine.address())
}

struct Stage {
    cluster: Cluster,
    machines: Machines,
    hosts: Vec<Host>,
    /// Requests that the client has had answered.
    added: u64,
    _server: Server,
}

impl Stage {
    /// All is set up, and the counter has a replica on each machine.
    fn begin() -> Option<Stage> {
        let machines = machines(5, "three hosts on machines of their own")?;
        let server = distant_server(&machines, DATABASE)?;
        let cluster = cluster();
        certify(&cluster, &server, DATABASE, "ca");
        HOSTS.iter().for_each(|machine| drop(issue(&cluster, "ca", *machine)));
        let dir = cluster.file("ca");
        cluster.must(&["cert", "issue", "--dir", dir.to_str().expect("a plain path"), "--client", "laptop"]);
        let store = cluster.file("store.url");
        let ca = dir.join("ca.crt");
        let url = format!("postgres://ambrosia:hush@{}/postgres?sslrootcert={}\n", DATABASE.address(), ca.display());
        fs::write(&store, url).expect("there is room");
        fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).expect("it is the test's own");
        let mut stage = Stage { cluster, machines, hosts: Vec::new(), added: 0, _server: server };
        stage.must(HOSTS[0], &["store", "init"]);
        let module = stage.cluster.guest("counter");
        let module = module.to_str().expect("a plain path");
        stage.must(HOSTS[0], &["register-instance", "--instance", "counter", "--module", module, "--replicas", "3"]);
        stage.hosts = HOSTS.iter().map(|machine| stage.serve(*machine)).collect();
        stage.wait_until_all_follow(HOSTS[0]);
        Some(stage)
    }

    /// The program as somebody on that machine starts it: with the store, or as a client, who knows of none.
    fn command(&self, machine: Machine, arguments: &[&str]) -> Command {
        let file = |name: &str| self.cluster.file("ca").join(name);
        let own = if machine == CLIENT { "laptop".to_owned() } else { machine.address() };
        let mut command = self.cluster.command(arguments);
        command.env_remove("AMBROSIA_STORE");
        command.env("AMBROSIA_CACHE", self.cluster.file(&format!("cache-{}", machine.address())));
        command.env("AMBROSIA_TLS_CERT", file(&format!("{own}.crt"))).env("AMBROSIA_TLS_CA", file("ca.crt"));
        command.env("AMBROSIA_TLS_KEY", file(&format!("{own}.key")));
        if machine != CLIENT {
            command.env("AMBROSIA_STORE_FILE", self.cluster.file("store.url"));
        }
        command
    }

    fn must(&self, machine: Machine, arguments: &[&str]) -> String {
        self.run(machine, arguments).unwrap_or_else(|said| panic!("{arguments:?} on {machine:?}: {said}"))
    }

    /// What it prints, or why it failed.
    fn run(&self, machine: Machine, arguments: &[&str]) -> Result<String, String> {
        let output = self.machines.on(machine, || self.command(machine, arguments).output()).expect("it starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("hush"), "{said}");
        if output.status.success() { Ok(String::from_utf8(output.stdout).expect("it prints text")) } else { Err(said) }
    }

    fn serve(&self, machine: Machine) -> Host {
        let at = at(machine);
        let serve = ["serve", "--listen", &at, "--advertise", &at];
        self.machines.on(machine, || Host::start(self.command(machine, &serve), |_| {})).expect("it starts")
    }

    fn status(&self, from: Machine) -> Value {
        serde_json::from_str(&self.must(from, &["status", "--json"])).expect("it prints JSON")
    }

    /// Waits until all three replicas run, have applied what is durable, and one of them reigns.
    fn wait_until_all_follow(&self, from: Machine) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = match self.run(from, &["status", "--json"]) {
                Ok(status) => serde_json::from_str::<Value>(&status).expect("it prints JSON"),
                // A machine whose cable is in again may find nobody for a second.
                Err(said) => {
                    assert!(Instant::now() < deadline, "{said}");
                    continue;
                }
            };
            let counter = &status["instances"][0];
            let replicas = counter["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
            let follows = |replica: &&Value| {
                replica["role"] != "down" && replica["applied_lsn"].as_u64() >= counter["durable_lsn"].as_u64()
            };
            if replicas.iter().filter(follows).count() == 3 && counter["primary"]["address"].is_string() {
                return;
            }
            assert!(Instant::now() < deadline, "not all three replicas follow: {status:#}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Where the primary is.
    fn primary(&self, from: Machine) -> Machine {
        let status = self.status(from);
        let address = status["instances"][0]["primary"]["address"].as_str().expect("there is one").to_owned();
        *HOSTS.iter().find(|machine| address == at(**machine)).expect("it is one of the hosts")
    }

    /// The client asks whichever of the hosts answers, one request after the other: each is done once. Returns how long the slowest took.
    fn add(&mut self, count: u64) -> Duration {
        let hosts = HOSTS.map(at).join(",");
        let mut slowest = Duration::ZERO;
        for _ in 0..count {
            self.added += 1;
            let began = Instant::now();
            let total = self.must(CLIENT, &["send", "counter", "add", "[1]", "--at", &hosts, "--timeout", "60"]);
            slowest = slowest.max(began.elapsed());
            assert_eq!(total.trim(), self.added.to_string(), "each request is done once");
        }
        slowest
    }
}

#[test]
fn machines_are_cut_off_and_processes_killed_and_each_request_is_done_once() {
    let Some(mut stage) = Stage::begin() else { return };
    let calm = stage.add(20);
    stage.must(HOSTS[1], &["checkpoint", "--instance", "counter"]);
    let lost = stage.primary(HOSTS[0]);
    stage.machines.cut(lost).expect("it has a cable");
    let cut_off = stage.add(20);
    let left = *HOSTS.iter().find(|machine| **machine != lost).expect("two are left");
    let next = stage.primary(left);
    assert_ne!(next, lost);
    stage.machines.plug(lost).expect("it has a cable");
    stage.wait_until_all_follow(lost);
    stage.add(5);
    let reigns = stage.primary(lost);
    let number = HOSTS.iter().position(|machine| *machine == reigns).expect("it is one of the hosts");
    stage.hosts[number].kill();
    let killed = stage.add(20);
    stage.hosts[number] = stage.serve(reigns);
    stage.wait_until_all_follow(lost);
    stage.add(5);
    let said = stage.must(HOSTS[0], &["verify", "--instance", "counter"]);
    assert!(said.contains("the only digest there agrees"), "{said}");
    eprintln!(
        "slowest of 20 requests of a client: {calm:.0?}; a machine is cut off: {cut_off:.0?}; a process is killed: {killed:.0?}"
    );
}
