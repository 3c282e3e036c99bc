//! Names and numbers, one type each, so that two of them can't be confused.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// Contiguous number of a record in one instance's log; genesis is 1, and 0 is "before the log".
    Lsn(u64)
);
number!(
    /// Fencing number of one reign of one primary. It only rises; it may skip numbers.
    Epoch(u64)
);
number!(
    /// Number of a message in the stream from one instance to another, from 1; 0 is "none yet".
    Seq(u64)
);
number!(
    /// Nanoseconds since 1970. The time of a record is never before that of the record ahead of it.
    Timestamp(u64)
);
number!(
    /// Number of a replica of an instance: 0, 1, 2 …
    ReplicaIndex(u16)
);
number!(
    /// Number of an instance among those that one log carries. Today a log carries one; the number is written so that a
    /// program of today refuses a log with several.
    InstanceNumber(u32)
);
number!(
    /// A peer as the guest knows it. 0 is the outside world, real peers count from 1.
    PeerIndex(u32)
);
number!(
    /// Names a call of the caller, a timer of its owner, or an impulse that wants an answer; 0 is "none".
    CallId(u64)
);

number!(
    /// Which opening of a session: the number of its record. A request with the ticket of an earlier opening is refused.
    Ticket(u64)
);

impl Lsn {
    /// The number of the record after this one.
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl Seq {
    /// The number of the message after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

impl CallId {
    /// The number of the impulse after this one.
    pub(crate) fn next(self) -> CallId {
        CallId(self.0 + 1)
    }
}

impl InstanceNumber {
    /// The one instance of a log.
    pub const ONLY: InstanceNumber = InstanceNumber(0);
}

impl PeerIndex {
    /// Where impulses, timers and the messages of the host come from.
    pub const OUTSIDE: PeerIndex = PeerIndex(0);
}

/// Published hash of a method's name: FNV-1a with 32 bits over its UTF-8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct MethodId(pub u32);

impl MethodId {
    /// The id of the method `name`.
    pub const fn of(name: &str) -> MethodId {
        let bytes = name.as_bytes();
        let mut hash = 0x811c_9dc5_u32;
        let mut i = 0;
        while i < bytes.len() {
            hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
            i += 1;
        }
        MethodId(hash)
    }
}

impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// Identity of one life of an instance: registered again under its old name, it is another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct InstanceUuid(pub [u8; 16]);

impl fmt::Display for InstanceUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

/// A session, as its client calls it: random bytes that nobody else uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SessionId(pub [u8; 16]);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

/// One opening of a session, as the client that opens it calls it: random, so that an opening that is repeated is done once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct OpeningId(pub [u8; 16]);

/// Name of an instance: 1 to 64 of `a–z A–Z 0–9 . _ -`, not starting with a dot or a dash.
///
/// It is a file name and a command-line argument at once, so it is kept plain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InstanceName(String);

/// Why a text is not an [`InstanceName`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is not an instance name: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
)]
pub struct NameError(pub String);

impl InstanceName {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Checks and wraps a name.
    pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
        let text = text.into();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && text.len() <= Self::BYTES_MAX && text.chars().all(plain) {
            Ok(InstanceName(text))
        } else {
            Err(NameError(text))
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl std::str::FromStr for InstanceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        InstanceName::new(text)
    }
}

/// Chosen by a client for one request, so that the request can be tried again and is done once: 1 to 128 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(bytes::Bytes);

/// Why some bytes are not a [`RequestId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a request id has 1 to {max} bytes, this one has {0}", max = RequestId::BYTES_MAX)]
pub struct RequestIdError(pub usize);

impl RequestId {
    /// Longest id, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks and wraps an id.
    pub fn new(id: impl AsRef<[u8]>) -> Result<Self, RequestIdError> {
        let id = id.as_ref();
        if !Self::fits(id) {
            return Err(RequestIdError(id.len()));
        }
        Ok(RequestId(bytes::Bytes::copy_from_slice(id)))
    }

    /// Whether the bytes are as many as an id has.
    pub(crate) fn fits(id: &[u8]) -> bool {
        !id.is_empty() && id.len() <= Self::BYTES_MAX
    }

    /// The bytes of the id.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_id_is_fnv_1a() {
        assert_eq!(MethodId::of(""), MethodId(0x811c_9dc5));
        assert_eq!(MethodId::of("a"), MethodId(0xe40c_292c));
        assert_eq!(MethodId::of("foobar"), MethodId(0xbf9c_f968));
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "server", "Job-7.eu_1", &"x".repeat(64)] {
            assert!(InstanceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(InstanceName::new(bad).is_err(), "{bad}");
        }
    }
}
