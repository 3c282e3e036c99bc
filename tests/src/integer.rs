//! Integers of any size in what `send`, `log` and `status` print.

use std::str::FromStr;

use serde_json::Value;

/// An integer: a number, or beyond 2^53 a string of its digits. `None` if the value is something else.
pub fn integer<N: FromStr>(value: &Value) -> Option<N> {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned).parse().ok()
}
