//! Jobs and their server under way.

use ambrosia_tests::Cluster;
use serde_json::json;

use super::{
    oracle,
    workload::{Back, Workload},
};
use crate::support::{Replicas, Session};

/// Name of the server; where an instance plays both roles, it is this one.
const SERVER: &str = "server";
const JOBS: [&str; 4] = ["job-1", "job-2", "job-3", "job-4"];
/// The log is checked from its beginning.
const KEEP_LOG: &[&str] = &["--keep-log"];
/// `log` shows raw bytes as text, which takes long when they are many; the replay reads them all the same.
const SHOWN_BYTES_MAX: u64 = 8 << 20;
/// What the server receives more is progress: it takes a job that is held some milliseconds to send it.
const PROGRESS_BYTES: u64 = 32 << 10;

/// A server and its jobs.
pub(crate) struct Scenario<'a> {
    cluster: &'a Cluster,
    workload: Workload,
    pub(crate) server: Replicas<'a>,
    /// Empty where the server is its own job.
    pub(crate) jobs: Vec<Replicas<'a>>,
    /// Whether the jobs must not begin their last rounds.
    held: bool,
}

impl<'a> Scenario<'a> {
    /// A server with so many replicas, and jobs with one each, which begin.
    pub(crate) fn start(cluster: &'a Cluster, workload: Workload, replicas: u16) -> Scenario<'a> {
        Scenario::begin(cluster, workload, replicas, false)
    }

    /// The same. The jobs are held: they go through all rounds but the last again and again until
    /// [`check`](Scenario::check), so that whatever happens meanwhile disturbs them on any machine.
    pub(crate) fn start_held(cluster: &'a Cluster, workload: Workload, replicas: u16) -> Scenario<'a> {
        Scenario::begin(cluster, workload, replicas, true)
    }

    /// One instance that is a job and its own server.
    pub(crate) fn start_combined(cluster: &'a Cluster, workload: Workload) -> Scenario<'a> {
        Scenario::begin_combined(cluster, workload, false)
    }

    /// The same, held until [`check`](Scenario::check).
    pub(crate) fn start_combined_held(cluster: &'a Cluster, workload: Workload) -> Scenario<'a> {
        Scenario::begin_combined(cluster, workload, true)
    }

    fn begin(cluster: &'a Cluster, workload: Workload, replicas: u16, held: bool) -> Scenario<'a> {
        let server = Replicas::of_with(cluster, SERVER, "job", replicas, KEEP_LOG);
        let jobs =
            JOBS[..workload.jobs].iter().map(|name| Replicas::of_with(cluster, name, "job", 1, KEEP_LOG)).collect();
        let scenario = Scenario { cluster, workload, server, jobs, held };
        scenario.start_jobs();
        scenario
    }

    fn begin_combined(cluster: &'a Cluster, workload: Workload, held: bool) -> Scenario<'a> {
        let server = Replicas::of_with(cluster, SERVER, "job", 1, KEEP_LOG);
        let scenario = Scenario { cluster, workload, server, jobs: Vec::new(), held };
        scenario.start_jobs();
        scenario
    }

    /// A job that begins while there is no server yet, and the server after it.
    pub(crate) fn start_server_last(cluster: &'a Cluster, workload: Workload) -> Scenario<'a> {
        let jobs = vec![Replicas::of_with(cluster, JOBS[0], "job", 1, KEEP_LOG)];
        let server = Replicas::none(cluster, SERVER, KEEP_LOG);
        let mut scenario = Scenario { cluster, workload, server, jobs, held: false };
        scenario.start_jobs();
        cluster.register(SERVER, "job", 1);
        scenario.server.start_all(1);
        scenario
    }

    fn start_jobs(&self) {
        for name in self.names_of_jobs() {
            let arguments = self.workload.arguments(SERVER, self.held).to_string();
            let start = ["send", "--instance", name, "--method", "start", "--args", &arguments, "--no-wait"];
            self.cluster.must(&start);
        }
    }

    fn names_of_jobs(&self) -> Vec<&'static str> {
        if self.jobs.is_empty() { vec![SERVER] } else { JOBS[..self.jobs.len()].to_vec() }
    }

    /// Waits until the server has received more than it has now.
    pub(crate) fn wait_for_progress(&self) {
        assert!(self.held, "it may be over before");
        let mut server = Session::new(self.cluster, SERVER);
        let before = server.call("served", json!([]))[1].as_u64().expect("a number");
        server.call_until("served", |served| served[1].as_u64() >= Some(before + PROGRESS_BYTES));
    }

    /// Lets the last rounds begin, waits for the end, and checks everything.
    pub(crate) fn check(&mut self) {
        self.wait_for_end();
        self.check_again();
    }

    /// Checks everything of a scenario that was over before.
    pub(crate) fn check_again(&mut self) {
        self.check_totals();
        self.check_logs();
        self.check_replays();
    }

    /// Lets the last rounds begin, and waits until all jobs have heard that the server has everything, and all have
    /// shown their last lines.
    pub(crate) fn wait_for_end(&mut self) {
        for name in self.names_of_jobs() {
            if self.held {
                self.cluster.send(name, "release", json!([]));
            }
        }
        for name in self.names_of_jobs() {
            let mut job = Session::new(self.cluster, name);
            job.call_until("is_done", |done| *done == true);
            if self.held {
                let laps = job.call("report", json!([]))[0].as_u64().expect("a number");
                self.workload = self.workload.clone().laps(laps as usize);
            }
        }
        let cluster = self.cluster;
        for (name, lines, replicas) in self.instances() {
            oracle::wait_for_last_lines(cluster, name, replicas, lines.len());
        }
    }

    /// Each message was received once and in order, and so was what came back.
    fn check_totals(&self) {
        let served = self.cluster.send(SERVER, "served", json!([]));
        let messages = self.workload.messages() * self.workload.jobs as u64;
        assert_eq!(json!([served[0], served[1], served[2]]), json!([messages, self.workload.bytes_of_all(), 0]));
        for name in self.names_of_jobs() {
            assert_eq!(self.cluster.send(name, "report", json!([])), self.workload.report(), "{name}");
        }
    }

    /// The logs are whole and hold each message once.
    fn check_logs(&self) {
        if self.workload.bytes_of_all() > SHOWN_BYTES_MAX {
            return;
        }
        let messages = self.workload.messages();
        oracle::check_log(&self.cluster.log(SERVER), "receive", messages * self.workload.jobs as u64);
        let echoes = if self.workload.back == Back::Echoes { messages } else { 0 };
        for name in self.names_of_jobs() {
            oracle::check_log(&self.cluster.log(name), "receive_echo", echoes);
        }
    }

    /// The same comes of the logs alone.
    fn check_replays(&mut self) {
        let cluster = self.cluster;
        for (name, lines, replicas) in self.instances() {
            oracle::check_replay(cluster, name, replicas, &lines);
        }
    }

    /// All instances, and what each prints in each of its roles.
    fn instances(&mut self) -> Vec<(&'static str, Vec<Vec<String>>, &mut Replicas<'a>)> {
        let (of_server, of_job) = (self.workload.lines_of_server(), self.workload.lines_of_job());
        let roles_of_server = if self.jobs.is_empty() { vec![of_server, of_job.clone()] } else { vec![of_server] };
        let jobs = JOBS.into_iter().zip(&mut self.jobs).map(|(name, job)| (name, vec![of_job.clone()], job));
        [(SERVER, roles_of_server, &mut self.server)].into_iter().chain(jobs).collect()
    }
}
