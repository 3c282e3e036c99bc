//! Calls a counter without end, and measures how long it was kept waiting.

use ambrosia::{This, Timestamp};

#[ambrosia::interface]
trait Counter {
    fn add(n: u64) -> u64;
}

#[ambrosia::state]
struct Pinger {
    /// Rises when a loop is to end.
    round: u64,
    verbose: bool,
    replies: u64,
    last_value: u64,
    out_of_order: bool,
    last_reply: Option<Timestamp>,
    largest_gap_nanos: u64,
}

#[ambrosia::immortal]
impl Pinger {
    /// Begins a loop that calls `add(1)` of `target`, each call after the answer to the one before.
    fn start(this: This<Self>, target: String) {
        let counter = Counter::attach(&target);
        let round = this.with(|pinger| pinger.begin_round());
        ambrosia::spawn(async move {
            while this.with(|pinger| pinger.round == round) {
                match counter.add(1).await {
                    Ok(value) => this.with(|pinger| pinger.on_reply(value)),
                    Err(error) => return eprintln!("{error}"),
                }
            }
        });
    }

    /// Whether each reply prints a line.
    fn verbose(&mut self, on: bool) {
        self.verbose = on;
    }

    fn stop(&mut self) {
        self.begin_round();
    }

    /// Replies, the largest time between two of them in nanoseconds, the last value, and whether each value was one
    /// more than the one before.
    #[ambrosia(update)]
    fn report(&self) -> (u64, u64, u64, bool) {
        (self.replies, self.largest_gap_nanos, self.last_value, !self.out_of_order)
    }

    #[ambrosia(helper)]
    fn begin_round(&mut self) -> u64 {
        self.last_reply = None;
        self.round += 1;
        self.round
    }

    #[ambrosia(helper)]
    fn on_reply(&mut self, value: u64) {
        let now = ambrosia::now();
        if let Some(last) = self.last_reply.replace(now) {
            self.largest_gap_nanos = self.largest_gap_nanos.max((now - last).as_nanos() as u64);
        }
        self.out_of_order |= self.replies > 0 && value != self.last_value + 1;
        self.replies += 1;
        self.last_value = value;
        if self.verbose {
            println!("pong {value}");
        }
    }
}
