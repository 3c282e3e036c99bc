//! The store of hosts, which is in PostgreSQL, used from where only the hosts are reached: by an operator, by others, and by nobody.

use std::{
    io::Write,
    net::{Ipv4Addr, TcpListener},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ambrosia_test_database::Server;
use ambrosia_tests::{Cluster, Host, PATIENCE, Ran, Signal};
use serde_json::Value;

use crate::support::{cluster, cluster_on};

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What is tried again is, for longer than that.
const AT_ONCE: Duration = Duration::from_secs(8);

const HOSTS: [&str; 2] = ["a", "b"];

/// Two hosts that take places by themselves, and somebody elsewhere.
struct Stage {
    cluster: Cluster,
    hosts: Vec<Host>,
    /// The URL of both hosts.
    url: String,
    server: Server,
}

impl Stage {
    fn begin() -> Option<Stage> {
        let server = Server::begin(&[])?;
        let cluster = cluster_on(&server.url("shop"));
        let dir = cluster.file("ca");
        let dir = dir.to_str().expect("a plain path");
        cluster.must(&["cert", "init", "--dir", dir]);
        for whose in
            [&["--host", "localhost", "--host", "127.0.0.1"][..], &["--client", "laptop"], &["--operator", "anna"]]
        {
            cluster.must(&[&["cert", "issue", "--dir", dir], whose].concat());
        }
        let mut stage = Stage { cluster, hosts: Vec::new(), url: String::new(), server };
        let mut addresses = Vec::new();
        for name in HOSTS {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
            let port = free.expect("a port").port();
            let (listen, at) = (format!("127.0.0.1:{port}"), format!("localhost:{port}"));
            let serve =
                ["serve", "--host-name", name, "--listen", &listen, "--advertise", &at, "--host-grace", "1500ms"];
            let mut command = stage.cluster.command(&serve);
            stage.certify(&mut command, Some("localhost"));
            let host = Host::start(command, |_| {}).expect("the program can be started");
            host.wait_for_word("the kernel tells which pages");
            stage.hosts.push(host);
            addresses.push(at);
        }
        stage.url = format!("ambrosia://{}", addresses.join(","));
        Some(stage)
    }

    fn certify(&self, command: &mut Command, own: Option<&str>) {
        let file = |name: String| self.cluster.file("ca").join(name);
        command.env("AMBROSIA_TLS_CA", file("ca.crt".to_owned()));
        if let Some(own) = own {
            command.env("AMBROSIA_TLS_CERT", file(format!("{own}.crt")));
            command.env("AMBROSIA_TLS_KEY", file(format!("{own}.key")));
        }
    }

    /// The program elsewhere: it knows the hosts, and of the database nothing at all.
    fn elsewhere(&self, who: Option<&str>, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(arguments);
        command.env("AMBROSIA_STORE", &self.url).env("AMBROSIA_CACHE", self.cluster.file("elsewhere"));
        self.certify(&mut command, who);
        command
    }

    fn run(&self, who: Option<&str>, arguments: &[&str], input: &str) -> Ran {
        let mut command = self.elsewhere(who, arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the program can be started");
        // It may have ended before it has read everything.
        let _unread = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = child.wait_with_output().expect("it can be waited for");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// The operator does that.
    fn must(&self, arguments: &[&str]) -> String {
        self.must_as("anna", arguments)
    }

    fn must_as(&self, who: &str, arguments: &[&str]) -> String {
        let ran = self.run(Some(who), arguments, "");
        assert_eq!(ran.code, 0, "{arguments:?} failed: {}\n{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Somebody may not do that, and is told so at once.
    fn refused(&self, who: Option<&str>, arguments: &[&str], words: &[&str]) {
        let began = Instant::now();
        let ran = self.run(who, arguments, "");
        assert_eq!(ran.code, 1, "{arguments:?} printed {}", ran.stdout);
        words.iter().for_each(|word| assert!(ran.stderr.contains(word), "{arguments:?}: {word}: {}", ran.stderr));
        assert!(began.elapsed() < AT_ONCE, "{arguments:?} was tried again and again");
    }

    fn register(&self, name: &str, guest: &str) {
        let module = self.cluster.guest(guest);
        let module = module.to_str().expect("a plain path");
        self.must(&["register-instance", "--instance", name, "--module", module, "--replicas", "2"]);
    }

    fn status(&self, who: &str) -> Value {
        serde_json::from_str(&self.must_as(who, &["status", "--json"])).expect("it prints JSON")
    }

    fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status("anna");
            if is_so(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: {status:#}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Waits until both replicas of each instance run, and one of them reigns.
    fn wait_until_served(&self, count: usize) {
        let runs = |instance: &Value| {
            let replicas = instance["replicas"].as_array().map(Vec::as_slice).unwrap_or_default();
            let up = replicas.iter().filter(|replica| replica["role"] != "down").count();
            up == 2 && instance["primary"]["address"].is_string()
        };
        self.wait_for("all are served", |status| {
            status["instances"].as_array().is_some_and(|all| all.len() == count && all.iter().all(runs))
        });
    }
}

#[test]
fn an_operator_does_everything_from_where_only_hosts_are_reached() {
    let Some(stage) = Stage::begin() else { return };
    stage.register("ledger", "ledger1");
    stage.register("counter", "counter");
    stage.wait_until_served(2);
    // Also by the hosts alone, for which no flag is needed.
    assert_eq!(stage.must(&["send", "counter", "add", "[3]"]), "3\n");
    assert_eq!(stage.must(&["send", "counter", "total"]), "3\n");
    let taken = stage.must(&["checkpoint", "counter"]);
    assert!(taken.contains("checkpoint"), "{taken}");
    assert_eq!(stage.must(&["send", "counter", "add", "[4]"]), "7\n");
    let log = stage.must(&["log", "counter", "--json"]);
    assert!(log.lines().filter(|line| line.contains("\"deliver\"")).count() >= 2, "{log}");
    // The journey begins at the checkpoint, and goes on by the log, with the module: all of it comes through the hosts.
    let journey = stage.run(Some("anna"), &["debug", "--plain", "counter"], "goto end\nstate\nquit\n");
    assert_eq!(journey.code, 0, "{}", journey.stderr);
    assert!(journey.stdout.contains('7'), "{}", journey.stdout);
    assert!(stage.must(&["verify", "counter"]).contains("agree"));
    let two = stage.cluster.guest("ledger2");
    let upgraded = stage.must(&["upgrade", "ledger", "--module", two.to_str().expect("a plain path"), "--yes"]);
    assert!(upgraded.contains("runs the new module since lsn"), "{upgraded}");
    let token = stage.must(&["token", "new", "--name", "shop", "--deed", "send"]);
    assert!(token.contains("ambrosia_"), "{token}");
    assert!(stage.must(&["token", "list"]).contains("shop"));
    stage.must(&["drain", "--host", "a"]);
    let drained = stage.wait_for("all is elsewhere", |status| {
        let of = |instance: &Value| instance["primary"]["address"].as_str().is_some_and(|at| stage.url.ends_with(at));
        status["instances"].as_array().is_some_and(|all| all.iter().all(of))
    });
    assert_eq!(drained["instances"].as_array().map(Vec::len), Some(2));
    stage.must(&["drain", "--host", "a", "--undo"]);
    stage.wait_until_served(2);
    stage.register("mistake", "faulty");
    stage.wait_until_served(3);
    let halted = stage.run(Some("anna"), &["send", "mistake", "trap"], "");
    assert!(halted.stderr.contains("instance mistake halted at lsn"), "{}", halted.stderr);
    for host in &stage.hosts {
        host.wait_for_word("of instance mistake ended");
    }
    stage.must(&["deregister-instance", "mistake", "--yes"]);
    stage.wait_until_served(2);
}

#[test]
fn a_host_that_dies_is_not_missed_by_whoever_knows_another_one() {
    let Some(mut stage) = Stage::begin() else { return };
    stage.register("counter", "counter");
    stage.wait_until_served(1);
    assert_eq!(stage.must(&["send", "counter", "add", "[3]"]), "3\n");
    stage.hosts[0].kill();
    let status = stage.status("anna");
    assert_eq!(
        status["instances"][0]["instance"].as_str().or(status["instances"][0]["name"].as_str()),
        Some("counter")
    );
    assert_eq!(stage.must(&["send", "counter", "add", "[4]"]), "7\n");
    stage.hosts[1].kill();
    stage.refused(Some("anna"), &["log", "counter"], &["no host of ambrosia://localhost:", "Connection refused"]);
}

/// Its standby is gone, so its commits wait.
#[test]
fn while_the_database_commits_nothing_hosts_say_what_they_know() {
    let Some(stage) = Stage::begin() else { return };
    stage.register("counter", "counter");
    stage.wait_until_served(1);
    for host in &stage.hosts {
        host.wait_for_word("caught up with the log");
    }
    let watch = stage.elsewhere(Some("anna"), &["status", "--watch", "--json"]);
    let mut watch = Host::start(watch, |_| {}).expect("the program can be started");
    watch.wait_for_print("durable_lsn");
    stage.server.set("synchronous_standby_names", "nobody");
    let add = ["send", "counter", "add", "[3]", "--timeout", "600"];
    let mut add = stage.elsewhere(Some("anna"), &add).spawn().expect("the program can be started");
    watch.wait_for_print("store_error");
    let deadline = Instant::now() + PATIENCE;
    // A host that is busy may be late.
    let ran = loop {
        let ran = stage.run(Some("anna"), &["status"], "");
        assert_eq!(ran.code, 1, "{}", ran.stdout);
        if !ran.stdout.contains("does not say") {
            break ran;
        }
        assert!(Instant::now() < deadline, "{}", ran.stdout);
    };
    for words in
        ["this is what its hosts know", "primary  at localhost:", "standby  at localhost:", "the log takes nothing for"]
    {
        let said = || stage.hosts.iter().map(Host::said).collect::<Vec<_>>().join("\n");
        assert!(ran.stdout.contains(words), "{words}: {}{}", ran.stdout, said());
    }
    assert!(ran.stderr.contains("standby"), "{}", ran.stderr);
    let known = loop {
        let ran = stage.run(Some("anna"), &["status", "counter", "--json"], "");
        let known: Value = serde_json::from_str(&ran.stdout).expect("it prints JSON");
        if known["unreached"].as_array().is_some_and(Vec::is_empty) {
            break known;
        }
        assert!(Instant::now() < deadline, "{known:#}");
    };
    let replicas = known["instances"][0]["replicas"].as_array().expect("there are two");
    let primary = replicas.iter().find(|replica| replica["role"] == "primary").expect("it reigns");
    assert!(primary["epoch"].is_u64() && primary["stall"]["since_ms"].is_u64(), "{known:#}");
    assert_eq!(replicas.len(), 2, "{known:#}");
    let ran = stage.run(Some("laptop"), &["status"], "");
    assert!(ran.stderr.contains("certificate of an operator") && ran.stdout.is_empty(), "{}{}", ran.stdout, ran.stderr);
    stage.server.set("synchronous_standby_names", "");
    assert!(add.wait().expect("it is ours").success());
    let deadline = Instant::now() + PATIENCE;
    while !watch.printed().last().is_some_and(|shown| shown.contains("durable_lsn")) {
        assert!(Instant::now() < deadline, "it never shows the store again: {}", watch.said());
        std::thread::park_timeout(LOOK_INTERVAL);
    }
    watch.signal(Signal::Interrupt);
    assert_eq!(watch.exit_code(), 0);
}

#[test]
fn a_host_without_tls_passes_its_store_on_to_nobody() {
    let Some(server) = Server::begin(&[]) else { return };
    let cluster = cluster_on(&server.url("shop"));
    cluster.register("counter", "counter", 1);
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    let address = cluster.status("counter")["primary"]["address"].clone();
    let url = format!("ambrosia://{}", address.as_str().expect("there is a primary"));
    for verb in [&["status"][..], &["token", "new", "--name", "mine"]] {
        let ran = cluster.run(&[verb, &["--store", &url]].concat());
        assert!(ran.code == 1 && ran.stderr.contains("passes its store on by TLS alone"), "{}", ran.stderr);
    }
    assert_eq!(cluster.must(&["send", "counter", "add", "[3]", "--store", &url]), "3\n");
}

#[test]
fn who_is_no_operator_changes_nothing_and_a_client_sees_nothing_either() {
    let Some(stage) = Stage::begin() else { return };
    stage.register("counter", "counter");
    stage.wait_until_served(1);
    assert_eq!(stage.must_as("laptop", &["send", "counter", "add", "[3]"]), "3\n");
    let module = stage.cluster.guest("counter");
    let module = module.to_str().expect("a plain path");
    let other = stage.cluster.guest("ledger2");
    let other = other.to_str().expect("a plain path");
    let changes: [&[&str]; 6] = [
        &["register-instance", "--instance", "mine", "--module", module],
        &["upgrade", "counter", "--module", other, "--yes"],
        &["add-replica", "--instance", "counter", "--replica", "2"],
        &["deregister-instance", "counter", "--yes"],
        &["drain", "--host", "a"],
        &["token", "new", "--name", "mine"],
    ];
    for change in changes.iter().chain([&["log", "counter"][..], &["status"]].iter()) {
        stage.refused(Some("laptop"), change, &["certificate of an operator", "cert issue --operator"]);
    }
    assert_eq!(stage.must_as("laptop", &["send", "counter", "add", "[4]"]), "7\n", "it is there");
    // Nobody without a certificate, but for a token for everything.
    stage.refused(None, &["status"], &["show a certificate", "--token-file"]);
    let file = stage.cluster.file("token");
    let show = |name: &str, deeds: &[&str]| {
        let token = stage.must(&[&["token", "new", "--name", name], deeds].concat());
        let word = token.split_whitespace().find(|word| word.starts_with("ambrosia_")).expect("it is shown");
        std::fs::write(&file, format!("{word}\n")).expect("there is room");
    };
    let by_token = ["--token-file", file.to_str().expect("a plain path")];
    show("reader", &["--deed", "read"]);
    stage.refused(None, &[&["status"], &by_token[..]].concat(), &["every deed and every instance"]);
    show("all", &[]);
    // Hosts hear within moments that a database has another token.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = stage.run(None, &[&["status"], &by_token[..]].concat(), "");
        if status.code == 0 {
            assert!(status.stdout.contains("counter"), "{}", status.stdout);
            break;
        }
        assert!(Instant::now() < deadline && status.stderr.contains("is not known here"), "{}", status.stderr);
    }
    let log = stage.run(None, &[&["log", "counter"], &by_token[..]].concat(), "");
    assert!(log.stdout.contains("deliver"), "{}{}", log.stdout, log.stderr);
    for change in &changes {
        stage.refused(
            None,
            &[*change, &by_token[..]].concat(),
            &["certificate of an operator", "cert issue --operator"],
        );
    }
}

#[test]
fn what_needs_the_store_itself_says_so() {
    let Some(stage) = Stage::begin() else { return };
    for (verb, words) in [
        (&["run", "--instance", "counter"][..], "`run` needs the store itself"),
        (&["serve"], "`serve` needs the store itself"),
        (&["store", "init"], "`store init` needs the store itself"),
    ] {
        stage.refused(Some("anna"), verb, &[words, "AMBROSIA_STORE"]);
    }
}

#[test]
fn a_host_whose_store_is_a_directory_says_that_it_is_used_there() {
    let cluster = cluster();
    cluster.register("counter", "counter", 1);
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    let address = cluster.status("counter")["primary"]["address"].clone();
    let address = address.as_str().expect("there is a primary");
    let url = format!("ambrosia://{address}");
    let ran = cluster.run(&["status", "--store", &url]);
    assert!(ran.code == 1 && ran.stderr.contains("is a directory of its machine"), "{}", ran.stderr);
    // Asked as a client it answers all the same.
    assert_eq!(cluster.must(&["send", "counter", "add", "[3]", "--store", &url]), "3\n");
}
