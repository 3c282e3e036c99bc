//! Between JSON, which people type and read, and MessagePack or bytes, which methods take and return.
//!
//! What JSON can't say is shown as a string, and the guest's SDK takes the same strings where its types ask for such a
//! value (`docs/guide.md`, "Values").
//!
//! **Architecture Invariant:** nothing is guessed: whether bytes are MessagePack says the method that they are of.

use ambrosia_methods::Method;
use serde_json::Value;

use crate::{
    shown::Shown,
    typed::{Typed, WrongType},
};

/// A text or some bytes can't be converted.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Not JSON at all.
    #[error("the arguments are not JSON ({0}): write them as an array such as '[\"text\", 7]'")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but no array.
    #[error("the arguments must be a JSON array with one element an argument, such as '[\"text\", 7]', and are {0}")]
    NotAnArray(Value),
    /// A method that takes raw bytes takes one string.
    #[error(
        "the method takes raw bytes: give them as a JSON array of one string, such as '[\"text\"]' or '[\"0x00ff\"]'"
    )]
    NotOneString,
    /// More or fewer than the method takes.
    #[error("the method is {takes}, and {} given", counted(*.given))]
    Count {
        /// The method, with its arguments.
        takes: String,
        /// How many there are.
        given: usize,
    },
    /// One of another type.
    #[error("the argument `{argument}` can't be that: {wrong}")]
    Argument {
        /// The argument with its type.
        argument: String,
        /// What is wrong with it.
        wrong: WrongType,
    },
    /// The arguments can't be encoded.
    #[error("the arguments can't be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

fn counted(count: usize) -> String {
    match count {
        0 => "no argument is".to_owned(),
        1 => "1 argument is".to_owned(),
        _ => format!("{count} arguments are"),
    }
}

/// Encodes the arguments of `method` from a JSON array, as the types say that it describes.
///
/// # Errors
/// As [`encode_arguments`], and if there are more or fewer arguments than it takes, or one is of another type.
pub fn encode_arguments_of(json: &str, method: &Method) -> Result<Vec<u8>, ValueError> {
    if !method.message_pack() {
        return encode_arguments(json, false);
    }
    let value: Value = serde_json::from_str(json)?;
    let Value::Array(values) = &value else {
        return Err(ValueError::NotAnArray(value));
    };
    encode_values_of(values, method)
}

/// Encodes the arguments of `method` from JSON values, as [`encode_arguments_of`].
///
/// # Errors
/// As that.
pub fn encode_values_of(values: &[Value], method: &Method) -> Result<Vec<u8>, ValueError> {
    if !method.message_pack() {
        return raw_argument(values);
    }
    if values.len() != method.arguments.len() {
        return Err(ValueError::Count { takes: method.to_string(), given: values.len() });
    }
    let typed: Vec<_> =
        values.iter().zip(&method.arguments).map(|(value, argument)| Typed::new(value, &argument.ty)).collect();
    // Found first, since what a serializer makes of an error is a text.
    for (typed, argument) in typed.iter().zip(&method.arguments) {
        typed.check().map_err(|wrong| ValueError::Argument { argument: argument.to_string(), wrong })?;
    }
    Ok(rmp_serde::to_vec_named(&typed)?)
}

/// Encodes the arguments of a method of which no types are known from a JSON array.
///
/// # Errors
/// If the text is no JSON array, or the method takes raw bytes and it is not one of one string.
pub fn encode_arguments(json: &str, message_pack: bool) -> Result<Vec<u8>, ValueError> {
    let value: Value = serde_json::from_str(json)?;
    let Value::Array(arguments) = &value else {
        return Err(ValueError::NotAnArray(value));
    };
    if message_pack {
        return Ok(rmp_serde::to_vec_named(&value)?);
    }
    raw_argument(arguments)
}

/// The bytes of a method that takes them as they are.
fn raw_argument(arguments: &[Value]) -> Result<Vec<u8>, ValueError> {
    match arguments {
        [] => Ok(Vec::new()),
        [Value::String(text)] => Ok(bytes_of(text).unwrap_or_else(|| text.clone().into_bytes())),
        _ => Err(ValueError::NotOneString),
    }
}

/// Encodes one value of which no type is known.
///
/// # Errors
/// If it can't be encoded.
pub fn encode_value(value: &Value) -> Result<Vec<u8>, ValueError> {
    Ok(rmp_serde::to_vec_named(value)?)
}

/// Encodes a line as the only argument of a method. For a raw method its bytes are just what was typed.
///
/// # Errors
/// If the line can't be encoded.
pub fn encode_line(line: String, message_pack: bool) -> Result<Vec<u8>, ValueError> {
    if message_pack { Ok(rmp_serde::to_vec_named(&(line,))?) } else { Ok(line.into_bytes()) }
}

/// What a MessagePack value says, as JSON; no bytes at all are null. What is not MessagePack is shown as bytes are.
pub fn decode_value(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
    match serde::Deserialize::deserialize(&mut deserializer) {
        Ok(Shown(value)) if deserializer.position() == bytes.len() as u64 => value,
        Err(rmp_serde::decode::Error::DepthLimitExceeded) => {
            Value::String(format!("a value of {} bytes that is too deep to be shown", bytes.len()))
        }
        _ => show_raw(bytes),
    }
}

/// Raw bytes, as JSON: none are null, text is a string, all else is a string of "0x" and two digits a byte. So is text
/// that looks like that, so that what is shown says what the bytes are.
pub fn show_raw(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok("") => Value::Null,
        Ok(text) if bytes_of(text).is_none() => Value::String(text.to_owned()),
        _ => Value::String(digits_of(bytes)),
    }
}

/// Text for a terminal: control characters are written as JSON writes them, so that none of them takes effect.
pub fn without_controls(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            safe += &format!("\\u{:04x}", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe
}

/// The bytes that "0x" and hexadecimal digits stand for; `None` if the text is nothing like that.
pub(crate) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
}

/// "0x" and two digits for each byte.
pub(crate) fn digits_of(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |digits, byte| digits + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests;
