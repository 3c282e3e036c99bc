//! Where a host is reached, as it is told to others: a name or an IP address, and a port.
//!
//! **Architecture Invariant:** it is words that were checked, and no more: nothing here looks a name up, or connects.

// Types alone: what uses the network lies in the library that has an operating system.
use core::net::{Ipv6Addr, SocketAddr};
use std::{fmt, str::FromStr};

/// Where a host is reached. Shown and read as `NAME:PORT`, `1.2.3.4:PORT` or `[::1]:PORT`; names are of lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostAddress(Place);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Place {
    Socket(SocketAddr),
    Name(String, u16),
}

/// Why a text is not a [`HostAddress`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0:?} is not the address of a host: give a name or an IP address, and a port, such as a.example:7400 or [::1]:7400"
)]
pub struct HostAddressError(pub String);

/// The longest part of a name between two dots.
const LABEL_BYTES_MAX: usize = 63;

impl HostAddress {
    /// Longest name, in bytes: that of DNS.
    pub const NAME_BYTES_MAX: usize = 253;

    /// An address with a name, which is checked, and a port above 0.
    ///
    /// # Errors
    /// If DNS has no such names.
    pub fn named(name: &str, port: u16) -> Result<HostAddress, HostAddressError> {
        let is_good = port > 0 && is_name(name);
        let place = || Place::Name(name.to_ascii_lowercase(), port);
        if is_good { Ok(HostAddress(place())) } else { Err(HostAddressError(format!("{name}:{port}"))) }
    }

    /// The address as the system takes it, unless a name is to be looked up.
    pub fn socket(&self) -> Option<SocketAddr> {
        match &self.0 {
            Place::Socket(address) => Some(*address),
            Place::Name(..) => None,
        }
    }

    /// The name, unless it is an IP address.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Place::Socket(_) => None,
            Place::Name(name, _) => Some(name),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match &self.0 {
            Place::Socket(address) => address.port(),
            Place::Name(_, port) => *port,
        }
    }
}

/// Letters, digits and `-` between dots, as DNS has it, and `_`, which some give to their hosts. What ends with a number would be
/// an IP address that was mistyped.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && is_plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let ends_as_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= HostAddress::NAME_BYTES_MAX
        && name.split('.').all(is_label)
        && !name.rsplit('.').next().is_none_or(ends_as_number)
}

impl From<SocketAddr> for HostAddress {
    fn from(address: SocketAddr) -> HostAddress {
        HostAddress(Place::Socket(address))
    }
}

impl FromStr for HostAddress {
    type Err = HostAddressError;

    fn from_str(text: &str) -> Result<HostAddress, HostAddressError> {
        let wrong = || HostAddressError(text.chars().take(2 * HostAddress::NAME_BYTES_MAX).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() > 0 { Ok(address.into()) } else { Err(wrong()) };
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        // `+1` is a number for Rust, and no port.
        let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| is_number && name.parse::<Ipv6Addr>().is_err()).ok_or_else(wrong)?;
        HostAddress::named(name, port).map_err(|_| wrong())
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Socket(address) => fmt::Display::fmt(address, f),
            Place::Name(name, port) => f.pad(&format!("{name}:{port}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_read_back_as_they_are_shown() {
        let long = format!("{}.example:1", ["a"; 100].join("."));
        for text in
            ["a.example:7400", "localhost:1", "my_host-2:65535", "127.0.0.1:7", "[::1]:8", "[fe80::1%3]:80", &long]
        {
            let address: HostAddress = text.parse().expect("it is one");
            assert_eq!(address.to_string(), *text);
            let is_name = text.starts_with(|first: char| first.is_ascii_lowercase());
            assert_eq!((address.name().is_some(), address.socket().is_some()), (is_name, !is_name), "{text}");
        }
        let (upper, lower) = ("A.Example:1".parse::<HostAddress>(), "a.example:1".parse());
        assert_eq!(upper, lower, "DNS does not tell them apart");
    }

    #[test]
    fn what_is_none_is_refused_with_an_example() {
        let (long_label, long_name) = (format!("{}:1", "a".repeat(64)), format!("{}:1", ["a"; 128].join(".")));
        let wrong = [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "a..b:1",
            ".a:1",
            "a.:1",
            "-a:1",
            "a-:1",
            "::1:1",
            "1.2.3:4",
            "256.1.1.1:1",
            "127.0.0.1:0",
            "127.0.0.1",
            "http://a:1",
            "a/b:1",
            "ä.example:1",
            "*.a:1",
            &long_label,
            &long_name,
        ];
        for text in wrong {
            let error = text.parse::<HostAddress>().expect_err(text).to_string();
            assert!(error.contains("a.example:7400"), "{error}");
        }
    }
}
