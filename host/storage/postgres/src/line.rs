//! One connection after the other, for requests that need not wait for those of other lines.
//!
//! The next one is made by nobody who asks for it: a connection takes a dozen round trips, and whoever waits for it has only the time of a request,
//! of which some may be used up. Made by them, it would be begun anew with each, and on a slow network or at a busy server none would ever be done.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ambrosia_shared_log::{ANSWER_TIME, Fault, Session};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    conversation::{Backend, Conversation},
    error::{PostgresError, said},
    known::Last,
    place::PostgresPlace,
};

/// So many are looked after; a server has a hundred by default.
const LEFT_MAX: usize = 64;

/// What is not there by then does not come, or the server has no time for it.
const BEGINNING_TIME: Duration = Duration::from_secs(10);

/// Requests go over one connection, which is made anew when it is lost.
pub(crate) struct Line {
    there: Arc<Mutex<There>>,
    /// What servers have said of themselves, on whichever line.
    last: Arc<Last>,
}

/// What has come of a connection that was begun.
type Begun = Result<Arc<Conversation>, Fault>;

/// Whoever waits for a connection that a task makes.
type Beginning = Shared<BoxFuture<'static, Begun>>;

#[derive(Default)]
struct There {
    conversation: Option<Arc<Conversation>>,
    /// The next one, while it is being made.
    beginning: Option<Beginning>,
    /// What served connections that were left, until it is known to have ended. A commit that waits for its standby does not see that its client
    /// has gone, so each of them would keep a place of the server until that standby is back, and soon nobody could connect any more.
    left: Vec<Backend>,
}

impl There {
    /// The conversation, if it goes on.
    fn present(&self) -> Option<&Arc<Conversation>> {
        self.conversation.as_ref().filter(|conversation| !conversation.is_over())
    }

    fn leave(&mut self) {
        self.left.extend(self.conversation.take().map(|left| left.leave()));
        if self.left.len() > LEFT_MAX {
            self.left.remove(0);
        }
    }

    /// What is to come of the conversation that somebody has begun to make. One that is over and still there has panicked.
    fn beginning(&self) -> Option<Beginning> {
        self.beginning.clone().filter(|beginning| beginning.peek().is_none())
    }
}

impl Line {
    pub(crate) fn new(last: &Arc<Last>) -> Line {
        Line { there: Arc::default(), last: Arc::clone(last) }
    }

    /// The conversation that there is, or a new one. Whoever asks meanwhile waits for the same; and if nobody waits any more, it is there for the
    /// next.
    pub(crate) async fn conversation(&self, place: &PostgresPlace) -> Begun {
        let beginning = {
            let mut there = lock(&self.there);
            if let Some(conversation) = there.present() {
                return Ok(Arc::clone(conversation));
            }
            there.beginning().unwrap_or_else(|| self.make(&mut there, place))
        };
        beginning.await
    }

    /// A new conversation, if there is none and nobody is about to begin one.
    pub(crate) async fn begin(&self, place: &PostgresPlace) -> Result<Option<Arc<Conversation>>, Fault> {
        let beginning = {
            let mut there = lock(&self.there);
            if there.present().is_some() || there.beginning().is_some() {
                return Ok(None);
            }
            self.make(&mut there, place)
        };
        beginning.await.map(Some)
    }

    /// Has a conversation be made.
    fn make(&self, there: &mut There, place: &PostgresPlace) -> Beginning {
        there.leave();
        let (line, last) = (Arc::clone(&self.there), Arc::clone(&self.last));
        let (place, left) = (place.clone(), there.left.clone());
        let making = tokio::spawn(async move {
            let begun = begin_patiently(&place).await;
            let begun = begun.and_then(|begun| last.see(begun.known, &place).map(|()| Arc::new(begun)));
            let begun = begun.map_err(|error| Fault::Unavailable(error.to_string()));
            // Before anything else is asked there, which may wait for what those have locked.
            let remaining = match &begun {
                Ok(conversation) => end(conversation, left).await,
                Err(_) => left,
            };
            *lock(&line) =
                There { conversation: begun.as_ref().ok().map(Arc::clone), beginning: None, left: remaining };
            begun
        });
        let beginning = making.map(|made| made.unwrap_or_else(|ended| Err(not_made(&ended)))).boxed().shared();
        there.beginning = Some(beginning.clone());
        beginning
    }

    /// The conversation of that session, if it goes on.
    pub(crate) fn of_session(&self, session: Session) -> Option<Arc<Conversation>> {
        let there = lock(&self.there);
        there.present().filter(|there| there.session() == session).map(Arc::clone)
    }

    /// Nothing more is asked in that session.
    pub(crate) fn give_up(&self, session: Session) {
        let mut there = lock(&self.there);
        if there.conversation.as_ref().is_some_and(|there| there.session() == session) {
            there.leave();
        }
    }
}

/// Nothing panics while it holds this, so what is in it is whole.
fn lock(there: &Mutex<There>) -> MutexGuard<'_, There> {
    there.lock().unwrap_or_else(PoisonError::into_inner)
}

fn not_made(ended: &JoinError) -> Fault {
    Fault::Unavailable(format!("the connection with the database was not made: {ended}"))
}

/// A conversation with whoever answers first. A machine that is gone does not say so, and its address may be another one's by now: whoever says
/// nothing for the time of a request is asked once more, beside that, for it may also be about to answer.
async fn begin_patiently(place: &PostgresPlace) -> Result<Conversation, PostgresError> {
    let (mut tries, mut refused) = (JoinSet::new(), None);
    let until = Instant::now() + BEGINNING_TIME;
    while Instant::now() < until {
        let there = place.clone();
        tries.spawn(async move { Conversation::begin(&there).await });
        let again = (Instant::now() + ANSWER_TIME).min(until);
        while let Ok(Some(begun)) = timeout_at(again, tries.join_next()).await {
            match begun.unwrap_or_else(|ended| Err(PostgresError::Threads(ended.into()))) {
                // Another try may come to be served where this one was not.
                Err(error) if !tries.is_empty() => refused = Some(error),
                settled => return settled,
            }
        }
    }
    Err(refused.unwrap_or_else(|| {
        let reason = format!("it has not let this host in within {BEGINNING_TIME:?}: see whether it is overloaded");
        PostgresError::Unreachable { place: place.to_string(), reason }
    }))
}

/// Ends what served connections that were left; what is not known to have ended, the next conversation ends.
async fn end(conversation: &Conversation, left: Vec<Backend>) -> Vec<Backend> {
    match timeout(ANSWER_TIME, conversation.end(&left)).await {
        Ok(Ok(remaining)) => remaining,
        Ok(Err(error)) => {
            tracing::debug!("what served connections that were left is not ended: {}", said(&error));
            left
        }
        Err(_) => {
            tracing::debug!("what served connections that were left is not ended within {ANSWER_TIME:?}");
            left
        }
    }
}
