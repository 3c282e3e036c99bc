//! Queries: answered without a record, by a primary as by all that was answered before, and by any replica at its record.

use std::time::Duration;

use ambrosia_core::{Lsn, ReplicaIndex, RequestId};
use ambrosia_host::{Answered, Client, ClientError, decode_value, encode_arguments};
use ambrosia_tests::{PATIENCE, Signal};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{Replicas, begin, cluster, fails, role, wait_for_status};

/// A client that asks.
struct Asker {
    runtime: Runtime,
    client: Client,
}

impl Asker {
    fn new(cluster: &ambrosia_tests::Cluster, instance: &str) -> Asker {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = {
            let _within = runtime.enter();
            cluster.client(instance)
        };
        Asker { runtime, client }
    }

    fn ask(
        &mut self,
        method: &str,
        arguments: Value,
        at_least: Lsn,
        replica: Option<u16>,
        limit: Duration,
    ) -> Result<(Value, Lsn), ClientError> {
        let arguments = encode_arguments(&arguments.to_string(), true).expect("an array");
        let asked = self.client.query(method, &arguments, at_least, replica.map(ReplicaIndex), limit);
        let queried = self.runtime.block_on(asked)?;
        Ok((decode_value(&queried.value), queried.lsn))
    }

    fn query(&mut self, method: &str, arguments: Value) -> (Value, Lsn) {
        self.ask(method, arguments, Lsn(0), None, PATIENCE).expect("the primary answers")
    }

    fn failure(&mut self, method: &str, arguments: Value) -> String {
        self.ask(method, arguments, Lsn(0), None, PATIENCE).expect_err("it fails").to_string()
    }

    /// Runs an update: what it gave, and the record that brought it about.
    fn update(&mut self, id: &str, method: &str, arguments: Value) -> (Value, Lsn) {
        let arguments = encode_arguments(&arguments.to_string(), true).expect("an array");
        let request = RequestId::new(id).expect("short");
        let sent = self.client.send_for_lsn(&request, method, &arguments, true, PATIENCE);
        match self.runtime.block_on(sent).expect("it is answered") {
            (Answered::Value(value), lsn) => (decode_value(&value), lsn),
            (Answered::Accepted, _) => panic!("the answer was waited for"),
        }
    }
}

#[test]
fn a_query_sees_what_was_answered_and_leaves_no_record() {
    let cluster = cluster();
    let _asked = Replicas::of(&cluster, "asked", "asked", 1);
    let mut asker = Asker::new(&cluster, "asked");
    for n in 1..=20 {
        let (total, lsn) = asker.update(&format!("{n}"), "add", json!([2]));
        assert_eq!((total, lsn > Lsn(0)), (json!(2 * n), true));
        let (seen, at) = asker.query("total", json!([]));
        assert_eq!(seen, json!(2 * n));
        assert!(at >= lsn, "{at} is before the record {lsn} of what was answered");
        assert_eq!(asker.query("asked", json!([])).0, json!([1, 1]), "nobody sees what another query wrote");
    }
    asker.update("keep", "keep", json!([3_000_000]));
    for _ in 0..3 {
        assert_eq!(asker.query("doubled", json!([])).0, json!(6_000_000), "it has memory of its own");
    }
    let records = cluster.log("asked").len();
    for _ in 0..50 {
        asker.query("total", json!([]));
    }
    assert_eq!(cluster.must(&["send", "--instance", "asked", "--method", "total"]), "40\n");
    assert_eq!(cluster.log("asked").len(), records, "a query makes no record");
    assert_eq!(cluster.must(&["send", "--instance", "asked", "--method", "total", "--logged"]), "40\n");
    assert_eq!(cluster.log("asked").len(), records + 1, "but for one that is run as an update");
}

#[test]
fn the_verb_asks_any_replica_and_runs_nothing_that_may_change_something() {
    let cluster = cluster();
    let _asked = Replicas::of(&cluster, "asked", "asked", 2);
    let (_, lsn) = Asker::new(&cluster, "asked").update("add", "add", json!([2]));
    let lsn = lsn.0.to_string();
    assert_eq!(cluster.must(&["query", "asked", "total"]), "2\n");
    for replica in ["0", "1"] {
        assert_eq!(cluster.must(&["query", "asked", "total", "--replica", replica, "--at-least", &lsn]), "2\n");
    }
    fails(&cluster, &["query", "asked", "add", "[1]"], &["method add is of kind update", "no query", "send` runs it"]);
    assert_eq!(cluster.must(&["query", "asked", "total"]), "2\n", "what was refused was not run");
}

