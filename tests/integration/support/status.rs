//! What `status --json` says.

use std::time::{Duration, Instant};

use ambrosia_tests::{Cluster, PATIENCE};
use serde_json::Value;

/// Between two looks at `status`, which nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Roles of the replicas in order.
pub(crate) fn roles(status: &Value) -> Vec<String> {
    let replicas = status["replicas"].as_array().expect("a list of replicas");
    replicas.iter().map(|replica| replica["role"].as_str().expect("a text").to_owned()).collect()
}

/// Role of one replica.
pub(crate) fn role(status: &Value, replica: u16) -> String {
    roles(status)[usize::from(replica)].clone()
}

/// Looks until `status` is as wanted; returns it.
pub(crate) fn wait_for_status(cluster: &Cluster, instance: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = cluster.status(instance);
        if wanted(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "the status did not become as wanted:\n{status:#}");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}
