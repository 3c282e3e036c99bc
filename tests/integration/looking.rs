//! Whoever only looks at a store waits for nobody, and needs no right to write. One broken instance hides no other.

use std::{
    collections::BTreeSet,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ambrosia_tests::{Cluster, Host, LockedBytes, Ran, skip};
use serde_json::{Value, json};

use crate::support::{begin, cluster, fails, role};

/// A user who owns nothing.
const NOBODY: u32 = 65534;

/// The byte of a log's lock file that is held while its control page is filled.
const FIRST_USE_BYTE: u64 = 1 << 61;

fn log_directory(cluster: &Cluster, instance: &str) -> PathBuf {
    let uuid = cluster.status(instance)["uuid"].as_str().expect("a text").to_owned();
    cluster.store().join("logs").join(uuid)
}

/// Runs a verb as a user who owns nothing.
fn as_nobody(cluster: &Cluster, arguments: &[&str]) -> Ran {
    ran(cluster.command(arguments).uid(NOBODY).gid(NOBODY))
}

fn ran(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().expect("the program can be started");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether this test may be other users. The directory of the store is then one that all may read.
fn can_be_nobody(cluster: &mut Cluster, what: &str) -> bool {
    if std::fs::metadata(cluster.directory()).expect("it is there").uid() != 0 {
        skip(what, "only root may start a program as another user");
        return false;
    }
    cluster.open_to_all();
    let tried = cluster.command(&["--version"]).uid(NOBODY).gid(NOBODY).output();
    if let Err(error) = &tried {
        skip(what, &format!("another user can't start a program in {}: {error}", cluster.directory().display()));
    }
    tried.is_ok()
}

/// All paths beneath a directory, but those of compiled modules.
fn paths_beneath(directory: &Path) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    let mut waiting = vec![directory.to_path_buf()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                waiting.push(path.clone());
            }
            paths.insert(path);
        }
    }
    paths
}

fn instances(ran: &Ran) -> Vec<Value> {
    let status: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    status["instances"].as_array().expect("a list").clone()
}

#[test]
fn a_tool_that_stands_still_makes_no_reader_wait_and_no_writer_for_ever() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    let log = log_directory(&cluster, "counter");
    let registry = LockedBytes::take(&cluster.store().join("registry/.lock"), 0..2).expect("nobody has it");
    let first_use = LockedBytes::take(&log.join("lock"), FIRST_USE_BYTE..FIRST_USE_BYTE + 1).expect("nobody has it");

    assert_eq!(cluster.send("counter", "add", json!([1])), 1, "`send` takes no lock");
    assert_eq!(role(&cluster.status("counter"), 0), "primary");
    assert!(!cluster.log("counter").is_empty());
    let _standby = cluster.start("counter", 1);
    _standby.wait_until_caught_up();

    let holder = format!("process {} (", std::process::id());
    let module = cluster.guest("counter").display().to_string();
    let verbs = [
        &["add-replica", "--instance", "counter", "--replica", "2"][..],
        &["register-instance", "--instance", "b", "--module", &module],
        &["deregister-instance", "--instance", "counter", "--yes"],
    ];
    let pending: Vec<_> = verbs.iter().map(|verb| begin(&cluster, verb)).collect();
    for (verb, pending) in verbs.iter().zip(pending) {
        let ran = pending.end();
        assert_eq!(ran.code, 1, "{verb:?}: {ran:?}");
        for word in ["take the lock of", "registry/.lock", &holder, "has held it for 10 s"] {
            assert!(ran.stderr.contains(word), "{verb:?} did not say {word:?}: {}", ran.stderr);
        }
    }
    drop((host, _standby));
    // As after a restart of the machine: the page is to be filled.
    std::fs::remove_file(log.join("control")).expect("it was there");
    let words = ["take the lock of the first use", "lock: ", &holder, "has held it for 10 s"];
    fails(&cluster, &["log", "--instance", "counter"], &words);
    drop((registry, first_use));
    assert_eq!(role(&cluster.status("counter"), 0), "down");
}

