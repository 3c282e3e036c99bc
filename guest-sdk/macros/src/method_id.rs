//! The published hash of a method's name.

/// FNV-1a with 32 bits over the UTF-8 bytes of `name`.
pub(crate) fn method_id(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
