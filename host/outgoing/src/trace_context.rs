//! By which a trace of the server that is asked is found from the log of the instance that asked, and the other way round.

use std::fmt;

use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// The header `traceparent` of the W3C's Trace Context, version 00. It follows from the key of the request, so it is the same in each
/// attempt, whoever makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceContext {
    /// Of the trace that begins with the request; not 0.
    pub trace_id: u128,
    /// Of the request in it; not 0.
    pub span_id: u64,
}

impl TraceContext {
    /// That of a request by its key: the uuid of the instance, `-`, and the guest's number of the request.
    pub fn of(key: &str) -> TraceContext {
        TraceContext { trace_id: xxh3_128(key.as_bytes()).max(1), span_id: xxh3_64(key.as_bytes()).max(1) }
    }
}

/// As the header has it, with the flag that says that it is worth to be kept.
impl fmt::Display for TraceContext {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_as_the_standard_has_it_and_that_of_the_key() {
        let of = |key| TraceContext::of(key).to_string();
        let context = of("65abb1b1-0000-4000-8000-000000000001-7");
        let parts: Vec<_> = context.split('-').collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 32, 16, 2]);
        assert!(context.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        assert_eq!(context, of("65abb1b1-0000-4000-8000-000000000001-7"));
        assert_ne!(context, of("65abb1b1-0000-4000-8000-000000000001-8"));
    }
}
