//! A journey as a page: a browser on this machine sends the commands.
//!
//! **Architecture Invariant:** the page shows what commands say, and can do no more than they can. It is there for programs of
//! this machine alone: it listens on loopback, and what is asked under another name is refused, so that no page of the web
//! can ask through its reader's browser.

use std::{
    net::{SocketAddr, TcpListener},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use anyhow::{Context, bail};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Longest command, in bytes.
const COMMAND_BYTES_MAX: usize = 64 << 10;

/// What the page may load: itself, and nothing from elsewhere.
const POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A command that waits for its answer.
struct Asked {
    line: String,
    answer: oneshot::Sender<Value>,
}

/// What the routes share.
#[derive(Clone)]
struct Door {
    asked: Sender<Asked>,
    /// Names that this machine has for itself, with the port.
    names: [String; 3],
}

/// Serves the page until the process ends. Each command goes to `answer`, one after the other, on this thread.
///
/// # Errors
/// If the address is none of this machine alone, or can't be listened on.
pub(super) fn serve(
    address: SocketAddr,
    told: impl FnOnce(SocketAddr),
    mut answer: impl FnMut(&str) -> Value,
) -> anyhow::Result<()> {
    if !address.ip().is_loopback() {
        bail!(
            "--serve {address}: what an instance has been sent is shown to this machine only: give a loopback address, such as 127.0.0.1:8080"
        );
    }
    let listener = TcpListener::bind(address).with_context(|| format!("--serve: cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let (asked, commands): (_, Receiver<Asked>) = channel();
    let port = address.port();
    let names = [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")];
    let routes = routes(Door { asked, names });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listen = move || {
        runtime.block_on(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, routes).await })
    };
    let server = thread::Builder::new().name("page".to_owned()).spawn(listen)?;
    told(address);
    for Asked { line, answer: answered } in commands {
        // Whoever asked may have closed the page.
        let _closed = answered.send(answer(&line));
    }
    // Its routes are gone, and so is whatever served them.
    match server.join() {
        Ok(ended) => Ok(ended?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn routes(door: Door) -> Router {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, POLICY)], text) })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page/index.html")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page/page.js")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page/page.css")))
        .route("/command", post(command))
        .layer(DefaultBodyLimit::max(COMMAND_BYTES_MAX))
        .layer(middleware::from_fn_with_state(door.clone(), for_this_machine))
        .with_state(door)
}

/// Refuses what was asked under a name that is not this machine's own, since a name that somebody else gives it leads here, too; and
/// what a page of another site asks, which its reader's browser sends without asking whether it may.
async fn for_this_machine(State(door): State<Door>, request: Request, next: Next) -> Response {
    match why_not(request.headers(), &door.names) {
        None => next.run(request).await,
        Some(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
    }
}

fn why_not(headers: &HeaderMap, names: &[String; 3]) -> Option<String> {
    let told = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    let Some(named) = told(header::HOST).filter(|named| names.iter().any(|name| name == named)) else {
        return Some(format!("ask for http://{}/: this page is for this machine only\n", names[1]));
    };
    let origin = told(header::ORIGIN).filter(|origin| origin.strip_prefix("http://") != Some(named))?;
    Some(format!("a page of {origin:?} asks, and only that of http://{named}/ may\n"))
}

async fn command(State(door): State<Door>, line: String) -> Response {
    let (answer, answered) = oneshot::channel();
    let is_asked = door.asked.send(Asked { line, answer }).is_ok();
    match answered.await {
        Ok(value) if is_asked => Json(value).into_response(),
        _ => {
            let error = json!({ "answers": [], "error": "the journey is over" });
            (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
        }
    }
}
