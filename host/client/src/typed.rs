//! JSON as MessagePack of a type (`wit/TYPES.md`).
//!
//! **Architecture Invariant:** what is refused here the guest would refuse, too; what only the guest can know, such as which
//! fields may be left out, is left to it.

use std::{fmt, str::FromStr};

use ambrosia_methods::{Case, Field, Type};
use serde::{
    Serialize, Serializer,
    ser::{Error, SerializeMap, SerializeSeq},
};
use serde_json::{Number, Value};

use crate::values::bytes_of;

/// Longest text of a value that an error repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// A part of a value is of another type than its place asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WrongType {
    /// Where in the value, empty for all of it: `.price`, `[2]`.
    pub at: String,
    /// What is expected there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WrongType { at, expected, found } = self;
        match at.as_str() {
            "" => write!(f, "expected {expected}, not {found}"),
            at => write!(f, "at {at} expected {expected}, not {found}"),
        }
    }
}

impl WrongType {
    fn new(expected: impl fmt::Display, found: &Value) -> WrongType {
        let mut found = found.to_string();
        if let Some((end, _)) = found.char_indices().nth(SHOWN_CHARS_MAX) {
            found.truncate(end);
            found.push('…');
        }
        WrongType { at: String::new(), expected: expected.to_string(), found }
    }

    fn within(mut self, place: impl fmt::Display) -> WrongType {
        self.at = format!("{place}{}", self.at);
        self
    }
}

/// A value that is to be encoded as of a type.
#[derive(Clone, Copy)]
pub(crate) struct Typed<'a> {
    value: &'a Value,
    ty: &'a Type,
    around: Option<&'a Around<'a>>,
}

/// The records and variants that a type is in.
struct Around<'a> {
    ty: &'a Type,
    around: Option<&'a Around<'a>>,
}

