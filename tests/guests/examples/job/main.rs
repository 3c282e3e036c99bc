//! Jobs that send rounds of messages, and the server that counts them, after the original's
//! PerformanceTestInterruptible. An instance is a job, the server of jobs, or both at once.

mod rounds;
mod tally;

use std::time::Duration;

use ambrosia::{Call, This, serde};
use rounds::Rounds;
use tally::Tally;

/// What a job sends in one delivery, unless one message is larger: little, so that there is time to interrupt it.
const BATCH_BYTES: u64 = 4 << 10;
/// Between two batches of a job that is held, so that it can be disturbed for long without sending very much.
const PACE: Duration = Duration::from_millis(1);
/// The server prints a line whenever it has received that much more.
const LINE_BYTES: u64 = 1 << 20;
/// Between two timers of a server that has work.
const HEALTH_INTERVAL: Duration = Duration::from_millis(10);

#[ambrosia::state]
struct Job {
    server: Option<JobProxy>,
    /// What the server calls this job.
    number: u64,
    rounds: Rounds,
    /// Whether each message is a call.
    calls: bool,
    /// Whether it must not begin the last round.
    held: bool,
    /// How often it began again with the first round instead.
    laps: u64,
    sent: Tally,
    echoed: Tally,
    /// Calls whose answer was not the bytes sent until then.
    wrong_answers: u64,
    done: bool,
    service: Service,
    /// Makes the state large, and nothing else.
    padding: Vec<u8>,
}

/// An instance as the server of jobs.
#[ambrosia::state]
struct Service {
    jobs: u64,
    echoes: bool,
    clients: Vec<Client>,
    bytes: u64,
    /// How often its timer fired.
    health: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
struct Client {
    job: JobProxy,
    received: Tally,
    finished: bool,
}

/// Of a job.
#[ambrosia::immortal]
impl Job {
    /// Sends a round of messages of each of `sizes` to `server`, one of `jobs` jobs. A round is `round_bytes`, or one
    /// message if that is larger. What comes back is `nothing`, `echoes`, or `answers`: then each message is a call.
    /// One that is `held` goes through all rounds but the last again and again, until it is released.
    async fn start(
        this: This<Self>,
        server: JobProxy,
        jobs: u64,
        sizes: Vec<u64>,
        round_bytes: u64,
        back: String,
        held: bool,
    ) {
        let number = server.join(JobProxy::me(), jobs, back == "echoes").await.expect("the server is such a job");
        this.with(|job| {
            (job.server, job.number, job.rounds) = (Some(server), number, Rounds::new(sizes, round_bytes));
            (job.calls, job.held) = (back == "answers", held);
        });
        JobProxy::me().fork().send_batch();
    }

