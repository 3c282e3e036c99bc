//! HTTP requests that instances send to the world outside: at least once outside, exactly once inside.
//!
//! A guest's request is an effect. Once its record is durable the primary gives it to [`Sender::perform`], and what that
//! comes to is logged and delivered like any other message. Until then it is tried again, by the next primary too.
//! Nothing goes out that no [`Grant`] covers.
//!
//! **Architecture Invariant:** it does not know what a log, a replica or an instance's state is; whether a request is to be
//! performed the core has decided. It reads neither the clock nor the randomness of the machine but by [`Surroundings`].

mod address;
mod connector;
mod grant;
mod limits;
mod outcome;
mod outside;
mod pending;
mod policy;
mod prepared;
mod request;
mod secret;
mod sender;
mod target;
mod trace_context;

pub use grant::{Grant, GrantError, Grants};
pub use limits::{
    ANSWER_BODY_BYTES_MAX, ATTEMPTS_MAX, ATTEMPTS_PER_HOST_MAX, BACKOFF_DEFAULT, BACKOFF_MAX, HEADER_BYTES_MAX,
    HEADERS_MAX, REQUEST_BODY_BYTES_MAX, RETRY_AFTER_MAX, SECRET_BYTES_MAX, TIMEOUT_DEFAULT, TIMEOUT_MAX,
    TRIES_DEFAULT, TRIES_MAX, URL_BYTES_MAX,
};
pub use outcome::{Answer, Failure, FailureKind, Outcome};
pub use outside::{Outside, Roots, Surroundings, Turn};
pub use pending::Pending;
pub use request::{Request, RequestError};
pub use secret::{Secret, SecretError, SecretName, SecretNameError, SecretSource, Secrets};
pub use sender::{Performed, Sender, SenderOptions};
pub use trace_context::traceparent_of;
