//! What the operator has set: configured values, and secrets by their names.

use std::fmt;

use serde::de::DeserializeOwned;

use crate::{codec, host};

/// The configured value of that name, if there is one. It changes between two messages only, and is the same on all replicas.
///
/// ```
/// # fn example() -> Result<(), ambrosia::ConfigError> {
/// let limit = ambrosia::config::<u64>("order-limit")?.unwrap_or(100);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// If it is of another type.
pub fn config<T: DeserializeOwned>(name: &str) -> Result<Option<T>, ConfigError> {
    let Some(value) = host::configured(name) else { return Ok(None) };
    codec::decode_value(&value).map(Some).map_err(|reason| ConfigError { name: name.to_string(), reason })
}

/// A configured value is of another type than was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    name: String,
    reason: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configured value of `{}` can't be read: {}", self.name, self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// A secret of the operator, for a header, the query of a URL or the body of a [request](crate::http). What is here, and in logs
/// and checkpoints, is a placeholder; the host puts the value in on the way out, where the secret is granted to go.
///
/// ```
/// # fn example() {
/// ambrosia::http::get("https://api.example/").header("authorization", &format!("Bearer {}", ambrosia::secret("API_KEY")));
/// # }
/// ```
///
/// Panics if the name has other characters than letters, digits and `_` of ASCII.
pub fn secret(name: &str) -> Secret {
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    assert!(is_name, "{name:?} is no name of a secret: it has letters, digits and `_`");
    let tag = fnv64(host::instance_name().bytes().chain(name.bytes()));
    Secret(format!("{{{{secret:{name}:{tag:016x}}}}}"))
}

/// See [`secret`]. Shown as its placeholder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret(String);

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// FNV-1a with 64 bits. It keeps accidents away; what protects a secret is that the host knows where it may go.
fn fnv64(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