/// What a value is taken for.
enum Taken<'a> {
    /// As JSON has it.
    AsItIs(&'a Value),
    Unsigned(u128, u32),
    Signed(i128, u32),
    Float(f64),
    Bool(bool),
    Bytes(Vec<u8>),
    List(Vec<(&'a Value, &'a Type)>),
    /// Keys that are texts in JSON, and their types.
    Map(Vec<(Key<'a>, &'a Value, &'a Type)>),
}

enum Key<'a> {
    Name(&'a str),
    Of(Value, &'a Type),
}

static ANY: Type = Type::Any;

impl<'a> Typed<'a> {
    pub(crate) fn new(value: &'a Value, ty: &'a Type) -> Typed<'a> {
        Typed { value, ty, around: None }
    }

    /// Whether the value, with all that is in it, can be of the type.
    pub(crate) fn check(&self) -> Result<(), WrongType> {
        let around = Around { ty: self.resolved(), around: self.around };
        let part = |value, ty| Typed { value, ty, around: Some(&around) };
        match self.taken()? {
            Taken::List(parts) => {
                let mut parts = parts.into_iter().enumerate();
                parts.try_for_each(|(at, (value, ty))| {
                    part(value, ty).check().map_err(|wrong| wrong.within(format_args!("[{at}]")))
                })
            }
            Taken::Map(entries) => entries.into_iter().try_for_each(|(key, value, ty)| {
                let name = match &key {
                    Key::Name(name) => (*name).to_owned(),
                    Key::Of(key, ty) => {
                        Typed { value: key, ty, around: Some(&around) }
                            .check()
                            .map_err(|wrong| wrong.within(".(key)"))?;
                        key.as_str().map_or_else(|| key.to_string(), str::to_owned)
                    }
                };
                part(value, ty).check().map_err(|wrong| wrong.within(format_args!(".{name}")))
            }),
            _ => Ok(()),
        }
    }

    /// The type, with names resolved and options that hold something passed.
    fn resolved(&self) -> &'a Type {
        let mut ty = self.ty;
        loop {
            match ty {
                Type::Option(of) if !self.value.is_null() => ty = of,
                Type::Named(name) => match self.find(name) {
                    Some(found) => return found,
                    None => return &ANY,
                },
                ty => return ty,
            }
        }
    }

    fn find(&self, wanted: &str) -> Option<&'a Type> {
        let mut around = self.around;
        while let Some(Around { ty, around: next }) = around {
            match ty {
                Type::Record(Some(name), _) | Type::Variant(Some(name), _) if name == wanted => return Some(ty),
                _ => around = *next,
            }
        }
        None
    }

    fn taken(&self) -> Result<Taken<'a>, WrongType> {
        let (value, ty) = (self.value, self.resolved());
        let wrong = || WrongType::new(self.ty, value);
        Ok(match ty {
            Type::Any | Type::Named(_) => Taken::AsItIs(value),
            Type::Option(_) | Type::Nothing if value.is_null() => Taken::AsItIs(value),
            Type::Option(_) | Type::Nothing => return Err(wrong()),
            Type::Bool => Taken::Bool(bool_of(value).ok_or_else(wrong)?),
            Type::Unsigned(bits) => Taken::Unsigned(unsigned(value, *bits).ok_or_else(wrong)?, *bits),
            Type::Signed(bits) => Taken::Signed(signed(value, *bits).ok_or_else(wrong)?, *bits),
            Type::Float(_) => Taken::Float(float(value).ok_or_else(wrong)?),
            Type::Char if value.as_str().is_some_and(|text| text.chars().count() == 1) => Taken::AsItIs(value),
            Type::String if value.is_string() => Taken::AsItIs(value),
            Type::Char | Type::String => return Err(wrong()),
            list @ (Type::List(of) | Type::FixedList(of, _)) => {
                let elements = match value {
                    Value::String(text) if list.is_bytes() => bytes_of(text).map(Taken::Bytes),
                    value if list.is_bytes() => bytes(value).map(Taken::Bytes),
                    Value::Array(elements) => {
                        Some(Taken::List(elements.iter().map(|element| (element, &**of)).collect()))
                    }
                    _ => None,
                };
                let taken = elements.ok_or_else(wrong)?;
                let count = match &taken {
                    Taken::Bytes(bytes) => bytes.len(),
                    Taken::List(elements) => elements.len(),
                    _ => unreachable!("a list is taken for bytes or a list"),
                };
                match list {
                    Type::FixedList(_, wanted) if *wanted as usize != count => return Err(wrong()),
                    _ => taken,
                }
            }
            Type::Tuple(types) => match value {
                Value::Array(elements) if elements.len() == types.len() => {
                    Taken::List(elements.iter().zip(types).collect())
                }
                _ => return Err(wrong()),
            },
            Type::Map(key, of) => Taken::Map(entries(value, key, of).ok_or_else(wrong)?),
            Type::Record(_, fields) => record(value, fields).ok_or_else(wrong)?,
            Type::Enum(cases) => match value {
                Value::String(name) if !cases.contains(name) => return Err(wrong()),
                Value::String(_) | Value::Number(_) => Taken::AsItIs(value),
                _ => return Err(wrong()),
            },
            Type::Variant(_, cases) => variant(value, cases).ok_or_else(wrong)?,
            Type::Result(ok, error) => {
                let (name, held) = only_entry(value).ok_or_else(wrong)?;
                let (name, ty) = match name {
                    "Ok" | "ok" => ("Ok", &**ok),
                    "Err" | "err" => ("Err", &**error),
                    _ => return Err(wrong()),
                };
                Taken::Map(vec![(Key::Name(name), held, ty)])
            }
        })
    }
}

fn bool_of(value: &Value) -> Option<bool> {
    // Keys of maps are texts.
    value.as_bool().or_else(|| value.as_str()?.parse().ok())
}

/// The number that a text of decimal digits spells, and nothing that Rust takes beside that.
fn spelled<N: FromStr>(text: &str) -> Option<N> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// The 16 bytes of a large integer, as they are shown.
fn wide(text: &str, bits: u32) -> Option<[u8; 16]> {
    bytes_of(text).filter(|_| bits == 128)?.try_into().ok()
}

fn unsigned(value: &Value, bits: u32) -> Option<u128> {
    let number = match value {
        Value::Number(number) => number.as_u64()?.into(),
        Value::String(text) => spelled(text).or_else(|| wide(text, bits).map(u128::from_be_bytes))?,
        _ => return None,
    };
    (bits == 128 || number >> bits == 0).then_some(number)
}

