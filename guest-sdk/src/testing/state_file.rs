//! A state in a file, for tests of later builds.
//!
//! ```text
//! offset size field
//! 0      8    the letters "ambstate"
//! 8      4    version of this format, 1
//! 12     4    version of the state
//! 16     …    the state, as `save` of `interface upgrade` gives it
//! ```
//! Numbers are little-endian.
//!
//! **Architecture Invariant:** any later build reads it.

const MAGIC: &[u8; 8] = b"ambstate";
const FORMAT: u32 = 1;

/// The bytes of the file.
pub(super) fn encode(version: u32, state: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &FORMAT.to_le_bytes(), &version.to_le_bytes(), state].concat()
}

/// Version and state.
///
/// # Errors
/// What is wrong with the file, for a person.
pub(super) fn decode(file: &[u8]) -> Result<(u32, &[u8]), String> {
    let rest = file.strip_prefix(MAGIC).ok_or("this is no file with a state: `Harness::save` makes one")?;
    let (format, rest) = rest.split_first_chunk().ok_or("the file with the state is cut")?;
    if u32::from_le_bytes(*format) != FORMAT {
        return Err("the file with the state was made by a newer version of Ambrosia: use its SDK".to_string());
    }
    let (version, state) = rest.split_first_chunk().ok_or("the file with the state is cut")?;
    Ok((u32::from_le_bytes(*version), state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_comes_back_and_what_is_none_is_told() {
        let file = encode(3, &[0x80]);
        assert_eq!(decode(&file), Ok((3, &[0x80][..])));
        for end in 0..16 {
            decode(&file[..end]).expect_err("it is cut");
        }
        let mut newer = file;
        newer[8] = 2;
        assert!(decode(&newer).expect_err("it is newer").contains("newer version"));
    }
}
