//! How deep a MessagePack value is nested, and how much is in it, before anybody decodes it.
//!
//! Decoding calls itself for each level, and the stack of a guest is an outcome: a message that exhausts it ends the
//! instance. So nothing is decoded that is nested too deep, and that is found out here without recursion.
//!
//! **Architecture Invariant:** no value is made here, and at most [`NESTING_MAX`] words are kept.

/// Levels of arrays and maps in one another that an argument or an answer may have. With 1 MiB of stack each has 4 KiB,
/// a multiple of what decoders of large structs take.
pub(crate) const NESTING_MAX: usize = 256;

/// Nested deeper than [`NESTING_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TooDeep;

impl std::fmt::Display for TooDeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it is nested deeper than {NESTING_MAX} levels")
    }
}

/// Values in the first `count` values of `bytes`, those within others too, as far as they can be read: where they can't, no
/// decoder goes on either.
pub(crate) fn count_values(bytes: &[u8], count: u32) -> Result<u64, TooDeep> {
    let mut walk = Walk { rest: bytes };
    let mut open: Vec<u64> = Vec::new();
    // Of the innermost array or map.
    let mut left = u64::from(count);
    let mut seen = 0;
    loop {
        while left == 0 {
            match open.pop() {
                Some(outer) => left = outer,
                None => return Ok(seen),
            }
        }
        left -= 1;
        seen += 1;
        match walk.step() {
            Some(Step::Scalar) => {}
            Some(Step::Open(within)) => {
                if open.len() == NESTING_MAX {
                    return Err(TooDeep);
                }
                open.push(std::mem::replace(&mut left, within));
            }
            None => return Ok(seen),
        }
    }
}

struct Walk<'a> {
    rest: &'a [u8],
}

enum Step {
    /// Nothing is within it; it has been passed.
    Scalar,
    /// So many values follow within it.
    Open(u64),
}

impl Walk<'_> {
    /// Passes the next value, or goes into it. `None` where the bytes end, or mean nothing.
    #[inline]
    fn step(&mut self) -> Option<Step> {
        let (&marker, rest) = self.rest.split_first()?;
        self.rest = rest;
        match marker {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => Some(Step::Scalar),
            0x80..=0x8f => Some(Step::Open(2 * u64::from(marker & 0x0f))),
            0x90..=0x9f => Some(Step::Open(u64::from(marker & 0x0f))),
            0xa0..=0xbf => self.skip(u32::from(marker & 0x1f)),
            0xc4 | 0xd9 => self.length(1).and_then(|bytes| self.skip(bytes)),
            0xc5 | 0xda => self.length(2).and_then(|bytes| self.skip(bytes)),
            0xc6 | 0xdb => self.length(4).and_then(|bytes| self.skip(bytes)),
            // An extension has its type beside its length.
            0xc7 => self.length(1).and_then(|bytes| self.skip_extension(bytes)),
            0xc8 => self.length(2).and_then(|bytes| self.skip_extension(bytes)),
            0xc9 => self.length(4).and_then(|bytes| self.skip_extension(bytes)),
            0xcc | 0xd0 => self.skip(1),
            0xcd | 0xd1 => self.skip(2),
            0xca | 0xce | 0xd2 => self.skip(4),
            0xcb | 0xcf | 0xd3 => self.skip(8),
            0xd4..=0xd8 => self.skip_extension(1 << (marker - 0xd4)),
            0xdc => self.length(2).map(|count| Step::Open(count.into())),
            0xdd => self.length(4).map(|count| Step::Open(count.into())),
            0xde => self.length(2).map(|count| Step::Open(2 * u64::from(count))),
            0xdf => self.length(4).map(|count| Step::Open(2 * u64::from(count))),
            0xc1 => None,
        }
    }

    /// A big-endian number of so many bytes.
    fn length(&mut self, bytes: usize) -> Option<u32> {
        let (field, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(field.iter().fold(0, |number, &byte| (number << 8) | u32::from(byte)))
    }

    fn skip(&mut self, bytes: u32) -> Option<Step> {
        self.rest = self.rest.get(bytes as usize..)?;
        Some(Step::Scalar)
    }

    fn skip_extension(&mut self, bytes: u32) -> Option<Step> {
        self.skip(1).and_then(|_| self.skip(bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;

    use super::*;

    fn count(value: &impl Serialize) -> Result<u64, TooDeep> {
        count_values(&rmp_serde::to_vec_named(value).expect("it can be encoded"), 1)
    }

    #[test]
    fn every_value_counts_once_and_ends_where_it_ends() {
        let text = |bytes: usize| "x".repeat(bytes);
        let map: BTreeMap<u32, u64> = (0..70_000).map(|key| (key, u64::from(key) << 32)).collect();
        assert_eq!(count(&map), Ok(1 + 2 * 70_000));
        assert_eq!(count(&(0..20).map(|n| -n).collect::<Vec<i32>>()), Ok(21));
        let scalars = (None::<u8>, true, -1_i8, 200_u8, -300_i16, 70_000_u32, i64::MIN, 1.5_f32, 2.5_f64);
        assert_eq!(count(&scalars), Ok(10));
        assert_eq!(count(&(text(3), text(40), text(300), text(70_000), 7)), Ok(6));
        let bytes = [10, 300, 70_000].map(serde_bytes_of);
        for bytes in bytes {
            assert_eq!(count_values(&[&[0x92][..], &bytes, &[7]].concat(), 1), Ok(3));
        }
        for extension in [&[0xd4, 1, 2][..], &[0xd8; 18], &[0xc7, 2, 1, 0x91, 0x91], &[0xc8, 0, 1, 5, 0x91]] {
            assert_eq!(count_values(&[&[0x92][..], extension, &[7]].concat(), 1), Ok(3));
        }
    }

    fn serde_bytes_of(bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        rmp_serde::encode::write(&mut out, &Bytes(bytes)).expect("it can be encoded");
        out
    }

    struct Bytes(usize);

    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(&vec![0x91; self.0])
        }
    }

    #[test]
    fn levels_have_a_bound_in_arrays_and_in_maps() {
        for level in [&[0x91][..], &[0x81, 0xa1, b'k'], &[0xdc, 0, 1], &[0x92, 0xc0]] {
            let nested = |levels: usize| count_values(&[&level.repeat(levels)[..], &[0xc0]].concat(), 1);
            assert!(nested(NESTING_MAX).is_ok());
            assert_eq!(nested(NESTING_MAX + 1), Err(TooDeep));
            assert_eq!(nested(1_000_000), Err(TooDeep));
        }
        // Beside one another they have none.
        assert!(count_values(&[0x91, 0xc0].repeat(100_000), 100_000).is_ok());
    }

    #[test]
    fn what_ends_too_early_or_means_nothing_ends_the_count() {
        assert_eq!(count_values(&[0x93, 1], 1), Ok(3));
        assert_eq!(count_values(&[0xc1, 0x91], 2), Ok(1));
        assert_eq!(count_values(&[0xdb, 0xff, 0xff, 0xff, 0xff, 1], 2), Ok(1));
        assert_eq!(count_values(&[], 0), Ok(0));
    }
}
