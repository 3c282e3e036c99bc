//! By which a trace of the server that is asked is found from the log of the instance that asked, and the other way round.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The header `traceparent` of the W3C's Trace Context, version 00, of a request by its key: the uuid of the instance, `-`, and the
/// guest's number of the request. It follows from that, so it is the same in each attempt, whoever makes it. Its flag says that the
/// trace is worth to be kept.
pub fn traceparent_of(key: &str) -> String {
    let (trace, span) = (xxh3_128(key.as_bytes()).max(1), xxh3_64(key.as_bytes()).max(1));
    format!("00-{trace:032x}-{span:016x}-01")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_standard_has_it_and_that_of_the_key() {
        let of = traceparent_of;
        let context = of("65abb1b1-0000-4000-8000-000000000001-7");
        let parts: Vec<_> = context.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(context.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(context, of("65abb1b1-0000-4000-8000-000000000001-7"));
        assert_ne!(context, of("65abb1b1-0000-4000-8000-000000000001-8"));
    }
}