fn signed(value: &Value, bits: u32) -> Option<i128> {
    let number = match value {
        Value::Number(number) => number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))?,
        Value::String(text) => spelled(text).or_else(|| wide(text, bits).map(i128::from_be_bytes))?,
        _ => return None,
    };
    let beyond = number >> (bits - 1);
    (beyond == 0 || beyond == -1).then_some(number)
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => spelled(text),
        _ => None,
    }
}

/// Bytes that are given as numbers.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_array()?.iter().map(|byte| u8::try_from(unsigned(byte, 8)?).ok()).collect()
}

/// The entries of an object, or of an array of arrays of key and value.
fn entries<'a>(value: &'a Value, key: &'a Type, of: &'a Type) -> Option<Vec<(Key<'a>, &'a Value, &'a Type)>> {
    match value {
        Value::Object(object) => {
            Some(object.iter().map(|(name, value)| (Key::Of(Value::String(name.clone()), key), value, of)).collect())
        }
        Value::Array(pairs) => {
            let pair = |pair: &'a Value| match pair.as_array().map(Vec::as_slice) {
                Some([name, value]) => Some((Key::Of(name.clone(), key), value, of)),
                _ => None,
            };
            pairs.iter().map(pair).collect()
        }
        _ => None,
    }
}

/// The fields by name, or by place; those that the record does not have are passed on as they are.
fn record<'a>(value: &'a Value, fields: &'a [Field]) -> Option<Taken<'a>> {
    match value {
        Value::Object(object) => {
            let of = |name: &str| fields.iter().find(|field| field.name == name).map_or(&ANY, |field| &field.ty);
            Some(Taken::Map(object.iter().map(|(name, value)| (Key::Name(name), value, of(name))).collect()))
        }
        Value::Array(elements) if elements.len() <= fields.len() => {
            Some(Taken::List(elements.iter().zip(fields.iter().map(|field| &field.ty)).collect()))
        }
        _ => None,
    }
}

/// A case without anything is its name, one with something a map of its name to that.
fn variant<'a>(value: &'a Value, cases: &'a [Case]) -> Option<Taken<'a>> {
    let case = |name: &str| cases.iter().find(|case| case.name == name);
    if let Value::String(name) = value {
        return case(name)?.payload.is_none().then_some(Taken::AsItIs(value));
    }
    let (name, held) = only_entry(value)?;
    match &case(name)?.payload {
        Some(payload) => Some(Taken::Map(vec![(Key::Name(name), held, payload)])),
        None => held.is_null().then_some(Taken::AsItIs(value)),
    }
}

fn only_entry(value: &Value) -> Option<(&str, &Value)> {
    let mut entries = value.as_object()?.iter();
    let only = entries.next()?;
    entries.next().is_none().then_some((only.0.as_str(), only.1))
}

impl Serialize for Typed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let resolved = self.resolved();
        let around = Around { ty: resolved, around: self.around };
        let part = |value, ty| Typed { value, ty, around: Some(&around) };
        match self.taken().map_err(S::Error::custom)? {
            Taken::AsItIs(value) => value.serialize(serializer),
            Taken::Unsigned(number, 128) => serializer.serialize_u128(number),
            Taken::Unsigned(number, _) => Number::from_u128(number).serialize(serializer),
            Taken::Signed(number, 128) => serializer.serialize_i128(number),
            Taken::Signed(number, _) => Number::from_i128(number).serialize(serializer),
            Taken::Float(number) => serializer.serialize_f64(number),
            Taken::Bool(value) => serializer.serialize_bool(value),
            Taken::Bytes(bytes) => serializer.serialize_bytes(&bytes),
            Taken::List(parts) => {
                let mut list = serializer.serialize_seq(Some(parts.len()))?;
                parts.into_iter().try_for_each(|(value, ty)| list.serialize_element(&part(value, ty)))?;
                list.end()
            }
            Taken::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value, ty) in entries {
                    match key {
                        Key::Name(name) => map.serialize_key(name)?,
                        Key::Of(key, ty) => map.serialize_key(&Typed { value: &key, ty, around: Some(&around) })?,
                    }
                    map.serialize_value(&part(value, ty))?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
