//! Large contents in parts, under names that are never used twice: so removing one never takes another's.
//!
//! ```text
//! part/{of}/{host}-{attempt}/{number}     at most PART_BYTES each
//! ```

use std::io::{self, Read, Write};

use ambrosia_storage::{IoError, LogId};
use serde::{Deserialize, Serialize};

use super::desk::Desk;
use crate::{
    engine::HostId,
    keys::{PutRefused, Space},
};

/// Bytes of a part.
pub(super) const PART_BYTES: usize = 1 << 20;

/// Contents that are there as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Upload {
    /// What all parts begin with.
    pub(super) prefix: String,
    pub(super) bytes: u64,
}

/// Why contents are not there.
pub(super) enum Missing {
    /// Some of them are gone.
    Part(String),
    Io(IoError),
}

impl From<IoError> for Missing {
    fn from(error: IoError) -> Missing {
        Missing::Io(error)
    }
}

/// The prefix of all that is uploaded for something.
pub(super) fn prefix_of(what: &str) -> String {
    format!("part/{what}/")
}

/// Which host has begun to upload that, by the name of a part.
pub(super) fn uploader(key: &str) -> Option<HostId> {
    let (host, _) = key.rsplit('/').nth(1)?.split_once('-')?;
    let digits = |at: usize| u8::from_str_radix(host.get(2 * at..2 * at + 2)?, 16).ok();
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = digits(at)?;
    }
    (host.len() == 32).then_some(HostId(id))
}

/// What a part belongs to.
pub(super) fn upload_of(key: &str) -> &str {
    key.rfind('/').map_or(key, |end| &key[..=end])
}

/// Uploads contents. They count once somebody has written down that they are there.
pub(super) fn upload(
    desk: &Desk,
    what: &str,
    beside: Option<LogId>,
    mut contents: impl Read,
    reading: impl Fn(io::Error) -> IoError,
) -> Result<Upload, IoError> {
    let (claim, mut bytes) = (desk.new_claim(), 0);
    let host: String = claim.host.0.iter().map(|byte| format!("{byte:02x}")).collect();
    let prefix = format!("{}{host}-{}/", prefix_of(what), claim.attempt);
    for number in 0.. {
        let mut part = Vec::new();
        contents.by_ref().take(PART_BYTES as u64).read_to_end(&mut part).map_err(&reading)?;
        let length = part.len();
        if length > 0 {
            let key = part_key(&prefix, number);
            match desk.put(Space::Store, &key, None, part, beside)? {
                Ok(_) => bytes += length as u64,
                Err(PutRefused::NoLog) => {
                    let source = io::Error::new(io::ErrorKind::NotFound, "the log that it belongs to is gone");
                    return Err(IoError { action: "write", place: key, source });
                }
                Err(PutRefused::Stands(_)) => {
                    let source = io::Error::other("somebody else has used a name that was new");
                    return Err(IoError { action: "write", place: key, source });
                }
            }
        }
        if length < PART_BYTES {
            break;
        }
    }
    Ok(Upload { prefix, bytes })
}

/// Writes the contents out.
pub(super) fn download(
    desk: &Desk,
    upload: &Upload,
    mut out: impl Write,
    writing: impl Fn(io::Error) -> IoError,
) -> Result<(), Missing> {
    for number in 0..upload.bytes.div_ceil(PART_BYTES as u64) {
        let key = part_key(&upload.prefix, number);
        let Some(part) = desk.get(Space::Store, &key)? else { return Err(Missing::Part(key)) };
        let wanted = (upload.bytes - number * PART_BYTES as u64).min(PART_BYTES as u64);
        if part.value.len() as u64 != wanted {
            return Err(Missing::Part(key));
        }
        out.write_all(&part.value).map_err(&writing)?;
    }
    Ok(())
}

/// Removes all parts that begin so.
pub(super) fn remove(desk: &Desk, prefix: &str) -> Result<(), IoError> {
    for part in desk.list(Space::Store, prefix, false)? {
        // Whoever has changed or removed it meanwhile has done that on purpose, too.
        let _done = desk.delete(Space::Store, &part.key, part.revision)?;
    }
    Ok(())
}

fn part_key(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:08}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_tells_who_has_uploaded_it() {
        let key = format!("part/checkpoint/x/{}-7/00000003", "0f".repeat(16));
        assert_eq!(uploader(&key), Some(HostId([15; 16])));
        assert_eq!(upload_of(&key), format!("part/checkpoint/x/{}-7/", "0f".repeat(16)));
        for other in ["", "part/a/b", "part/x/0f-7/00000001", "part/x/é-7/00000001"] {
            assert_eq!(uploader(other), None, "{other}");
        }
    }
}
