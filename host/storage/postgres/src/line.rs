//! One connection after the other, for requests that need not wait for those of other lines.

use std::sync::Arc;

use ambrosia_shared_log::{Fault, Session};
use tokio::sync::Mutex;

use crate::{conversation::Conversation, place::PostgresPlace};

/// Requests go over one connection, which is made anew when it is lost.
#[derive(Default)]
pub(crate) struct Line {
    conversation: Mutex<Option<Arc<Conversation>>>,
}

impl Line {
    /// The conversation that there is, or a new one. Whoever asks meanwhile waits for the same.
    pub(crate) async fn conversation(&self, place: &PostgresPlace) -> Result<Arc<Conversation>, Fault> {
        let mut there = self.conversation.lock().await;
        if let Some(conversation) = there.as_ref().filter(|conversation| !conversation.is_over()) {
            return Ok(Arc::clone(conversation));
        }
        *there = None;
        let begun = Conversation::begin(place).await.map_err(|error| Fault::Unavailable(error.to_string()))?;
        Ok(Arc::clone(there.insert(Arc::new(begun))))
    }

    /// The conversation of that session, if it goes on.
    pub(crate) async fn of_session(&self, session: Session) -> Option<Arc<Conversation>> {
        let there = self.conversation.lock().await;
        there.as_ref().filter(|there| there.session() == session && !there.is_over()).map(Arc::clone)
    }

    /// Nothing more is asked in that session.
    pub(crate) async fn give_up(&self, session: Session) {
        let mut there = self.conversation.lock().await;
        if there.as_ref().is_some_and(|there| there.session() == session) {
            *there = None;
        }
    }
}
