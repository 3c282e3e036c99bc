//! Other instances, by name.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error};

use crate::{
    Arguments, Call,
    codec::{self, Decode},
    host,
    layout::MessageKind,
    method_id,
    runtime::{self, Runtime},
    types,
};

/// Another instance, or this one, as a target of messages.
///
/// Applications mostly use a proxy made by [`interface`](macro@crate::interface), which knows the methods; this is
/// what is inside. It is encoded as the name of the instance, so it can be an argument or part of a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    pub(crate) index: u32,
}

impl Peer {
    /// The instance called `name`. It need not be running, nor be registered yet: messages wait for it.
    ///
    /// Panics if that can't be, which ends the instance: for a name that comes from a caller use [`Peer::try_attach`].
    pub fn attach(name: &str) -> Peer {
        Peer::try_attach(name).unwrap_or_else(|error| panic!("{error}; `try_attach` gives an error instead"))
    }

    /// The same for a name that may be a wrong one, such as one that a caller gave.
    ///
    /// # Errors
    /// [`AttachError::Name`] if no instance can have that name, [`AttachError::TooManyPeers`] if this instance knows as
    /// many peers as it can.
    pub fn try_attach(name: &str) -> Result<Peer, AttachError> {
        if types::is_tracing() {
            return Ok(Peer { index: 0 }); // for a value that nobody gets
        }
        if !host::is_instance_name(name) {
            return Err(AttachError::Name(name.to_string()));
        }
        match host::attach(name) {
            0 => Err(AttachError::TooManyPeers(name.to_string())),
            index => Ok(Peer { index }),
        }
    }

    /// The instance that this runs in. What it sends to itself arrives as any message does, in a later delivery.
    pub fn me() -> Peer {
        runtime::with(|runtime| {
            if runtime.me.get() == 0 {
                runtime.me.set(host::attach(&host::instance_name()));
            }
            Peer { index: runtime.me.get() }
        })
    }

    /// The name of the instance.
    pub fn name(self) -> String {
        host::peer_name(self.index)
    }

    /// Runs a method there, for no answer.
    ///
    /// Panics if that can't be sent, which ends the instance: for arguments that a caller may have made too large use
    /// [`Peer::try_fork`].
    pub fn fork(self, method: &str, arguments: impl Arguments) {
        self.fork_by_id(method_id(method), method, arguments);
    }

    /// The same for arguments that may be too large, or nested too deep, such as those that a caller gave.
    ///
    /// # Errors
    /// [`ForkError`] if they are, or if this delivery has sent too much already; then nothing is sent.
    pub fn try_fork(self, method: &str, arguments: impl Arguments) -> Result<(), ForkError> {
        self.try_fork_by_id(method_id(method), method, arguments)
    }

    /// Runs a method there; await the answer.
    pub fn call<R: DeserializeOwned>(self, method: &'static str, arguments: impl Arguments) -> Call<R> {
        self.call_by_id(method_id(method), method, arguments)
    }

    /// Runs a method there that takes raw bytes, for no answer.
    #[inline]
    pub fn fork_raw(self, method: &str, bytes: &[u8]) {
        self.fork_raw_by_id(method_id(method), method, bytes);
    }

    /// The same for bytes that may be too many.
    ///
    /// # Errors
    /// As [`Peer::try_fork`].
    pub fn try_fork_raw(self, method: &str, bytes: &[u8]) -> Result<(), ForkError> {
        self.try_fork_raw_by_id(method_id(method), method, bytes)
    }

    /// Runs a method there that takes raw bytes; await the bytes of the answer.
    pub fn call_raw(self, method: &'static str, bytes: &[u8]) -> Call<Vec<u8>> {
        self.call_raw_by_id(method_id(method), method, bytes)
    }
}

/// Why a name gives no peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AttachError {
    /// No instance can have that name.
    Name(String),
    /// This instance knows as many peers as it can.
    TooManyPeers(String),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AttachError::Name(name) => write!(
                f,
                "{name:?} is not an instance name: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
            ),
            AttachError::TooManyPeers(name) => {
                write!(f, "{name:?} can't be attached: this instance knows as many peers as it can")
            }
        }
    }
}

impl std::error::Error for AttachError {}

/// Why a fork was not sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkError {
    /// Name of the method.
    pub method: String,
    /// What is wrong.
    pub reason: String,
}

impl ForkError {
    fn new(method: &str, reason: String) -> ForkError {
        ForkError { method: method.to_string(), reason }
    }
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fork of `{}` can't be sent: {}", self.method, self.reason)
    }
}

impl std::error::Error for ForkError {}

/// What generated code calls.
#[doc(hidden)]
impl Peer {
    pub fn fork_by_id(self, id: u32, name: &str, arguments: impl Arguments) {
        sent(self.try_fork_by_id(id, name, arguments));
    }

    pub fn try_fork_by_id(self, id: u32, name: &str, arguments: impl Arguments) -> Result<(), ForkError> {
        runtime::with(|runtime| runtime.push_encoded(self.index, MessageKind::Fork, id, 0, |out| arguments.encode(out)))
            .map_err(|reason| ForkError::new(name, reason))
    }

    pub fn call_by_id<R: DeserializeOwned>(self, id: u32, name: &'static str, arguments: impl Arguments) -> Call<R> {
        self.send_call(id, name, |out| arguments.encode(out), codec::decode_value)
    }

    #[inline]
    pub fn fork_raw_by_id(self, id: u32, name: &str, bytes: &[u8]) {
        sent(self.try_fork_raw_by_id(id, name, bytes));
    }

    #[inline]
    pub fn try_fork_raw_by_id(self, id: u32, name: &str, bytes: &[u8]) -> Result<(), ForkError> {
        runtime::with(|runtime| runtime.push_bytes(self.index, MessageKind::Fork, id, 0, bytes))
            .map_err(|reason| ForkError::new(name, reason))
    }

    pub fn call_raw_by_id(self, id: u32, name: &'static str, bytes: &[u8]) -> Call<Vec<u8>> {
        let encode = |out: &mut Vec<u8>| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        self.send_call(id, name, encode, |answer| Ok(answer.to_vec()))
    }

    fn send_call<R>(
        self,
        id: u32,
        name: &'static str,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
        decode: Decode<R>,
    ) -> Call<R> {
        runtime::with(|runtime: &Runtime| Call::send(runtime, self.index, (id, name), encode, decode))
    }
}

#[inline]
fn sent(fork: Result<(), ForkError>) {
    if let Err(error) = fork {
        panic!("{error}; `try_fork` gives an error instead");
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A panic may want to print it where there is no host to ask for the name.
        match runtime::try_with(|_| ()) {
            Some(()) => write!(f, "Peer({:?})", self.name()),
            None => write!(f, "Peer({})", self.index),
        }
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Peer::try_attach(&name).map_err(D::Error::custom)
    }
}
