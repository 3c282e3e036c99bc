//! Reads a MessagePack value of any type, as `codec.rs` writes it.
//!
//! Each type that is read gets code of its own, and an application has many: so all that does not depend on the type is done
//! once, in [`Reader::token`], and little is left for each: a module is smaller than with the reader of `rmp-serde`, which
//! reads the same.
//!
//! **Architecture Invariant:** how deep values are nested is looked at before; nothing here counts levels.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
        value::{BorrowedBytesDeserializer, SeqAccessDeserializer, SeqDeserializer},
    },
    forward_to_deserialize_any,
};

/// Where the next value begins.
pub(crate) struct Reader<'de> {
    rest: &'de [u8],
}

/// A value, or the head of a list or map of so many.
#[derive(Clone, Copy)]
enum Token<'de> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float32(f32),
    Float64(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
    /// A type of MessagePack's extensions, and its bytes.
    Extension(i8, &'de [u8]),
    List(u32),
    Map(u32),
}

const NIL: u8 = 0xc0;

/// Why a value can't be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// Within a value.
    Ended,
    /// A byte that begins no value.
    Marker(u8),
    /// A list or map with more than the type takes.
    TooMany,
    /// What the type says.
    Type(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Ended => f.write_str("the bytes end within a value"),
            ReadError::Marker(marker) => write!(f, "no type begins with the byte {marker:#04x}"),
            ReadError::TooMany => f.write_str("there are more elements than the type has"),
            ReadError::Type(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        ReadError::Type(text.to_string())
    }
}

impl<'de> Reader<'de> {
    pub(crate) fn new(bytes: &'de [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// The one value that there is.
    pub(crate) fn whole<T: Deserialize<'de>>(mut self) -> Result<T, ReadError> {
        let value = T::deserialize(&mut self)?;
        if self.is_at_end() { Ok(value) } else { Err(ReadError::custom("bytes follow the value")) }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value, or the head of it.
    #[inline(never)]
    fn token(&mut self) -> Result<Token<'de>, ReadError> {
        let [marker] = self.array()?;
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => Token::Map(u32::from(marker & 0x0f)),
            0x90..=0x9f => Token::List(u32::from(marker & 0x0f)),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            NIL => Token::Nil,
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4 => self.length8().and_then(|bytes| self.bytes(bytes))?,
            0xc5 => self.length16().and_then(|bytes| self.bytes(bytes))?,
            0xc6 => self.length32().and_then(|bytes| self.bytes(bytes as usize))?,
            0xca => Token::Float32(f32::from_be_bytes(self.array()?)),
            0xcb => Token::Float64(f64::from_be_bytes(self.array()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.array()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.array()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.array()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => Token::Signed(i8::from_be_bytes(self.array()?).into()),
            0xd1 => Token::Signed(i16::from_be_bytes(self.array()?).into()),
            0xd2 => Token::Signed(i32::from_be_bytes(self.array()?).into()),
            0xd3 => Token::Signed(i64::from_be_bytes(self.array()?)),
            0xd9 => self.length8().and_then(|bytes| self.text(bytes))?,
            0xda => self.length16().and_then(|bytes| self.text(bytes))?,
            0xdb => self.length32().and_then(|bytes| self.text(bytes as usize))?,
            0xdc => Token::List(u16::from_be_bytes(self.array()?).into()),
            0xdd => Token::List(self.length32()?),
            0xde => Token::Map(u16::from_be_bytes(self.array()?).into()),
            0xdf => Token::Map(self.length32()?),
            0xe0..=0xff => Token::Signed(i64::from(marker.cast_signed())),
            0xc7 => self.length8().and_then(|bytes| self.extension(bytes))?,
            0xc8 => self.length16().and_then(|bytes| self.extension(bytes))?,
            0xc9 => self.length32().and_then(|bytes| self.extension(bytes as usize))?,
            0xd4..=0xd8 => self.extension(1 << (marker - 0xd4))?,
            0xc1 => return Err(ReadError::Marker(marker)),
        })
    }

    /// Passes the next value with all that is in it.
    pub(crate) fn skip(&mut self) -> Result<(), ReadError> {
        let mut left: u64 = 1;
        while left > 0 {
            left -= 1;
            left += match self.token()? {
                Token::List(count) => count.into(),
                Token::Map(count) => 2 * u64::from(count),
                _ => 0,
            };
        }
        Ok(())
    }

    /// Whether the next value begins with that byte.
    fn is_next(&self, marker: u8) -> bool {
        self.rest.first() == Some(&marker)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(ReadError::Ended)?;
        self.rest = rest;
        Ok(*field)
    }

    fn length8(&mut self) -> Result<usize, ReadError> {
        Ok(u8::from_be_bytes(self.array()?).into())
    }

    fn length16(&mut self) -> Result<usize, ReadError> {
        Ok(u16::from_be_bytes(self.array()?).into())
    }

    fn length32(&mut self) -> Result<u32, ReadError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn slice(&mut self, bytes: usize) -> Result<&'de [u8], ReadError> {
        let (slice, rest) = self.rest.split_at_checked(bytes).ok_or(ReadError::Ended)?;
        self.rest = rest;
        Ok(slice)
    }

    fn bytes(&mut self, bytes: usize) -> Result<Token<'de>, ReadError> {
        self.slice(bytes).map(Token::Bytes)
    }

    fn extension(&mut self, bytes: usize) -> Result<Token<'de>, ReadError> {
        let [number] = self.array()?;
        self.slice(bytes).map(|slice| Token::Extension(number.cast_signed(), slice))
    }

    /// What is not UTF-8 is bytes.
    fn text(&mut self, bytes: usize) -> Result<Token<'de>, ReadError> {
        let slice = self.slice(bytes)?;
        Ok(str::from_utf8(slice).map_or(Token::Bytes(slice), Token::Text))
    }

    /// A number of 128 bits travels as 16 bytes; a smaller one serves.
    fn wide(&mut self) -> Result<i128, ReadError> {
        match self.token()? {
            Token::Bytes(bytes) if let Ok(bytes) = bytes.try_into() => Ok(i128::from_be_bytes(bytes)),
            Token::Unsigned(value) => Ok(value.into()),
            Token::Signed(value) => Ok(value.into()),
            _ => Err(ReadError::custom("a number of 128 bits is expected")),
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.token()? {
            Token::Nil => visitor.visit_unit(),
            Token::Bool(value) => visitor.visit_bool(value),
            Token::Unsigned(value) => visitor.visit_u64(value),
            Token::Signed(value) => visitor.visit_i64(value),
            Token::Float32(value) => visitor.visit_f32(value),
            Token::Float64(value) => visitor.visit_f64(value),
            Token::Text(text) => visitor.visit_borrowed_str(text),
            Token::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            // As `rmp-serde` has it.
            Token::Extension(number, bytes) => visitor.visit_newtype_struct(SeqAccessDeserializer::new(Extension {
                number: Some(number),
                bytes: Some(bytes),
            })),
            Token::List(count) => {
                let mut elements = Elements { reader: self, left: count };
                let value = visitor.visit_seq(&mut elements)?;
                elements.end().map(|()| value)
            }
            Token::Map(count) => {
                let mut entries = Elements { reader: self, left: count };
                let value = visitor.visit_map(&mut entries)?;
                entries.end().map(|()| value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if !self.is_next(NIL) {
            return visitor.visit_some(self);
        }
        self.token()?;
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if name == rmp_serde::MSGPACK_EXT_STRUCT_NAME {
            self.deserialize_any(visitor)
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    /// A list of numbers may have been bytes.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if !matches!(self.rest, [0xc4..=0xc6, ..]) {
            return self.deserialize_any(visitor);
        }
        match self.token()? {
            Token::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => unreachable!("these are bytes"),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        match self.token()? {
            Token::Nil | Token::List(0) | Token::Map(0) => visitor.visit_unit(),
            _ => Err(ReadError::custom("a value without parts is expected")),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.wide().and_then(|value| visitor.visit_i128(value))
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.wide().and_then(|value| visitor.visit_u128(value.cast_unsigned()))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        const ONE_ENTRY: u8 = 0x81;
        let holds = self.is_next(ONE_ENTRY);
        if holds {
            self.token()?;
        }
        visitor.visit_enum(Variant { reader: self, holds })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.skip()?;
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit tuple_struct map struct identifier
    }
}

/// The number of a type, and then its bytes.
struct Extension<'de> {
    number: Option<i8>,
    bytes: Option<&'de [u8]>,
}

impl<'de> SeqAccess<'de> for Extension<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        match (self.number.take(), &mut self.bytes) {
            (Some(number), _) => seed.deserialize(number.into_deserializer()).map(Some),
            (None, bytes) => {
                bytes.take().map(|bytes| seed.deserialize(BorrowedBytesDeserializer::new(bytes))).transpose()
            }
        }
    }
}

/// What is left of a list, or of the entries of a map.
struct Elements<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: u32,
}

impl Elements<'_, '_> {
    /// Whether there is one more.
    fn take(&mut self) -> bool {
        let is_there = self.left > 0;
        self.left -= u32::from(is_there);
        is_there
    }

    fn end(self) -> Result<(), ReadError> {
        if self.left == 0 { Ok(()) } else { Err(ReadError::TooMany) }
    }

    /// How many there are, as far as the bytes can hold: nobody reserves memory for what is not there.
    fn hint(&self) -> Option<usize> {
        Some((self.left as usize).min(self.reader.rest.len()))
    }
}

impl<'de> SeqAccess<'de> for &mut Elements<'_, 'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if self.take() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> MapAccess<'de> for &mut Elements<'_, 'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        if self.take() { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// The name of a variant, and what it holds if it is in a map.
struct Variant<'a, 'de> {
    reader: &'a mut Reader<'de>,
    holds: bool,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let name = seed.deserialize(&mut *self.reader)?;
        Ok((name, self))
    }
}

