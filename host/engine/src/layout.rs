//! What the registers of a component are: its mutable globals, its memories, the handles that it can open.
//!
//! ```text
//! u8   1 if the state can be captured, else 0
//! captured:   u32 parts, then of each u32 globals and u8 type of each; u32 memories, then u32 part of each;
//!             u8 kinds of handles, one bit each; u32 part that has them
//! else:       u32 findings, then of each u32 length and UTF-8
//! ```
//!
//! **Architecture Invariant:** it follows from the component alone and is stored beside the compiled code, so that a
//! component is not taken apart at every start.

use crate::{
    handles::HandleKind,
    verdict::{FINDINGS_MAX, Finding, Verdict},
};

/// Mutable globals that a component may have to be captured.
pub(crate) const GLOBALS_MAX: usize = 16 * 1024;

/// Memories that a component may have to be captured.
pub(crate) const MEMORIES_MAX: usize = 1024;

/// Type of a global, with its number in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Scalar {
    I32 = 1,
    I64 = 2,
    F32 = 3,
    F64 = 4,
}

impl Scalar {
    pub(crate) fn of_number(number: u8) -> Option<Scalar> {
        [Scalar::I32, Scalar::I64, Scalar::F32, Scalar::F64].into_iter().find(|scalar| *scalar as u8 == number)
    }

    /// If a value has no more bits than the type.
    pub(crate) fn holds(self, bits: u64) -> bool {
        matches!(self, Scalar::I64 | Scalar::F64) || bits <= u64::from(u32::MAX)
    }
}

/// See the head of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Layout {
    /// The globals of each part (parts.rs).
    pub(crate) parts: Vec<Vec<Scalar>>,
    /// The part that each memory is in, in the order in which they are made.
    pub(crate) memories: Vec<u32>,
    /// Kinds of handles that the component can open, in their order.
    pub(crate) handles: Vec<HandleKind>,
    /// The part that has them.
    pub(crate) handles_part: u32,
}

impl Layout {
    /// All globals, part by part.
    pub(crate) fn globals(&self) -> impl Iterator<Item = Scalar> {
        self.parts.iter().flatten().copied()
    }

    /// Number of a memory among those of its part, and the part.
    pub(crate) fn within_part(&self, memory: u32) -> (u32, u32) {
        let (before, part) = (&self.memories[..memory as usize], self.memories[memory as usize]);
        (before.iter().filter(|other| **other == part).count() as u32, part)
    }
}

/// The bytes of a verdict.
pub(crate) fn encode(verdict: &Verdict) -> Vec<u8> {
    let mut bytes = vec![u8::from(verdict.is_ok())];
    match verdict {
        Ok(layout) => {
            bytes.extend((layout.parts.len() as u32).to_le_bytes());
            for globals in &layout.parts {
                bytes.extend((globals.len() as u32).to_le_bytes());
                bytes.extend(globals.iter().map(|scalar| *scalar as u8));
            }
            bytes.extend((layout.memories.len() as u32).to_le_bytes());
            bytes.extend(layout.memories.iter().flat_map(|part| part.to_le_bytes()));
            bytes.push(layout.handles.iter().fold(0, |all, kind| all | 1 << *kind as u8));
            bytes.extend(layout.handles_part.to_le_bytes());
        }
        Err(findings) => {
            bytes.extend((findings.len() as u32).to_le_bytes());
            for finding in findings {
                bytes.extend((finding.as_str().len() as u32).to_le_bytes());
                bytes.extend(finding.as_str().as_bytes());
            }
        }
    }
    bytes
}

/// The verdict at the beginning of `bytes`, and what follows it. `None` if there is none.
pub(crate) fn decode(mut bytes: &[u8]) -> Option<(Verdict, &[u8])> {
    let bytes = &mut bytes;
    let verdict = match take(bytes, 1)? {
        [1] => Ok(decode_layout(bytes)?),
        [0] => Err(decode_findings(bytes)?),
        _ => return None,
    };
    Some((verdict, bytes))
}

fn decode_layout(bytes: &mut &[u8]) -> Option<Layout> {
    let mut parts = Vec::new();
    for _ in 0..take_u32(bytes)? {
        let count = take_u32(bytes)? as usize;
        let globals = take(bytes, count)?.iter().map(|number| Scalar::of_number(*number)).collect::<Option<_>>()?;
        parts.push(globals);
    }
    let count = take_u32(bytes)?;
    let memories: Vec<u32> = (0..count).map(|_| take_u32(bytes)).collect::<Option<_>>()?;
    let [bits] = take(bytes, 1)? else { return None };
    let handles = HandleKind::ALL.into_iter().filter(|kind| bits & 1 << *kind as u8 != 0).collect();
    let layout = Layout { parts, memories, handles, handles_part: take_u32(bytes)? };
    let parts = layout.parts.len() as u32;
    let has_parts = layout.memories.iter().all(|part| *part < parts);
    (has_parts && (layout.handles.is_empty() || layout.handles_part < parts)).then_some(layout)
}

fn decode_findings(bytes: &mut &[u8]) -> Option<Vec<Finding>> {
    let count = take_u32(bytes)? as usize;
    let mut finding = || {
        let length = take_u32(bytes)? as usize;
        Some(Finding::new(str::from_utf8(take(bytes, length)?).ok()?))
    };
    (0..count.min(FINDINGS_MAX + 1)).map(|_| finding()).collect()
}

/// Takes bytes off the front.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

/// Takes a number off the front.
pub(crate) fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))
}

/// Takes a number off the front.
pub(crate) fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_comes_back_and_damage_is_none() {
        let verdicts = [
            Ok(Layout::default()),
            Ok(Layout {
                parts: vec![vec![Scalar::F32, Scalar::I64], vec![], vec![Scalar::I32]],
                memories: vec![0, 2, 0],
                handles: vec![HandleKind::Stdin, HandleKind::Stderr, HandleKind::OutputPollable],
                handles_part: 2,
            }),
            Err(vec![Finding::new("one"), Finding::new("")]),
        ];
        for verdict in verdicts {
            let bytes = encode(&verdict);
            assert_eq!(decode(&bytes), Some((verdict, &b""[..])));
            for end in 0..bytes.len() {
                assert_eq!(decode(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn a_memory_is_known_by_its_number_within_its_part() {
        let layout = Layout { parts: vec![vec![]; 3], memories: vec![1, 0, 1, 1], ..Layout::default() };
        assert_eq!([0, 1, 2, 3].map(|memory| layout.within_part(memory)), [(0, 1), (0, 0), (1, 1), (2, 1)]);
        let beyond = Layout { memories: vec![3], ..layout };
        assert_eq!(decode(&encode(&Ok(beyond))), None);
    }
}
