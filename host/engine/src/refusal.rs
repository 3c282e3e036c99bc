//! What the host refuses to do for a guest. It ends the delivery as a trap does.
//!
//! **Architecture Invariant:** whether something is refused depends on the guest, its world and named limits only,
//! so every replica refuses the same.

/// Why a call of the guest to the host did not return.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("can't attach {0:?} while the component is initialised or described: attach when the first message comes")]
    AttachTooEarly(String),
    #[error("the guest ended its process with status {0}: use ambrosia::exit, which finishes the instance in order")]
    Exit(u8),
    #[error("the guest wants to sleep on a clock: use ambrosia::sleep, which survives failures")]
    Sleep,
    #[error("the guest used a file, and there is none")]
    File,
    #[error("the guest used a network, and there is none")]
    Network,
    #[error(
        "a query asked for a random value, which it can't have, since nothing of it is logged: let the method be an update"
    )]
    RandomInQuery,
    #[error("a query attached {0:?}, which this instance has not met: let the method that attaches it be an update")]
    AttachInQuery(String),
    #[error(
        "the guest made a promise before it was delivered anything, or while it takes over the state of a module that made \
         none: make promises in the handlers of messages"
    )]
    PromiseTooEarly,
    #[error("asked for {0} random bytes at once, and the limit is {max}", max = crate::wasi::RANDOM_BYTES_MAX)]
    RandomLimit(u64),
    #[error("the component starts with {desired} bytes of memory, and its limit is {limit}: register it with more")]
    MemoryAtStart { desired: u64, limit: u64 },
}