impl<'de> Variant<'_, 'de> {
    fn check_holds(&self) -> Result<(), ReadError> {
        if self.holds { Ok(()) } else { Err(ReadError::custom("the variant should hold something, and holds nothing")) }
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        if self.holds { self.reader.skip() } else { Ok(()) }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        self.check_holds()?;
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.check_holds()?;
        self.reader.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, ReadError> {
        self.check_holds()?;
        self.reader.deserialize_any(visitor)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Serialize, de::DeserializeOwned};

    use super::*;
    use crate::codec;

    fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
        let mut reader = Reader::new(bytes);
        let value = T::deserialize(&mut reader).map_err(|error| error.to_string())?;
        assert!(reader.is_at_end());
        Ok(value)
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
    struct All {
        flags: [bool; 2],
        small: (u8, u16, u32, u64),
        signed: (i8, i16, i32, i64, i64),
        wide: (u128, i128),
        real: (f32, f64),
        texts: Vec<String>,
        letter: char,
        bytes: Vec<u8>,
        none: Option<u8>,
        some: Option<Box<All>>,
        map: BTreeMap<i16, BTreeMap<String, ()>>,
        thin: Thin,
        nothing: Nothing,
        variants: Vec<Either>,
        pair: Pair,
    }

    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
    struct Thin(u64);
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
    struct Nothing;
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone, Default)]
    struct Pair(u8, String);
    #[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
    enum Either {
        Nothing,
        One(u32),
        Two(u32, String),
        Named { n: Option<u8> },
    }

    fn all() -> All {
        let inner = All { letter: 'é', some: None, ..All::default() };
        All {
            flags: [true, false],
            small: (7, 300, 70_000, u64::MAX),
            signed: (-1, -300, -70_000, i64::MIN, -33),
            wide: (u128::MAX, i128::MIN),
            real: (1.5, -2.5e300),
            texts: vec!["x".repeat(31), "y".repeat(32), "z".repeat(70_000), String::new()],
            letter: 'x',
            bytes: (0..=255).collect(),
            none: None,
            some: Some(Box::new(inner)),
            map: (0..20).map(|key| (key - 9, BTreeMap::from([(key.to_string(), ())]))).collect(),
            thin: Thin(1 << 40),
            nothing: Nothing,
            variants: vec![
                Either::Nothing,
                Either::One(1),
                Either::Two(2, "two".to_string()),
                Either::Named { n: Some(3) },
            ],
            pair: Pair(1, "p".to_string()),
        }
    }

    fn encoded(value: &impl Serialize) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode_value(&mut bytes, value).expect("it can be encoded");
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read::<All>(&encoded(&all())), Ok(all()));
        // With more fields than the type has, and with fewer of a type with defaults.
        let more = BTreeMap::from([("thin", Some(vec![BTreeMap::from([("x", vec![1_u8])])])), ("other", None)]);
        #[derive(Deserialize, Default, PartialEq, Debug)]
        #[serde(default)]
        struct Fewer {
            other: Option<u8>,
            missing: u32,
        }
        assert_eq!(read::<Fewer>(&encoded(&more)), Ok(Fewer::default()));
    }

    #[test]
    fn it_reads_what_the_other_reader_reads() {
        let bytes = encoded(&all());
        assert_eq!(read::<All>(&bytes).ok(), rmp_serde::from_slice(&bytes).ok());
        for bytes in [&[0xc4, 2, 1, 2][..], &[0x92, 1, 2], &[0xc4, 0]] {
            assert_eq!(read::<Vec<u8>>(bytes).ok(), rmp_serde::from_slice(bytes).ok());
        }
        #[derive(Deserialize, PartialEq, Debug)]
        #[serde(rename = "_ExtStruct")]
        struct Extended((i8, Bytes));
        #[derive(PartialEq, Debug)]
        struct Bytes(Vec<u8>);
        impl<'de> Deserialize<'de> for Bytes {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <&[u8]>::deserialize(deserializer).map(|bytes| Bytes(bytes.to_vec()))
            }
        }
        for bytes in [&[0xd4, 0xff, 2][..], &[0xd5, 1, 2, 3], &[0xc7, 3, 1, 2, 3, 4], &[0xc8, 0, 0, 5]] {
            let extended = read::<Extended>(bytes);
            assert!(extended.is_ok(), "{extended:?}");
            assert_eq!(extended.ok(), rmp_serde::from_slice(bytes).ok());
        }
        assert_eq!(read::<Nothing>(&[0xc0]), Ok(Nothing));
        assert_eq!(read::<u128>(&[7]), Ok(7));
    }

    #[test]
    fn what_is_cut_or_of_another_type_is_an_error() {
        let bytes = encoded(&all());
        for end in 0..bytes.len() {
            let error = All::deserialize(&mut Reader::new(&bytes[..end])).expect_err("it is cut");
            assert!(matches!(error, ReadError::Ended), "{error}");
        }
        let error = |bytes: &[u8]| read::<Vec<u32>>(bytes).expect_err("it is no list of numbers");
        assert_eq!(error(&[0xc1]), "no type begins with the byte 0xc1");
        assert_eq!(error(&[0x91, 0xa1, b'x']), "invalid type: string \"x\", expected u32");
        assert_eq!(error(&[0xdd, 0xff, 0xff, 0xff, 0xff]), "the bytes end within a value");
        assert_eq!(read::<(u8, u8)>(&[0x93, 1, 2, 3]), Err("there are more elements than the type has".to_string()));
        assert!(read::<Either>(&[0xa3, b'O', b'n', b'e']).is_err_and(|error| error.contains("should hold something")));
    }
}
