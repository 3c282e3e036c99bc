//! Values as people spell them in JSON, which has neither keys but strings, nor all numbers, nor bytes: `send` passes
//! such strings on as they are, and the type that is asked for here says what they mean.
//!
//! | type | is also taken from |
//! |---|---|
//! | integers of all sizes, in maps as keys too | a string of decimal digits |
//! | 128-bit integers, which travel as 16 bytes | an integer; "0x" and 32 digits |
//! | floating-point numbers | "NaN", "inf", "-inf" |
//! | `bool` | "true", "false", as keys of maps |
//! | bytes | "0x" and two digits a byte |
//! | maps | an array of arrays of key and value |
//!
//! A value is read in this way only if it can't be read as it stands, so that nothing that other instances send means
//! something else, or takes longer to read.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{
        Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

type Error = serde::de::value::Error;

/// A MessagePack value taken apart, borrowed from its bytes.
#[derive(Clone, Debug)]
pub(crate) enum Spelled<'a> {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(Vec<Spelled<'a>>),
    Map(Vec<(Spelled<'a>, Spelled<'a>)>),
}

impl<'a> Deserialize<'a> for Spelled<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TakeApart)
    }
}

struct TakeApart;

impl<'a> Visitor<'a> for TakeApart {
    type Value = Spelled<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MessagePack value")
    }

    fn visit_unit<E>(self) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Nil)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Signed(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'a str) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Text(value))
    }

    fn visit_borrowed_bytes<E>(self, value: &'a [u8]) -> Result<Spelled<'a>, E> {
        Ok(Spelled::Bytes(value))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut access: A) -> Result<Spelled<'a>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Spelled::List(elements))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut access: A) -> Result<Spelled<'a>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Spelled::Map(entries))
    }
}

impl<'a> IntoDeserializer<'a, Error> for Spelled<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'a> Spelled<'a> {
    /// The number that a text spells.
    fn number<N: FromStr>(&self) -> Option<N> {
        let Spelled::Text(text) = self else { return None };
        // Rust would take a plus sign, which nothing shows.
        text.parse().ok().filter(|_| !text.starts_with('+'))
    }

    /// The bytes that a text spells by "0x" and digits.
    fn bytes(&self) -> Option<Vec<u8>> {
        let Spelled::Text(text) = self else { return None };
        let digits = text.strip_prefix("0x")?.as_bytes();
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        let (pairs, []) = digits.as_chunks::<2>() else { return None };
        pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
    }

    /// The 16 bytes of a large integer.
    fn wide(&self) -> Option<[u8; 16]> {
        match self {
            Spelled::Bytes(bytes) => (*bytes).try_into().ok(),
            _ => self.bytes()?.try_into().ok(),
        }
    }

    /// The entries of a map that is spelled as a list of pairs.
    fn pairs(&self) -> Option<Vec<(Spelled<'a>, Spelled<'a>)>> {
        let Spelled::List(elements) = self else { return None };
        let pair = |element: &Spelled<'a>| match element {
            Spelled::List(pair) => match &pair[..] {
                [key, value] => Some((key.clone(), value.clone())),
                _ => None,
            },
            _ => None,
        };
        elements.iter().map(pair).collect()
    }
}

