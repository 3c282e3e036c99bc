//! A thread that waits for the ends of other processes, for all in this one who have subscribed to them.
//!
//! The primaries of many logs run in few processes, so this takes one thread and one handle for each process, where to block
//! on the lock of each log takes a thread for each.
//!
//! **Architecture Invariant:** it only says that it is worth to look again: who has ended is known by the locks alone.

use std::{
    collections::BTreeMap,
    io::{self, PipeReader, PipeWriter},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::pidfd::{self, Ends};
use crate::{
    Callback,
    subscription::{Subscriber, Subscription},
};

/// The key of the pipe whose end ends the thread. No process has that number.
const STOP: u64 = 0;

/// Watches processes. Clones are the same; with the last one its thread ends.
#[derive(Clone, Default)]
pub(crate) struct ProcessWatcher(Arc<Mutex<Option<Running>>>);

/// The thread, since the first subscription.
struct Running {
    watched: Arc<Watched>,
    /// Closed, it ends the thread.
    _stop: PipeWriter,
}

struct Watched {
    ends: Ends,
    /// By their numbers.
    processes: Mutex<BTreeMap<u32, Process>>,
    stop: PipeReader,
}

struct Process {
    /// Closed, it is waited for no more.
    _handle: OwnedFd,
    subscribers: Vec<Arc<Subscriber<Callback>>>,
}

impl ProcessWatcher {
    /// Calls back once when the process that has this number now has ended.
    ///
    /// # Errors
    /// If there is no such process, or the system does not let this one be told of it.
    pub(crate) fn subscribe(&self, pid: u32, call: Callback) -> io::Result<Subscription> {
        let watched = self.watched()?;
        let subscriber = Subscriber::new(call);
        watched.add(pid, Arc::clone(&subscriber))?;
        Ok(Subscription::new(move || {
            subscriber.silence();
            watched.remove(pid, &subscriber);
        }))
    }

    fn watched(&self) -> io::Result<Arc<Watched>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(Arc::clone(&running.watched));
        }
        let (stop, end) = io::pipe()?;
        let watched = Arc::new(Watched { ends: Ends::new()?, processes: Mutex::default(), stop });
        watched.ends.add(watched.stop.as_fd(), STOP)?;
        let there = Arc::clone(&watched);
        thread::Builder::new().name("processes".to_owned()).spawn(move || there.watch())?;
        *running = Some(Running { watched: Arc::clone(&watched), _stop: end });
        Ok(watched)
    }
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, pid: u32, subscriber: Arc<Subscriber<Callback>>) -> io::Result<()> {
        let mut processes = self.lock();
        if let Some(process) = processes.get_mut(&pid) {
            // If that one has ended, its subscribers are called at once.
            process.subscribers.push(subscriber);
            return Ok(());
        }
        let handle = pidfd::open(pid)?;
        self.ends.add(handle.as_fd(), u64::from(pid))?;
        processes.insert(pid, Process { _handle: handle, subscribers: vec![subscriber] });
        Ok(())
    }

    fn remove(&self, pid: u32, subscriber: &Arc<Subscriber<Callback>>) {
        let mut processes = self.lock();
        if let Some(process) = processes.get_mut(&pid) {
            process.subscribers.retain(|other| !Arc::ptr_eq(other, subscriber));
            if process.subscribers.is_empty() {
                processes.remove(&pid);
            }
        }
    }

    fn watch(&self) {
        loop {
            let ended = match self.ends.wait() {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::error!(%error, "the ends of other processes are noticed later: they can't be waited for");
                    return;
                }
            };
            if ended.contains(&STOP) {
                return;
            }
            for pid in ended {
                // Another process may have got its number since: whoever is called without need subscribes again.
                let process = u32::try_from(pid).ok().and_then(|pid| self.lock().remove(&pid));
                for subscriber in process.into_iter().flat_map(|process| process.subscribers) {
                    subscriber.call_once(|call| call());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Child, Command, Stdio},
        sync::mpsc::channel,
        time::Duration,
    };

    use super::*;

    /// Nothing here takes that long.
    const LIMIT: Duration = Duration::from_secs(20);

    /// A process that lives until it is killed.
    fn process() -> Child {
        Command::new("cat").stdin(Stdio::piped()).spawn().expect("every Linux has cat")
    }

    fn kill(mut process: Child) {
        process.kill().expect("it is ours");
        process.wait().expect("it is ours");
    }

    #[test]
    fn whoever_has_subscribed_to_a_process_is_called_at_its_end_and_nobody_else() {
        let watcher = ProcessWatcher::default();
        let (first, second) = (process(), process());
        let (sender, calls) = channel();
        let subscribe = |process: &Child, name: &'static str| {
            let sender = sender.clone();
            let call = move || sender.send(name).expect("the test waits for it");
            watcher.subscribe(process.id(), Box::new(call)).expect("pidfd_open works")
        };
        let _kept = [subscribe(&first, "a"), subscribe(&first, "b"), subscribe(&second, "of the second")];
        drop(subscribe(&first, "not any more"));
        kill(first);
        let mut called = [(); 2].map(|()| calls.recv_timeout(LIMIT).expect("it is called"));
        called.sort_unstable();
        assert_eq!(called, ["a", "b"]);
        assert!(calls.try_recv().is_err(), "the second one lives");
        kill(second);
        assert_eq!(calls.recv_timeout(LIMIT), Ok("of the second"));
        let running = watcher.0.lock().expect("nobody panics");
        assert!(running.as_ref().expect("it was started").watched.lock().is_empty(), "no handle is kept");
    }

    #[test]
    fn a_process_that_has_ended_is_none() {
        let gone = process();
        let pid = gone.id();
        kill(gone);
        let error = ProcessWatcher::default().subscribe(pid, Box::new(|| ())).err().expect("nobody has that number");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
    }
}
