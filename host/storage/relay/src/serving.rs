//! The host's side of a connection.
//!
//! **Architecture Invariant:** who may what was decided before; each question has one answer, and whoever does not take answers is not read.

use std::sync::Arc;

use ambrosia_storage::{Relayed, StoreRight};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, Permit};
use bytes::Bytes;

/// Answers the questions of somebody who may that, until either side ends.
pub async fn serve(
    relayed: &dyn Relayed,
    right: StoreRight,
    handle: ConnectionHandle,
    mut connection: Connection,
) -> ConnectionError {
    let welcome = Frame::Control(Control::RelayWelcome { facts: relayed.facts(right) });
    if let Err(error) = connection.write_frame(&welcome).await {
        return error;
    }
    connection.welcome_relay(relayed.question_bytes_max(right));
    let (mut asker, handle) = (relayed.begin(right), Arc::new(handle));
    let take = move |frame, permit| {
        let Frame::Relayed { number, contents } = frame else { return Err(ConnectionError::Unexpected) };
        let question = Question { number, handle: Arc::clone(&handle), permit: Some(permit) };
        let tell = Box::new(move |told: Vec<u8>| question.answer(told.into()));
        asker.ask(contents, tell).map_err(ConnectionError::Relayed)
    };
    connection.serve(take).await
}

/// A question that is not answered yet.
struct Question {
    number: u64,
    handle: Arc<ConnectionHandle>,
    /// What it counts for, until the answer is written.
    permit: Option<Permit>,
}

impl Question {
    fn answer(mut self, told: Bytes) {
        let permit = self.permit.take().unwrap_or(Permit::NONE);
        self.handle.send(Frame::Relayed { number: self.number, contents: permit.tie(told) });
    }
}

/// Whoever asks is not to wait for an answer that will never come.
impl Drop for Question {
    fn drop(&mut self) {
        if self.permit.take().is_some() {
            self.handle.send(Frame::Relayed { number: self.number, contents: Bytes::new() });
        }
    }
}
