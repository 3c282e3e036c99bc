//! HTTP requests to the world outside.
//!
//! A request is performed by the primary once what led to it is durable, and its outcome comes back as a message: so the world may
//! see it more than once, if a primary dies in the middle, and the instance sees one outcome. Each request has an `Idempotency-Key`
//! of its own, the same at each try and after each takeover, by which a service can tell a repetition. Where a request goes, the
//! operator has to allow (`--grant-http`).
//!
//! ```
//! # #[derive(ambrosia::serde::Serialize)] #[serde(crate = "ambrosia::serde")] struct Charge { cents: u64 }
//! # #[derive(ambrosia::serde::Deserialize)] #[serde(crate = "ambrosia::serde")] struct Receipt { id: String }
//! use ambrosia::http::HttpError;
//!
//! async fn charge(cents: u64) -> Result<String, HttpError> {
//!     let response = ambrosia::http::post("https://pay.example/v1/charges")
//!         .header("authorization", &format!("Bearer {}", ambrosia::secret("PAY")))
//!         .json(&Charge { cents })
//!         .idempotent()
//!         .send()
//!         .await?;
//!     Ok(response.json::<Receipt>()?.id)
//! }
//! ```

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, SeqAccess, Visitor},
};

use crate::{Retry, codec, layout::MessageKind, outside::Waited, runtime};

/// A GET request.
pub fn get(url: impl Into<String>) -> Request {
    request("GET", url)
}

/// A POST request. It is tried once, unless it is called [`idempotent`](Request::idempotent).
pub fn post(url: impl Into<String>) -> Request {
    request("POST", url)
}

/// A PUT request.
pub fn put(url: impl Into<String>) -> Request {
    request("PUT", url)
}

/// A DELETE request.
pub fn delete(url: impl Into<String>) -> Request {
    request("DELETE", url)
}

/// A request of any method.
pub fn request(method: &str, url: impl Into<String>) -> Request {
    Request {
        content: Content {
            method: method.to_string(),
            url: url.into(),
            headers: Vec::new(),
            body: Bytes(Vec::new()),
            timeout_ms: None,
            tries: 0,
            backoff_ms: 0,
            once: false,
            idempotent: false,
        },
        retry: None,
        unfit: None,
    }
}

/// A request that is being made. [`send`](Request::send) sends it.
#[derive(Clone, Debug)]
#[must_use = "a request goes nowhere unless it is sent: write `.send().await`"]
pub struct Request {
    content: Content,
    retry: Option<Retry>,
    /// Why it can't be sent.
    unfit: Option<String>,
}

/// A request as it crosses the border: `wit/LAYOUT.md`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) tries: u32,
    pub(crate) backoff_ms: u64,
    pub(crate) once: bool,
    pub(crate) idempotent: bool,
}

impl Request {
    /// Adds a header. A [`secret`](fn@crate::secret) may stand in its value.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.content.headers.push((name.to_string(), value.to_string()));
        self
    }

    /// Makes `value` the body, as JSON, and says so in a header.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.content.body = Bytes(body),
            Err(error) => self.unfit = Some(format!("the body can't be written as JSON: {error}")),
        }
        self.header("content-type", "application/json")
    }

    /// Makes these bytes the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.content.body = Bytes(body.into());
        self
    }

    /// It may be repeated, whatever its method: the service tells a repetition by its `Idempotency-Key`, or does not mind it.
    pub fn idempotent(mut self) -> Self {
        self.content.idempotent = true;
        self
    }

    /// It is never repeated, not even after a takeover: if nobody knows whether it was done, it fails with
    /// [`HttpError::Unknown`].
    pub fn once(mut self) -> Self {
        self.content.once = true;
        self
    }

    /// How long one try may take, in whole milliseconds.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.content.timeout_ms = Some(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1));
        self
    }

    /// How often it is tried, and the first pause, which doubles each time. Without this a request that may be repeated is tried
    /// as [`Retry`]'s default says, and any other one once. The host makes the pauses, of a minute at most, so
    /// [`Retry::longest_pause`] means nothing here.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sends it, now. Await the outcome; dropping it cancels the request, if it has not been performed.
    pub fn send(self) -> Sending {
        let Request { mut content, retry, unfit } = self;
        let may_repeat = content.idempotent || matches!(content.method.as_str(), "GET" | "HEAD" | "PUT" | "DELETE");
        let retry = retry.unwrap_or(if may_repeat && !content.once { Retry::default() } else { Retry::times(1) });
        content.tries = retry.tries();
        content.backoff_ms = u64::try_from(retry.pause_after(1).as_millis()).unwrap_or(u64::MAX);
        if let Some(reason) = unfit {
            return Sending(Err(reason));
        }
        Sending(Waited::begin(MessageKind::Request, |out| codec::encode_value(out, &content)))
    }
}

