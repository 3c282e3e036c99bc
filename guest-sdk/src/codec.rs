//! Values as MessagePack: the arguments of a message are an array, a result is one value.
//!
//! **Architecture Invariant:** nothing here knows about messages, methods or the runtime.

use std::fmt::Display;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    bounded::Bounded,
    reader::Reader,
    shape::{self, NESTING_MAX, TooDeep},
    spelled::Spelled,
};

/// Appends `value`, structs as maps with field names.
pub(crate) fn encode_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), String> {
    let mut serializer = rmp_serde::Serializer::new(out).with_struct_map();
    value.serialize(Bounded::new(&mut serializer)).map_err(|error| error.to_string())
}

/// Reads the one value that a reply holds.
pub(crate) fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    count_values(bytes, 1).map_err(|error| error.to_string())?;
    Reader::new(bytes).whole().map_err(|error| error.to_string())
}

/// How many values there are in the first `count` of these bytes, at most; an error if one is nested too deep to be decoded.
#[inline]
fn count_values(bytes: &[u8], count: u32) -> Result<u64, TooDeep> {
    // Each value has a byte at least, and so has each level.
    if bytes.len() <= NESTING_MAX { Ok(bytes.len() as u64) } else { shape::count_values(bytes, count) }
}

/// How a caller reads the answer to its call.
pub(crate) type Decode<R> = fn(&[u8]) -> Result<R, String>;

/// The arguments of a method: a tuple of up to twelve values.
///
/// Proxies make them by themselves; they are written out where a method is named by a string, as in
/// [`Peer::fork`](crate::Peer::fork) and the test harness.
pub trait Arguments {
    /// Appends a MessagePack array with one element an argument.
    #[doc(hidden)]
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String>;
}

/// First byte of a MessagePack array with up to 15 elements.
const SHORT_ARRAY: u8 = 0x90;
const ARRAY_16: u8 = 0xdc;
const ARRAY_32: u8 = 0xdd;

macro_rules! arguments_of_a_tuple {
    ($count:literal: $($name:ident $index:tt),*) => {
        impl<$($name: Serialize),*> Arguments for ($($name,)*) {
            #[inline]
            fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
                out.push(SHORT_ARRAY | $count);
                $(encode_value(out, &self.$index)
                    .map_err(|error| format!("argument {} can't be encoded: {error}", $index + 1))?;)*
                Ok(())
            }
        }
    };
}

arguments_of_a_tuple!(0:);
arguments_of_a_tuple!(1: A 0);
arguments_of_a_tuple!(2: A 0, B 1);
arguments_of_a_tuple!(3: A 0, B 1, C 2);
arguments_of_a_tuple!(4: A 0, B 1, C 2, D 3);
arguments_of_a_tuple!(5: A 0, B 1, C 2, D 3, E 4);
arguments_of_a_tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
arguments_of_a_tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
arguments_of_a_tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
arguments_of_a_tuple!(9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
arguments_of_a_tuple!(10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
arguments_of_a_tuple!(11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
arguments_of_a_tuple!(12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);

/// Values that are read as people spell them, at most: each takes up to 24 bytes then.
const SPELLED_VALUES_MAX: u64 = 4 << 20;

/// Reads the arguments of a method one by one, in place.
#[doc(hidden)]
pub struct ArgumentReader<'a> {
    values: Reader<'a>,
    elements: &'a [u8],
    /// How many values there are in all, those within others too, at most.
    within: u64,
    /// How many were read.
    read: u32,
}

impl<'a> ArgumentReader<'a> {
    /// Starts on a MessagePack array that must hold `count` arguments.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], count: u32) -> Result<Self, String> {
        let (found, elements) =
            split_array_header(bytes).ok_or_else(|| "the arguments are not a MessagePack array".to_string())?;
        if found != count {
            return Err(format!("it takes {}, not {found}", counted(count)));
        }
        let within = count_values(elements, count).map_err(|_| too_deep())?;
        Ok(ArgumentReader { values: Reader::new(elements), elements, within, read: 0 })
    }

    /// The next argument. `label` names it, and its type, in the error.
    #[inline]
    pub fn next<T: Deserialize<'a>>(&mut self, label: &str) -> Result<T, String> {
        let value = T::deserialize(&mut self.values)
            .or_else(|error| self.next_spelled().map_err(|()| no_argument(label, &error)))?;
        self.read += 1;
        Ok(value)
    }

    /// The next argument, which can't be read as it stands, as people spell it.
    #[cold]
    fn next_spelled<T: Deserialize<'a>>(&mut self) -> Result<T, ()> {
        if self.within > SPELLED_VALUES_MAX {
            return Err(());
        }
        let mut values = self.after(self.read)?;
        let spelled = Spelled::deserialize(&mut values).map_err(|_| ())?;
        self.values = values;
        T::deserialize(spelled).map_err(|_| ())
    }

    /// Stands behind the first arguments.
    fn after(&self, count: u32) -> Result<Reader<'a>, ()> {
        let mut values = Reader::new(self.elements);
        for _ in 0..count {
            values.skip().map_err(|_| ())?;
        }
        Ok(values)
    }

    /// Checks that nothing follows the last argument.
    #[inline]
    pub(crate) fn finish(self) -> Result<(), String> {
        if self.values.is_at_end() { Ok(()) } else { Err("bytes follow its last argument".to_string()) }
    }
}

