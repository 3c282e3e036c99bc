//! `up`: a whole project in one terminal, from outside.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use ambrosia_tests::{Cluster, Host, Signal, Stub, signal};
use serde_json::{Value, json};

use crate::support::{cluster, curl, fails, http_address, post, succeeds, wait_for_status};

/// A project in the directory of a cluster, whose one instance is a ledger that is "built" by a copy.
struct Project {
    cluster: Cluster,
}

const LEDGER: &str = "[instances.ledger]\nmodule = \"ledger.wasm\"\nbuild = \"cp source.bin ledger.wasm\"\n\
                      [http]\naddress = \"127.0.0.1:0\"\n";

impl Project {
    fn new() -> Project {
        let project = Project { cluster: cluster() };
        project.write("ambrosia.toml", LEDGER);
        project.save("ledger1");
        project
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.cluster.file(name), text).expect("the directory is there");
    }

    /// Saves another source: at once, as editors do.
    fn save(&self, guest: &str) {
        fs::copy(self.cluster.guest(guest), self.cluster.file(".new")).expect("`make guests` has built it");
        fs::rename(self.cluster.file(".new"), self.cluster.file("source.bin")).expect("it is one directory");
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = self.cluster.command(&[&["up"], more].concat());
        command.current_dir(self.cluster.directory());
        command
    }

    /// Starts it, and waits until the ledger has a primary and as many standbys.
    fn up(&self, more: &[&str], standbys: usize) -> Host {
        let up = Host::start(self.command(more), |_| {}).expect("the program can be started");
        up.wait_for_word("became primary");
        self.wait_for_roles(standbys);
        up
    }

    fn wait_for_roles(&self, standbys: usize) {
        self.wait_for_roles_of("ledger", standbys);
    }

    fn wait_for_roles_of(&self, instance: &str, standbys: usize) {
        wait_for_status(&self.cluster, instance, |status| {
            let replicas = status["replicas"].as_array().cloned().unwrap_or_default();
            let count = |role: &str| replicas.iter().filter(|replica| replica["role"] == role).count();
            status["primary"].is_object() && (count("primary"), count("standby")) == (1, standbys)
        });
    }

    /// Adds 1; returns which build did, and the total.
    fn add(&self) -> Value {
        self.cluster.send("ledger", "add", json!(["anna", 1]))
    }

    fn pids(&self) -> Vec<u32> {
        let replicas = self.cluster.status("ledger")["replicas"].as_array().cloned().unwrap_or_default();
        replicas.iter().filter_map(|replica| replica["pid"].as_u64()).map(|pid| pid as u32).collect()
    }

    fn wait_until_down(&self) {
        wait_for_status(&self.cluster, "ledger", |status| {
            status["replicas"].as_array().is_some_and(|all| all.iter().all(|replica| replica["role"] == "down"))
        });
    }
}

