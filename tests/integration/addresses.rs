//! Clients that know addresses of hosts and no store.

use std::net::SocketAddr;

use ambrosia_core::{InstanceName, ReplicaIndex};
use ambrosia_storage::{FileStore, Instances, Store};
use ambrosia_tests::{Cluster, Signal};
use serde_json::json;

use crate::support::{Replicas, Session, cluster};

/// Where each replica that runs answers, by its number.
fn address(cluster: &Cluster, instance: &str, replica: u16) -> SocketAddr {
    let store = FileStore::open(cluster.store()).expect("it is there");
    let name = InstanceName::new(instance).expect("a plain name");
    let log = store.instance(&name).expect("it is registered").log();
    let members = store.members(log).expect("its directory is there");
    let running = members.running().expect("its directory can be read");
    let member = running.iter().find(|member| member.replica == ReplicaIndex(replica)).expect("it was added");
    member.address.expect("it runs")
}

#[test]
fn a_client_finds_the_primary_through_any_host_of_the_instance() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 3);
    let standbys = [address(&cluster, "counter", 1), address(&cluster, "counter", 2)];
    let mut session = Session::of_addresses("counter", &standbys);
    assert_eq!(session.call("add", json!([1])), 1);
    counter.kill_primary();
    assert_eq!(session.call("add", json!([1])), 2, "whoever took over was found");
    // Of the hosts that it knows one is left, and that is not the primary.
    let dead = counter.kill_primary();
    counter.start_standby(dead);
    assert_eq!(session.call("add", json!([1])), 3);
    let standby = address(&cluster, "counter", dead);
    let mut session = Session::of_addresses("counter", &[standbys[usize::from(dead) - 1], standby]);
    assert_eq!(session.call("add", json!([1])), 4, "an address at which nobody answers any more does no harm");
}

#[test]
fn a_client_leaves_a_primary_that_was_stopped_for_the_one_that_took_over() {
    let cluster = cluster();
    let mut counter = Replicas::of(&cluster, "counter", "counter", 2);
    let both = [address(&cluster, "counter", 0), address(&cluster, "counter", 1)];
    let mut session = Session::of_addresses("counter", &both);
    assert_eq!(session.call("add", json!([1])), 1);
    counter.host(0).signal(Signal::Stop);
    assert_eq!(session.call("add", json!([1])), 2, "its connection stands, and nothing comes");
    assert_eq!(counter.next_reign().replica, 1);
    counter.host(0).signal(Signal::Continue);
}
