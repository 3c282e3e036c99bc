//! A client that calls an instance in a loop and notes every answer and every gap.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::RequestId;
use ambrosia_host::{Answered, Client, ClientError, decode_value, encode_arguments};
use serde_json::Value;

use crate::PATIENCE;

/// One answered call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When the call was made.
    pub called: Instant,
    /// When the answer was there.
    pub answered: Instant,
    /// What the method returned.
    pub value: Value,
}

/// Calls in a loop in a thread of its own, each call after the answer of the one before.
pub struct Caller {
    answers: Arc<Mutex<Vec<Answer>>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(), ClientError>>,
}

impl Caller {
    /// Begins to call `method` with what `arguments` gives for each number from 1 on. Request ids begin with `name`.
    pub fn start(
        name: &str,
        connect: impl FnOnce() -> Client + Send + 'static,
        method: &'static str,
        arguments: impl Fn(u64) -> Value + Send + 'static,
    ) -> Caller {
        let (answers, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, until, name) = (Arc::clone(&answers), Arc::clone(&stop), name.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let mut client = connect();
                for number in 1.. {
                    if until.load(Ordering::Acquire) {
                        break;
                    }
                    let request = RequestId::new(format!("{name}-{number}")).expect("a short name");
                    let bytes = encode_arguments(&arguments(number).to_string(), true).expect("an array");
                    let called = Instant::now();
                    let answered = client.send(&request, method, &bytes, true, PATIENCE).await?;
                    let value = match answered {
                        Answered::Value(value) => decode_value(&value),
                        Answered::Accepted => Value::Null,
                    };
                    let answer = Answer { called, answered: Instant::now(), value };
                    into.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                }
                Ok(())
            })
        });
        Caller { answers, stop, thread }
    }

    /// The answers so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many answers there are.
    pub fn count(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until `count` answers are there.
    ///
    /// # Panics
    /// If that takes longer than [`PATIENCE`].
    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.count() < count {
            assert!(Instant::now() < deadline, "{} answers of {count} came in time", self.count());
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// Longest time between two answers one after the other, the later of which came after `since`.
    pub fn longest_gap_since(&self, since: Instant) -> Duration {
        let answers = self.answers();
        let pairs = answers.windows(2).filter(|pair| pair[1].answered > since);
        pairs.map(|pair| pair[1].answered - pair[0].answered).max().unwrap_or_default()
    }

    /// Ends after the call under way; returns all answers.
    pub fn stop(self) -> Result<Vec<Answer>, ClientError> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the calling thread does not panic")?;
        Ok(Arc::try_unwrap(self.answers).map_or_else(
            |shared| shared.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            |own| own.into_inner().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}
