//! A store in etcd whose modules and checkpoints lie in an object store: machines that have nothing of them, and what becomes of those that
//! run when it is away.

use ambrosia_test_database::{Etcd, Objects};
use ambrosia_tests::{Cluster, PATIENCE, Signal};
use serde_json::json;

use crate::support::{cluster_with, fails};

/// A store of its own, unless one of the two is not there.
fn begin() -> Option<(Cluster, Objects, Etcd)> {
    let (etcd, objects) = (Etcd::begin(1, &[])?, Objects::begin()?);
    let cluster = cluster_with(&etcd.url_with("shop", "s3://shop/some/prefix"), &objects.variables());
    Some((cluster, objects, etcd))
}

#[test]
fn a_replica_on_another_machine_begins_with_what_lies_in_the_object_store_and_with_the_instance_all_of_it_goes() {
    let Some((mut cluster, objects, _etcd)) = begin() else { return };
    assert_eq!(objects.count(), 1, "the mark of the store");
    cluster.register("counter", "counter", 2);
    let mut first = cluster.start("counter", 0);
    first.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([7])), json!(7));
    cluster.must(&["checkpoint", "--instance", "counter"]);
    assert!(objects.count() >= 3, "a module and a checkpoint");
    first.kill();
    cluster.set_env("AMBROSIA_CACHE", cluster.file("cache of another machine"));
    let mut second = cluster.start("counter", 1);
    second.wait_until_primary();
    assert!(second.stderr.all().iter().any(|line| line.contains("restored a checkpoint")), "{}", second.said());
    assert_eq!(cluster.send("counter", "add", json!([1])), json!(8));
    second.signal(Signal::Terminate);
    assert_eq!(second.exit_code(), 0, "{}", second.said());
    cluster.must(&["deregister-instance", "--instance", "counter", "--yes"]);
    assert_eq!(objects.count(), 1, "the mark alone");
}

#[test]
fn while_the_object_store_is_away_requests_go_on_and_it_is_said_once_and_once_when_that_is_over() {
    let Some((cluster, mut objects, _etcd)) = begin() else { return };
    cluster.register("counter", "counter", 1);
    let mut counter = cluster.start("counter", 0);
    counter.wait_until_primary();
    objects.kill();
    for number in 1..=2 {
        fails(&cluster, &["checkpoint", "--instance", "counter"], &["s3://shop/some/prefix/"]);
        assert_eq!(cluster.send("counter", "add", json!([1])), json!(number));
    }
    let said = |words: &str| counter.stderr.all().iter().filter(|line| line.contains(words)).count();
    assert_eq!(said("requests go on"), 1, "{}", counter.said());
    assert_eq!(said("s3cret"), 0, "{}", counter.said());
    cluster.must(&["status"]);
    // What has come once is kept: another process begins without it.
    counter.kill();
    let counter = cluster.start("counter", 0);
    counter.wait_until_primary();
    assert_eq!(cluster.send("counter", "add", json!([1])), json!(3));
    let said = |words: &str| counter.stderr.all().iter().filter(|line| line.contains(words)).count();
    assert_eq!(said("requests go on"), 1, "{}", counter.said());
    objects.start();
    cluster.must(&["checkpoint", "--instance", "counter"]);
    counter.stderr.wait_for(0, PATIENCE, |line| line.contains("can be used again")).expect("it is told");
    assert_eq!(cluster.send("counter", "add", json!([1])), json!(4));
}
