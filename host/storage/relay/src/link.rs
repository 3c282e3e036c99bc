//! One connection with a host, from its welcome to its end: questions that wait for their answers, and the sessions that it has.
//!
//! **Architecture Invariant:** a session belongs to one connection, and to no other one ever again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ambrosia_core::HostAddress;
use ambrosia_shared_log::{Asked, Session, Told, decode, encode};
use ambrosia_wire::{ConnectionError, ConnectionHandle, Frame};
use bytes::Bytes;
use tokio::{runtime::Handle, sync::oneshot};

use crate::reaching::Reached;

/// The last session of any connection of this process.
static LAST_SESSION: AtomicU64 = AtomicU64::new(0);

/// The engine of a host begins another session when it loses its own connection: so many of them are remembered.
const SESSIONS_MAX: usize = 256;

/// See the head of the file. Dropped, the connection ends.
pub(crate) struct Link {
    pub(crate) address: HostAddress,
    /// Whether the host lets this process change something.
    pub(crate) may_change: bool,
    handle: ConnectionHandle,
    waiting: Arc<Waiting>,
    /// Sessions of the host, and by which numbers they are known here.
    sessions: Mutex<Vec<(Session, Session)>>,
}

/// The connection has ended, and the question is not answered.
#[derive(Debug)]
pub(crate) struct Over(pub(crate) String);

impl Link {
    /// Serves a connection.
    pub(crate) fn begin(reached: Reached, runtime: &Handle) -> Link {
        let Reached { address, handle, connection, facts } = reached;
        let waiting = Arc::new(Waiting::default());
        let there = Arc::clone(&waiting);
        runtime.spawn(async move {
            let ended = connection.serve(|frame, _| there.take(frame)).await;
            there.end(&ended.to_string());
        });
        Link { address, may_change: facts.may_change, handle, waiting, sessions: Mutex::default() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.waiting.lock().over.is_some()
    }

    /// Nothing more is heard of it: all that waits is told.
    pub(crate) fn give_up(&self, reason: &str) {
        self.waiting.end(reason);
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// If there is none.
    pub(crate) async fn ask(&self, asked: &Asked) -> Result<Told, Over> {
        let (number, answer) = self.waiting.begin()?;
        self.handle.send(Frame::Relayed { number, contents: encode(asked).into() });
        let over = || Over(self.waiting.lock().over.clone().unwrap_or_default());
        let bytes = answer.await.map_err(|_| over())?;
        let mut told: Told = decode(bytes).map_err(|error| Over(error.to_string()))?;
        if let Some(session) = told.session_mut() {
            *session = self.ours(*session);
        }
        Ok(told)
    }

    /// The number by which a session of the host is known here.
    fn ours(&self, theirs: Session) -> Session {
        let mut sessions = lock(&self.sessions);
        if let Some((_, ours)) = sessions.iter().find(|(known, _)| *known == theirs) {
            return *ours;
        }
        let ours = Session(LAST_SESSION.fetch_add(1, Ordering::Relaxed) + 1);
        if sessions.len() == SESSIONS_MAX {
            sessions.remove(0);
        }
        sessions.push((theirs, ours));
        ours
    }

    /// The session of the host that is known here by that number, if it is one of this connection.
    pub(crate) fn theirs(&self, ours: Session) -> Option<Session> {
        lock(&self.sessions).iter().find(|(_, known)| *known == ours).map(|(theirs, _)| *theirs)
    }
}

/// Questions without an answer.
#[derive(Default)]
struct Waiting(Mutex<Questions>);

#[derive(Default)]
struct Questions {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Bytes>>,
    /// Why nothing is answered any more.
    over: Option<String>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Questions> {
        lock(&self.0)
    }

    fn begin(&self) -> Result<(u64, oneshot::Receiver<Bytes>), Over> {
        let mut questions = self.lock();
        if let Some(reason) = &questions.over {
            return Err(Over(reason.clone()));
        }
        questions.last += 1;
        let (number, (sender, answer)) = (questions.last, oneshot::channel());
        questions.open.insert(number, sender);
        Ok((number, answer))
    }

    fn take(&self, frame: Frame) -> Result<(), ConnectionError> {
        match frame {
            Frame::Relayed { number, contents } => {
                // Whoever asked may have stopped waiting.
                if let Some(sender) = self.lock().open.remove(&number) {
                    drop(sender.send(contents));
                }
                Ok(())
            }
            Frame::Control(ambrosia_wire::Control::Refused { reason, .. }) => Err(ConnectionError::Refused(reason)),
            _ => Err(ConnectionError::Unexpected),
        }
    }

    fn end(&self, reason: &str) {
        let mut questions = self.lock();
        questions.over.get_or_insert_with(|| reason.to_owned());
        // Each of them hears of it by its dropped sender.
        questions.open.clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
