//! Between JSON, which people type and read, and MessagePack, which methods take and return.

use serde_json::Value;

/// A text or some bytes can't be converted.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// Not JSON at all.
    #[error("the arguments are not JSON: write them as an array such as '[\"text\", 7]'")]
    NotJson(#[from] serde_json::Error),
    /// JSON, but no array.
    #[error("the arguments must be a JSON array with one element an argument, such as '[\"text\", 7]', and are {0}")]
    NotAnArray(Value),
    /// A method that takes raw bytes takes one string.
    #[error("the method takes raw bytes: give them as a JSON array of one string, such as '[\"text\"]'")]
    NotOneString,
    /// The arguments can't be encoded.
    #[error("the arguments can't be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Encodes the arguments of a method from a JSON array.
pub fn encode_arguments(json: &str, message_pack: bool) -> Result<Vec<u8>, ValueError> {
    let value: Value = serde_json::from_str(json)?;
    let Value::Array(arguments) = &value else {
        return Err(ValueError::NotAnArray(value));
    };
    if message_pack {
        return Ok(rmp_serde::to_vec_named(&value)?);
    }
    match arguments.as_slice() {
        [] => Ok(Vec::new()),
        [Value::String(text)] => Ok(text.clone().into_bytes()),
        _ => Err(ValueError::NotOneString),
    }
}

/// What some encoded value says: as JSON if it is MessagePack, as text or hexadecimal digits if it is not.
pub fn decode_value(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
    let decoded = serde::Deserialize::deserialize(&mut deserializer);
    match decoded {
        Ok(value) if deserializer.position() == bytes.len() as u64 => value,
        _ => Value::String(match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_arguments_come_back_from_message_pack() {
        let text = r#"["a", 7, -1, 1.5, null, [true], {"k": "v"}]"#;
        let bytes = encode_arguments(text, true).expect("a plain array");
        assert_eq!(decode_value(&bytes), serde_json::from_str::<Value>(text).expect("the same text"));
    }

    #[test]
    fn wrong_arguments_are_explained() {
        let message = |text: &str, message_pack| encode_arguments(text, message_pack).expect_err(text).to_string();
        assert!(message("[1,", true).contains("not JSON"));
        assert!(message("{\"a\":1}", true).contains("must be a JSON array"));
        assert!(message("[1]", false).contains("raw bytes"));
    }

    #[test]
    fn bytes_that_are_no_message_pack_are_shown_as_text_or_digits() {
        assert_eq!(decode_value(b"hello"), json!("hello"));
        assert_eq!(decode_value(&[0xff, 0xfe, 0x00]), json!("fffe00"));
        assert_eq!(decode_value(&[]), Value::Null);
    }
}
