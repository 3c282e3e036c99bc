//! Whether requests are under way on a connection.

use std::{future::Future, time::Duration};

use axum::{
    Router,
    body::{Body, HttpBody as _},
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use http_body_util::BodyExt as _;
use tokio::{sync::watch, time::timeout};

/// How many requests are under way on a connection.
#[derive(Clone)]
pub(super) struct Activity(watch::Sender<usize>);

/// A request that is under way.
struct UnderWay(Activity);

impl Activity {
    pub(super) fn new() -> Activity {
        Activity(watch::Sender::new(0))
    }

    /// The routes, whose requests are counted until the last byte of their answers is gone.
    pub(super) fn counted(&self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(self.clone(), count))
    }

    /// Comes when no request was under way for so long.
    pub(super) fn idle(&self, wait: Duration) -> impl Future<Output = ()> + use<> {
        let mut count = self.0.subscribe();
        async move {
            loop {
                let is_idle = *count.borrow_and_update() == 0;
                let changed = if is_idle { timeout(wait, count.changed()).await } else { Ok(count.changed().await) };
                match changed {
                    Ok(Ok(())) => {}
                    // The connection itself holds a sender: it is gone, and nobody waits for this.
                    Ok(Err(_)) | Err(_) => return,
                }
            }
        }
    }
}

async fn count(State(activity): State<Activity>, request: Request, next: Next) -> Response {
    activity.0.send_modify(|count| *count += 1);
    let under_way = UnderWay(activity);
    let response = next.run(request).await;
    if response.body().is_end_stream() {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &under_way;
            frame
        }))
    })
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}
