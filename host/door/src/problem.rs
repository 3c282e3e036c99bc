//! What went wrong, as problem details (RFC 9457).
//!
//! **Architecture Invariant:** a kind of problem has one status and one title, whatever else is said of it.

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

/// What went wrong. Programs go by the name of it, which stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ProblemKind {
    BadArguments,
    BadKey,
    BodyTooLarge,
    BodyTooSlow,
    Busy,
    Closing,
    Failed,
    Finished,
    Forbidden,
    ForeignOrigin,
    Halted,
    KeyReused,
    MethodNotAllowed,
    NoPrimary,
    NoReplica,
    NotFound,
    NotJson,
    NotReady,
    OtherName,
    Store,
    Timeout,
    Unauthorized,
    UnknownInstance,
    UnknownMethod,
    UnknownRequest,
    UnsupportedType,
}

impl ProblemKind {
    /// Name, status and title.
    const fn said(self) -> (&'static str, StatusCode, &'static str) {
        use ProblemKind::*;
        match self {
            BadArguments => ("bad-arguments", StatusCode::BAD_REQUEST, "The arguments are not those of the method"),
            BadKey => ("bad-idempotency-key", StatusCode::BAD_REQUEST, "The Idempotency-Key can't be used"),
            BodyTooLarge => ("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            BodyTooSlow => ("body-too-slow", StatusCode::REQUEST_TIMEOUT, "The body did not come in time"),
            Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Too much is under way"),
            Closing => ("closing", StatusCode::SERVICE_UNAVAILABLE, "The host ends"),
            Failed => ("failed", StatusCode::UNPROCESSABLE_ENTITY, "The method could not be run"),
            Finished => ("finished", StatusCode::GONE, "The instance has finished"),
            Forbidden => ("forbidden", StatusCode::FORBIDDEN, "The token does not allow this"),
            ForeignOrigin => ("foreign-origin", StatusCode::FORBIDDEN, "A page of another site asks"),
            Halted => ("halted", StatusCode::CONFLICT, "The instance has halted"),
            KeyReused => {
                ("key-reused", StatusCode::UNPROCESSABLE_ENTITY, "The Idempotency-Key is that of another request")
            }
            MethodNotAllowed => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "It can't be asked for in this way")
            }
            NoPrimary => ("no-primary", StatusCode::SERVICE_UNAVAILABLE, "Nobody runs the instance"),
            NoReplica => ("no-replica", StatusCode::SERVICE_UNAVAILABLE, "The replica can't be asked"),
            NotFound => ("not-found", StatusCode::NOT_FOUND, "There is nothing here"),
            NotJson => ("not-json", StatusCode::BAD_REQUEST, "The body is not JSON"),
            NotReady => ("not-ready", StatusCode::SERVICE_UNAVAILABLE, "Nothing can be asked here now"),
            OtherName => ("other-name", StatusCode::MISDIRECTED_REQUEST, "This machine is asked under a foreign name"),
            Store => ("store", StatusCode::INTERNAL_SERVER_ERROR, "The store can't be read"),
            Timeout => ("timeout", StatusCode::GATEWAY_TIMEOUT, "No answer came in time"),
            Unauthorized => ("unauthorized", StatusCode::UNAUTHORIZED, "A token is needed"),
            UnknownInstance => ("unknown-instance", StatusCode::NOT_FOUND, "There is no such instance"),
            UnknownMethod => ("unknown-method", StatusCode::NOT_FOUND, "There is no such method"),
            UnknownRequest => ("unknown-request", StatusCode::NOT_FOUND, "Nothing is known of the request"),
            UnsupportedType => ("unsupported-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body has to be JSON"),
        }
    }
}

/// One problem.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Problem {
    pub(crate) kind: ProblemKind,
    detail: String,
    /// What programs may want beside the text.
    more: Vec<(&'static str, Value)>,
    /// What is allowed, if that is the problem.
    allow: Option<Cow<'static, str>>,
    /// Where it can be asked for later, if it may still be done.
    location: Option<String>,
}

impl Problem {
    /// A problem; `detail` says to a person what happened here and what to do about it.
    pub(crate) fn new<'a>(kind: ProblemKind, detail: impl Into<Cow<'a, str>>) -> Problem {
        Problem { kind, detail: detail.into().into_owned(), more: Vec::new(), allow: None, location: None }
    }

    /// The same, with one more member.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Problem {
        self.more.push((name, value.into()));
        self
    }

    /// The same, and it may still be done: then that is said there.
    pub(crate) fn at(mut self, location: Option<String>) -> Problem {
        self.location = location;
        self
    }

    /// What happened, for a person.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Only these methods of HTTP are allowed.
    pub(crate) fn not_allowed(allow: impl Into<Cow<'static, str>>) -> Problem {
        let allow = allow.into();
        let detail = format!("this takes {allow}");
        Problem { allow: Some(allow), ..Problem::new(ProblemKind::MethodNotAllowed, detail) }
    }

    /// The body of the response.
    pub(crate) fn json(&self) -> Value {
        let (name, status, title) = self.kind.said();
        let mut members = Map::new();
        members.insert("type".to_owned(), format!("urn:ambrosia:problem:{name}").into());
        members.insert("title".to_owned(), title.into());
        members.insert("status".to_owned(), status.as_u16().into());
        members.insert("detail".to_owned(), self.detail.clone().into());
        members.extend(self.more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Value::Object(members)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (_, status, _) = self.kind.said();
        let mut response = (status, self.json().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_str(&allow).expect("names of methods are plain"));
        }
        if let Some(location) = self.location.and_then(|location| HeaderValue::from_str(&location).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if self.kind == ProblemKind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self.kind, ProblemKind::Busy | ProblemKind::Closing | ProblemKind::NoPrimary) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_it_is() {
        let problem = Problem::new(ProblemKind::Halted, "it stands").with("lsn", 7).with("reason", "trap");
        assert_eq!(
            problem.json().to_string(),
            r#"{"detail":"it stands","lsn":7,"reason":"trap","status":409,"title":"The instance has halted","type":"urn:ambrosia:problem:halted"}"#
        );
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::CONFLICT);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }

    #[test]
    fn what_is_allowed_is_a_header() {
        let response = Problem::not_allowed("POST").into_response();
        assert_eq!(
            (response.status(), &response.headers()[header::ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().expect("a value"))
        );
    }
}
