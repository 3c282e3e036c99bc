//! The right to have some bytes of input queued, so that whoever sends too much is not read.

use std::sync::Arc;

use ambrosia_core::limits::INBOX_BYTES_MAX;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::streams::Share;

/// What an input takes in memory beside its bytes, about.
const OVERHEAD_BYTES: usize = 256;

const _: () = assert!(OVERHEAD_BYTES < INBOX_BYTES_MAX && INBOX_BYTES_MAX <= Semaphore::MAX_PERMITS);

/// Permits of one source for [`INBOX_BYTES_MAX`] bytes.
pub struct Permits(Arc<Semaphore>);

impl Permits {
    /// All of them are there.
    #[allow(clippy::new_without_default, reason = "a source has its permits made for it, and by nobody else")]
    pub fn new() -> Self {
        Permits(Arc::new(Semaphore::new(INBOX_BYTES_MAX)))
    }

    /// Waits until `bytes` more may be queued. More than there are permits take all of them.
    pub async fn acquire(&self, bytes: usize) -> Permit {
        let count = (bytes + OVERHEAD_BYTES).min(INBOX_BYTES_MAX) as u32;
        let permits = Arc::clone(&self.0);
        Permit(Some(Held::Permits(permits.acquire_many_owned(count).await.expect("the semaphore is never closed"))))
    }
}

/// The right to have some bytes queued, given back when the bytes it is tied to are dropped.
#[allow(dead_code, reason = "held for what its drop does")]
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
