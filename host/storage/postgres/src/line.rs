//! One connection after the other, for requests that need not wait for those of other lines.

use std::sync::Arc;

use ambrosia_shared_log::{Fault, Session};
use tokio::sync::Mutex;

use crate::{
    conversation::{Backend, Conversation},
    error::said,
    place::PostgresPlace,
};

/// So many are looked after; a server has a hundred by default.
const LEFT_MAX: usize = 64;

/// Requests go over one connection, which is made anew when it is lost.
#[derive(Default)]
pub(crate) struct Line {
    there: Mutex<There>,
}

#[derive(Default)]
struct There {
    conversation: Option<Arc<Conversation>>,
    /// What served connections that were left. A commit that waits for its standby does not see that its client has gone, so each of them
    /// would keep a place of the server until that standby is back, and soon nobody could connect any more.
    left: Vec<Backend>,
}

impl There {
    /// The conversation, if it goes on.
    fn present(&self) -> Option<&Arc<Conversation>> {
        self.conversation.as_ref().filter(|conversation| !conversation.is_over())
    }

    fn leave(&mut self) {
        self.left.extend(self.conversation.take().map(|left| left.backend()));
        if self.left.len() > LEFT_MAX {
            self.left.remove(0);
        }
    }
}

impl Line {
    /// The conversation that there is, or a new one. Whoever asks meanwhile waits for the same.
    pub(crate) async fn conversation(&self, place: &PostgresPlace) -> Result<Arc<Conversation>, Fault> {
        Line::conversation_in(&mut *self.there.lock().await, place).await
    }

    /// A new conversation, if there is none and nobody is about to begin one.
    pub(crate) async fn begin(&self, place: &PostgresPlace) -> Result<Option<Arc<Conversation>>, Fault> {
        let Ok(mut there) = self.there.try_lock() else { return Ok(None) };
        if there.present().is_some() {
            return Ok(None);
        }
        Line::conversation_in(&mut there, place).await.map(Some)
    }

    async fn conversation_in(there: &mut There, place: &PostgresPlace) -> Result<Arc<Conversation>, Fault> {
        if let Some(conversation) = there.present() {
            return Ok(Arc::clone(conversation));
        }
        there.leave();
        let begun = Conversation::begin(place).await.map_err(|error| Fault::Unavailable(error.to_string()))?;
        // At once, so that what was left is ended also if this takes too long.
        let conversation = Arc::clone(there.conversation.insert(Arc::new(begun)));
        let left = std::mem::take(&mut there.left);
        match conversation.end(&left).await {
            Ok(remaining) => there.left = remaining,
            // The next conversation does it.
            Err(error) => {
                tracing::debug!("what served connections that were left is not ended: {}", said(&error));
                there.left = left;
            }
        }
        Ok(conversation)
    }

    /// The conversation of that session, if it goes on.
    pub(crate) async fn of_session(&self, session: Session) -> Option<Arc<Conversation>> {
        let there = self.there.lock().await;
        there.present().filter(|there| there.session() == session).map(Arc::clone)
    }

    /// Nothing more is asked in that session.
    pub(crate) async fn give_up(&self, session: Session) {
        let mut there = self.there.lock().await;
        if there.conversation.as_ref().is_some_and(|there| there.session() == session) {
            there.leave();
        }
    }
}
