//! What is not memory, as bytes.
//!
//! ```text
//! u8  version, 1
//! u8  form
//! 1, the state itself:
//!     u32 globals, then of each u8 type and u64 bits
//!     u32 places in the table of handles, then of each u8 kind, 0 for a free one
//!     u32 free places, then u32 of each, the one to be taken next at the end
//! 2, what the component's own `save` gave: the rest
//! ```
//! Numbers are little-endian.
//!
//! **Architecture Invariant:** bytes may come from anywhere; what is not exactly as it is written here is an error, and
//! equal states give equal bytes.

use std::collections::VecDeque;

use ambrosia_core::limits;

use crate::{
    handles::{HandleKind, Handles},
    layout::{Scalar, take, take_u32, take_u64},
};

const VERSION: u8 = 1;
const STATE: u8 = 1;
const SAVED: u8 = 2;

/// Places that the table of handles may have to be captured.
pub(crate) const HANDLES_MAX: usize = 4096;

/// See the head of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Registers {
    State { globals: Vec<(Scalar, u64)>, handles: Handles },
    Saved(Vec<u8>),
}

impl Registers {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Registers::Saved(saved) => [&[VERSION, SAVED][..], saved].concat(),
            Registers::State { globals, handles } => encode_state(globals, handles),
        }
    }

    /// # Errors
    /// What is wrong with the bytes, for a person.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Registers, &'static str> {
        match bytes {
            [VERSION, STATE, state @ ..] => decode_state(state).ok_or("they are damaged"),
            [VERSION, SAVED, saved @ ..] if saved.len() <= limits::EFFECTS_BYTES_MAX => {
                Ok(Registers::Saved(saved.to_vec()))
            }
            [VERSION, ..] => Err("they are damaged"),
            _ => Err("they are of another version of Ambrosia"),
        }
    }
}

fn encode_state(globals: &[(Scalar, u64)], handles: &Handles) -> Vec<u8> {
    let mut bytes = vec![VERSION, STATE];
    bytes.extend((globals.len() as u32).to_le_bytes());
    for (scalar, bits) in globals {
        bytes.push(*scalar as u8);
        bytes.extend(bits.to_le_bytes());
    }
    bytes.extend((handles.places().len() as u32).to_le_bytes());
    bytes.extend(handles.places().iter().map(|kind| kind.map_or(0, |kind| kind as u8)));
    bytes.extend((handles.free().len() as u32).to_le_bytes());
    bytes.extend(handles.free().flat_map(u32::to_le_bytes));
    bytes
}

fn decode_state(mut bytes: &[u8]) -> Option<Registers> {
    let bytes = &mut bytes;
    let globals = take_list(bytes, crate::layout::GLOBALS_MAX, |bytes| {
        let scalar = Scalar::of_number(take(bytes, 1)?[0])?;
        let bits = take_u64(bytes)?;
        scalar.holds(bits).then_some((scalar, bits))
    })?;
    let places = take_list(bytes, HANDLES_MAX, |bytes| match take(bytes, 1)? {
        [0] => Some(None),
        [kind] => HandleKind::of_number(u32::from(*kind)).map(Some),
        _ => None,
    })?;
    let free = take_list(bytes, HANDLES_MAX, take_u32)?;
    let handles = Handles::new(places, VecDeque::from(free))?;
    bytes.is_empty().then_some(Registers::State { globals, handles })
}

fn take_list<'a, T>(
    bytes: &mut &'a [u8],
    max: usize,
    mut take_one: impl FnMut(&mut &'a [u8]) -> Option<T>,
) -> Option<Vec<T>> {
    let count = take_u32(bytes)? as usize;
    if count > max {
        return None;
    }
    (0..count).map(|_| take_one(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Registers {
        let mut handles = Handles::default();
        let reps = [HandleKind::Stdout, HandleKind::Stderr, HandleKind::Stdin].map(|kind| handles.open(kind));
        handles.close(reps[0]);
        Registers::State { globals: vec![(Scalar::F32, 0xffff_ffff), (Scalar::I64, u64::MAX)], handles }
    }

    #[test]
    fn registers_come_back() {
        for registers in [state(), Registers::Saved(vec![7; 9])] {
            assert_eq!(Registers::decode(&registers.encode()), Ok(registers));
        }
    }

    #[test]
    fn damage_is_an_error_or_something_else_and_no_panic() {
        let bytes = state().encode();
        for end in 0..bytes.len() {
            assert!(Registers::decode(&bytes[..end]).is_err());
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1 << bit;
                assert_ne!(Registers::decode(&bytes), Ok(state()));
            }
        }
    }

    #[test]
    fn a_global_of_32_bits_has_no_more() {
        let registers = Registers::State { globals: vec![(Scalar::F32, 1 << 32)], handles: Handles::default() };
        assert!(Registers::decode(&registers.encode()).is_err());
    }
}
