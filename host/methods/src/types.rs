//! The types of arguments and results (`wit/TYPES.md`).
//!
//! **Architecture Invariant:** a type that was written reads back as itself.

use std::fmt::{self, Write};

/// What a value may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    /// Anything, since nothing is known of it.
    Any,
    /// No value at all: `_`.
    Nothing,
    /// `bool`
    Bool,
    /// `u8` to `u128`, by their bits.
    Unsigned(u32),
    /// `s8` to `s128`, by their bits.
    Signed(u32),
    /// `f32` or `f64`, by their bits.
    Float(u32),
    /// `char`
    Char,
    /// `string`
    String,
    /// `list<t>`
    List(Box<Type>),
    /// `list<t, n>`
    FixedList(Box<Type>, u32),
    /// `option<t>`
    Option(Box<Type>),
    /// `result<t, e>`
    Result(Box<Type>, Box<Type>),
    /// `tuple<t, u, …>`
    Tuple(Vec<Type>),
    /// `map<k, v>`
    Map(Box<Type>, Box<Type>),
    /// `record { name: t, … }`, with a name of its own if it is referred to from within.
    Record(Option<String>, Vec<Field>),
    /// `variant { case, case(t), … }`
    Variant(Option<String>, Vec<Case>),
    /// `enum { case, … }`
    Enum(Vec<String>),
    /// The record or variant of that name around it.
    Named(String),
}

/// A field of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The key in the map.
    pub name: String,
    /// Its type.
    pub ty: Type,
}

/// A case of a variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// Its name in messages.
    pub name: String,
    /// What it holds, if it holds anything.
    pub payload: Option<Type>,
}

impl Type {
    /// Whether it is `list<u8>`, which travels as bytes.
    pub fn is_bytes(&self) -> bool {
        matches!(self, Type::List(of) | Type::FixedList(of, _) if **of == Type::Unsigned(8))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Any => f.write_str("any"),
            Type::Nothing => f.write_str("_"),
            Type::Bool => f.write_str("bool"),
            Type::Unsigned(bits) => write!(f, "u{bits}"),
            Type::Signed(bits) => write!(f, "s{bits}"),
            Type::Float(bits) => write!(f, "f{bits}"),
            Type::Char => f.write_str("char"),
            Type::String => f.write_str("string"),
            Type::List(of) => write!(f, "list<{of}>"),
            Type::FixedList(of, count) => write!(f, "list<{of}, {count}>"),
            Type::Option(of) => write!(f, "option<{of}>"),
            Type::Result(ok, error) => write!(f, "result<{ok}, {error}>"),
            Type::Tuple(of) => write!(f, "tuple<{}>", listed(of)),
            Type::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Type::Record(name, fields) => {
                begin(f, "record", name.as_deref())?;
                let fields: Vec<_> =
                    fields.iter().map(|field| format!("{}: {}", written(&field.name), field.ty)).collect();
                end(f, &fields)
            }
            Type::Variant(name, cases) => {
                begin(f, "variant", name.as_deref())?;
                end(f, &cases.iter().map(Case::to_string).collect::<Vec<_>>())
            }
            Type::Enum(cases) => {
                begin(f, "enum", None)?;
                end(f, &cases.iter().map(|case| written(case)).collect::<Vec<_>>())
            }
            Type::Named(name) => write!(f, "%{name}"),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(&self.name))?;
        match &self.payload {
            Some(payload) => write!(f, "({payload})"),
            None => Ok(()),
        }
    }
}

fn listed(types: &[Type]) -> String {
    types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ")
}

fn begin(f: &mut fmt::Formatter<'_>, keyword: &str, name: Option<&str>) -> fmt::Result {
    f.write_str(keyword)?;
    match name {
        Some(name) => write!(f, " %{name} "),
        None => f.write_char(' '),
    }
}

fn end(f: &mut fmt::Formatter<'_>, items: &[String]) -> fmt::Result {
    if items.is_empty() { f.write_str("{}") } else { write!(f, "{{ {} }}", items.join(", ")) }
}

/// Whether a name can stand as it is.
pub(crate) fn is_plain(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && name.chars().all(is_of_name)
}

pub(crate) fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-')
}

/// A name of a field or case, as JSON writes texts if it can't stand as it is.
fn written(name: &str) -> String {
    if is_plain(name) { name.to_owned() } else { serde_json::Value::from(name).to_string() }
}
