//! Figures for the demo and the benchmarks: quantiles, the speed of the disk, the processor time of a process.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

/// Durations in order, to be asked for quantiles.
#[derive(Clone, Debug)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Sorts `times`.
    ///
    /// # Panics
    /// If there are none.
    pub fn new(mut times: Vec<Duration>) -> Sample {
        assert!(!times.is_empty(), "something was measured");
        times.sort_unstable();
        Sample(times)
    }

    /// The time that a share `quantile` of all do not exceed.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let last = self.0.len() - 1;
        self.0[((last as f64) * quantile).round() as usize]
    }

    /// The middle one.
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }

    /// The longest.
    pub fn worst(&self) -> Duration {
        self.quantile(1.0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Milliseconds, for printing.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// How long this disk takes to make 128 bytes durable in a file of fixed size, in `directory`.
pub fn disk_sync_times(directory: &Path, count: usize) -> std::io::Result<Sample> {
    let path = directory.join("sync-probe");
    let file = File::create(&path)?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for i in 0..count {
        let began = Instant::now();
        file.write_all_at(&[i as u8; 128], (i as u64 * 128) % (1 << 20))?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(Sample::new(times))
}

/// Processor time that a process has used so far, in user and system mode.
pub fn processor_time(pid: u32) -> std::io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime are fields 14 and 15 of the whole line; Linux counts 100 ticks a second for every program.
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
}
