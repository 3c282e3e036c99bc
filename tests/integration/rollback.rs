//! A database that is restored from a backup, or has lost its newest records otherwise, while hosts know more.

use ambrosia_test_database::Server;
use ambrosia_tests::{Cluster, Host};
use serde_json::{Value, json};

use crate::support::{cluster_on, end, fails};

/// A counter in a database of its own, which was backed up when it stood at 3; unless there is no PostgreSQL.
struct Stage {
    cluster: Cluster,
    server: Server,
}

impl Stage {
    fn begin() -> Option<Stage> {
        let server = Server::begin(&[])?;
        let cluster = cluster_on(&server.url("shop"));
        cluster.register("counter", "counter", 2);
        let host = cluster.start("counter", 0);
        host.wait_until_primary();
        assert_eq!(cluster.send("counter", "add", json!([3])), 3);
        end(host);
        server.stop();
        server.back_up();
        server.start();
        Some(Stage { cluster, server })
    }

    /// Brings the backup back.
    fn restore(&self) {
        self.server.crash();
        self.server.restore();
        self.server.start();
    }

    fn lost(&self) -> Value {
        self.cluster.status("counter")["lost"].clone()
    }
}

#[test]
fn replicas_that_run_end_and_none_begins_until_what_was_lost_is_given_up() {
    let Some(stage) = Stage::begin() else { return };
    let Stage { cluster, .. } = &stage;
    let mut primary = cluster.start("counter", 0);
    primary.wait_until_primary();
    let mut standby = cluster.start("counter", 1);
    standby.wait_until_caught_up();
    assert_eq!(cluster.send("counter", "add", json!([4])), 7);
    assert_eq!(stage.lost(), Value::Null);
    stage.restore();
    for host in [&mut primary, &mut standby] {
        assert_eq!(host.exit_code(), 1, "{}", host.said());
        assert!(host.said().contains("the store has gone back"), "{}", host.said());
    }
    // By what is written down here, or in the database.
    for replica in [0, 1] {
        let mut host = cluster.start("counter", replica);
        assert_eq!(host.exit_code(), 1, "{}", host.said());
        assert!(
            host.said().contains("the store has gone back") && host.said().contains("accept-rollback"),
            "{}",
            host.said()
        );
    }
    let lost = stage.lost();
    assert!(lost.as_str().is_some_and(|lost| lost.contains("the store has gone back")), "{lost}");
    assert!(cluster.must(&["status"]).contains("the store has lost records"));
    let told = cluster.must(&["accept-rollback"]);
    assert!(told.contains("counter: record") && told.contains("nothing was changed"), "{told}");
    let asked = cluster.command(&["accept-rollback", "--all"]).output().expect("it can be started");
    let said = String::from_utf8_lossy(&asked.stderr);
    assert!(!asked.status.success() && said.contains("--yes"), "{said}");
    assert_ne!(stage.lost(), Value::Null);
    let told = cluster.must(&["accept-rollback", "--instance", "counter", "--yes"]);
    assert!(told.contains("counter: accepted"), "{told}");
    fails(cluster, &["accept-rollback", "--instance", "counter", "--yes"], &["nothing to accept"]);
    assert!(cluster.must(&["accept-rollback", "--all", "--yes"]).contains("nobody has found"));
    let primary = cluster.start("counter", 0);
    primary.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([5])), 8, "as it was backed up");
    assert_eq!(stage.lost(), Value::Null);
}

/// It was stopped for the restore, as whoever restores in order does.
#[test]
fn what_was_durable_is_known_when_all_processes_were_ended_before() {
    let Some(stage) = Stage::begin() else { return };
    let Stage { cluster, server } = &stage;
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([4])), 7);
    end(host);
    server.stop();
    server.restore();
    server.start();
    let mut host = cluster.start("counter", 0);
    assert_eq!(host.exit_code(), 1, "{}", host.said());
    assert!(host.said().contains("the store has gone back"), "{}", host.said());
    cluster.must(&["accept-rollback", "--all", "--yes"]);
    let host = cluster.start("counter", 0);
    host.wait_until_primary();
    assert_eq!(cluster.send("counter", "total", json!([])), 3);
}

#[test]
fn a_host_that_takes_places_goes_on_by_itself_once_that_is_accepted() {
    let Some(stage) = Stage::begin() else { return };
    let Stage { cluster, .. } = &stage;
    let serve = cluster.command(&["serve", "--host-name", "here"]);
    let host = Host::start(serve, |_| {}).expect("the program can be started");
    assert_eq!(cluster.send("counter", "add", json!([4])), 7);
    stage.restore();
    host.wait_for_word("the store has gone back");
    host.wait_for_word("can't be run here");
    cluster.must(&["accept-rollback", "--all", "--yes"]);
    assert_eq!(cluster.send("counter", "add", json!([5])), 8);
    end(host);
}
