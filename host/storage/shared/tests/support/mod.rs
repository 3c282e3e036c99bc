//! What tests of logs and of stores on an engine have in common.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use ambrosia_shared_log::{
    Answered, Answering, Engine, EngineFacts, Fault, HostId, KeysAnswer, Lane, MemoryEngine, Request,
};

/// Names a host that none was before.
pub(crate) fn new_id() -> HostId {
    static HOSTS: AtomicU64 = AtomicU64::new(1);
    let mut me = [0; 16];
    me[..8].copy_from_slice(&HOSTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    HostId(me)
}

/// How a request fails.
#[derive(Clone, Copy)]
pub(crate) enum Failure {
    /// It is done, and that is not known.
    Unheard,
    /// It is not done, and that is not known.
    Lost,
    /// Nobody is reached.
    Refused,
}

/// An engine that fails often, and says of what it did that it does not know.
pub(crate) struct Unsure {
    engine: MemoryEngine,
    asked: Mutex<u64>,
    /// How a request fails that is so many-th, if it does.
    failure: fn(u64, &Request) -> Option<Failure>,
}

impl Unsure {
    pub(crate) fn new(engine: MemoryEngine, failure: fn(u64, &Request) -> Option<Failure>) -> Unsure {
        Unsure { engine, asked: Mutex::new(0), failure }
    }
}

impl Engine for Unsure {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked += 1;
        let number = *asked;
        drop(asked);
        let unknown = |when| Fault::Unknown(format!("the connection was cut {when} it was done"));
        match (self.failure)(number, &request) {
            None => self.engine.ask(lane, request, answer),
            Some(Failure::Unheard) => {
                let cut = move |answered| match answered {
                    // What is not there seems to be deleted, if it is not known whether a try before has done that.
                    Ok(Answered::Keys(KeysAnswer::Deleted(Err(_)))) => answer(answered),
                    _ => answer(Err(unknown("after"))),
                };
                self.engine.ask(lane, request, Box::new(cut));
            }
            Some(Failure::Lost) => answer(Err(unknown("before"))),
            Some(Failure::Refused) => answer(Err(Fault::Unavailable("the connection was refused".to_owned()))),
        }
    }

    fn facts(&self) -> EngineFacts {
        self.engine.facts()
    }
}
