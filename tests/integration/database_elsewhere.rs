//! Hosts of one machine whose store is in a database of another one.

use std::{fs, path::PathBuf};

use ambrosia_test_database::Server;
use ambrosia_tests::{
    Cluster,
    torture::{Machine, Machines},
};
use serde_json::json;

use crate::support::{certify, cluster, distant_server, fails, machines};

const DATABASE: Machine = Machine(0);
const HOSTS: Machine = Machine(1);

/// A server on its machine that takes TLS alone; hosts are to be on the other one.
struct Stage {
    cluster: Cluster,
    machines: Machines,
    server: Server,
}

impl Stage {
    fn begin() -> Option<Stage> {
        let machines = machines(2, "a database on another machine")?;
        let server = distant_server(&machines, DATABASE)?;
        let mut cluster = cluster();
        cluster.set_env("AMBROSIA_CACHE", cluster.file("cache"));
        let stage = Stage { cluster, machines, server };
        stage.certify("ca");
        Some(stage)
    }

    /// Has an authority sign the server's certificate.
    fn certify(&self, ca: &str) {
        certify(&self.cluster, &self.server, DATABASE, ca);
    }

    fn ca(&self, ca: &str) -> PathBuf {
        self.cluster.file(ca).join("ca.crt")
    }

    /// What connects by the same server is cut off, and has to do so anew.
    fn restart(&self) {
        self.server.crash();
        self.machines.on(DATABASE, || self.server.start());
    }

    fn on_hosts<T>(&self, work: impl FnOnce(&Cluster) -> T) -> T {
        self.machines.on(HOSTS, || work(&self.cluster))
    }
}

fn url(parameters: &str) -> String {
    format!("postgres://ambrosia:hush@{}/postgres?schema=shop{parameters}", DATABASE.address())
}

#[test]
fn the_store_may_be_in_a_database_of_another_machine() {
    let Some(mut stage) = Stage::begin() else { return };
    let believed = stage.cluster.file("believed.crt");
    fs::copy(stage.ca("ca"), &believed).expect("it was made");
    stage.cluster.set_env("AMBROSIA_STORE", url(&format!("&sslrootcert={}", believed.display())));
    let (mut first, second) = stage.on_hosts(|cluster| {
        cluster.must(&["store", "init"]);
        cluster.register("counter", "counter", 2);
        let first = cluster.start("counter", 0);
        first.wait_until_primary();
        let second = cluster.start("counter", 1);
        second.wait_until_caught_up();
        assert_eq!(cluster.send("counter", "add", json!([3])), 3);
        let add = ["send", "counter", "add", "[4]", "--request-id", "the same"];
        assert_eq!(cluster.must(&add), "7\n");
        cluster.must(&["kill", "--instance", "counter", "--primary"]);
        assert_eq!(cluster.must(&add), "7\n", "it was done before");
        assert_eq!(cluster.send("counter", "add", json!([5])), 12);
        (first, second)
    });
    assert_eq!(first.exit_code(), -1, "it was killed");
    second.wait_until_primary();
    let all = "select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'ambrosia-host'";
    assert_eq!(stage.server.sql(all), "t\n");
    let address = stage.on_hosts(|cluster| cluster.status("counter")["primary"]["address"].clone());
    let address = address.as_str().expect("there is a primary");
    // The server has a certificate of an authority that nobody knows, from its restart on.
    stage.certify("other");
    stage.restart();
    stage.on_hosts(|cluster| {
        // Asked of its host, for the store is not to be had.
        let add = ["send", "counter", "add", "[1]", "--at", address, "--timeout", "600"];
        let mut add = cluster.command(&add).spawn().expect("it starts");
        second.wait_for_word("is not signed by a CA of sslrootcert");
        fails(cluster, &["status"], &["is not signed by a CA of sslrootcert", "sslrootcert=PATH"]);
        // Nobody is started anew.
        fs::copy(stage.ca("other"), &believed).expect("it was made");
        assert!(add.wait().expect("it is ours").success());
        assert_eq!(cluster.send("counter", "total", json!([])), 13);
        assert_eq!(second.said().matches("the log takes nothing").count(), 1, "{}", second.said());
        assert!(!second.said().contains("hush"), "{}", second.said());
    });
}

#[test]
fn a_database_of_another_machine_is_refused_that_is_not_seen_to_be_the_one() {
    let Some(mut stage) = Stage::begin() else { return };
    stage.cluster.set_env("AMBROSIA_STORE", url(""));
    stage.on_hosts(|cluster| fails(cluster, &["store", "init"], &["10.77.0.1:5432", "sslrootcert=PATH"]));
    for mode in ["disable", "prefer", "require", "verify-ca"] {
        stage.cluster.set_env("AMBROSIA_STORE", url(&format!("&sslmode={mode}")));
        let said = stage.on_hosts(|cluster| fails(cluster, &["store", "init"], &["is not this machine", mode]));
        assert!(!said.contains("hush"), "{said}");
    }
    // Whom the system believes is believed if the URL names nobody.
    stage.cluster.set_env("AMBROSIA_STORE", url("&channel_binding=require"));
    stage.cluster.set_env("SSL_CERT_FILE", stage.ca("ca"));
    stage.on_hosts(|cluster| cluster.must(&["store", "init"]));
}
