//! Tells clients of the next primary of an instance, as soon as the store tells of it.
//!
//! **Architecture Invariant:** who waits here holds up nobody: a connection and a task, for a while.

use std::{sync::Arc, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_wire::{Connection, ConnectionError};
use tokio::time::timeout;

use crate::{connections::refusal, listener::Receptions, peers::PeerDirectory};

/// Whoever waits is told who is primary after so long in any case: by then it may have gone, which nobody tells.
const WAIT: Duration = Duration::from_secs(30);

/// Answers a client that waits for a primary of a later epoch than that one. If it could be told of one, the client may go on with this connection.
pub(crate) async fn tell_next(
    connection: &mut Connection,
    to: String,
    behind: u64,
    receptions: &Arc<Receptions>,
    directory: &PeerDirectory,
) -> Result<(), ConnectionError> {
    let reason = format!("there is no later primary of {to:?}");
    let now = Arc::clone(receptions).who_is_primary(to.clone()).await;
    let is_answered = now.ended.is_some() || now.primary.as_ref().is_some_and(|primary| primary.epoch.0 > behind);
    let mut is_told = now.primary.is_some();
    let answer = match InstanceName::new(to) {
        Ok(name) if !is_answered => {
            let mut primaries = directory.follow(&name);
            let next = primaries.wait_for(|known| known.as_ref().is_some_and(|known| known.epoch.0 > behind));
            let next = tokio::select! {
                next = timeout(WAIT, next) => next.ok().and_then(Result::ok).and_then(|known| known.clone()),
                // It has nothing more to say: it is gone, or does not know what it asks for.
                said = connection.read_frame() => return Err(said.err().unwrap_or(ConnectionError::Unexpected)),
            };
            is_told = next.is_some();
            refusal(true, reason, next)
        }
        _ => now.refusal(true, reason),
    };
    connection.write_frames(&answer).await?;
    // The end of the connection says that nothing is known.
    if is_told { Ok(()) } else { Err(ConnectionError::Closed) }
}
