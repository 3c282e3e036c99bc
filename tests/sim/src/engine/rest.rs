//! When the storm is over: everything must come right by itself.

use ambrosia_core::Lsn;
use ambrosia_storage::LogId;

use super::{
    host::Stage,
    sim::{EngineSim, Happening},
};
use crate::options::MILLISECOND;

const SECOND: u64 = 1_000 * MILLISECOND;

/// What takes longer than that does not come right: a takeover may wait for an answer, for another one, and be repeated.
const REST: u64 = 30 * SECOND;
/// How long writers append then.
const WORK: u64 = 15 * SECOND;

impl EngineSim {
    pub(super) fn come_right(&mut self) {
        self.is_stormy = false;
        self.calm_since = Some(self.now);
        self.office.bury();
        (self.paused_until, self.refusing_until, self.unreplicated_until) = (0, 0, 0);
        for host in 0..self.hosts.len() {
            self.hosts[host].frozen_until = 0;
            self.put_at(self.now, Happening::Start(host));
        }
        self.options.poll = (100 * MILLISECOND, 300 * MILLISECOND);
        self.options.think = (100 * MILLISECOND, 300 * MILLISECOND);
        self.note(|| "the storm is over".to_owned());
        self.rest();
        self.check_that_all_who_knew_more_said_so();
        if self.witness.rolled_back.is_empty() {
            self.check_rest();
        }
        self.begin_again();
        self.rest();
        self.check_rest();
    }

    fn rest(&mut self) {
        self.is_busy = true;
        self.run_until(self.now + WORK);
        self.is_busy = false;
        self.run_until(self.now + REST - WORK);
    }

    /// All hosts begin anew, with checkpoints of the log as it is.
    fn begin_again(&mut self) {
        for log in self.logs.clone() {
            if !self.witness.has(log, self.checkpoints[&log].last) {
                let first = self.office.replicated.head(log).expect("no log is removed").first;
                let standing = self.witness.before(log, first.max(Lsn(2)));
                self.checkpoints.insert(log, standing);
            }
        }
        self.witness.rolled_back.clear();
        for host in 0..self.hosts.len() {
            self.hosts[host].is_up = false;
            self.start(host);
        }
    }

    /// Whoever has seen records that the log does not have any more goes on with nothing.
    fn check_that_all_who_knew_more_said_so(&mut self) {
        for host in 0..self.hosts.len() {
            for log in self.logs.clone() {
                let replica = self.hosts[host].replica(log);
                if replica.fault.is_none() {
                    let seen = replica.seen();
                    assert!(
                        self.witness.has(log, seen),
                        "host {host} goes on with log {log}, which does not have record {} that it has seen",
                        seen.lsn
                    );
                }
            }
        }
    }

    fn check_rest(&mut self) {
        for log in self.logs.clone() {
            self.check_log(log);
        }
        let unequal = self.logs.iter().find(|log| self.office.shown.head(**log) != self.office.replicated.head(**log));
        assert_eq!(unequal, None, "all is replicated");
    }

    fn check_log(&mut self, log: LogId) {
        let (end, head) = (self.witness.end(log), self.office.replicated.head(log).expect("no log is removed"));
        assert_eq!(head.last, end.last, "the head row of log {log} shows its last record");
        let mut writers = 0;
        for host in 0..self.hosts.len() {
            let host_is = self.hosts[host].replica(log);
            assert_eq!(host_is.fault, None, "nothing is wrong with log {log} at host {host}");
            assert_eq!(host_is.standing, end, "host {host} has come to the end of log {log}: {:?}", host_is.stage);
            if let Stage::Reigning(reign) = &host_is.stage {
                let task = reign.task;
                if reign.epoch == head.epoch && reign.claim == head.claim {
                    writers += 1;
                    assert!(!reign.is_stalled, "host {host} was told that log {log} goes on");
                    assert!(reign.sent.is_empty(), "all that host {host} has appended to log {log} is durable");
                    assert!(end.epoch == head.epoch && end.last.lsn > Lsn(2), "it has appended something");
                    assert_eq!(self.hosts[host].committer.queued_bytes(task), 0, "nothing is queued");
                }
            }
        }
        assert_eq!(writers, 1, "log {log} has one writer");
    }
}
