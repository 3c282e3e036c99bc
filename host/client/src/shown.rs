//! A MessagePack value as JSON that says all of it.
//!
//! | MessagePack | JSON |
//! |---|---|
//! | integers beyond ±(2^53 − 1) | strings of decimal digits, since most readers of JSON would round them |
//! | NaN and the infinities | "NaN", "inf", "-inf" |
//! | binary, and text that is not UTF-8 | "0x" and two digits a byte |
//! | extensions | "ext", their type, "0x" and digits |
//! | maps | objects; keys that are not text as the text that they are shown as |
//! | maps in which two keys would read alike | arrays of arrays of key and value |

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use crate::values::digits_of;

/// Beyond this, numbers of JSON are rounded by readers that have only floating-point numbers.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// A value for people to read.
pub(crate) struct Shown(pub(crate) Value);

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Show).map(Shown)
    }
}

struct Show;

impl<'de> Visitor<'de> for Show {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MessagePack value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(if value <= EXACT_MAX { value.into() } else { value.to_string().into() })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(if value.unsigned_abs() <= EXACT_MAX { value.into() } else { value.to_string().into() })
    }

    /// The shortest number that is this one in 32 bits, and not what it is in 64.
    fn visit_f32<E: Error>(self, value: f32) -> Result<Value, E> {
        let shortest = value.to_string().parse().map_err(E::custom)?;
        self.visit_f64(shortest)
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(digits_of(value).into())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ShowExtension)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(Shown(element)) = access.next_element()? {
            elements.push(element);
        }
        Ok(elements.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((Shown(key), Shown(value))) = access.next_entry()? {
            entries.push((key, value));
        }
        let names: BTreeSet<_> = entries.iter().map(|(key, _)| name_of(key)).collect();
        if names.len() < entries.len() {
            return Ok(entries.into_iter().map(|(key, value)| Value::from(vec![key, value])).collect());
        }
        Ok(Value::Object(entries.into_iter().map(|(key, value)| (name_of(&key), value)).collect::<Map<_, _>>()))
    }
}

/// A key of a map as the name of a member of an object.
fn name_of(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

/// The two parts of an extension.
struct ShowExtension;

impl<'de> Visitor<'de> for ShowExtension {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a MessagePack extension")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let kind: i8 = access.next_element()?.ok_or_else(|| A::Error::missing_field("type"))?;
        let Shown(data) = access.next_element()?.ok_or_else(|| A::Error::missing_field("data"))?;
        Ok(format!("ext {kind} {}", name_of(&data)).into())
    }
}
