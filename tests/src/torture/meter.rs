//! Notes when the machine stood still, so that it isn't blamed on the program: only time in which the machine was
//! running counts.

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

/// Watches the machine while it lives.
pub(crate) struct Meter {
    stalls: Arc<Mutex<Vec<(Instant, Instant)>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Meter {
    /// Begins to watch the scheduler, and the disk of `directory`.
    pub(crate) fn start(directory: &Path) -> anyhow::Result<Meter> {
        let (stalls, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let mut meter = Meter { stalls, stop, threads: Vec::new() };
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
                if now - began > interval + slow {
                    stalls.lock().unwrap_or_else(PoisonError::into_inner).push((began + interval, now));
                }
            }
        }));
    }

    /// How much of the time from `from` to `to` the machine stood still.
    pub(crate) fn stalled(&self, from: Instant, to: Instant) -> Duration {
        let mut stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stalls.sort_unstable();
        let mut counted_to = from;
        let mut sum = Duration::ZERO;
        for (began, ended) in stalls {
            let (began, ended) = (began.max(counted_to), ended.min(to));
            if began < ended {
                sum += ended - began;
                counted_to = ended;
            }
        }
        sum
    }
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
