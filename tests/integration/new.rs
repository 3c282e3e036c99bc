//! `new`: a project that a stranger makes outside of this repository, built by the real cargo.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ambrosia_tests::{Cluster, Host, Signal};
use serde_json::{Value, json};

use crate::support::{cluster, curl, fails, http_address, post, succeeds};

/// The first build has crates to compile, on a machine that may be busy.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);
/// All else.
const PATIENCE: Duration = Duration::from_secs(60);

/// One directory for all runs, so that the crates are compiled once.
fn target(cluster: &Cluster) -> PathBuf {
    let release = cluster.program().parent().expect("it lies in the build directory");
    release.parent().expect("the profile's directory lies in the build directory").join("new-project")
}

fn in_project(cluster: &Cluster, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = cluster.command(arguments);
    command.current_dir(directory).env_remove("AMBROSIA_STORE").env("CARGO_TARGET_DIR", target(cluster));
    command
}

/// What a reader of the README does in the first ten minutes.
#[test]
fn a_new_project_runs_takes_http_loses_nothing_to_kills_and_is_swapped_when_its_source_changes() {
    const KILLS: usize = 5;
    let cluster = cluster();
    let directory = cluster.file("made");
    succeeds(
        &cluster,
        &["new", "my-counter", "--directory", directory.to_str().expect("text")],
        &["made the project my-counter"],
    );
    let run = |arguments: &[&str]| {
        let output = in_project(&cluster, &directory, arguments).output().expect("the program can be started");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let lock = fs::read_to_string(directory.join("Cargo.lock")).expect("it was made");
    let mut up = Host::start(in_project(&cluster, &directory, &["up", "--watch", "--http", "127.0.0.1:0"]), |_| {})
        .expect("the program can be started");
    let became = up.stderr.wait_for(0, BUILD_PATIENCE, |line| line.contains("became primary"));
    assert!(became.is_some(), "it was not built: {}", up.said());
    let address = http_address(&up);
    let built_with = fs::read_to_string(directory.join("Cargo.lock")).expect("it is there");
    assert_eq!(built_with, lock, "cargo takes the versions that it was made with, and no newer ones");

    let page = curl(address, "/docs", &[]);
    assert!(page.status == 200 && page.body.contains("<html"), "{page:?}");
    let described = curl(address, "/openapi.json", &[]).json();
    assert!(described["paths"]["/v1/my-counter/add"]["post"].is_object(), "{described}");
    let add = |key: &str, n: u64| {
        let response = post(address, "/v1/my-counter/add", Some(key), &json!([n]).to_string());
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    };
    assert_eq!((add("order-1", 2), add("order-1", 2)), (json!(2), json!(2)), "it is done once");

    // Somebody posts without a pause while one primary after the other is killed.
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let poster = {
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let key = format!("load-{}", done.load(Ordering::Acquire));
                let response = post(address, "/v1/my-counter/add", Some(&key), "[1]");
                assert_eq!(response.status, 200, "{response:?}");
                done.fetch_add(1, Ordering::AcqRel);
            }
        })
    };
    for _ in 0..KILLS {
        let before = done.load(Ordering::Acquire);
        let began = Instant::now();
        while done.load(Ordering::Acquire) < before + 10 {
            assert!(began.elapsed() < PATIENCE && !poster.is_finished(), "nobody answers: {}", up.said());
            thread::park_timeout(Duration::from_millis(5));
        }
        // The one that was killed before is to be there again.
        wait_for_roles(&run);
        let killed = run(&["kill", "my-counter", "--primary"]);
        assert!(killed.contains("of my-counter, the primary") && killed.contains("took over in"), "{killed}");
    }
    stop.store(true, Ordering::Release);
    poster.join().expect("no request failed");
    let total = 2 + done.load(Ordering::Acquire);
    assert_eq!(curl(address, "/v1/my-counter/total", &[]).json(), json!(total), "each was done once");
    assert_eq!(curl(address, "/my-counter/total", &[]).json(), json!(total), "at a path of its own");
    wait_for_roles(&run);
    let lsn = run(&["send", "my-counter", "add", "[0]"]);
    assert_eq!(lsn.trim(), total.to_string());
    let standby = standby(&run);
    let applied = curl(address, "/v1/my-counter/total", &[]).header("ambrosia-lsn").map(str::to_owned);
    let path =
        format!("/v1/my-counter/total?replica={standby}&at_least={}", applied.expect("a query says what it saw"));
    assert_eq!(curl(address, &path, &[]).json(), json!(total), "a standby has it, too");

    up.wait_for_word("watches the sources");
    let source = directory.join("src/lib.rs");
    let text = fs::read_to_string(&source).expect("it was made");
    fs::write(&source, text.replace("self.total += n;", "self.total += 10 * n;")).expect("it can be written");
    let swapped = up.stdout.wait_for(0, BUILD_PATIENCE, |line| line.contains("runs the new module since lsn"));
    assert!(swapped.is_some(), "it was not swapped: {}", up.said());
    // The trial of it, on the log so far, was shown before.
    up.wait_for_print(" by both, ");
    assert_eq!(add("order-2", 1), json!(total + 10));
    up.signal(Signal::Interrupt);
    assert_eq!(up.exit_code(), 0, "{}", up.said());
}

