//! What the jobs of a scenario send, and what must come of it.

use serde_json::{Value, json};

/// What one round of a job sends, where the original sends 1 GiB.
const ROUND_BYTES: u64 = 64 << 10;
/// The original's default, and the smallest message of its rounds.
const SIZE_DEFAULT: u64 = 64 << 10;
const SIZE_MIN: u64 = 16;
/// The server prints a line whenever it has received that much more.
const LINE_BYTES: u64 = 1 << 20;

/// What comes back to a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Back {
    Nothing,
    /// Each message, sent back by a fork.
    Echoes,
    /// Each message is a call, and this its answer.
    Answers,
}

/// Rounds of messages, the same for each job.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) jobs: usize,
    pub(crate) back: Back,
    /// Bytes of the messages of each round.
    sizes: Vec<u64>,
    /// One message is sent if it alone is larger.
    round_bytes: u64,
    /// How often the rounds but the last were gone through before, which is known at the end.
    laps: usize,
}

impl Workload {
    /// One job whose messages have half the size in each round, and are echoed.
    pub(crate) fn descending(largest: u64, rounds: u32) -> Workload {
        let sizes = (0..rounds).map(|round| (largest >> round).max(SIZE_MIN)).collect();
        Workload { jobs: 1, back: Back::Echoes, sizes, round_bytes: ROUND_BYTES, laps: 0 }
    }

    /// The original's default: 13 rounds, from 64 KiB down to 16 bytes.
    pub(crate) fn thirteen_rounds() -> Workload {
        Workload::descending(SIZE_DEFAULT, 13)
    }

    /// One job with a round of each of these sizes, echoed.
    pub(crate) fn of_sizes(sizes: &[u64]) -> Workload {
        Workload { jobs: 1, back: Back::Echoes, sizes: sizes.to_vec(), round_bytes: ROUND_BYTES, laps: 0 }
    }

    pub(crate) fn back(self, back: Back) -> Workload {
        Workload { back, ..self }
    }

    pub(crate) fn laps(self, laps: usize) -> Workload {
        Workload { laps, ..self }
    }

    pub(crate) fn jobs(self, jobs: usize) -> Workload {
        Workload { jobs, ..self }
    }

    /// The arguments with which a job starts.
    pub(crate) fn arguments(&self, server: &str, held: bool) -> Value {
        let back = match self.back {
            Back::Nothing => "nothing",
            Back::Echoes => "echoes",
            Back::Answers => "answers",
        };
        json!([server, self.jobs, self.sizes, self.round_bytes, back, held])
    }

    /// The rounds of one job: number, messages, and bytes of each message.
    fn rounds(&self) -> impl Iterator<Item = (usize, u64, u64)> {
        let all = self.sizes.iter().zip(1..).map(|(&bytes, number)| (number, (self.round_bytes / bytes).max(1), bytes));
        let held = all.clone().take(self.sizes.len() - 1);
        std::iter::repeat_n(held, self.laps).flatten().chain(all)
    }

    /// Messages of one job.
    pub(crate) fn messages(&self) -> u64 {
        self.rounds().map(|(_, messages, _)| messages).sum()
    }

    /// Bytes of one job.
    fn bytes(&self) -> u64 {
        self.rounds().map(|(_, messages, bytes)| messages * bytes).sum()
    }

    /// Bytes of all jobs.
    pub(crate) fn bytes_of_all(&self) -> u64 {
        self.bytes() * self.jobs as u64
    }

    /// What `report` of a job must say.
    pub(crate) fn report(&self) -> Value {
        let (messages, bytes) = (self.messages(), self.bytes());
        match self.back {
            Back::Echoes => json!([self.laps, messages, bytes, messages, bytes, 0]),
            Back::Nothing | Back::Answers => json!([self.laps, messages, bytes, 0, 0, 0]),
        }
    }

    /// What a job prints.
    pub(crate) fn lines_of_job(&self) -> Vec<String> {
        let rounds = self.rounds();
        let rounds =
            rounds.map(|(number, messages, bytes)| format!("Round {number}: {messages} messages of {bytes} bytes"));
        let echoed = if self.back == Back::Echoes { self.bytes() } else { 0 };
        rounds.chain([format!("Bytes received: {echoed}"), "DONE".to_owned()]).collect()
    }

    /// What the server prints.
    pub(crate) fn lines_of_server(&self) -> Vec<String> {
        let (mut lines, mut received) = (Vec::new(), 0);
        for (_, messages, bytes) in (0..self.jobs).flat_map(|_| self.rounds()) {
            for _ in 0..messages {
                let before = received / LINE_BYTES;
                received += bytes;
                if received / LINE_BYTES > before {
                    lines.push(format!("Received {} MiB so far", received / LINE_BYTES));
                }
            }
        }
        lines.extend([format!("Bytes received: {received}"), "DONE".to_owned()]);
        lines
    }
}
