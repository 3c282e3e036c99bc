//! Messages on their way between the immortal and the test.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec::{self, Decode},
    layout::{Message, MessageKind},
    method_id,
};

/// A fork or a call that the immortal has sent to another instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    to: String,
    peer: u32,
    cause: u32,
    method: u32,
    /// 0 for a fork.
    call_id: u64,
    bytes: Vec<u8>,
}

/// A call of the immortal that waits for an answer of the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenCall {
    pub(super) peer: u32,
    pub(super) id: u64,
}

impl Sent {
    pub(super) fn new(to: String, peer: u32, cause: u32, message: Message<'_>) -> Self {
        debug_assert!(matches!(message.kind, MessageKind::Fork | MessageKind::Call));
        debug_assert_eq!(message.kind == MessageKind::Call, message.call_id != 0);
        let Message { method, call_id, arguments, .. } = message;
        Sent { to, peer, cause, method, call_id, bytes: arguments.to_vec() }
    }

    /// The instance it goes to.
    pub fn to(&self) -> &str {
        &self.to
    }

    /// Which message of the delivery brought it about, from 0.
    pub fn cause(&self) -> u32 {
        self.cause
    }

    /// True if it names `method`.
    pub fn is(&self, method: &str) -> bool {
        self.method == method_id(method)
    }

    /// For a call: what to answer it by.
    pub fn open_call(&self) -> Option<OpenCall> {
        (self.call_id != 0).then_some(OpenCall { peer: self.peer, id: self.call_id })
    }

    /// Its arguments, as a tuple.
    ///
    /// Panics if they are of other types.
    pub fn arguments<A: DeserializeOwned>(&self) -> A {
        const EMPTY_ARRAY: [u8; 1] = [0x90];
        const NIL: [u8; 1] = [0xc0];
        // The unit type is no tuple to serde.
        let bytes = if self.bytes == EMPTY_ARRAY && size_of::<A>() == 0 { &NIL } else { &self.bytes[..] };
        codec::decode_value(bytes).unwrap_or_else(|error| panic!("the arguments are of other types: {error}"))
    }

    /// Its arguments as they are.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Peer and call id.
pub(super) type AnswerKey = (u32, u64);

/// A call of the test that waits for an answer of the immortal.
pub struct Pending<R> {
    pub(super) key: AnswerKey,
    pub(super) method: &'static str,
    pub(super) decode: Decode<R>,
}

impl<R> Pending<R> {
    pub(super) fn new(peer: u32, (id, method, decode): (u64, &'static str, Decode<R>)) -> Self {
        Pending { key: (peer, id), method, decode }
    }
}

impl<R> fmt::Debug for Pending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("method", &self.method).finish_non_exhaustive()
    }
}

/// One value, as a reply holds it.
pub(super) fn encoded<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_value(&mut bytes, value).map(|()| bytes).expect("the value can be encoded")
}