/// The replicas of the counter, as `status` has them.
fn replicas(run: &impl Fn(&[&str]) -> String) -> Vec<Value> {
    let status: Value = serde_json::from_str(&run(&["status", "my-counter", "--json"])).expect("JSON");
    let instances = status["instances"].as_array().cloned().unwrap_or_default();
    instances.first().and_then(|instance| instance["replicas"].as_array().cloned()).unwrap_or_default()
}

/// Waits for a primary and a standby.
fn wait_for_roles(run: &impl Fn(&[&str]) -> String) {
    let began = Instant::now();
    loop {
        let replicas = replicas(run);
        let has = |role: &str| replicas.iter().any(|replica| replica["role"] == role);
        if has("primary") && has("standby") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{replicas:?}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn standby(run: &impl Fn(&[&str]) -> String) -> u64 {
    let replicas = replicas(run);
    let standby = replicas.iter().find(|replica| replica["role"] == "standby");
    standby.and_then(|standby| standby["replica"].as_u64()).expect("it was waited for")
}

/// Where the lock of the SDK alone is kept, for the program to write that of a project from.
const LOCK: &str = "../cli/src/new/rust/Cargo.lock.in";

/// The versions of a project are those that the SDK is tested with here; cargo says which ones of them it takes.
#[test]
fn a_new_project_has_the_crates_of_the_workspace() {
    let cluster = cluster();
    let directory = cluster.file("made");
    cluster.must(&["new", "a-shop", "--directory", directory.to_str().expect("text")]);
    let file = directory.join("Cargo.lock");
    let made = fs::read_to_string(&file).expect("it was made");
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::copy(here.join("../Cargo.lock"), &file).expect("the workspace has one");
    let cargo = |arguments: &[&str]| {
        let ran = Command::new("cargo").args(arguments).current_dir(&directory).output().expect("cargo is here");
        assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    // What the project does not take goes out of it, and the rest stays.
    cargo(&["tree", "--offline", "--quiet"]);
    let wanted = fs::read_to_string(&file).expect("cargo has written it");
    if std::env::var_os("AMBROSIA_BLESS").is_some() {
        let project =
            "\n\n[[package]]\nname = \"a-shop\"\nversion = \"0.1.0\"\ndependencies = [\n \"ambrosia-sdk\",\n]";
        fs::write(here.join(LOCK), wanted.replace(project, "")).expect("it can be written");
        return;
    }
    assert_eq!(
        made, wanted,
        "{LOCK} is an older one: AMBROSIA_BLESS=1 writes it anew, and then the program is to be built again"
    );
    fs::write(&file, &made).expect("it can be written");
    cargo(&["tree", "--offline", "--quiet", "--locked"]);
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let cluster = cluster();
    let there = cluster.file("there");
    fs::create_dir(&there).expect("the directory is new");
    let there = there.to_str().expect("text");
    fails(&cluster, &["new", "shop", "--directory", there], &["can't make the directory", "there"]);
    fails(&cluster, &["new", "My Shop"], &["`My Shop` can't be the name of a project"]);
    assert_eq!(fs::read_dir(there).expect("it is there").count(), 0);
}
