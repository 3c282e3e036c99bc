//! Awaiting the answer to a call.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use serde::{Deserialize, Serialize};

use crate::{
    codec::{self, Decode},
    layout::MessageKind,
    runtime::{self, Runtime},
};

/// A call that was sent: await it for the answer.
///
/// The message is on its way as soon as the method of the proxy returns, so several calls can be under way at once:
///
/// ```
/// # #[ambrosia::interface] trait Counter { fn add(n: u64) -> u64; }
/// # async fn example(left: Counter, right: Counter) -> Result<u64, ambrosia::CallError> {
/// let (first, second) = (left.add(1), right.add(2));
/// Ok(first.await? + second.await?)
/// # }
/// ```
///
/// Dropping it forgets the answer; the method runs all the same. Where no answer is wanted, a fork is cheaper. The compiler warns
/// where an `.await` was forgotten:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # #[ambrosia::interface] trait Counter { fn add(n: u64) -> u64; }
/// async fn example(counter: Counter) {
///     counter.add(1); // the call is sent already: await its answer, or use `fork()` where none is wanted
/// }
/// ```
#[must_use = "the call is sent already: await its answer, or use `fork()` where none is wanted"]
pub struct Call<R> {
    progress: Progress,
    method: &'static str,
    decode: Decode<R>,
}

enum Progress {
    Sent(u64),
    NotSent(CallError),
    Done,
}

impl<R> Call<R> {
    /// Sends it, the arguments being written by `encode`.
    pub(crate) fn send(
        runtime: &Runtime,
        target: u32,
        (method, name): (u32, &'static str),
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
        decode: Decode<R>,
    ) -> Self {
        let id = runtime.next_id();
        let progress = match runtime.push_encoded(target, MessageKind::Call, method, id, encode) {
            Ok(()) => {
                runtime.expect_answer(id, target, name);
                Progress::Sent(id)
            }
            Err(reason) => Progress::NotSent(CallError::Codec { method: name.to_string(), reason }),
        };
        Call { progress, method: name, decode }
    }

    /// The call id, and how its answer is decoded.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn into_parts(mut self) -> (u64, &'static str, Decode<R>) {
        match std::mem::replace(&mut self.progress, Progress::Done) {
            Progress::Sent(id) => (id, self.method, self.decode),
            Progress::NotSent(error) => panic!("{error}"),
            Progress::Done => panic!("the call is answered already"),
        }
    }
}

impl<R> Future for Call<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match std::mem::replace(&mut self.progress, Progress::Done) {
            Progress::NotSent(error) => Err(error),
            Progress::Done => panic!("a call is not polled again after it gave its answer"),
            Progress::Sent(id) => match runtime::with(|runtime| runtime.poll_answer(id, context)) {
                Poll::Ready(answer) => answer.and_then(|value| decode_answer(self.method, self.decode, &value)),
                Poll::Pending => {
                    self.progress = Progress::Sent(id);
                    return Poll::Pending;
                }
            },
        };
        Poll::Ready(answer)
    }
}

pub(crate) fn decode_answer<R>(method: &str, decode: Decode<R>, value: &[u8]) -> Result<R, CallError> {
    decode(value).map_err(|reason| CallError::Codec {
        method: method.to_string(),
        reason: format!("its answer doesn't decode: {reason}"),
    })
}

impl<R> Drop for Call<R> {
    fn drop(&mut self) {
        if let Progress::Sent(id) = self.progress {
            runtime::try_with(|runtime| runtime.forget(id));
        }
    }
}

impl<R> fmt::Debug for Call<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Why a call has no answer.
///
/// What an application wants to tell its callers belongs in the result of the method: a handler may return
/// `Result<T, E>`, and the caller gets exactly that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum CallError {
    /// The peer can't run the method: it has none of that name, or the arguments don't fit.
    Refused {
        /// Name of the method.
        method: String,
        /// What the peer says.
        reason: String,
    },
    /// The peer will never answer: it was replaced by another instance of its name, or lost its log.
    Lost {
        /// Name of the method.
        method: String,
        /// What the host says.
        reason: String,
    },
    /// The arguments can't be encoded, or the answer can't be decoded: the two sides have different types in mind.
    Codec {
        /// Name of the method.
        method: String,
        /// What is wrong.
        reason: String,
    },
}

impl CallError {
    pub(crate) fn refused(method: &str, reason: String) -> Self {
        CallError::Refused { method: method.to_string(), reason }
    }

    pub(crate) fn lost(method: &str, reason: String) -> Self {
        CallError::Lost { method: method.to_string(), reason }
    }

    /// Name of the method that was called.
    pub fn method(&self) -> &str {
        let (CallError::Refused { method, .. } | CallError::Lost { method, .. } | CallError::Codec { method, .. }) =
            self;
        method
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CallError::Refused { method, reason } => write!(f, "the call of `{method}` was refused: {reason}"),
            CallError::Lost { method, reason } => write!(f, "the call of `{method}` is lost: {reason}"),
            CallError::Codec { method, reason } => write!(f, "the call of `{method}` failed: {reason}"),
        }
    }
}

impl std::error::Error for CallError {}

/// The text inside an error message. Any bytes are taken, since it is only read by people.
pub(crate) fn error_text(arguments: &[u8]) -> String {
    codec::decode_value(arguments).unwrap_or_else(|_| String::from_utf8_lossy(arguments).into_owned())
}
