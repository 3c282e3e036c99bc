//! The requests of a reign to the world outside.

use std::{collections::BTreeMap, sync::Arc};

use ambrosia_core::{CallId, ConnectionId, Epoch};
use ambrosia_outgoing::{Pending, Sender};
use ambrosia_wire::Control;
use bytes::Bytes;
use tokio::task::AbortHandle;
use tracing::Instrument;

use crate::{connections::Connections, driver::Driver, event::Event};

/// So many requests are told to whoever asks, those with the lowest numbers.
const REQUESTS_TOLD_MAX: usize = 100;

/// What is under way. Dropped, it ends: the next primary begins anew what has no outcome.
#[derive(Default)]
pub(crate) struct Requests {
    tasks: BTreeMap<CallId, AbortHandle>,
}

impl Requests {
    /// Performs a request from now on, until it has an outcome, which comes into the mailbox.
    pub(crate) fn begin(&mut self, driver: &Driver, epoch: Epoch, id: CallId, body: Bytes, is_resumed: bool) {
        let (sender, mailbox) = (Arc::clone(&driver.sender), Arc::clone(&driver.mailbox));
        let perform = async move {
            let performed = sender.perform(id.0, &body, is_resumed).await;
            drop(body);
            let (outcome, turn) = (performed.outcome.encode(), performed.turn);
            mailbox.push(Event::Outcome { epoch, id, outcome, turn });
        };
        let task = driver.runtime.spawn(perform.instrument(driver.span.clone()));
        let before = self.tasks.insert(id, task.abort_handle());
        assert!(before.is_none(), "a reign performs a request once");
    }

    /// Nobody waits for it any more, or it has its outcome.
    pub(crate) fn end(&mut self, id: CallId) {
        if let Some(task) = self.tasks.remove(&id) {
            task.abort();
        }
    }

    /// Tells whoever asks what is under way.
    pub(crate) fn report(&self, sender: &Sender, connections: &mut Connections, connection: ConnectionId) {
        let pending = sender.pending();
        let count = pending.len() as u64;
        for Pending { id, what, tries, age, next_try, last_error } in pending.into_iter().take(REQUESTS_TOLD_MAX) {
            let ms = |time: std::time::Duration| time.as_millis() as u64;
            let told = Control::OutgoingRequest {
                id,
                what,
                tries,
                age_ms: ms(age),
                next_try_ms: next_try.map(ms),
                error: last_error.unwrap_or_default(),
            };
            connections.tell(connection, told);
        }
        connections.tell(connection, Control::OutgoingEnd { count });
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.tasks.values().for_each(AbortHandle::abort);
    }
}
