//! A long stream of numbered messages from one instance to another, across which processes die.

use ambrosia_tests::Cluster;
use serde_json::{Value, json};

use super::{Replicas, Session};

/// Bytes of each message.
const MESSAGE_BYTES: u32 = 64;
/// Messages that go out in one delivery: few, so that there is time to disturb the stream.
const BATCH: u64 = 1;

/// A sender, a receiver, and what is under way between them.
pub(crate) struct Stream<'a> {
    cluster: &'a Cluster,
    pub(crate) sender: Replicas<'a>,
    pub(crate) receiver: Replicas<'a>,
    count: u64,
}

impl<'a> Stream<'a> {
    /// Starts both with so many replicas each, and a stream of `count` messages.
    pub(crate) fn start(cluster: &'a Cluster, replicas: u16, count: u64) -> Stream<'a> {
        let receiver = Replicas::of(cluster, "receiver", "receiver", replicas);
        let sender = Replicas::of(cluster, "sender", "sender", replicas);
        cluster.send("sender", "start", json!(["receiver", count, BATCH, MESSAGE_BYTES]));
        Stream { cluster, sender, receiver, count }
    }

    /// Waits until at least that share of the messages was received, in percent, and not all.
    pub(crate) fn wait_until_received(&self, percent: u64) {
        let received = self.wait_for(self.count * percent / 100);
        assert!(received < self.count, "the stream was over before it could be disturbed");
    }

    fn wait_for(&self, at_least: u64) -> u64 {
        let enough = |report: &Value| report[1] != 0 || report[0].as_u64() >= Some(at_least);
        let report = Session::new(self.cluster, "receiver").call_until("report", enough);
        assert_eq!(report[1], 0, "a message was lost or doubled: {report}");
        report[0].as_u64().expect("a number")
    }

    /// Waits until all were received; each once and in order, and nothing else.
    pub(crate) fn check_complete(&self) {
        self.wait_for(self.count);
        assert_eq!(self.cluster.send("sender", "progress", json!([])), self.count);
        assert_eq!(self.cluster.send("receiver", "report", json!([])), json!([self.count, 0]));
        let bytes = self.count * u64::from(MESSAGE_BYTES);
        assert_eq!(self.cluster.send("receiver", "bytes", json!([])), bytes);
    }
}
