//! Lines that a process prints, to be waited for.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// All lines so far of one stream of a process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Default)]
struct Shared {
    read: Mutex<Stream>,
    news: Condvar,
}

#[derive(Default)]
struct Stream {
    lines: Vec<(Instant, String)>,
    ended: bool,
}

impl Lines {
    /// Reads `stream` to its end in a thread of its own; `echo` gets each line as it comes.
    pub fn of(stream: impl Read + Send + 'static, echo: impl Fn(&str) + Send + 'static) -> Lines {
        let lines = Lines::default();
        let into = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                echo(&line);
                into.lock().lines.push((Instant::now(), line));
                into.0.news.notify_all();
            }
            into.lock().ended = true;
            into.0.news.notify_all();
        });
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.iter().map(|(_, line)| line.clone()).collect()
    }

    /// When each line came for which `wanted` holds, so far.
    pub fn times(&self, wanted: impl Fn(&str) -> bool) -> Vec<Instant> {
        self.lock().lines.iter().filter(|(_, line)| wanted(line)).map(|(at, _)| *at).collect()
    }

    /// Waits for a line for which `wanted` holds, among those from `from` on; returns its number and when it came.
    /// `None` if the stream ended or `patience` ran out before.
    pub fn wait_for(&self, from: usize, patience: Duration, wanted: impl Fn(&str) -> bool) -> Option<(usize, Instant)> {
        let deadline = Instant::now() + patience;
        let mut read = self.lock();
        let mut seen = from;
        loop {
            while let Some((at, line)) = read.lines.get(seen) {
                if wanted(line) {
                    return Some((seen, *at));
                }
                seen += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if read.ended || left.is_zero() {
                return None;
            }
            read = self.0.news.wait_timeout(read, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until the stream has ended, so that [`Lines::all`] is all.
    pub fn wait_for_end(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut read = self.lock();
        while !read.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            read = self.0.news.wait_timeout(read, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