#[test]
fn who_may_only_read_sees_what_the_owner_sees_and_changes_nothing() {
    let mut cluster = cluster();
    if !can_be_nobody(&mut cluster, "a store of another user") {
        return;
    }
    cluster.register("counter", "counter", 2);
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    let pid = host.pid();
    see_it_all(&cluster, |arguments| as_nobody(&cluster, arguments), Some(pid));
    let refused = as_nobody(&cluster, &["add-replica", "--instance", "counter", "--replica", "3"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stderr.matches("Permission denied").count(), 1, "it is said once: {}", refused.stderr);
    drop(host);
    see_it_all(&cluster, |arguments| as_nobody(&cluster, arguments), None);
    // The lock alone is not enough: who stores to a page that is mapped for reading is killed.
    let lock = log_directory(&cluster, "counter").join("lock");
    let own = std::fs::metadata(&lock).expect("it is there").permissions();
    std::fs::set_permissions(&lock, PermissionsExt::from_mode(0o666)).expect("it is the test's own");
    let refused = as_nobody(&cluster, &["run", "--instance", "counter"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("this process may only read the control page"), "{}", refused.stderr);
    std::fs::set_permissions(&lock, own).expect("it is the test's own");
    // As after a restart of the machine: nobody has filled the page.
    std::fs::remove_file(log_directory(&cluster, "counter").join("control")).expect("it was there");
    see_it_all(&cluster, |arguments| as_nobody(&cluster, arguments), None);
    let refused = as_nobody(&cluster, &["run", "--instance", "counter"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stderr.matches("Permission denied").count(), 1, "it is said once: {}", refused.stderr);
}

#[test]
fn a_store_on_a_file_system_that_is_mounted_read_only_can_be_looked_at() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([1])), 1);
    let mounted = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let script = "mount --bind \"$AMBROSIA_STORE\" \"$AMBROSIA_STORE\" && \
                      mount -o remount,bind,ro \"$AMBROSIA_STORE\" || exit 77; exec \"$@\"";
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(cluster.program()).args(arguments);
        ran(command.env("AMBROSIA_STORE", cluster.store()))
    };
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) || mounted(&["--version"]).code == 77 {
        return skip("a store that is mounted read-only", "this user may not mount");
    }
    see_it_all(&cluster, mounted, Some(host.pid()));
    let refused = mounted(&["add-replica", "--instance", "counter", "--replica", "3"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(refused.stderr.matches("Read-only file system").count(), 1, "it is said once: {}", refused.stderr);
    drop(host);
    std::fs::remove_file(log_directory(&cluster, "counter").join("control")).expect("it was there");
    see_it_all(&cluster, mounted, None);
}

/// Sees that `look` shows what is there, with the primary as process `pid`, and changes nothing.
fn see_it_all(cluster: &Cluster, look: impl Fn(&[&str]) -> Ran, pid: Option<u32>) {
    let before = paths_beneath(&cluster.store());
    let status = look(&["status", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    let seen = &instances(&status)[0];
    assert_eq!(seen["replicas"][0]["pid"], json!(pid), "{seen}");
    assert_eq!(role(seen, 0), if pid.is_some() { "primary" } else { "down" });
    let text = look(&["status"]);
    let is_from_files = seen["from_files"] == true;
    assert_eq!(text.stdout.contains("as its files tell"), is_from_files, "{text:?}");
    assert_eq!(is_from_files, !before.iter().any(|path| path.ends_with("control")));
    let log = look(&["log", "--instance", "counter", "--json"]);
    assert_eq!(log.code, 0, "{log:?}");
    assert_eq!(paths_beneath(&cluster.store()), before, "who looks leaves nothing");
    assert_eq!(log.stdout.lines().count() as u64, seen["durable_lsn"].as_u64().expect("a number"));
    assert!(log.stdout.contains("\"method\":\"add\""), "{}", log.stdout);
}

#[test]
fn one_broken_instance_hides_no_other_and_can_be_deregistered() {
    let cluster = cluster();
    for instance in ["a", "b", "c", "d"] {
        cluster.register(instance, "counter", 1);
    }
    let host = cluster.start("a", 0);
    host.wait_until_primary();
    let logs: Vec<_> = ["b", "d"].map(|instance| log_directory(&cluster, instance)).into();
    std::fs::remove_dir_all(&logs[0]).expect("it was there");
    std::fs::write(cluster.store().join("registry/instances:c"), "garbage").expect("it can be written");
    std::fs::remove_file(logs[1].join("control")).expect("status has made it");
    std::fs::create_dir(logs[1].join("control")).expect("nothing is there");

    let text = cluster.run(&["status"]);
    assert_eq!(text.code, 1, "{text:?}");
    assert!(text.stdout.contains("a: running"), "{}", text.stdout);
    for (instance, why) in [("b", "the log is gone"), ("c", "is damaged"), ("d", "control")] {
        let line = text.stdout.lines().find(|line| line.starts_with(&format!("{instance}: ")));
        let line = line.unwrap_or_else(|| panic!("{instance} is not shown:\n{}", text.stdout));
        assert!(line.contains("can't be read") && line.contains(why), "{line}");
    }
    let shown = instances(&cluster.run(&["status", "--json"]));
    let states: Vec<_> = shown.iter().map(|instance| instance["state"].as_str().expect("a text")).collect();
    assert_eq!(states, ["running", "unreadable", "unreadable", "unreadable"]);
    assert!(shown[1]["error"].as_str().is_some_and(|error| error.contains("the log is gone")), "{}", shown[1]);

    cluster.register("e", "counter", 1);
    for instance in ["b", "c", "d"] {
        let unsure = fails(&cluster, &["deregister-instance", "--instance", instance], &["repeat it with --yes"]);
        assert!(unsure.contains(instance));
        cluster.must(&["deregister-instance", "--instance", instance, "--yes"]);
        cluster.register(instance, "counter", 1);
    }
    let status = cluster.run(&["status", "--json"]);
    assert_eq!(status.code, 0, "{status:?}");
    assert_eq!(instances(&status).len(), 5);
    assert_eq!(paths_beneath(&cluster.store().join("logs")).iter().filter(|path| path.is_dir()).count(), 5);
}

#[test]
fn status_shows_no_error_of_instances_that_come_and_go() {
    let cluster = cluster();
    cluster.register("stays", "counter", 1);
    let module = cluster.guest("counter").display().to_string();
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            for _ in 0..20 {
                cluster.must(&["register-instance", "--instance", "comes", "--module", &module]);
                cluster.must(&["deregister-instance", "--instance", "comes", "--yes"]);
            }
        });
        while !changes.is_finished() {
            let status = cluster.run(&["status", "--json"]);
            assert_eq!(status.code, 0, "{status:?}");
            assert!(instances(&status).iter().any(|instance| instance["name"] == "stays"), "{status:?}");
        }
        changes.join().expect("no panic");
    });
}

