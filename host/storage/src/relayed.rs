//! A store that several machines share, as a host passes it on to those that reach the host alone.
//!
//! **Architecture Invariant:** what is asked and answered is bytes here: whoever asks and whoever answers know what they mean, and the host
//! between them only what somebody may.

use bytes::Bytes;

/// What somebody may do with a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreRight {
    /// See all of it.
    Read,
    /// Change it, too.
    Change,
}

/// What a host passes on.
pub trait Relayed: Send + Sync {
    /// By which version of it.
    fn version(&self) -> u16;

    /// What whoever begins is told, if that is what they may.
    fn facts(&self, right: StoreRight) -> Vec<u8>;

    /// Most bytes of a question of somebody who may that.
    fn question_bytes_max(&self, right: StoreRight) -> usize;

    /// Somebody begins to ask.
    fn begin(&self, right: StoreRight) -> Box<dyn Relaying>;
}

/// Told an answer, from any thread. Dropped, there is none.
pub type Tell = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Somebody who asks. Dropped, what is under way is given up, or nobody hears of it.
pub trait Relaying: Send {
    /// Answers a question. It returns at once.
    ///
    /// # Errors
    /// Why it is none. Nothing more is to be taken from whoever said it.
    fn ask(&mut self, question: Bytes, tell: Tell) -> Result<(), String>;
}