/// A request that was sent: await it for its outcome.
#[derive(Debug)]
#[must_use = "a request is cancelled when this is dropped: await its outcome"]
pub struct Sending(Result<Waited, String>);

impl Future for Sending {
    type Output = Result<Response, HttpError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waited = match &mut self.0 {
            Ok(waited) => waited,
            Err(reason) => return Poll::Ready(Err(HttpError::Refused(reason.clone()))),
        };
        runtime::with(|runtime| waited.poll(runtime, context)).map(|outcome| match outcome {
            Ok(bytes) => Outcome::read(&bytes),
            Err(reason) => Err(HttpError::Failed { reason, tries: 0 }),
        })
    }
}

/// What a service has answered, whatever its status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// 200, 404, …
    pub status: u16,
    /// In the order in which they came.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Response {
    /// True for 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The value of the first header of that name, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body as a text. What is no UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`HttpError::Body`] if it is another type's, or none.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| HttpError::Body(format!("{error}, in an answer with status {}", self.status)))
    }
}

/// Why there is no answer to a request, or none that can be used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HttpError {
    /// It was never tried: it is not allowed to go there, too large, or no request.
    Refused(String),
    /// All tries have failed.
    Failed {
        /// What the last one met.
        reason: String,
        /// How many there were.
        tries: u32,
    },
    /// The last try took too long. It may have been done all the same.
    TimedOut {
        /// How many tries there were.
        tries: u32,
    },
    /// It was to be done [`once`](Request::once), and may have been.
    Unknown(String),
    /// The body of the answer is not what was asked for.
    Body(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Refused(reason) => write!(f, "the request was not sent: {reason}"),
            HttpError::Failed { reason, tries } => write!(f, "the request failed, tried {tries} times: {reason}"),
            HttpError::TimedOut { tries } => write!(f, "the request took too long, tried {tries} times"),
            HttpError::Unknown(reason) => write!(f, "the request may have been done, or not: {reason}"),
            HttpError::Body(reason) => write!(f, "the answer can't be read: {reason}"),
        }
    }
}

impl std::error::Error for HttpError {}

/// An outcome as it crosses the border: `wit/LAYOUT.md`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Outcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default)]
    pub(crate) body: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) tries: u32,
}

impl Outcome {
    fn read(bytes: &[u8]) -> Result<Response, HttpError> {
        let outcome: Outcome = codec::decode_value(bytes)
            .map_err(|error| HttpError::Failed { reason: format!("its outcome can't be read: {error}"), tries: 0 })?;
        let Outcome { status, headers, body, error, kind, tries } = outcome;
        if let Some(status) = status {
            return Ok(Response { status, headers, body: body.0 });
        }
        let reason = error.unwrap_or_else(|| "the host gives no reason".to_string());
        Err(match kind.as_deref() {
            Some("refused") => HttpError::Refused(reason),
            Some("timeout") => HttpError::TimedOut { tries },
            Some("unknown") => HttpError::Unknown(reason),
            _ => HttpError::Failed { reason, tries },
        })
    }
}

/// Bytes that travel as such.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = elements.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes(bytes))
    }
}