    /// Makes the state so many bytes larger than it would be, none of them zero. Answers with how many these are.
    fn pad(&mut self, bytes: u64) -> u64 {
        let mut state = 1_u64;
        self.padding = std::iter::repeat_with(|| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 56) as u8 | 1
        })
        .take(bytes as usize)
        .collect();
        self.padding.len() as u64
    }

    /// Lets the last round begin.
    fn release(&mut self) {
        self.held = false;
    }

    /// The own fork that makes the next delivery.
    async fn send_batch(this: This<Self>) {
        for (expected, call) in this.with(|job| job.batch()) {
            let answer = call.await.expect("the server answers");
            this.with(|job| job.wrong_answers += u64::from(answer != expected.to_le_bytes()));
        }
        if this.with(|job| job.held) {
            ambrosia::sleep(PACE).await;
        }
        this.with(|job| job.go_on());
    }

    /// Sends messages of one round; returns calls with the answers that they must have.
    #[ambrosia(helper)]
    fn batch(&mut self) -> Vec<(u64, Call<Vec<u8>>)> {
        let Some(server) = self.server else { return Vec::new() };
        let (until, mut calls) = (self.sent.bytes + BATCH_BYTES, Vec::new());
        while let Some(bytes) = self.rounds.next_message() {
            let message = tally::message(self.sent.messages, self.number, bytes);
            self.sent.count(&message);
            if self.calls {
                calls.push((self.sent.bytes, server.receive(message)));
            } else {
                server.fork().receive(message);
            }
            if let Some(round) = self.rounds.round_just_ended() {
                println!("{round}");
                break;
            }
            if self.sent.bytes >= until {
                break;
            }
        }
        calls
    }

    #[ambrosia(helper)]
    fn go_on(&mut self) {
        let Some(server) = self.server else { return };
        if self.rounds.is_over() {
            return server.fork().finish(self.number);
        }
        if self.held && self.rounds.last_is_next() {
            self.rounds.begin_again();
            self.laps += 1;
        }
        JobProxy::me().fork().send_batch();
    }

    /// A message that comes back.
    #[ambrosia(raw)]
    fn receive_echo(&mut self, bytes: &[u8]) {
        self.echoed.count(bytes);
    }

    /// The server has all of all jobs. All echoes are there, as they were sent before this.
    fn finish_all(&mut self) {
        self.done = true;
        println!("Bytes received: {}\nDONE", self.echoed.bytes);
    }

    /// Whether the server has said that it has all.
    #[ambrosia(update)]
    fn is_done(&self) -> bool {
        self.done
    }

    /// Laps, messages sent, their bytes, echoes received, their bytes, and how many echoes or answers were wrong.
    #[ambrosia(update)]
    fn report(&self) -> (u64, u64, u64, u64, u64, u64) {
        let wrong = self.echoed.violations + self.wrong_answers;
        (self.laps, self.sent.messages, self.sent.bytes, self.echoed.messages, self.echoed.bytes, wrong)
    }

    /// To a server: a job introduces itself, one of `jobs`. The answer is its number.
    fn join(&mut self, job: JobProxy, jobs: u64, echoes: bool) -> u64 {
        let service = &mut self.service;
        (service.jobs, service.echoes) = (jobs, echoes);
        service.clients.push(Client { job, received: Tally::default(), finished: false });
        if service.clients.len() == 1 {
            ambrosia::spawn(watch_health(This::<Self>::current()));
        }
        service.clients.len() as u64 - 1
    }

    /// To a server: a message of a job. The answer is how many bytes that job has sent so far.
    #[ambrosia(raw)]
    fn receive(&mut self, bytes: &[u8]) -> Vec<u8> {
        let service = &mut self.service;
        let client = &mut service.clients[tally::job_of(bytes) as usize];
        client.received.count(bytes);
        if service.echoes {
            client.job.fork().receive_echo(bytes);
        }
        let lines = service.bytes / LINE_BYTES;
        service.bytes += bytes.len() as u64;
        if service.bytes / LINE_BYTES > lines {
            println!("Received {} MiB so far", service.bytes / LINE_BYTES);
        }
        client.received.bytes.to_le_bytes().to_vec()
    }

    /// To a server: that job has sent everything.
    fn finish(&mut self, number: u64) {
        let service = &mut self.service;
        service.clients[number as usize].finished = true;
        if service.is_done() {
            println!("Bytes received: {}\nDONE", service.bytes);
            service.clients.iter().for_each(|client| client.job.fork().finish_all());
        }
    }

    /// Of a server: messages and bytes received, what was wrong with them, and how often its timer has fired.
    #[ambrosia(update)]
    fn served(&self) -> (u64, u64, u64, u64) {
        let received = || self.service.clients.iter().map(|client| &client.received);
        let messages = received().map(|tally| tally.messages).sum();
        (messages, self.service.bytes, received().map(|tally| tally.violations).sum(), self.service.health)
    }
}

impl Service {
    fn is_done(&self) -> bool {
        self.clients.len() as u64 == self.jobs && self.clients.iter().all(|client| client.finished)
    }
}

/// Mixes timers with the messages for as long as those come.
async fn watch_health(this: This<Job>) {
    loop {
        ambrosia::sleep(HEALTH_INTERVAL).await;
        if this.with(|job| job.service.is_done()) {
            return;
        }
        this.with(|job| job.service.health += 1);
    }
}
