//! What says whose a directory, or a prefix of a bucket, is.

/// The name of the mark.
pub(crate) const MARK: &str = "store";

/// What the mark says to people.
pub(crate) const MARK_TEXT: &[u8] = b"a store of Ambrosia; its hosts remove what is to go\n";
