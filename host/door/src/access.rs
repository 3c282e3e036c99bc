//! Who may ask for what, by the token that comes with it.
//!
//! **Architecture Invariant:** while a store has a token, nothing is done for whoever has none; without tokens only this machine is
//! listened to.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    door::House,
    instances::NoInstance,
    metrics::Kind,
    neighbours,
    problem::{Problem, ProblemKind},
};

/// What somebody wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Run a method.
    Send,
    /// Run a method that changes nothing.
    Query,
    /// See which instances and methods there are.
    Read,
}

/// What a store says of whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// The store has no tokens.
    Open,
    /// The token allows it.
    Granted,
    /// There is no such token, or none was given.
    Unknown,
    /// The token is over.
    Ended,
    /// The token allows other things.
    Denied,
}

/// Said of a request by whoever has shown nothing by which they may come: it is for what needs no token.
#[derive(Clone, Copy)]
struct Stranger;

/// Whether somebody asks who may be anybody.
pub(crate) fn is_stranger(request: &Request) -> bool {
    request.extensions().get::<Stranger>().is_some()
}

/// The token of a request, for those who carry it out.
#[derive(Clone, Default)]
pub(crate) struct Bearer(Option<Arc<str>>);

impl Bearer {
    /// The token that came with a request.
    pub(crate) fn of(request: &Request) -> Bearer {
        request.extensions().get::<Bearer>().cloned().unwrap_or_default()
    }

    fn in_headers(headers: &HeaderMap) -> Bearer {
        let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = text.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().into())
        });
        Bearer(token)
    }
}

/// Lets in whoever may come: with a known token, or from this machine while there are none.
pub(crate) async fn for_those_who_may(State(house): State<Arc<House>>, mut request: Request, next: Next) -> Response {
    let (began, kind) = (Instant::now(), Kind::of(request.method()));
    let bearer = Bearer::in_headers(request.headers());
    let may_come = match house.access_at(request.uri().path(), &bearer).await {
        Ok(Access::Open) => neighbours::check(request.uri(), request.headers()),
        // What it allows in particular is looked at where it is done.
        Ok(Access::Granted | Access::Denied) => Ok(()),
        Ok(access) if needs_token(request.uri().path()) => Err(refused(access)),
        Ok(_) => {
            request.extensions_mut().insert(Stranger);
            Ok(())
        }
        Err(problem) => Err(problem),
    };
    let response = match may_come {
        Ok(()) => {
            request.extensions_mut().insert(bearer);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    house.counts.add(kind, response.status(), began.elapsed());
    response
}

/// Where it is answered that this process is alive.
pub(crate) const ALIVE: &str = "/healthz";
/// Where it is answered whether the store can be used.
pub(crate) const READY: &str = "/readyz";

/// The page is the same for everybody, and whether somebody is alive, or has a store, is no secret: who looks after processes has no token. Who fulfils a promise shows by the URL that
/// they may.
fn needs_token(path: &str) -> bool {
    let is_promise = path.strip_prefix("/v1/").and_then(|rest| rest.split_once('/'));
    let is_promise = is_promise.is_some_and(|(_, rest)| rest.starts_with("promises/"));
    !is_promise && !matches!(path, ALIVE | READY | "/docs" | "/docs/page.js" | "/docs/page.css")
}

fn refused(access: Access) -> Problem {
    match access {
        Access::Ended => Problem::new(ProblemKind::Unauthorized, "the token has ended: ask for another one"),
        Access::Denied => Problem::new(ProblemKind::Forbidden, "the token does not allow this"),
        _ => {
            Problem::new(ProblemKind::Unauthorized, "give a token that is known here, as `Authorization: Bearer TOKEN`")
        }
    }
}

impl House {
    /// Sees that somebody may do that, with that instance or with none in particular.
    pub(crate) async fn check(&self, bearer: &Bearer, deed: Deed, name: Option<&InstanceName>) -> Result<(), Problem> {
        match self.access(bearer, deed, name).await? {
            Access::Open | Access::Granted => Ok(()),
            access => Err(refused(access)),
        }
    }

    /// Whether somebody may come at all.
    async fn access_at(&self, path: &str, bearer: &Bearer) -> Result<Access, Problem> {
        // Whoever starts processes anew that are not alive must not do so since a database is away.
        if path == ALIVE {
            let access = self.instances.access(None, Deed::Read, None);
            return Ok(self.where_others_come(access.unwrap_or(Access::Unknown)));
        }
        match self.access(bearer, Deed::Read, None).await {
            // That the store can't be read is the answer there.
            Err(_) if path == READY => Ok(Access::Unknown),
            access => access,
        }
    }

    async fn access(&self, bearer: &Bearer, deed: Deed, name: Option<&InstanceName>) -> Result<Access, Problem> {
        let token = bearer.0.as_deref();
        if let Some(access) = self.instances.access(token, deed, name) {
            return Ok(self.where_others_come(access));
        }
        let instances = Arc::clone(&self.instances);
        match self.tokens_read.look(Duration::ZERO, move || instances.read_tokens()).await {
            Some(Ok(())) => {}
            Some(Err(NoInstance::Unreadable(reason))) => return Err(Problem::new(ProblemKind::Store, reason)),
            Some(Err(NoInstance::Unknown)) | None => return Err(Problem::new(ProblemKind::Closing, "the host ends")),
        }
        // What was read just now counts, even if it has changed since.
        match self.instances.access_as_read(token, deed, name) {
            Some(access) => Ok(self.where_others_come(access)),
            None => Err(Problem::new(ProblemKind::Store, "the tokens of the store can't be read")),
        }
    }

    /// The same, where others than programs of this machine can come: a store whose last token was revoked is not open to them.
    fn where_others_come(&self, access: Access) -> Access {
        match access {
            Access::Open if !self.is_for_this_machine => Access::Unknown,
            access => access,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_secret_and_promises_need_no_token() {
        for (path, needed) in [
            ("/healthz", false),
            ("/readyz", false),
            ("/metrics", true),
            ("/v1/shop/promises/7.00", false),
            ("/v1/shop/promises", true),
            ("/v1/shop/add", true),
            ("/promises/7", true),
            ("/openapi.json", true),
        ] {
            assert_eq!(needs_token(path), needed, "{path}");
        }
    }

    #[test]
    fn a_bearer_is_found_in_its_header_and_nowhere_else() {
        let bearer = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            Bearer::in_headers(&headers).0.map(|token| token.to_string())
        };
        assert_eq!(bearer(Some("Bearer ambrosia_00")).as_deref(), Some("ambrosia_00"));
        assert_eq!(bearer(Some("bearer  x ")).as_deref(), Some("x"));
        for none in [None, Some("Basic x"), Some("Bearer"), Some("")] {
            assert_eq!(bearer(none), None, "{none:?}");
        }
    }
}
