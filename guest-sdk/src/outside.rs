//! What somebody outside does for the instance, and is waited for: requests and promises.

use std::{
    fmt,
    task::{Context, Poll},
};

use crate::{
    layout::{MessageKind, OUTSIDE},
    runtime::{self, Runtime},
};

/// One of them, by its id. When this is dropped before its end, the host is told that nobody waits any more.
pub(crate) struct Waited {
    id: u64,
    has_ended: bool,
}

impl Waited {
    /// Asks for it, by an effect of that kind with arguments that `encode` writes.
    ///
    /// # Errors
    /// Why they can't be sent.
    pub(crate) fn begin(
        kind: MessageKind,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
    ) -> Result<Waited, String> {
        runtime::with(|runtime| {
            let id = runtime.next_id();
            runtime.push_encoded(OUTSIDE, kind, 0, id, encode)?;
            runtime.expect_outside(id, kind);
            Ok(Waited { id, has_ended: false })
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The bytes that came, or why none do.
    pub(crate) fn poll(&mut self, runtime: &Runtime, context: &Context<'_>) -> Poll<Result<Vec<u8>, String>> {
        assert!(!self.has_ended, "what has ended is not polled again");
        let outcome = runtime.poll_outside(self.id, context);
        self.has_ended = outcome.is_ready();
        outcome
    }
}

impl Drop for Waited {
    fn drop(&mut self) {
        if !self.has_ended {
            runtime::try_with(|runtime| runtime.forget(self.id));
        }
    }
}

impl fmt::Debug for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waited").field("id", &self.id).finish_non_exhaustive()
    }
}
