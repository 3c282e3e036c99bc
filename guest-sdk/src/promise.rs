//! What somebody outside fulfils later, by a URL.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use serde::de::DeserializeOwned;

use crate::{codec, host, layout::MessageKind, outside::Waited, runtime};

/// Makes a promise: a URL that somebody outside calls once, by `POST` with one JSON value, and a future of that value. The future
/// survives all that a handler survives; the URL can't be guessed.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (url, paid) = ambrosia::promise::<bool>();
/// ambrosia::http::post("https://bank.example/payments").json(&url.to_string()).send().await?;
/// if paid.await? {
///     println!("paid");
/// }
/// # Ok(())
/// # }
/// ```
///
/// Dropping the future takes the promise back.
pub fn promise<T: DeserializeOwned>() -> (PromiseUrl, Promise<T>) {
    let waited = Waited::begin(MessageKind::Promise, |_| Ok(())).expect("no arguments are never too large");
    let id = waited.id();
    let path = PromiseUrl::path_of(&host::instance_name(), id, &host::promise_token(id));
    (PromiseUrl { base: host::public_url(), path }, Promise { waited, value: PhantomData })
}

/// Where a promise is fulfilled. Shown as the whole URL, if the operator has said how the host is reached from outside
/// (`ambrosia.public-url`), else as its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PromiseUrl {
    /// Empty if none is configured.
    base: String,
    path: String,
}

impl PromiseUrl {
    pub(crate) fn path_of(instance: &str, id: u64, token: &str) -> String {
        format!("/v1/{instance}/promises/{id}.{token}")
    }

    /// The part behind scheme, host and port.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// All of it, if the operator has said how the host is reached from outside.
    pub fn absolute(&self) -> Option<String> {
        (!self.base.is_empty()).then(|| format!("{}{}", self.base, self.path))
    }
}

impl fmt::Display for PromiseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.base, self.path)
    }
}

/// See [`promise`].
#[must_use = "a promise is taken back when this is dropped: await it"]
pub struct Promise<T> {
    waited: Waited,
    value: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Future for Promise<T> {
    type Output = Result<T, PromiseError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        runtime::with(|runtime| self.waited.poll(runtime, context)).map(|outcome| match outcome {
            Ok(value) => codec::decode_value(&value).map_err(PromiseError::Value),
            Err(reason) => Err(PromiseError::Lost(reason)),
        })
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("id", &self.waited.id()).finish_non_exhaustive()
    }
}

/// Why a promise gives no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PromiseError {
    /// The value that came is of another type; what is wrong with it.
    Value(String),
    /// None will come; what the host says.
    Lost(String),
}

impl fmt::Display for PromiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromiseError::Value(reason) => write!(f, "what the promise was fulfilled with doesn't decode: {reason}"),
            PromiseError::Lost(reason) => write!(f, "the promise will not be fulfilled: {reason}"),
        }
    }
}

impl std::error::Error for PromiseError {}
