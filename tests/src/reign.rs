//! Who became primary when, as the hosts say it.

use std::time::Instant;

/// A replica became primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reign {
    /// Which one.
    pub replica: u16,
    /// Its epoch.
    pub epoch: u64,
    /// The lsn of its epoch record.
    pub lsn: u64,
    /// When its host said so.
    pub began: Instant,
}

impl Reign {
    /// What a line of a host's stderr says of it, just now.
    pub fn parse(line: &str) -> Option<Reign> {
        if !line.contains("became primary ") {
            return None;
        }
        let mut fields = line.split([' ', '{', '}']);
        let mut field = |name: &str| fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        Some(Reign {
            replica: field("replica")?.parse().ok()?,
            epoch: field("epoch")?.parse().ok()?,
            lsn: field("lsn")?.parse().ok()?,
            began: Instant::now(),
        })
    }
}
