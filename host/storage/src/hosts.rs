//! The hosts of a store: processes that take places for replicas by themselves, and whether they are alive.
//!
//! **Architecture Invariant:** it says who should be asked, and never who may write.

use std::{fmt, time::Duration};

use ambrosia_core::HostAddress;

use crate::{IoError, Member, ProcessPlace};

/// A host, as an operator calls it: letters, digits and `. _ - : [ ]`, such as `a.example:7400`.
///
/// A host that is started again has the name that it had, and with it the places that are meant for it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostName(String);

/// Why a text is not a [`HostName`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is not the name of a host: use at most {max} letters, digits, '.', '_', '-', ':', '[' and ']', beginning with a letter, \
     a digit or '['",
    max = HostName::BYTES_MAX
)]
pub struct HostNameError(pub String);

impl HostName {
    /// Longest name, in bytes.
    pub const BYTES_MAX: usize = 100;

    /// Checks a name.
    ///
    /// # Errors
    /// If it has other characters, or is too long.
    pub fn new(text: &str) -> Result<HostName, HostNameError> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '[' | ']');
        let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
        let is_good = begins_well && text.len() <= HostName::BYTES_MAX && text.chars().all(is_plain);
        if is_good { Ok(HostName(text.to_owned())) } else { Err(HostNameError(text.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a host: another one each time that its process is started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostUuid(pub [u8; 16]);

impl fmt::Display for HostUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

/// The hosts of a store, as all processes see them.
pub trait Hosts: Send + Sync {
    /// Says that this process is the host of that name from now on, and where it answers.
    ///
    /// # Errors
    /// If a host of that name is alive.
    fn join(&self, name: &HostName, address: &HostAddress) -> Result<Box<dyn HostPresence>, JoinError>;

    /// All hosts, by name; also those that have ended or died, until they are forgotten.
    fn hosts(&self) -> Result<Vec<HostInfo>, IoError>;

    /// Removes what is known of a host, unless it is alive, or another life of it has begun.
    fn forget(&self, host: &HostInfo) -> Result<(), IoError>;
}

/// That this process is a host, until dropped.
pub trait HostPresence: Send + Sync {
    /// Says that it is alive: to be called every [`crate::HEARTBEAT_INTERVAL`].
    fn beat(&self);

    /// Its life.
    fn uuid(&self) -> HostUuid;
}

/// A host of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostInfo {
    /// Its name.
    pub name: HostName,
    /// Which life of it.
    pub uuid: HostUuid,
    /// Where it answers, or did.
    pub address: HostAddress,
    /// Its process, or the one that it was.
    pub pid: u32,
    /// Where that runs.
    pub place: ProcessPlace,
    /// Whether it runs, and has said so lately.
    pub is_alive: bool,
    /// How long it has not been heard of, at least.
    pub silence: Duration,
}

impl HostInfo {
    /// Whether it is the host that has a replica.
    pub fn has(&self, member: &Member) -> bool {
        member.pid == self.pid && member.address.as_ref() == Some(&self.address)
    }
}

/// A process can't be that host.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Another one is.
    #[error(
        "a host {name} runs already, as process {pid}{place}: end that one, or give this one another name with --host-name"
    )]
    Taken {
        /// The name.
        name: HostName,
        /// Its process.
        pid: u32,
        /// Where that runs.
        place: ProcessPlace,
    },
    /// The store can't be used.
    #[error(transparent)]
    Io(#[from] IoError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_addresses_are_written_with_and_no_more() {
        for good in ["a.example:7400", "127.0.0.1:0", "[::1]:7400", "db-1", "A_b"] {
            assert_eq!(HostName::new(good).map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "a/b", "..", ".tmp", "-a", "a b", "ü", &"a".repeat(101)] {
            assert!(HostName::new(bad).is_err(), "{bad}");
        }
    }
}
