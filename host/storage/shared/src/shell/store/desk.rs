//! Asks an engine about keys, and waits for what it answers.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::channel,
    },
    thread,
    time::{Duration, Instant},
};

use ambrosia_storage::{IoError, LogId, Revision};
use bytes::Bytes;

use crate::{
    engine::{Answered, Claim, Engine, Fault, HostId, Lane, Request},
    inquiry::{Concluded, Inquiry, Next},
    keys::{KeyEntry, KeysAnswer, KeysRequest, Put, PutRefused, Space},
    limits::{ANSWER_TIME_MAX, KEYS_TIME},
};

/// Asks one engine for one host.
pub(super) struct Desk {
    engine: Arc<dyn Engine>,
    /// Whoever asks.
    pub(super) me: HostId,
    began: Instant,
    claims_ever: AtomicU64,
    /// The engine was away for a while.
    was_away: AtomicBool,
}

impl Desk {
    pub(super) fn new(engine: Arc<dyn Engine>, me: HostId) -> Desk {
        Desk { engine, me, began: Instant::now(), claims_ever: AtomicU64::new(0), was_away: AtomicBool::new(false) }
    }

    /// What and where the engine is, for people.
    pub(super) fn place(&self) -> String {
        self.engine.facts().place
    }

    pub(super) fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    pub(super) fn caution(&self) -> Option<String> {
        self.engine.facts().caution
    }

    /// A claim that nobody has used for a key.
    pub(super) fn new_claim(&self) -> Claim {
        Claim { host: self.me, attempt: self.claims_ever.fetch_add(1, Ordering::Relaxed) }
    }

    /// Asks until it is answered, or for as long as that.
    pub(super) fn ask_within(&self, request: Request, time: Duration) -> Concluded {
        let now = self.began.elapsed();
        let mut inquiry = Inquiry::new(request, now, now + time);
        loop {
            match inquiry.next(self.began.elapsed()) {
                Next::Over(concluded) => {
                    if concluded.was_away(self.began.elapsed().saturating_sub(now)) {
                        self.was_away.store(true, Ordering::SeqCst);
                    }
                    return concluded;
                }
                Next::At(at) => thread::park_timeout(at.saturating_sub(self.began.elapsed())),
                Next::Ask(request) => {
                    let (sender, answer) = channel();
                    // Whoever asks may have stopped waiting.
                    self.engine.ask(Lane::Other, request, Box::new(move |answer| drop(sender.send(answer))));
                    let answer = answer.recv_timeout(ANSWER_TIME_MAX);
                    let late = || Err(Fault::Unknown("no answer came".to_owned()));
                    inquiry.on_answer(answer.unwrap_or_else(|_| late()), self.began.elapsed());
                }
            }
        }
    }

    /// Whether the engine was away since this process has begun to ask it.
    pub(super) fn was_away(&self) -> bool {
        self.was_away.load(Ordering::SeqCst)
    }

    pub(super) fn ask(&self, request: Request) -> Result<Answered, IoError> {
        self.ask_within(request, KEYS_TIME).answer.map_err(|fault| self.error(fault))
    }

    /// The fault of an engine as whoever has any store sees it.
    pub(super) fn error(&self, fault: Fault) -> IoError {
        IoError { action: "use", place: self.place(), source: io::Error::other(fault) }
    }

    /// The engine has answered something else.
    pub(super) fn unfit(&self, answered: &Answered) -> IoError {
        let source = io::Error::other(format!("it has answered {answered:?} instead"));
        IoError { action: "use", place: self.place(), source }
    }

    pub(super) fn get(&self, space: Space, key: &str) -> Result<Option<KeyEntry>, IoError> {
        self.get_within(space, key, KEYS_TIME)
    }

    pub(super) fn get_within(&self, space: Space, key: &str, time: Duration) -> Result<Option<KeyEntry>, IoError> {
        let request = Request::Keys(KeysRequest::Get { space, key: key.to_owned() });
        match self.ask_within(request, time).answer.map_err(|fault| self.error(fault))? {
            Answered::Keys(KeysAnswer::Got { entry, .. }) => Ok(entry),
            other => Err(self.unfit(&other)),
        }
    }

    /// All keys that begin so, in order.
    pub(super) fn list(&self, space: Space, prefix: &str, values: bool) -> Result<Vec<KeyEntry>, IoError> {
        let (mut all, mut after): (Vec<KeyEntry>, _) = (Vec::new(), None);
        loop {
            let request = KeysRequest::List { space, prefix: prefix.to_owned(), after, values };
            match self.ask(Request::Keys(request))? {
                Answered::Keys(KeysAnswer::Listed { entries, is_all, .. }) => {
                    all.extend(entries);
                    after = all.last().map(|entry| entry.key.clone());
                    if is_all || after.is_none() {
                        return Ok(all);
                    }
                }
                other => return Err(self.unfit(&other)),
            }
        }
    }

    /// Puts a value if the key stands at `expected`, and that log is there.
    pub(super) fn put(
        &self,
        space: Space,
        key: &str,
        expected: Option<Revision>,
        value: impl Into<Bytes>,
        beside: Option<LogId>,
    ) -> Result<Result<Revision, PutRefused>, IoError> {
        let put = Put { space, key: key.to_owned(), expected, value: value.into(), claim: self.new_claim(), beside };
        self.put_within(put, KEYS_TIME)
    }

    pub(super) fn put_within(&self, put: Put, time: Duration) -> Result<Result<Revision, PutRefused>, IoError> {
        let request = Request::Keys(KeysRequest::Put(put));
        match self.ask_within(request, time).answer.map_err(|fault| self.error(fault))? {
            Answered::Keys(KeysAnswer::Put(result)) => Ok(result),
            other => Err(self.unfit(&other)),
        }
    }

    /// Deletes a key if it stands there; else the answer is where it stands.
    pub(super) fn delete(
        &self,
        space: Space,
        key: &str,
        expected: Revision,
    ) -> Result<Result<(), Option<Revision>>, IoError> {
        self.delete_within(space, key, expected, KEYS_TIME)
    }

    /// Deletes a key of the store wherever it stands; what it was, if it was there.
    pub(super) fn remove(&self, key: &str) -> Result<Option<KeyEntry>, IoError> {
        while let Some(entry) = self.get(Space::Store, key)? {
            if self.delete(Space::Store, key, entry.revision)?.is_ok() {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    pub(super) fn delete_within(
        &self,
        space: Space,
        key: &str,
        expected: Revision,
        time: Duration,
    ) -> Result<Result<(), Option<Revision>>, IoError> {
        let request = Request::Keys(KeysRequest::Delete { space, key: key.to_owned(), expected });
        let Concluded { answer, may_be_done_before, .. } = self.ask_within(request, time);
        match answer.map_err(|fault| self.error(fault))? {
            // By the try that was not answered.
            Answered::Keys(KeysAnswer::Deleted(Err(None))) if may_be_done_before => Ok(Ok(())),
            Answered::Keys(KeysAnswer::Deleted(result)) => Ok(result),
            other => Err(self.unfit(&other)),
        }
    }
}
