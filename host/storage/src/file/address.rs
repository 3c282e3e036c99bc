//! A socket address as words of fixed number, for the shared page.
//!
//! Word 0 holds the family (4 or 6, 0 for none) and the port, word 1 and 2 the address, word 3 the scope id.
//!
//! **Architecture Invariant:** words that nobody wrote decode to no address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Words of an address.
pub(crate) const ADDRESS_WORDS: usize = 4;

pub(crate) fn address_to_words(address: Option<SocketAddr>) -> [u64; ADDRESS_WORDS] {
    let Some(address) = address else { return [0; ADDRESS_WORDS] };
    let port = u64::from(address.port()) << 8;
    match address {
        SocketAddr::V4(v4) => [4 | port, u64::from(v4.ip().to_bits()), 0, 0],
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            [6 | port, bits as u64, (bits >> 64) as u64, u64::from(v6.scope_id())]
        }
    }
}

pub(crate) fn address_from_words(words: [u64; ADDRESS_WORDS]) -> Option<SocketAddr> {
    let port = (words[0] >> 8) as u16;
    match words[0] as u8 {
        4 => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(words[1] as u32)), port)),
        6 => {
            let ip = Ipv6Addr::from_bits(u128::from(words[2]) << 64 | u128::from(words[1]));
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, words[3] as u32)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["127.0.0.1:7000", "10.1.2.3:1", "[::1]:65535", "[fe80::1%3]:80", "[2001:db8::ff]:443"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(address_from_words(address_to_words(Some(address))), Some(address));
        }
        assert_eq!(address_from_words(address_to_words(None)), None);
    }
}
