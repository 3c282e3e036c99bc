//! Values in a line.

use serde_json::Value;

/// A value as text, of which so many letters are shown.
pub(crate) fn shortened(value: &Value, letters: usize) -> String {
    let text = value.to_string();
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
