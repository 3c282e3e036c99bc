//! What the original checks in each of its tests: the printed lines, and the same again when the log is replayed.

use std::collections::BTreeMap;

use ambrosia_tests::{Cluster, PATIENCE};
use serde_json::{Value, json};

use crate::support::Replicas;

/// Waits until the primary of an instance with so many roles has shown the last line of each.
pub(crate) fn wait_for_last_lines(cluster: &Cluster, instance: &str, replicas: &mut Replicas<'_>, roles: usize) {
    let epoch = cluster.status(instance)["epoch"].as_u64().expect("a number");
    let primary = replicas.wait_for_reign(epoch).replica;
    let mut from = 0;
    for _ in 0..roles {
        let done = replicas.host(primary).stdout.wait_for(from, PATIENCE, |line| line == "DONE");
        from = done.expect("the state says that it is done").0 + 1;
    }
}

/// Checks that a log is whole, and holds `count` messages for `method`.
pub(crate) fn check_log(log: &[Value], method: &str, count: u64) {
    assert!(log.iter().zip(1..).all(|(record, lsn): (_, u64)| record["lsn"] == lsn), "records follow one another");
    let epochs: Vec<u64> = log.iter().filter_map(|record| record["epoch"].as_u64()).collect();
    assert!(epochs.len() == log.len() && epochs.is_sorted(), "{epochs:?}");
    let messages: Vec<&Value> = log.iter().filter_map(|record| record["messages"].as_array()).flatten().collect();
    assert_eq!(messages.iter().filter(|message| message["method"] == method).count() as u64, count, "{method}");
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for message in messages {
        if let (Some(source), Some(seq)) = (message["source"].as_str(), message["seq"].as_u64()) {
            let before = last.insert(source, seq).unwrap_or(0);
            assert_eq!(seq, before + 1, "messages of {source} follow one another");
        }
    }
}

/// Starts a replica that was never there before. From the log it must print the lines of each role; then it goes on
/// alone, in the state that the others had.
pub(crate) fn check_replay(cluster: &Cluster, instance: &str, replicas: &mut Replicas<'_>, roles: &[Vec<String>]) {
    let shown = replicas.printed();
    let before = state(cluster, instance);
    let fresh = replicas.add(&["--print-replay"]);
    let count = roles.iter().map(Vec::len).sum();
    let replayed = replicas.host(fresh).wait_for_lines(count);
    assert_eq!(replayed.len(), count, "{replayed:#?}");
    roles.iter().for_each(|lines| check_among(lines, &replayed));
    check_shown(&shown, &replayed, replicas.reign().epoch);
    replicas.host(fresh).wait_until_caught_up();
    replicas.kill_all_but(fresh);
    assert_eq!(replicas.next_reign().replica, fresh);
    assert_eq!(state(cluster, instance), before, "what {instance} has by replay");
    assert_eq!(replicas.host(fresh).printed(), replayed, "nothing was printed again");
    // The original's last step: once more in the debugger.
    cluster.must(&["verify", "--instance", instance]);
}

/// Everything that an instance tells of its state.
fn state(cluster: &Cluster, instance: &str) -> [Value; 3] {
    ["report", "served", "is_done"].map(|method| cluster.send(instance, method, json!([])))
}

/// What was shown is what the log says. A line that was durable and not shown when its host died is lost to the eye.
fn check_shown(shown: &[String], replayed: &[String], epoch: u64) {
    if epoch == 1 {
        assert_eq!(shown, replayed);
    }
    check_among(shown, replayed);
    assert_eq!(shown.last(), replayed.last(), "nobody died after the last line");
}

/// Checks that `lines` are among `all`, in this order.
fn check_among(lines: &[String], all: &[String]) {
    let mut rest = all.iter();
    let missing = lines.iter().find(|line| !rest.any(|other| other == *line));
    assert_eq!(missing, None, "of {lines:#?}\namong {all:#?}");
}