#[cold]
fn too_deep() -> String {
    format!("an argument is nested deeper than {NESTING_MAX} levels")
}

#[cold]
fn no_argument(label: &str, error: &dyn Display) -> String {
    format!("its argument `{label}` doesn't decode: {error}")
}

fn counted(count: u32) -> String {
    match count {
        0 => "no arguments".to_string(),
        1 => "1 argument".to_string(),
        _ => format!("{count} arguments"),
    }
}

#[inline]
fn split_array_header(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&marker, rest) = bytes.split_first()?;
    match marker {
        ARRAY_16 => rest.split_first_chunk().map(|(count, rest)| (u16::from_be_bytes(*count).into(), rest)),
        ARRAY_32 => rest.split_first_chunk().map(|(count, rest)| (u32::from_be_bytes(*count), rest)),
        _ if marker & 0xf0 == SHORT_ARRAY => Some((u32::from(marker & 0x0f), rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(arguments: impl Arguments) -> Vec<u8> {
        let mut out = Vec::new();
        arguments.encode(&mut out).expect("plain values encode");
        out
    }

    fn read_two(bytes: &[u8]) -> Result<(u32, String), String> {
        let mut reader = ArgumentReader::new(bytes, 2)?;
        let values = (reader.next("n: u32")?, reader.next("text: String")?);
        reader.finish()?;
        Ok(values)
    }

    #[test]
    fn arguments_come_back() {
        assert_eq!(read_two(&encoded((7_u32, "x"))), Ok((7, "x".to_string())));
        assert_eq!(encoded(()), [0x90]);
        let wide = [&[ARRAY_16, 0, 2][..], &encoded((7_u32, "x"))[1..]].concat();
        assert_eq!(read_two(&wide), Ok((7, "x".to_string())));
        let wider = [&[ARRAY_32, 0, 0, 0, 2][..], &encoded((7_u32, "x"))[1..]].concat();
        assert_eq!(read_two(&wider), Ok((7, "x".to_string())));
    }

    #[test]
    fn an_argument_that_is_spelled_stands_among_others() {
        let bytes = encoded(("7", "x"));
        assert_eq!(read_two(&bytes), Ok((7, "x".to_string())));
        let mut reader = ArgumentReader::new(&bytes, 2).expect("two of them");
        let first: &str = reader.next("first").expect("a text");
        let error = reader.next::<u8>("second: u8").expect_err("x is no number");
        assert_eq!(first, "7");
        assert!(error.starts_with("its argument `second: u8` doesn't decode: "), "{error}");
        let bytes = encoded((1_u8, "2", "3", 4_u8));
        let mut reader = ArgumentReader::new(&bytes, 4).expect("four of them");
        let numbers: Vec<u8> = (0..4).map(|_| reader.next("n").expect("a number")).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        reader.finish().expect("nothing follows");
    }

    #[test]
    fn wrong_arguments_are_named() {
        let error = |bytes: &[u8]| read_two(bytes).expect_err("the arguments are wrong");
        assert_eq!(error(&encoded((7_u32,))), "it takes 2 arguments, not 1");
        assert_eq!(error(&[0x01]), "the arguments are not a MessagePack array");
        assert_eq!(error(&[]), "the arguments are not a MessagePack array");
        assert!(error(&encoded(("x", "y"))).starts_with("its argument `n: u32` doesn't decode: "));
        assert!(error(&encoded((1, 2))).starts_with("its argument `text: String` doesn't decode: "));
        assert_eq!(error(&[&encoded((7_u32, "x"))[..], &[0xc0]].concat()), "bytes follow its last argument");
        assert!(error(&encoded((7_u32, "x"))[..2]).starts_with("its argument `text: String`"));
    }
}
