//! The address of a host as words of fixed number, for the shared page.
//!
//! Word 0 holds the family (4 or 6, 1 for a name, 0 for none), the port and the bytes of a name; the others the IP address, low word
//! first, and its scope id, or the name.
//!
//! **Architecture Invariant:** words that nobody wrote decode to no address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use ambrosia_core::HostAddress;

/// Words of an address.
pub(crate) const ADDRESS_WORDS: usize = 10;
/// Of these, those of an IP address: an older program writes and reads no more.
pub(crate) const IP_ADDRESS_WORDS: usize = 4;
/// Longest name that there is room for.
pub(crate) const NAME_BYTES_MAX: usize = 8 * (ADDRESS_WORDS - 1);

const NAMED: u8 = 1;

/// An address that can be kept. `None` if its name is too long.
pub(crate) fn address_to_words(address: &HostAddress) -> Option<[u64; ADDRESS_WORDS]> {
    let port = u64::from(address.port()) << 8;
    let mut words = [0; ADDRESS_WORDS];
    let ip = match (address.socket(), address.name()) {
        (Some(SocketAddr::V4(v4)), _) => [4 | port, u64::from(v4.ip().to_bits()), 0, 0],
        (Some(SocketAddr::V6(v6)), _) => {
            let bits = v6.ip().to_bits();
            [6 | port, bits as u64, (bits >> 64) as u64, u64::from(v6.scope_id())]
        }
        (None, name) => {
            let name = name.expect("an address is an IP address, or has a name").as_bytes();
            let mut bytes = [0; NAME_BYTES_MAX];
            bytes.get_mut(..name.len())?.copy_from_slice(name);
            words[0] = u64::from(NAMED) | port | (name.len() as u64) << 24;
            for (word, bytes) in words[1..].iter_mut().zip(bytes.as_chunks().0) {
                *word = u64::from_le_bytes(*bytes);
            }
            return Some(words);
        }
    };
    words[..IP_ADDRESS_WORDS].copy_from_slice(&ip);
    Some(words)
}

pub(crate) fn address_from_words(words: [u64; ADDRESS_WORDS]) -> Option<HostAddress> {
    let port = (words[0] >> 8) as u16;
    match words[0] as u8 {
        NAMED => {
            let bytes: Vec<u8> = words[1..].iter().flat_map(|word| word.to_le_bytes()).collect();
            let name = bytes.get(..usize::from((words[0] >> 24) as u8))?;
            HostAddress::named(std::str::from_utf8(name).ok()?, port).ok()
        }
        4 => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(words[1] as u32)), port).into()),
        6 => {
            let ip = Ipv6Addr::from_bits(u128::from(words[2]) << 64 | u128::from(words[1]));
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, words[3] as u32)).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_and_names_that_are_too_long_are_told() {
        let longest = format!("a{}:1", ["abcdefgh"; 8].join("."));
        assert_eq!(longest.len(), NAME_BYTES_MAX + ":1".len());
        let ips = ["127.0.0.1:7000", "10.1.2.3:1", "[::1]:65535", "[fe80::1%3]:80", "[2001:db8::ff]:443"];
        for text in ips.into_iter().chain(["a:7400", "host-0.hosts.example:65535", &longest]) {
            let address: HostAddress = text.parse().expect("an address");
            let words = address_to_words(&address).expect("there is room");
            assert_eq!(address_from_words(words), Some(address));
            let rest_is_used = words[IP_ADDRESS_WORDS..].iter().any(|word| *word != 0);
            assert!(!rest_is_used || !ips.contains(&text), "an older program does not see the rest");
        }
        let too_long: HostAddress = format!("a{longest}").parse().expect("an address");
        assert_eq!(address_to_words(&too_long), None);
        assert_eq!(address_from_words([0; ADDRESS_WORDS]), None);
        for strange in [2, 1 | 7 << 8, 1 | 7 << 8 | 1 << 24, 1 | 7 << 8 | 255 << 24] {
            let mut words = [0; ADDRESS_WORDS];
            words[0] = strange;
            assert_eq!(address_from_words(words), None);
        }
    }
}
