//! The trace that a client says that its request belongs to.

use ambrosia_core::TraceContext;
use axum::http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the header says; `None` if there is none, or more than one, or it is not as the W3C's Trace Context has it: a request is not refused
/// for what only observers read.
pub(crate) fn trace_of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut said = headers.get_all(TRACEPARENT).into_iter();
    match (said.next(), said.next()) {
        (Some(context), None) => context.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(values: &[&[u8]]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(value).expect("a value"));
        }
        trace_of(&headers).map(|context| context.to_string())
    }

    #[test]
    fn one_that_is_sound_is_taken_and_others_are_as_none() {
        assert_eq!(read(&[CONTEXT.as_bytes()]).as_deref(), Some(CONTEXT));
        for none in [&[][..], &[&b"nonsense"[..]], &[&b"\xff\xfe"[..]], &[CONTEXT.as_bytes(), CONTEXT.as_bytes()]] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
