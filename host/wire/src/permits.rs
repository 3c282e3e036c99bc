//! The right to have some bytes of input queued, so that whoever sends too much is not read.

use std::sync::Arc;

use ambrosia_core::limits::{INBOX_BYTES_MAX, SESSION_UNDER_WAY_BYTES_MAX};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::streams::Share;

/// What an input takes in memory beside its bytes, about.
pub const INPUT_OVERHEAD_BYTES: usize = 256;

const _: () = assert!(INPUT_OVERHEAD_BYTES < INBOX_BYTES_MAX && INBOX_BYTES_MAX <= SESSION_UNDER_WAY_BYTES_MAX);
const _: () =
    assert!(SESSION_UNDER_WAY_BYTES_MAX <= Semaphore::MAX_PERMITS && SESSION_UNDER_WAY_BYTES_MAX <= u32::MAX as usize);

/// Permits of one source for so many bytes.
pub struct Permits {
    left: Arc<Semaphore>,
    all: usize,
}

impl Permits {
    /// All of them are there: those for [`INBOX_BYTES_MAX`] bytes.
    #[allow(clippy::new_without_default, reason = "a source has its permits made for it, and by nobody else")]
    pub fn new() -> Self {
        Permits::of(INBOX_BYTES_MAX)
    }

    /// Those of a client for what it has under way in sessions.
    pub(crate) fn of_sessions() -> Self {
        Permits::of(SESSION_UNDER_WAY_BYTES_MAX)
    }

    fn of(all: usize) -> Self {
        Permits { left: Arc::new(Semaphore::new(all)), all }
    }

    /// Waits until `bytes` more may be queued. More than there are permits take all of them.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let permits = Arc::clone(&self.left);
        Permit::of(permits.acquire_many_owned(self.count(bytes)).await.expect("the semaphore is never closed"))
    }

    /// The same, if they may be queued now.
    pub(crate) fn try_acquire(&self, bytes: usize) -> Option<Permit> {
        Arc::clone(&self.left).try_acquire_many_owned(self.count(bytes)).ok().map(Permit::of)
    }

    fn count(&self, bytes: usize) -> u32 {
        (bytes + INPUT_OVERHEAD_BYTES).min(self.all) as u32
    }
}

/// The right to have some bytes queued, given back when the bytes it is tied to are dropped.
#[allow(dead_code, reason = "held for what its drop does")]
#[derive(Default)]
pub struct Permit(Option<Held>);

/// What counts the bytes.
#[allow(dead_code, reason = "held for what its drop does")]
enum Held {
    Permits(OwnedSemaphorePermit),
    Window(Share),
}

impl From<Share> for Permit {
    fn from(share: Share) -> Permit {
        Permit(Some(Held::Window(share)))
    }
}

impl Permit {
    /// For what is not counted.
    pub const NONE: Permit = Permit(None);

    fn of(permits: OwnedSemaphorePermit) -> Permit {
        Permit(Some(Held::Permits(permits)))
    }

    /// Whether it counts nothing.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The same bytes, with the permit tied to them.
    pub fn tie(self, bytes: Bytes) -> Bytes {
        if self.0.is_none() {
            return bytes;
        }
        #[allow(dead_code, reason = "the permit is held for what its drop does")]
        struct Tied(Bytes, Permit);
        impl AsRef<[u8]> for Tied {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        Bytes::from_owner(Tied(bytes, self))
    }
}
