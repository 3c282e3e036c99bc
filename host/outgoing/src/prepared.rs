//! A request that was found good, and what is sent of it in one attempt.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Uri,
    header::{self, HeaderName, HeaderValue},
};

use crate::{
    grant::{Granted, Grants},
    request::Request,
    secret::{FillError, Filling, Part, Secrets, Sent, holds_placeholder},
    target::{Target, TargetError},
    trace_context::traceparent_of,
};

/// Whom servers hear of.
const USER_AGENT: &str = concat!("ambrosia-host/", env!("CARGO_PKG_VERSION"));

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// These belong to the connection or follow from the request; a guest that sets one would say something else than is done.
const OWN_HEADERS: [HeaderName; 8] = [
    header::HOST,
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

pub(crate) struct Prepared {
    pub(crate) request: Request,
    pub(crate) target: Target,
    pub(crate) granted: Granted,
    method: Method,
    headers: Vec<(HeaderName, String)>,
    key: HeaderValue,
    trace_context: HeaderValue,
}

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("`{0}` is no method of HTTP that can be asked for")]
    Method(String),
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error("a secret may be in the query of the URL, in the value of a header and in the body, and nowhere else")]
    SecretElsewhere,
    #[error("`{0}` is no name of a header")]
    HeaderName(String),
    #[error("the value of the header {0} holds a line end or another character that no header may have")]
    HeaderValue(HeaderName),
    #[error("the header {0} is set by the host alone: leave it out")]
    OwnHeader(HeaderName),
    #[error("nothing may go to {0}: allow it with `--grant-http '{1}'` of `run` or `serve`")]
    NotGranted(Target, String),
    #[error(transparent)]
    Secret(#[from] FillError),
}

impl Prepared {
    /// Checks all that does not depend on the moment. `key` tells all attempts of the request from any other request.
    pub(crate) fn of(request: Request, key: &str, grants: &Grants) -> Result<Prepared, Refused> {
        let wrong_method = || Refused::Method(request.method.clone());
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|_| wrong_method())?;
        if method == Method::CONNECT {
            return Err(wrong_method());
        }
        let (location, _) = split_query(&request.url);
        if holds_placeholder(location) {
            return Err(Refused::SecretElsewhere);
        }
        let target = Target::parse(location)?;
        let headers = request.headers.iter().map(|(name, value)| {
            let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
                let elsewhere = holds_placeholder(name);
                return Err(if elsewhere { Refused::SecretElsewhere } else { Refused::HeaderName(name.clone()) });
            };
            if OWN_HEADERS.contains(&name) {
                return Err(Refused::OwnHeader(name));
            }
            if HeaderValue::from_bytes(value.as_bytes()).is_err() {
                return Err(Refused::HeaderValue(name));
            }
            Ok((name, value.clone()))
        });
        // Its length is that of what is sent, with secrets in it.
        let headers = headers.filter(|header| !matches!(header, Ok((name, _)) if *name == header::CONTENT_LENGTH));
        let headers = headers.collect::<Result<Vec<_>, _>>()?;
        let Some(granted) = grants.find(&target) else {
            let port = if target.port == target.scheme.port() { String::new() } else { format!(":{}", target.port) };
            let grant = format!("{}://{}{port}/*", target.scheme, target.host);
            return Err(Refused::NotGranted(target, grant));
        };
        let text = |text: &str| HeaderValue::from_str(text).expect("a uuid and numbers are text");
        let (key, trace_context) = (text(key), text(&traceparent_of(key)));
        Ok(Prepared { method, target, granted, headers, key, trace_context, request })
    }

    /// Such as `POST https://api.example.com/v1/charges`, without the query.
    pub(crate) fn shown(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// What is sent in one attempt, and which secrets are in it.
    pub(crate) fn fill(
        &self,
        instance: &str,
        secrets: &Secrets,
    ) -> Result<(hyper::Request<Full<Bytes>>, Sent), Refused> {
        let mut filling = Filling::new(instance, secrets, &self.granted.secrets);
        let uri = self.uri(&mut filling)?;
        let headers = self.filled_headers(&mut filling)?;
        let body = match filling.fill(&self.request.body, Part::Body)? {
            Some(filled) => filled.into(),
            None => self.request.body.clone(),
        };
        let mut filled = hyper::Request::new(Full::new(body));
        (*filled.method_mut(), *filled.uri_mut(), *filled.headers_mut()) = (self.method.clone(), uri, headers);
        Ok((filled, filling.finish()))
    }

    fn uri(&self, filling: &mut Filling<'_>) -> Result<Uri, Refused> {
        let (location, query) = split_query(&self.request.url);
        let filled = match query {
            Some(query) => filling.fill(query.as_bytes(), Part::Query)?,
            None => None,
        };
        let url = match filled {
            // What was put in is ASCII, and the rest is the text of the guest.
            Some(query) => format!("{location}?{}", String::from_utf8_lossy(&query)),
            None => self.request.url.clone(),
        };
        // The message of the error says what is wrong and not where, so that no secret is in it.
        url.parse().map_err(|error| TargetError::Malformed(format!("{error}")).into())
    }

    fn filled_headers(&self, filling: &mut Filling<'_>) -> Result<HeaderMap, Refused> {
        let mut headers = HeaderMap::with_capacity(self.headers.len() + 3);
        for (name, value) in &self.headers {
            let filled = filling.fill(value.as_bytes(), Part::Header)?;
            let is_secret = filled.is_some();
            let bytes = filled.unwrap_or_else(|| value.clone().into_bytes());
            let mut value = HeaderValue::from_bytes(&bytes).map_err(|_| Refused::HeaderValue(name.clone()))?;
            value.set_sensitive(is_secret);
            headers.append(name.clone(), value);
        }
        headers.entry(IDEMPOTENCY_KEY).or_insert_with(|| self.key.clone());
        headers.entry(TRACEPARENT).or_insert_with(|| self.trace_context.clone());
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        Ok(headers)
    }
}

/// What is before the first question mark, and what is behind it.
fn split_query(url: &str) -> (&str, Option<&str>) {
    let url = url.split('#').next().unwrap_or_default();
    match url.split_once('?') {
        Some((location, query)) => (location, Some(query)),
        None => (url, None),
    }
}
