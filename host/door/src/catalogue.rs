//! What there is to be asked: all instances, for tools and for people.

use std::sync::Arc;

use ambrosia_core::InstanceName;
use ambrosia_methods::Methods;
use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{
    access::{Bearer, Deed},
    door::House,
    instances::NoInstance,
    limits::READY_FOR,
    openapi::openapi,
    problem::{Problem, ProblemKind},
};

/// What the page may load: itself, and nothing from elsewhere.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A file of the page for people.
#[derive(Clone, Copy)]
pub(crate) struct PageFile {
    kind: &'static str,
    bytes: &'static [u8],
}

pub(crate) const PAGE: PageFile =
    PageFile { kind: "text/html; charset=utf-8", bytes: include_bytes!("page/index.html") };
pub(crate) const SCRIPT: PageFile =
    PageFile { kind: "text/javascript; charset=utf-8", bytes: include_bytes!("page/page.js") };
pub(crate) const STYLE: PageFile = PageFile { kind: "text/css; charset=utf-8", bytes: include_bytes!("page/page.css") };

impl IntoResponse for PageFile {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, self.kind), (header::CONTENT_SECURITY_POLICY, POLICY)];
        (headers, self.bytes).into_response()
    }
}

impl House {
    /// The instances that somebody may see with their methods, by name. One that can't be read is left out, and has its reason told.
    pub(crate) async fn catalogue(&self, bearer: &Bearer) -> Result<Vec<(InstanceName, Methods)>, Problem> {
        self.check(bearer, Deed::Read, None).await?;
        let mut seen = Vec::new();
        for (name, methods) in self.all_instances().await? {
            if self.check(bearer, Deed::Read, Some(&name)).await.is_ok() {
                seen.push((name, methods));
            }
        }
        Ok(seen)
    }

    async fn all_instances(&self) -> Result<Vec<(InstanceName, Methods)>, Problem> {
        let instances = Arc::clone(&self.instances);
        let looking = move || {
            let mut found = Vec::new();
            for name in instances.list()? {
                match instances.known(&name).map_or_else(|| instances.look_up(&name), Ok) {
                    Ok(instance) => found.push((name, instance.methods().clone())),
                    Err(NoInstance::Unknown) => {} // it was deregistered just now
                    Err(NoInstance::Unreadable(reason)) => {
                        tracing::warn!(instance = %name, "what the instance describes can't be read: {reason}");
                    }
                }
            }
            found.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
            Ok(found)
        };
        match tokio::task::spawn_blocking(looking).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(NoInstance::Unreadable(reason))) => Err(Problem::new(ProblemKind::Store, reason)),
            Ok(Err(NoInstance::Unknown)) => {
                Err(Problem::new(ProblemKind::Store, "the store has no instances any more"))
            }
            Err(_) => Err(Problem::new(ProblemKind::Closing, "the host ends")),
        }
    }

    /// The description of all methods.
    pub(crate) async fn openapi(&self, bearer: &Bearer) -> Result<Response, Problem> {
        Ok(Json(openapi(&self.catalogue(bearer).await?, &self.mounts)).into_response())
    }

    /// Whether requests can be passed on: the store can be read. Whoever may not see what there is learns neither how much that is
    /// nor why it can't be read.
    pub(crate) async fn readiness(&self, bearer: &Bearer) -> Result<Response, Problem> {
        let instances = Arc::clone(&self.instances);
        let count = move || instances.list().map(|names| names.len());
        let counted = self.counted.look(READY_FOR, count).await;
        let sees = self.check(bearer, Deed::Read, None).await.is_ok();
        match counted {
            Some(Ok(count)) if sees => Ok(Json(json!({ "status": "ready", "instances": count })).into_response()),
            Some(Ok(_)) => Ok(Json(json!({ "status": "ready" })).into_response()),
            Some(Err(NoInstance::Unreadable(reason))) if sees => Err(Problem::new(ProblemKind::NotReady, reason)),
            Some(Err(NoInstance::Unreadable(_))) => {
                Err(Problem::new(ProblemKind::NotReady, "the store can't be read: the host says why"))
            }
            Some(Err(NoInstance::Unknown)) | None => Err(Problem::new(ProblemKind::NotReady, "the host ends")),
        }
    }
}
