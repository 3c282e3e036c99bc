//! What a guest asks for: the map of `wit/LAYOUT.md`.

use std::{fmt, time::Duration};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

use crate::limits::{
    BACKOFF_DEFAULT, BACKOFF_MAX, HEADER_BYTES_MAX, HEADERS_MAX, REQUEST_BODY_BYTES_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX,
    TRIES_DEFAULT, TRIES_MAX, URL_BYTES_MAX,
};

/// A request that a guest wants to be sent. Nothing of it is checked but its limits; there may be placeholders of secrets in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The method, as the guest wrote it.
    pub method: String,
    /// The URL, as the guest wrote it.
    pub url: String,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body, empty if there is none.
    pub body: Bytes,
    /// Time of one attempt, from the search for the address to the end of the answer.
    pub timeout: Duration,
    /// Most attempts.
    pub tries: u32,
    /// First pause between two attempts.
    pub backoff: Duration,
    /// It is never repeated once it may have been done.
    pub once: bool,
    /// It may be repeated, whatever its method.
    pub idempotent: bool,
}

/// Why bytes of a guest are no request.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RequestError {
    /// They are no map as it is written down.
    #[error("the request can't be read: {0}. Use a version of the SDK that fits this host")]
    Malformed(String),
    /// The URL is too long.
    #[error("the URL has {0} bytes; {URL_BYTES_MAX} are allowed")]
    Url(usize),
    /// There are too many headers.
    #[error("the request has {0} headers; {HEADERS_MAX} are allowed")]
    Headers(usize),
    /// The headers are too large.
    #[error("the headers of the request have {0} bytes; {HEADER_BYTES_MAX} are allowed")]
    HeaderBytes(usize),
    /// The body is too large.
    #[error("the body of the request has {0} bytes; {REQUEST_BODY_BYTES_MAX} are allowed")]
    Body(usize),
}

#[derive(Deserialize)]
struct Raw<'a> {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default, borrow)]
    body: Body<'a>,
    timeout_ms: Option<u64>,
    tries: Option<u32>,
    backoff_ms: Option<u64>,
    #[serde(default)]
    once: bool,
    #[serde(default)]
    idempotent: bool,
}

impl Request {
    /// Reads a request. Unknown keys are ignored.
    ///
    /// # Errors
    /// Any [`RequestError`].
    pub fn decode(bytes: &[u8]) -> Result<Request, RequestError> {
        let raw: Raw<'_> = rmp_serde::from_slice(bytes).map_err(|error| RequestError::Malformed(error.to_string()))?;
        let header_bytes = raw.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let body = raw.body.as_slice();
        if raw.url.len() > URL_BYTES_MAX {
            return Err(RequestError::Url(raw.url.len()));
        }
        if raw.headers.len() > HEADERS_MAX {
            return Err(RequestError::Headers(raw.headers.len()));
        }
        if header_bytes > HEADER_BYTES_MAX {
            return Err(RequestError::HeaderBytes(header_bytes));
        }
        if body.len() > REQUEST_BODY_BYTES_MAX {
            return Err(RequestError::Body(body.len()));
        }
        let limited = |ms: Option<u64>, default, max: Duration| ms.map_or(default, Duration::from_millis).min(max);
        Ok(Request {
            timeout: limited(raw.timeout_ms, TIMEOUT_DEFAULT, TIMEOUT_MAX).max(Duration::from_millis(1)),
            tries: raw.tries.unwrap_or(TRIES_DEFAULT).clamp(1, TRIES_MAX),
            backoff: limited(raw.backoff_ms, BACKOFF_DEFAULT, BACKOFF_MAX),
            once: raw.once,
            idempotent: raw.idempotent,
            body: Bytes::copy_from_slice(body),
            method: raw.method,
            url: raw.url,
            headers: raw.headers,
        })
    }

    /// Whether it does no harm to do it twice.
    pub fn may_be_repeated(&self) -> bool {
        let is_by_method = matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE");
        !self.once && (self.idempotent || is_by_method)
    }
}

/// Bytes, or a text, or an array of bytes, as languages write them.
enum Body<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
}

impl Default for Body<'_> {
    fn default() -> Self {
        Body::Borrowed(&[])
    }
}

impl Body<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Body::Borrowed(bytes) => bytes,
            Body::Owned(bytes) => bytes,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Body<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("bytes or a text")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Body::Borrowed(bytes))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Body::Borrowed(text.as_bytes()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Body::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = array.next_element()? {
            bytes.push(byte);
        }
        Ok(Body::Owned(bytes))
    }
}

#[cfg(test)]
mod tests;