#[test]
fn a_project_survives_kills_and_is_swapped_when_a_source_changes() {
    let project = Project::new();
    let mut up = project.up(&["--watch"], 1);
    let address = http_address(&up);
    assert_eq!(post(address, "/v1/ledger/add", None, r#"["anna", 1]"#).json(), json!([1, 1]));

    let words = ["killed replica ", "the primary, process ", "took over in ", " ms"];
    succeeds(&project.cluster, &["kill", "--instance", "ledger", "--primary"], &words);
    up.wait_for_word("died (signal 9); it is started again in 200 ms");
    project.wait_for_roles(1);
    assert_eq!(
        post(address, "/v1/ledger/add", None, r#"["anna", 1]"#).json(),
        json!([1, 2]),
        "the door is no replica's"
    );

    up.wait_for_word("watches the sources");
    fs::remove_file(project.cluster.file("source.bin")).expect("it is there");
    up.wait_for_word("`cp source.bin ledger.wasm` failed with exit code 1; the old code runs on");
    assert_eq!(project.add(), json!([1, 3]));

    project.save("ledger2");
    up.wait_for_print("version 1 => 2, by code");
    up.wait_for_print("instance ledger runs the new module since lsn");
    assert_eq!(project.add(), json!([2, 4]));

    project.save("ledger_faulty");
    up.wait_for_word("instance ledger is not changed: ");
    assert_eq!(project.add(), json!([2, 5]));

    up.signal(Signal::Interrupt);
    assert_eq!(up.exit_code(), 0, "{}", up.said());
    project.wait_until_down();
    let said = up.said();
    assert!(said.contains("ledger/0 | ") && said.contains("ledger/1 | ") && !said.contains('\x1b'), "{said}");
}

#[test]
fn paths_of_an_instance_are_where_the_project_says() {
    let project = Project::new();
    fs::copy(project.cluster.guest("routed"), project.cluster.file("routed.wasm")).expect("`make guests` has built it");
    let more = "[instances.numbers]\nmodule = \"routed.wasm\"\n[routes]\n\"/api\" = \"numbers\"\n";
    project.write("ambrosia.toml", &format!("{LEDGER}{more}"));
    let mut up = project.up(&[], 1);
    let address = http_address(&up);
    up.wait_for_word(&format!("numbers: its routes at http://{address}/api"));
    for _ in 0..2 {
        project.wait_for_roles_of("numbers", 1);
        assert_eq!(post(address, "/api/numbers/a", Some("one"), "2").body, "2");
        succeeds(&project.cluster, &["kill", "numbers", "--primary"], &["took over in "]);
    }
    assert_eq!(curl(address, "/api/numbers/a", &[]).body, "2");
    assert_eq!(curl(address, "/numbers/numbers/a", &[]).body, "2");
    up.signal(Signal::Interrupt);
    assert_eq!(up.exit_code(), 0, "{}", up.said());
}

#[test]
fn a_build_that_writes_sources_is_not_run_for_ever() {
    let project = Project::new();
    // One is written with something new each time, one with the same, and the source is touched.
    let build = "cp source.bin ledger.wasm && date +%N > stamp.txt && echo same > same.txt && touch source.bin";
    project.write("ambrosia.toml", &LEDGER.replace("cp source.bin ledger.wasm", build));
    let up = project.up(&["--watch", "--http", "off"], 1);
    up.wait_for_word("watches the sources");
    project.save("ledger2");
    up.wait_for_print("instance ledger runs the new module since lsn");
    up.wait_for_word(
        "./stamp.txt is written anew by each build, which would go on for ever: it is not watched any more",
    );
    let said = up.said();
    assert!(!said.contains("same.txt is written") && !said.contains("source.bin is written"), "{said}");
    // It is watched all the same.
    project.save("ledger1");
    let builds = || up.said().matches("builds: ").count();
    let before = builds();
    project.save("ledger_faulty");
    up.wait_for_word("instance ledger is not changed: ");
    assert!(builds() <= before + 4, "{}", up.said());
}

#[test]
fn what_was_built_while_nothing_ran_is_swapped_at_the_next_start() {
    let project = Project::new();
    let mut up = project.up(&["--http", "off"], 1);
    assert_eq!(project.add(), json!([1, 1]));
    assert!(!up.said().contains("HTTP at"), "{}", up.said());
    up.signal(Signal::Terminate);
    assert_eq!(up.exit_code(), 0, "{}", up.said());
    project.save("ledger2");
    let up = project.up(&[], 1);
    up.wait_for_print("instance ledger runs the new module since lsn");
    assert_eq!(project.add(), json!([2, 2]));
}

#[test]
fn no_replica_outlives_an_up_that_is_killed() {
    let project = Project::new();
    let mut up = project.up(&[], 1);
    assert_eq!(project.pids().len(), 2);
    up.kill();
    project.wait_until_down();
}

#[test]
fn a_second_ctrl_c_ends_what_does_not_end_by_itself() {
    let project = Project::new();
    let mut up = project.up(&[], 1);
    let pids = project.pids();
    pids.iter().for_each(|pid| signal(*pid, Signal::Stop).expect("it runs"));
    up.signal(Signal::Interrupt);
    up.wait_for_word("asked to stop, handing over");
    // Two that are nearly at once are one.
    std::thread::park_timeout(Duration::from_millis(300));
    up.signal(Signal::Interrupt);
    up.wait_for_word("stopped at once");
    assert_eq!(up.exit_code(), 1, "{}", up.said());
    project.wait_until_down();
}

#[test]
fn the_store_of_a_project_is_found_from_below_it() {
    let project = Project::new();
    let below = project.cluster.file("src");
    fs::create_dir(&below).expect("the directory is there");
    let here = |arguments: &[&str]| {
        let mut command = project.cluster.command(arguments);
        command.current_dir(&below).env_remove("AMBROSIA_STORE");
        command
    };
    let up = Host::start(here(&["up"]), |_| {}).expect("the program can be started");
    up.wait_for_word("became primary");
    let sent = here(&["send", "--instance", "ledger", "--method", "add", "--args", r#"["anna", 1]"#]).output();
    assert_eq!(String::from_utf8_lossy(&sent.expect("it can be started").stdout), "[1,1]\n");
    let store: PathBuf = project.cluster.file(".ambrosia");
    assert!(store.is_dir() && !project.cluster.store().exists());
}

#[test]
fn an_instance_that_finishes_ends_up_with_its_code() {
    let project = Project::new();
    let guest = project.cluster.guest("client2").display().to_string();
    project.write("ambrosia.toml", &format!("[http]\naddress = \"off\"\n[instances.job]\nmodule = \"{guest}\"\n"));
    let mut up = Host::start(project.command(&[]), |_| {}).expect("the program can be started");
    up.wait_for_word("became primary");
    project.cluster.send("job", "receive_keyboard_input", json!([""]));
    assert_eq!(up.exit_code(), 0, "{}", up.said());
}

/// Arguments of a process, as `ps` shows them.
fn arguments_of(pid: u32) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/cmdline")).expect("it runs")).into_owned()
}

#[test]
fn an_instance_reaches_what_the_project_grants_it_and_finds_what_is_set_for_it() {
    let (project, stub) = (Project::new(), Stub::start());
    const VALUE: &str = "sk_live_0123456789";
    let guest = project.cluster.guest("outside").display().to_string();
    let instance = |name: &str| format!("[instances.{name}]\nmodule = \"{guest}\"\nreplicas = 1\n");
    let (all, one) = (instance("all"), instance("one"));
    let grant = stub.grant();
    project.write(
        "ambrosia.toml",
        &format!(
            "[http]\naddress = \"127.0.0.1:0\"\n{all}{one}grants.http = [\"{grant} secrets=KEY,OTHER\"]\n\
             secrets.OTHER = \"file:other.key\"\nconfig.city = \"Ulm\"\n\
             [secrets]\nKEY = \"env:SHOP_KEY\"\n[config]\ncity = \"Berlin\"\n"
        ),
    );
    let mut command = project.command(&[]);
    command.env("SHOP_KEY", VALUE);
    let up = Host::start(command, |_| {}).expect("the program can be started");
    up.wait_for_word("became primary");
    let primary = |name: &str| {
        wait_for_status(&project.cluster, name, |status| status["primary"].is_object())["primary"]["pid"]
            .as_u64()
            .expect("a number") as u32
    };
    let pids = [primary("all"), primary("one")];
    up.wait_for_word("instance one has no secret OTHER, since there is no file ./other.key: requests that take it");
    let send = |instance: &str, method: &str, arguments| project.cluster.send(instance, method, arguments);
    let city = |instance| send(instance, "configured", json!(["city"]));
    assert_eq!((city("all"), city("one")), (json!({"Ok": "Berlin"}), json!({"Ok": "Ulm"})));

    let get = |instance: &str, secret: &str| {
        let arguments = json!([stub.url("/"), secret]).to_string();
        let get = ["send", "--instance", instance, "--method", "get_with_secret", "--no-wait", "--args", &arguments];
        project.cluster.must(&get);
    };
    get("one", "KEY");
    let asked = stub.next();
    assert!(asked.head.contains(&format!("\nauthorization: Bearer {VALUE}")), "{}", asked.head);
    asked.answer(200, "yes");
    fs::write(project.cluster.file("other.key"), "0123\n").expect("the directory is there");
    get("one", "OTHER");
    let asked = stub.next();
    assert!(asked.head.contains("\nauthorization: Bearer 0123"), "{}", asked.head);
    asked.answer(200, "yes");
    let refused = send("all", "get_with_secret", json!([stub.url("/"), "KEY"]));
    assert!(refused.as_str().is_some_and(|text| text.contains("not sent")) && stub.is_quiet(), "{refused}");

    let arguments = pids.map(arguments_of).join("\n");
    assert!(arguments.contains("KEY=env:SHOP_KEY") && !arguments.contains(VALUE), "{arguments}");

    // Without another word, promises are fulfilled where the project takes HTTP.
    project.cluster.must(&["send", "--instance", "one", "--method", "promise", "--request-id", "p", "--no-wait"]);
    let url = send("one", "url", json!([]));
    let path = url.as_str().and_then(|url| url.strip_prefix(&format!("http://{}", http_address(&up))));
    let path = path.unwrap_or_else(|| panic!("{url} is not of the project"));
    assert_eq!(curl(http_address(&up), path, &["-d", "\"paid\""]).status, 204);
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn the_shop_charges_its_bank_once_whatever_is_killed() {
    let project = Project::new();
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shop/ambrosia.toml");
    let written = fs::read_to_string(written).expect("it is in the repository");
    // What `make guests` has built is run, at a port of its own.
    let guest = |name: &str| project.cluster.guest(name).display().to_string();
    let text = written.replace("8080", &free_port().to_string());
    let text = text.replace("../../target/wasm32-wasip2/release/shop.wasm", &guest("shop"));
    let text = text.replace("../../target/wasm32-wasip2/release/examples/shop_bank.wasm", &guest("shop_bank"));
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("build = ")).collect();
    project.write("ambrosia.toml", &lines.join("\n"));
    let mut command = project.command(&[]);
    command.env("BANK_KEY", "any");
    let up = Host::start(command, |_| {}).expect("the program can be started");
    up.wait_for_word("became primary");
    for name in ["shop", "bank"] {
        wait_for_status(&project.cluster, name, |status| status["primary"].is_object());
    }
    let address = http_address(&up);
    let ask = |path: &str, key: &str, body: &str| post(address, path, Some(key), body);
    assert_eq!(ask("/v1/shop/stock_up", "tea-1", r#"["tea", 5, 300]"#).status, 200);
    let place = || ask("/v1/shop/place", "o-1", r#"[{"number": "o-1", "item": "tea", "pieces": 2}]"#);
    let receipt = json!({"Ok": {"id": "r-o-1", "cents": 600}});
    assert_eq!(place().json(), receipt);
    succeeds(&project.cluster, &["kill", "--instance", "shop", "--primary"], &["took over"]);
    succeeds(&project.cluster, &["kill", "--instance", "bank", "--primary"], &["took over"]);
    assert_eq!(place().json(), receipt);
    let again = r#"[{"number": "o-2", "item": "tea", "pieces": 1}]"#;
    assert_eq!(ask("/v1/shop/place", "o-2", again).json()["Ok"]["cents"], 300);
    assert_eq!(project.cluster.send("bank", "charged", json!([])), json!({"o-1": 600, "o-2": 300}));
    assert_eq!(project.cluster.send("shop", "in_stock", json!(["tea"])), 2);
    // At paths of its own.
    assert_eq!(curl(address, "/shop/items/tea", &[]).body, "2");
    let order = json!({"number": "o-3", "item": "tea", "pieces": 1}).to_string();
    assert_eq!(ask("/shop/orders", "o-3", &order).json()["Ok"]["cents"], 300);
    assert_eq!(curl(address, "/shop/items/tea", &[]).body, "1");
}

#[test]
fn what_is_wrong_with_a_project_is_told_before_anything_runs() {
    let project = Project::new();
    let fails = |words: &[&str]| {
        let output = project.command(&[]).output().expect("the program can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "it did not say {word:?}:\n{said}"));
    };
    project.write("ambrosia.toml", &LEDGER.replace("build", "biuld"));
    fails(&["ambrosia.toml: line 3: instance ledger has no key `biuld`; did you mean `build`?"]);
    project.write("ambrosia.toml", &LEDGER.replace("cp ", "false "));
    fails(&["up       | builds: false source.bin ledger.wasm", "failed with exit code 1"]);
    project.write("ambrosia.toml", &LEDGER.replace("cp ", "true "));
    fails(&["the module of instance ledger is not there: ./ledger.wasm, its build has not made it"]);
    fs::remove_file(project.cluster.file("ambrosia.toml")).expect("it is there");
    fails(&["there is no ambrosia.toml in this directory, nor in one above it"]);
    project.write("ambrosia.toml", LEDGER);
    let _up = project.up(&[], 1);
    fails(&["of instance ledger is running already, as process ", "end that one first, or another `up`"]);
}

#[test]
fn a_replica_is_killed_and_nobody_else() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let kill = |whom: &[&'static str]| [&["kill", "--instance", "counter"], whom].concat();
    fails(&cluster, &kill(&["--primary"]), &["instance counter has no primary now"]);
    fails(
        &cluster,
        &kill(&["--replica", "1"]),
        &["instance counter: replica 1 does not run, so there is nothing to be killed"],
    );
    let mut first = cluster.start("counter", 0);
    first.wait_until_primary();
    let mut second = cluster.start("counter", 1);
    second.wait_until_caught_up();
    succeeds(&cluster, &kill(&["--replica", "1"]), &["killed replica 1 of counter, a standby", "the primary goes on"]);
    assert_eq!(second.exit_code(), -1, "a signal ended it");
    assert_eq!(cluster.send("counter", "add", json!([2])), 2);
    succeeds(
        &cluster,
        &kill(&["--primary"]),
        &["killed replica 0 of counter, the primary", "no other replica was running"],
    );
    assert_eq!(first.exit_code(), -1, "a signal ended it");
}
