//! Notes when the machine stood still or was busy with others, so that it isn't blamed on the program: only time in
//! which the machine was running counts, and of that only the share that a thread gets which wants to run.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(5);
/// A tick that comes later than this was held up by the machine.
const LATE: Duration = Duration::from_millis(30);
/// Between two probes of the disk.
const DISK_INTERVAL: Duration = Duration::from_millis(25);
/// A sync of one block that takes longer than this was held up by the machine.
const SLOW_SYNC: Duration = Duration::from_millis(60);

/// Between two looks at how much of the processor one gets.
const SHARE_INTERVAL: Duration = Duration::from_millis(60);
/// Work of one look, in processor time.
const SHARE_WORK: Duration = Duration::from_millis(3);
/// What a small share costs at most: to take over or to start is some hundred milliseconds of work. What is only waited
/// for does not take longer on a busy machine.
const SHARE_LOSS_MAX: Duration = Duration::from_secs(1);

/// Watches the machine while it lives.
pub(crate) struct Meter {
    stalls: Arc<Mutex<Vec<(Instant, Instant)>>>,
    /// How much of the processor a thread got that wanted to run, measured last until that moment.
    shares: Arc<Mutex<Vec<(Instant, f64)>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Meter {
    /// Begins to watch the scheduler, and the disk of `directory`.
    pub(crate) fn start(directory: &Path) -> anyhow::Result<Meter> {
        let (stalls, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let shares = Arc::new(Mutex::new(vec![(Instant::now(), 1.0)]));
        let mut meter = Meter { stalls, shares: Arc::clone(&shares), stop, threads: Vec::new() };
        meter.watch(SHARE_INTERVAL, Duration::MAX / 2, move || {
            let share = share_of_processor();
            shares.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), share));
        });
        meter.watch(TICK, LATE, || {});
        let probe = File::create(directory.join("meter")).context("create a file to probe the disk with")?;
        probe.write_all_at(&[0; 4096], 0)?;
        probe.sync_all()?;
        meter.watch(DISK_INTERVAL, SLOW_SYNC, move || {
            let written = probe.write_all_at(&[1; 512], 0).and_then(|()| probe.sync_data());
            written.expect("the disk of the temporary directory can be written");
        });
        Ok(meter)
    }

    /// Does `work` again and again, and notes when it took longer than it should.
    fn watch(&mut self, interval: Duration, slow: Duration, work: impl Fn() + Send + 'static) {
        let (stalls, stop) = (Arc::clone(&self.stalls), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                let began = Instant::now();
                std::thread::park_timeout(interval);
                work();
                let now = Instant::now();
                if now - began > interval.saturating_add(slow) {
                    stalls.lock().unwrap_or_else(PoisonError::into_inner).push((began + interval, now));
                }
            }
        }));
    }

    /// How much of the time from `from` to `to` the machine was not there for us.
    pub(crate) fn stalled(&self, from: Instant, to: Instant) -> Duration {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner).clone();
        lost(from, to, stalls, &shares)
    }
}

/// All of the time of stalls is lost, and of the rest what others get, up to a limit. A share holds from the measurement before it on,
/// and the last one on and on.
fn lost(from: Instant, to: Instant, mut stalls: Vec<(Instant, Instant)>, shares: &[(Instant, f64)]) -> Duration {
    stalls.sort_unstable();
    let (mut all, mut to_others) = (Duration::ZERO, Duration::ZERO);
    let mut begin = from;
    let measured = shares.iter().filter(|(until, _)| *until > from);
    let last = shares.last().map(|(_, share)| (to, *share));
    for (until, share) in measured.copied().chain(last) {
        let end = until.min(to);
        if end > begin {
            let stood = union(begin, end, &stalls);
            all += stood;
            to_others += (end - begin - stood).mul_f64(1.0 - share);
            begin = end;
        }
    }
    all + to_others.min(SHARE_LOSS_MAX)
}

/// How much of the time from `from` to `to` is covered by intervals in the order of their beginnings.
fn union(from: Instant, to: Instant, intervals: &[(Instant, Instant)]) -> Duration {
    let mut counted_to = from;
    let mut sum = Duration::ZERO;
    for (began, ended) in intervals {
        let (began, ended) = ((*began).max(counted_to), (*ended).min(to));
        if began < ended {
            sum += ended - began;
            counted_to = ended;
        }
    }
    sum
}

/// Works for a moment; returns how much of that time it was let.
fn share_of_processor() -> f64 {
    let (ran_before, waited_before) = scheduled();
    loop {
        for _ in 0..10_000 {
            std::hint::spin_loop();
        }
        let (ran, waited) = scheduled();
        let (ran, waited) = (ran - ran_before, waited - waited_before);
        if ran >= SHARE_WORK.as_nanos() as f64 {
            return ran / (ran + waited);
        }
    }
}

/// Nanoseconds in which this thread ran, and in which it waited to be let.
fn scheduled() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says how a thread is scheduled");
    let mut fields = text.split_whitespace().map(|field| field.parse::<f64>().expect("a number"));
    let mut next = || fields.next().expect("three numbers");
    (next(), next())
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A panic of it has been said already.
            let _ended = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_count_once_and_the_rest_by_the_share_that_was_got() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let shares = [(at(0), 1.0), (at(1000), 1.0), (at(2000), 0.5)];
        let lost = |stalls: &[(u64, u64)], from, to| {
            let stalls = stalls.iter().map(|(began, ended)| (at(*began), at(*ended))).collect();
            lost(at(from), at(to), stalls, &shares).as_millis()
        };
        assert_eq!(lost(&[], 0, 1000), 0);
        assert_eq!(lost(&[], 0, 2000), 500);
        assert_eq!(lost(&[], 1500, 3000), 750);
        assert_eq!(lost(&[], 1000, 9000), 1000, "no more than the limit");
        assert_eq!(lost(&[(100, 300), (200, 400), (5000, 6000)], 0, 1000), 300);
        assert_eq!(lost(&[(1900, 2100)], 1000, 2000), 100 + 450);
        assert_eq!(lost(&[(0, 9000)], 1000, 2000), 1000);
    }
}
