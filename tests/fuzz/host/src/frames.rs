//! todo
/// x
pub fn target(_: &[u8]) {}
