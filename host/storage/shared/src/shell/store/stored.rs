//! How values are kept: bincode with its standard configuration, with a format version before it.
//!
//! **Architecture Invariant:** this is the one place of this crate that knows bincode.

use serde::{Serialize, de::DeserializeOwned};

const VERSION: u32 = 1;

/// Longest value that is believed, in bytes.
const VALUE_BYTES_MAX: usize = 4 << 20;

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec((VERSION, value), bincode::config::standard()).expect("plain data can be encoded")
}

/// `None` if it is nothing that this program has written.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode_front(bytes).filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

/// The same for a value that zeros may follow.
pub(super) fn decode_padded<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    decode_front(bytes).filter(|(_, rest)| rest.iter().all(|byte| *byte == 0)).map(|(value, _)| value)
}

/// A value, and what follows it.
fn decode_front<T: DeserializeOwned>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let config = bincode::config::standard().with_limit::<VALUE_BYTES_MAX>();
    let ((version, value), read) = bincode::serde::decode_from_slice::<(u32, T), _>(bytes, config).ok()?;
    (version == VERSION).then_some((value, &bytes[read..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_or_of_another_version_is_not_believed() {
        let bytes = encode(&("text".to_owned(), 7_u64));
        assert_eq!(decode::<(String, u64)>(&bytes), Some(("text".to_owned(), 7)));
        assert_eq!(decode::<(String, u64)>(&bytes[..bytes.len() - 1]), None);
        assert_eq!(decode::<(String, u64)>(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(decode_padded(&[&bytes[..], &[0, 0]].concat()), Some(("text".to_owned(), 7_u64)));
        assert_eq!(decode_padded::<(String, u64)>(&[&bytes[..], &[0, 1]].concat()), None);
        assert_eq!(decode::<(String, u64)>(&[&[2], &bytes[1..]].concat()), None);
        // A length that would need more memory than there is.
        assert_eq!(decode::<String>(&[1, 253, 255, 255, 255, 255, 255, 255, 255, 127]), None);
    }
}
