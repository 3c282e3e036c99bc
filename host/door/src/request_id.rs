//! The request id that a client gives as its `Idempotency-Key`.

use ambrosia_core::RequestId;
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Problem, ProblemKind};

/// As clients send it, and as it is given back.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// As each response says whose it is.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("ambrosia-request-id");

/// The id in the headers; `None` if there is none. A quoted one is what is between the quotes.
///
/// # Errors
/// If there is more than one, or it can't be an id.
pub(crate) fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>, Problem> {
    let bad = |detail: &str| Problem::new(ProblemKind::BadKey, detail);
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).into_iter();
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => of(key).map(Some),
        (Some(_), Some(_)) => Err(bad("there is more than one Idempotency-Key")),
    }
}

fn of(key: &HeaderValue) -> Result<RequestId, Problem> {
    let bad = |detail: String| Problem::new(ProblemKind::BadKey, detail);
    let text = key.to_str().map_err(|_| bad("an Idempotency-Key is text of ASCII".to_owned()))?;
    let text = match text.strip_prefix('"') {
        None => text,
        Some(rest) => match rest.strip_suffix('"') {
            Some(inner) if !inner.contains(['"', '\\']) => inner,
            _ => return Err(bad("the Idempotency-Key begins with a quote and does not end with one".to_owned())),
        },
    };
    RequestId::new(text).map_err(|error| bad(error.to_string()))
}

/// The id as the value of a header; `None` if it can't be one, as that of another kind of client.
pub(crate) fn header_of(id: &RequestId) -> Option<HeaderValue> {
    HeaderValue::from_bytes(id.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(keys: &[&[u8]]) -> Result<Option<String>, ProblemKind> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_bytes(key).expect("a value"));
        }
        let id = request_id(&headers).map_err(|problem| problem.kind)?;
        Ok(id.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned()))
    }

    #[test]
    fn a_key_is_an_id_with_or_without_quotes() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"order-1"]), Ok(Some("order-1".to_owned())));
        assert_eq!(read(&[b"\"order 1\""]), Ok(Some("order 1".to_owned())));
        assert_eq!(read(&[&[b'x'; 128]]), Ok(Some("x".repeat(128))));
        let bad: [&[&[u8]]; 6] = [&[b""], &[b"\"\""], &[&[b'x'; 129]], &[b"a", b"a"], &[b"\"a"], &[b"\xff"]];
        for keys in bad {
            assert_eq!(read(keys), Err(ProblemKind::BadKey), "{keys:?}");
        }
    }
}
