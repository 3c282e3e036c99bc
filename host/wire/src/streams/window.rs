//! How much may be on its way on a stream, as the side keeps count that receives.
//!
//! **Architecture Invariant:** what came and is still held is never more than the window, and one frame.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{StreamError, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, WINDOWS_BYTES_MAX};
use crate::frame::StreamNumber;

/// Tells the other side until where it has credit on a stream.
pub(crate) type Grant = Arc<dyn Fn(StreamNumber, u64) + Send + Sync>;

/// By how much the windows of one connection may still grow.
#[derive(Clone)]
pub(crate) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(crate) fn new() -> Budget {
        Budget(Arc::new(AtomicU64::new(WINDOWS_BYTES_MAX)))
    }

    /// Takes up to so many bytes.
    fn take(&self, bytes: u64) -> u64 {
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left - left.min(bytes)));
        before.map_or(0, |left| left.min(bytes))
    }

    fn give_back(&self, bytes: u64) {
        let before = self.0.fetch_add(bytes, Ordering::AcqRel);
        assert!(before + bytes <= WINDOWS_BYTES_MAX, "only what was taken comes back");
    }
}

/// The window of one stream. It is as small as can be at first, and grows as long as what it lets in is used up: a stream that
/// is idle, or that nobody takes in, holds little.
pub(crate) struct Window {
    stream: StreamNumber,
    count: Mutex<Count>,
    budget: Budget,
    grant: Grant,
}

/// In bytes since the stream was opened, but for the size.
struct Count {
    received: u64,
    used: u64,
    granted: u64,
    size: u64,
}

impl Window {
    /// A new stream gets its first credit.
    pub(crate) fn open(stream: StreamNumber, budget: Budget, grant: Grant) -> Arc<Window> {
        grant(stream, WINDOW_BYTES_MIN);
        let count = Count { received: 0, used: 0, granted: WINDOW_BYTES_MIN, size: WINDOW_BYTES_MIN };
        Arc::new(Window { stream, count: Mutex::new(count), budget, grant })
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A frame came that counts so much. One may begin within the credit and end beyond: a message can be larger than any
    /// window.
    pub(crate) fn receive(self: &Arc<Self>, cost: u64) -> Result<Share, StreamError> {
        let mut count = self.count();
        let Count { received, granted, .. } = *count;
        if received >= granted {
            return Err(StreamError::Overrun { stream: self.stream, received, granted });
        }
        count.received += cost;
        Ok(Share { window: Arc::clone(self), cost })
    }

    /// So much of what came is held no more.
    fn on_used(&self, cost: u64) {
        let mut count = self.count();
        count.used += cost;
        assert!(count.used <= count.received, "only what came is used");
        let left = count.granted.saturating_sub(count.used);
        if left > count.size / 2 {
            return;
        }
        count.size += self.budget.take(count.size.min(WINDOW_BYTES_MAX - count.size));
        let until = count.used + count.size;
        assert!(until > count.granted, "credit grows");
        count.granted = until;
        drop(count);
        (self.grant)(self.stream, until);
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let size = self.count().size;
        self.budget.give_back(size - WINDOW_BYTES_MIN);
    }
}

/// A part of a window, taken by what came. Dropped, it is free again, and the other side may send more.
pub(crate) struct Share {
    window: Arc<Window>,
    cost: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.window.on_used(self.cost);
    }
}