/// Visits the number that a text spells, and what is no such text as it stands.
macro_rules! spelled_number {
    ($($method:ident $visit:ident $number:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.number::<$number>() {
                Some(number) => visitor.$visit(number),
                None => self.deserialize_any(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Spelled<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Spelled::Nil => visitor.visit_unit(),
            Spelled::Bool(value) => visitor.visit_bool(value),
            Spelled::Unsigned(value) => visitor.visit_u64(value),
            Spelled::Signed(value) => visitor.visit_i64(value),
            Spelled::Float(value) => visitor.visit_f64(value),
            Spelled::Text(text) => visitor.visit_borrowed_str(text),
            Spelled::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Spelled::List(elements) => {
                let mut access = SeqDeserializer::new(elements.into_iter());
                let value = visitor.visit_seq(&mut access)?;
                access.end().map(|()| value)
            }
            Spelled::Map(entries) => {
                let mut access = MapDeserializer::new(entries.into_iter());
                let value = visitor.visit_map(&mut access)?;
                access.end().map(|()| value)
            }
        }
    }

    spelled_number! {
        deserialize_u8 visit_u64 u64,
        deserialize_u16 visit_u64 u64,
        deserialize_u32 visit_u64 u64,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i64 i64,
        deserialize_i16 visit_i64 i64,
        deserialize_i32 visit_i64 i64,
        deserialize_i64 visit_i64 i64,
        deserialize_bool visit_bool bool,
    }

    fn deserialize_u128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.number(), self.wide()) {
            (Some(number), _) => visitor.visit_u128(number),
            (_, Some(wide)) => visitor.visit_u128(u128::from_be_bytes(wide)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_i128<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match (self.number(), self.wide()) {
            (Some(number), _) => visitor.visit_i128(number),
            (_, Some(wide)) => visitor.visit_i128(i128::from_be_bytes(wide)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_f64(visitor)
    }

    /// Other numbers are numbers in JSON too, so only what it lacks is taken from a text, and numbers as keys.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.number() {
            Some(number) => visitor.visit_f64(number),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.bytes() {
            Some(bytes) => visitor.visit_byte_buf(bytes),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.pairs() {
            Some(entries) => Spelled::Map(entries).deserialize_any(visitor),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Spelled::Nil => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Spelled::Text(variant) => visitor.visit_enum(StrDeserializer::new(variant)),
            Spelled::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(entries.into_iter())))
            }
            _ => Err(Error::custom("an enum is the name of its variant, or a map of that name to its fields")),
        }
    }

    forward_to_deserialize_any! {
        char str string unit unit_struct seq tuple tuple_struct struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Deserialize, PartialEq, Debug)]
    struct Amount(u128);

    #[derive(Deserialize, PartialEq, Debug)]
    enum Order {
        Nothing,
        Sell(BTreeMap<u8, f64>),
        Buy { of: i64, amount: Amount },
    }

    /// What a value is read as. Encoded here as `send` encodes JSON: texts, numbers, arrays, and maps with texts as keys.
    fn read<T: for<'a> Deserialize<'a>>(value: &impl serde::Serialize) -> Result<T, String> {
        let bytes = rmp_serde::to_vec_named(value).expect("it can be encoded");
        let spelled: Spelled<'_> = rmp_serde::from_slice(&bytes).expect("it was just encoded");
        T::deserialize(spelled).map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_are_read_from_texts() {
        assert_eq!(read(&"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(read(&"-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(read(&"340282366920938463463374607431768211455"), Ok(u128::MAX));
        assert_eq!(read(&i128::MIN.to_string()), Ok(i128::MIN));
        assert_eq!((read(&7), read(&-7), read(&u64::MAX)), (Ok(7_u128), Ok(-7_i128), Ok(u128::from(u64::MAX))));
        assert_eq!(read(&"0x0000000000000000000000000000002a"), Ok(42_u128));
        assert_eq!((read(&(7_u128, -7_i128))), Ok((7_u128, -7_i128)), "as they travel");
        assert_eq!((read(&"inf"), read(&"-inf")), (Ok(f64::INFINITY), Ok(f32::NEG_INFINITY)));
        assert!(read::<f64>(&"NaN").is_ok_and(f64::is_nan));
    }

    #[test]
    fn what_spells_no_such_number_is_refused() {
        for text in ["256", "-1", "", " 1", "1 ", "+1", "1.0", "0x1", "one"] {
            assert!(read::<u8>(&text).is_err(), "{text:?}");
        }
        assert!(read::<u128>(&"0x2a").is_err(), "16 bytes or digits");
        assert!(read::<bool>(&"yes").is_err());
        assert!(read::<Vec<u8>>(&"abc").is_err());
    }

    #[test]
    fn keys_of_maps_are_read_from_texts() {
        let texts = BTreeMap::from([("1", "a"), ("-2", "b")]);
        let read_as = |key: &str| texts[key].to_owned();
        assert_eq!(read(&texts), Ok(BTreeMap::from([(1_i32, read_as("1")), (-2, read_as("-2"))])));
        assert_eq!(read(&BTreeMap::from([("true", 1)])), Ok(BTreeMap::from([(true, 1)])));
        let pairs = [((1, 2), 3), ((4, 5), 6)];
        assert_eq!(read(&pairs), Ok(BTreeMap::from(pairs)), "keys that no text spells");
    }

    #[test]
    fn such_values_are_read_wherever_they_stand() {
        let sell = BTreeMap::from([("Sell", BTreeMap::from([("7", "inf")]))]);
        assert_eq!(read(&sell), Ok(Order::Sell(BTreeMap::from([(7, f64::INFINITY)]))));
        let buy = BTreeMap::from([("Buy", BTreeMap::from([("of", "-9"), ("amount", "10")]))]);
        assert_eq!(read(&vec![Some(buy)]), Ok(vec![Some(Order::Buy { of: -9, amount: Amount(10) })]));
        assert_eq!(read(&"Nothing"), Ok(Order::Nothing));
        assert_eq!(read::<Option<Order>>(&()), Ok(None));
        assert!(read::<Order>(&7).is_err());
    }

    #[test]
    fn texts_stay_texts() {
        for text in ["7", "0x41", "NaN", "true", "-1"] {
            assert_eq!(read(&text), Ok(text.to_owned()));
            assert_eq!(read(&BTreeMap::from([(text, text)])), Ok(BTreeMap::from([(text.to_owned(), text.to_owned())])));
        }
    }
}
