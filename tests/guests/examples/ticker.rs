//! Timers: a loop that sleeps.

use std::time::Duration;

use ambrosia::This;

#[ambrosia::state]
struct Ticker {
    /// Nanoseconds since 1970.
    times: Vec<u64>,
}

#[ambrosia::immortal]
impl Ticker {
    /// Ticks `count` times, every `ms` milliseconds. Answers after the last tick.
    async fn every(this: This<Self>, ms: u64, count: u64) -> u64 {
        for _ in 0..count {
            ambrosia::sleep(Duration::from_millis(ms)).await;
            this.with(|ticker| ticker.times.push(ambrosia::now().as_nanos()));
        }
        count
    }

    /// Sets a timer and cancels it in the same delivery: a tick must not come of it.
    fn cancelled(this: This<Self>, ms: u64) {
        let task = ambrosia::after(Duration::from_millis(ms), async move {
            this.with(|ticker| ticker.times.push(0));
        });
        ambrosia::spawn(async move { task.cancel() });
    }

    /// Ticks so far, and when they were.
    #[ambrosia(update)]
    fn report(&self) -> (u64, Vec<u64>) {
        (self.times.len() as u64, self.times.clone())
    }
}