#[test]
fn a_process_of_another_container_is_shown_with_its_host() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--uts", "--pid", "--fork", "--kill-child", "sh", "-c"]);
        command.args(["hostname elsewhere || exit 77; exec \"$@\"", "sh"]).arg(cluster.program()).args(arguments);
        command.env("AMBROSIA_STORE", cluster.store()).env_remove("AMBROSIA_LOG");
        command
    };
    if !inside(&["--version"]).output().is_ok_and(|tried| tried.status.success()) {
        return skip("a store that containers share", "this user may not make namespaces");
    }
    let other = Host::start(inside(&["run", "--instance", "counter"]), |_| {}).expect("it has just been started");
    other.wait_until_primary();
    let standby = cluster.start("counter", 1);
    standby.wait_until_caught_up();

    let text = cluster.must(&["status"]);
    let line = |replica: &str| text.lines().find(|line| line.contains(replica)).expect("each has a line").to_owned();
    assert!(line("replica 0").contains("pid 1 on elsewhere"), "{text}");
    assert!(!line("replica 1").contains(" on "), "a process of this host is named by its number alone: {text}");
    let status = cluster.status("counter");
    assert_eq!(
        (&status["primary"]["host"], &status["replicas"][0]["host"]),
        (&json!("elsewhere"), &json!("elsewhere"))
    );
    assert!(status["replicas"][1]["host"].as_str().is_some_and(|host| host != "elsewhere"), "{status}");
    fails(&cluster, &["run", "--instance", "counter"], &["already running, as process 1 on elsewhere"]);
    let seen = ran(&mut inside(&["status"]));
    assert!(seen.stdout.contains("pid 1 ") && !seen.stdout.contains("elsewhere"), "it is at home: {seen:?}");
}