#[test]
fn a_query_that_does_what_it_may_not_fails_and_the_instance_goes_on() {
    let cluster = cluster();
    let asked = Replicas::of(&cluster, "asked", "asked", 1);
    let mut asker = Asker::new(&cluster, "asked");
    asker.update("meet", "meet", json!(["friend"]));
    for (method, arguments, words) in [
        ("fails", json!([]), "it can't"),
        ("never_ends", json!([]), "fuel"),
        ("draws", json!([]), "random value"),
        ("sends", json!(["friend"]), "nothing but its reply"),
        ("sends", json!(["stranger"]), "which this instance has not met"),
        ("add", json!([1]), "no query"),
        ("nothing", json!([]), "nothing"),
    ] {
        let said = asker.failure(method, arguments);
        assert!(said.contains(words), "{method}: {said}");
        assert_eq!(asker.query("total", json!([])).0, json!(0));
    }
    assert_eq!(asker.update("add", "add", json!([1])).0, json!(1), "it goes on");
    let records = cluster.log("asked");
    assert!(!format!("{records:?}").contains("stranger"));
    assert_eq!(asked.printed(), Vec::<String>::new());
    fails(
        &cluster,
        &["send", "--instance", "asked", "--method", "add", "--args", "[1]", "--replica", "0"],
        &["of kind update"],
    );
    fails(&cluster, &["send", "--instance", "asked", "--method", "total", "--request-id", "a"], &["--logged"]);
}

#[test]
fn a_standby_answers_at_its_record_and_waits_for_one_that_is_asked_for() {
    let cluster = cluster();
    let mut asked = Replicas::of(&cluster, "asked", "asked", 2);
    let mut asker = Asker::new(&cluster, "asked");
    let mut last = Lsn(0);
    for n in 1..=20 {
        let (_, lsn) = asker.update(&format!("{n}"), "add", json!([1]));
        let (total, at) = asker.ask("total", json!([]), lsn, Some(1), PATIENCE).expect("it comes so far");
        assert_eq!(total, json!(n), "read your writes, on a standby");
        assert!(at >= lsn && at >= last);
        last = at;
    }
    let far = Lsn(last.0 + 1_000_000);
    let late =
        asker.ask("total", json!([]), far, Some(1), Duration::from_millis(300)).expect_err("it never comes so far");
    assert!(matches!(late, ClientError::Failed(_) | ClientError::NoAnswer(_)), "{late}");
    let send = ["send", "--instance", "asked", "--method", "total", "--replica", "1", "--at-least"];
    assert_eq!(cluster.must(&[&send[..], &[&last.0.to_string()]].concat()), "20\n");
    let said =
        fails(&cluster, &["send", "--instance", "asked", "--method", "total", "--replica", "5", "--timeout", "1"], &[]);
    assert!(said.contains("replica 5") && said.contains("does not run"), "{said}");
    // A query that waits at a standby is answered by it after it has taken over, and one of the primary by the next.
    asked.host(0).signal(Signal::Stop);
    let waiting = begin(&cluster, &["send", "--instance", "asked", "--method", "total"]);
    assert_eq!(asked.next_reign().replica, 1);
    assert_eq!(waiting.end().stdout, "20");
    let (total, lsn) = asker.update("after", "add", json!([1]));
    assert_eq!(total, json!(21));
    assert_eq!(asker.ask("total", json!([]), lsn, Some(1), PATIENCE).expect("it is primary").0, json!(21));
    // The one that was deposed answers nothing of its own reign: it has what the log has, or nothing.
    asked.host(0).signal(Signal::Continue);
    let (total, _) = asker.ask("total", json!([]), lsn, Some(0), PATIENCE).expect("it follows");
    assert_eq!(total, json!(21));
    wait_for_status(&cluster, "asked", |status| role(status, 0) == "standby");
}

#[test]
fn a_query_that_lies_in_the_socket_of_a_stopped_primary_is_answered_by_the_next_one() {
    let cluster = cluster();
    let asked = Replicas::of(&cluster, "asked", "asked", 2);
    let mut before = Asker::new(&cluster, "asked");
    assert_eq!(before.query("total", json!([])).0, json!(0), "it is connected");
    asked.host(0).signal(Signal::Stop);
    let asking = std::thread::spawn(move || before.query("total", json!([])));
    let mut other = Asker::new(&cluster, "asked");
    assert_eq!(other.update("add", "add", json!([5])).0, json!(5));
    asked.host(0).signal(Signal::Continue);
    let (total, _) = asking.join().expect("it is answered");
    assert!(total == json!(5) || total == json!(0), "{total}");
    assert_eq!(other.query("total", json!([])).0, json!(5), "what was answered before is seen");
}

#[test]
fn queries_go_on_across_kills_and_never_go_back() {
    let cluster = cluster();
    let mut asked = Replicas::of(&cluster, "asked", "asked", 2);
    let mut asker = Asker::new(&cluster, "asked");
    let mut number = 0;
    for _ in 0..3 {
        for _ in 0..20 {
            number += 1;
            asker.update(&number.to_string(), "add", json!([1]));
            assert_eq!(asker.query("total", json!([])).0, json!(number));
        }
        let dead = asked.kill_primary();
        assert_eq!(asker.query("total", json!([])).0, json!(number), "the next one has all of it");
        asked.start_standby(dead);
        let (total, _) = asker.ask("total", json!([]), Lsn(0), Some(dead), PATIENCE).expect("it has caught up");
        assert_eq!(total, json!(number), "a replica that was restarted answers once it has caught up");
    }
}
