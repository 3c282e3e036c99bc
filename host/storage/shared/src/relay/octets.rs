//! How a value stands in bytes: numbers of a fixed length, the low byte first; what has a length says it first, in four bytes; one of several
//! kinds says its number first, in one.
//!
//! **Architecture Invariant:** what is read takes no more memory than its bytes justify: nothing is made room for before it is there.

use ambrosia_core::{Epoch, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_storage::{LogId, Revision};
use bytes::{Buf, Bytes};

/// Bytes are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// They end too early.
    #[error("something that was relayed is cut short")]
    Short,
    /// Something follows.
    #[error("behind something that was relayed there are {0} bytes more")]
    Long(usize),
    /// There is no such kind.
    #[error("{what} of the unknown kind {kind} was relayed: the other side is of another version")]
    Kind {
        /// Of what.
        what: &'static str,
        /// As it stands there.
        kind: u8,
    },
    /// It is no text.
    #[error("a name that was relayed is not in UTF-8")]
    Text,
}

/// A value that stands in bytes.
pub(super) trait Octets: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Takes it off the front.
    fn take(from: &mut Bytes) -> Result<Self, Unreadable>;
}

/// A value as bytes.
#[allow(private_bounds, reason = "what has a layout is listed here")]
pub fn encode<T: Octets>(value: &T) -> Vec<u8> {
    let mut out = Vec::new();
    value.put(&mut out);
    out
}

/// A value of bytes, which hold nothing else. What it has in bytes shares theirs.
///
/// # Errors
/// If they do not hold one.
#[allow(private_bounds, reason = "what has a layout is listed here")]
pub fn decode<T: Octets>(mut bytes: Bytes) -> Result<T, Unreadable> {
    let value = T::take(&mut bytes)?;
    if bytes.is_empty() { Ok(value) } else { Err(Unreadable::Long(bytes.len())) }
}

/// Fields one behind the other.
macro_rules! fields {
    ($type:ident { $($field:ident),* $(,)? }) => {
        impl Octets for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let $type { $($field),* } = self;
                $($field.put(out);)*
            }

            fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
                Ok($type { $($field: Octets::take(from)?),* })
            }
        }
    };
}

/// The number of the kind, and what it has.
macro_rules! kinds {
    ($type:ident { $($number:literal => $kind:ident $({ $($field:ident),* })? $(( $inner:ident ))?),* $(,)? }) => {
        impl Octets for $type {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $($type::$kind $({ $($field),* })? $(( $inner ))? => {
                        out.push($number);
                        $($($field.put(out);)*)?
                        $($inner.put(out);)?
                    })*
                }
            }

            fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
                Ok(match u8::take(from)? {
                    $($number => {
                        $($(let $field = Octets::take(from)?;)*)?
                        $(let $inner = Octets::take(from)?;)?
                        $type::$kind $({ $($field),* })? $(( $inner ))?
                    })*
                    kind => return Err(Unreadable::Kind { what: stringify!($type), kind }),
                })
            }
        }
    };
}

/// A number with a name.
macro_rules! named {
    ($($type:ident),*) => {
        $(impl Octets for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }

            fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
                Octets::take(from).map($type)
            }
        })*
    };
}

pub(super) use {fields, kinds, named};

macro_rules! numbers {
    ($($type:ident),*) => {
        $(impl Octets for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
                Ok($type::from_le_bytes(Octets::take(from)?))
            }
        })*
    };
}

numbers!(u8, u16, u32, u64);
named!(Lsn, Epoch, ReplicaIndex, Revision, InstanceUuid, LogId);

impl<const N: usize> Octets for [u8; N] {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        let taken = *from.first_chunk::<N>().ok_or(Unreadable::Short)?;
        from.advance(N);
        Ok(taken)
    }
}

impl Octets for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            kind => Err(Unreadable::Kind { what: "yes or no", kind }),
        }
    }
}

/// As many as fit; what nobody has so many of is a limit, such as that of a read.
impl Octets for usize {
    fn put(&self, out: &mut Vec<u8>) {
        (*self as u64).put(out);
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        Ok(usize::try_from(u64::take(from)?).unwrap_or(usize::MAX))
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).expect("nothing that is relayed is so long").put(out);
}

impl Octets for Bytes {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self);
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        let length = u32::take(from)? as usize;
        if length > from.len() {
            return Err(Unreadable::Short);
        }
        Ok(from.split_to(length))
    }
}

impl Octets for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        let bytes: Bytes = Octets::take(from)?;
        Ok(std::str::from_utf8(&bytes).map_err(|_| Unreadable::Text)?.to_owned())
    }
}

impl Octets for () {
    fn put(&self, _: &mut Vec<u8>) {}

    fn take(_: &mut Bytes) -> Result<Self, Unreadable> {
        Ok(())
    }
}

impl<A: Octets, B: Octets> Octets for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

impl<T: Octets> Octets for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        if bool::take(from)? { T::take(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Octets, E: Octets> Octets for Result<T, E> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_ok().put(out);
        match self {
            Ok(value) => value.put(out),
            Err(error) => error.put(out),
        }
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        Ok(if bool::take(from)? { Ok(T::take(from)?) } else { Err(E::take(from)?) })
    }
}

impl<T: Octets> Octets for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_length(self.len(), out);
        self.iter().for_each(|value| value.put(out));
    }

    fn take(from: &mut Bytes) -> Result<Self, Unreadable> {
        let count = u32::take(from)? as usize;
        // Each of them takes a byte at least.
        if count > from.len() {
            return Err(Unreadable::Short);
        }
        (0..count).map(|_| T::take(from)).collect()
    }
}
