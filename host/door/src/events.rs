//! What an instance emits, as a stream of server-sent events that resumes where it was cut.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use ambrosia_core::{EventId, InstanceName, ReplicaIndex};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::sleep,
};

use crate::{
    access::{Bearer, Deed},
    calls::{end, unknown_instance},
    door::House,
    feed::{Feed, Trouble},
    limits::EVENTS_PAUSE,
    problem::{Problem, ProblemKind},
    query_string::pairs,
    wish::Wish,
};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How soon a client connects again, in milliseconds.
const RETRY_MS: u32 = 500;

/// What is listened to.
#[derive(PartialEq, Eq, Debug)]
struct Asked {
    /// Where it begins; now if there is none.
    after: Option<EventId>,
    /// All if there is none.
    topics: Vec<String>,
    /// The primary if there is none.
    replica: Option<ReplicaIndex>,
}

/// Has whoever asks listen to the events of an instance.
pub(crate) async fn listen(house: &Arc<House>, instance: &str, request: Request) -> Result<Response, Problem> {
    let full = || Problem::new(ProblemKind::Busy, "as many listen to events as may; try it later, or at another host");
    let permit = Arc::clone(&house.listeners).try_acquire_owned().map_err(|_| full())?;
    let name = InstanceName::new(instance).map_err(|_| unknown_instance(instance))?;
    let bearer = Bearer::of(&request);
    house.check(&bearer, Deed::Query, Some(&name)).await?;
    let asked = Asked::of(request.uri().query().unwrap_or_default(), request.headers())?;
    let found = match house.instances.known(&name) {
        Some(found) => found,
        None => house.look_up(&name).await?,
    };
    if let Some(ended) = found.ended() {
        return Err(end(&name, ended));
    }
    let feed = house.feeds.feed(&name, asked.replica, || house.instances.client_of_replicas(&name));
    let feed = feed.ok_or_else(full)?;
    let wait = Wish::of(request.headers()).wait;
    let ready = tokio::select! {
        ready = feed.ready(wait) => ready,
        () = house.begins_to_close() => return Err(Problem::new(ProblemKind::Closing, "the host ends")),
    };
    let now = match ready {
        Ok(now) => now,
        Err(trouble) => return Err(problem(house, &name, trouble).await),
    };
    let place = asked.after.unwrap_or(now);
    let news = feed.news();
    let listener = Listener {
        house: Arc::clone(house),
        bearer,
        name,
        feed,
        news,
        topics: asked.topics,
        place,
        told: None,
        has_ended: false,
        checked: Instant::now(),
        _permit: permit,
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // What stands in front is not to gather what comes.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::new(EventStream(Some(Box::pin(listener.next()))))).into_response())
}

async fn problem(house: &House, name: &InstanceName, trouble: Trouble) -> Problem {
    match trouble {
        Trouble::NotYet(said) => Problem::new(ProblemKind::NoPrimary, said),
        Trouble::NoReplica(said) => Problem::new(ProblemKind::NoReplica, said),
        Trouble::Ended(said) => match house.look_up(name).await {
            Ok(instance) => match instance.ended() {
                Some(ended) => end(name, ended),
                None => Problem::new(ProblemKind::NoPrimary, said),
            },
            Err(problem) => problem,
        },
    }
}

impl Asked {
    fn of(query: &str, headers: &HeaderMap) -> Result<Asked, Problem> {
        let mut asked = Asked { after: None, topics: Vec::new(), replica: None };
        for (name, value) in pairs(query)? {
            let wrong = |detail: String| Problem::new(ProblemKind::BadArguments, detail).with("argument", name.clone());
            match name.as_str() {
                "after" => asked.after = Some(value.parse().map_err(|error| wrong(format!("after: {error}")))?),
                "topic" => asked.topics.push(value),
                "replica" => {
                    let number = value.parse().map_err(|_| wrong(format!("replica is a number, and not {value:?}")))?;
                    asked.replica = Some(ReplicaIndex(number));
                }
                _ => {
                    return Err(wrong(format!(
                        "events are asked for by after, topic and replica, and not by {name:?}"
                    )));
                }
            }
        }
        // Whoever comes again does so with the URL that it began with, so the header counts.
        if let Some(last) = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty()) {
            let text = String::from_utf8_lossy(last.as_bytes());
            let wrong = |error| Problem::new(ProblemKind::BadArguments, format!("Last-Event-ID: {error}"));
            asked.after = Some(text.parse().map_err(wrong)?);
        }
        Ok(asked)
    }
}

/// Somebody who listens.
struct Listener {
    house: Arc<House>,
    bearer: Bearer,
    name: InstanceName,
    feed: Arc<Feed>,
    news: watch::Receiver<()>,
    topics: Vec<String>,
    /// How far what was sent goes.
    place: EventId,
    /// The last place that was told; `None` before anything was sent.
    told: Option<EventId>,
    has_ended: bool,
    /// When it was looked whether it may.
    checked: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// What is to be sent next, whenever that is; `None` if nothing follows.
    async fn next(mut self) -> Option<(Listener, Bytes)> {
        loop {
            self.news.borrow_and_update();
            if self.has_ended || !self.may_go_on().await {
                return None;
            }
            let Some(told) = self.told else {
                // So whoever is cut before the first event resumes, too.
                self.told = Some(self.place);
                let begun = format!("retry: {RETRY_MS}\nid: {}\n\n", self.place);
                return Some((self, begun.into()));
            };
            let part = self.feed.after(self.place, &self.topics);
            self.place = part.place;
            if !part.text.is_empty() {
                self.told = Some(self.place);
                return Some((self, part.text));
            }
            if let Some(reason) = part.ended {
                self.has_ended = true;
                let ended = format!("event: ambrosia.ended\ndata: {}\n\n", json!({ "reason": reason }));
                return Some((self, ended.into()));
            }
            tokio::select! {
                changed = self.news.changed() => changed.ok()?,
                () = self.house.begins_to_close() => return None,
                () = sleep(EVENTS_PAUSE) => {
                    // Events of other topics have gone by.
                    let place = self.place;
                    let alive = if place > told { format!("id: {place}\n\n") } else { ":\n\n".to_owned() };
                    self.told = Some(place);
                    return Some((self, alive.into()));
                }
            }
        }
    }
}

impl Listener {
    /// Looks from time to time whether it still may: its token may have been revoked, or the first one may have been made.
    async fn may_go_on(&mut self) -> bool {
        if self.checked.elapsed() < EVENTS_PAUSE {
            return true;
        }
        self.checked = Instant::now();
        self.house.check(&self.bearer, Deed::Query, Some(&self.name)).await.is_ok()
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Listener, Bytes)>> + Send>>;

/// A body that is what a listener is sent.
struct EventStream(Option<Next>);

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.0 else { return Poll::Ready(None) };
        let Poll::Ready(sent) = next.as_mut().poll(context) else { return Poll::Pending };
        self.0 = None;
        Poll::Ready(sent.map(|(listener, bytes)| {
            self.0 = Some(Box::pin(listener.next()));
            Ok(Frame::data(bytes))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behind which event, which topics, and of which replica.
    type Parts = (Option<String>, Vec<String>, Option<u16>);

    fn asked(query: &str, last: &str) -> Result<Parts, ProblemKind> {
        let mut headers = HeaderMap::new();
        headers.insert(LAST_EVENT_ID, last.parse().expect("a value"));
        let asked = Asked::of(query, &headers).map_err(|problem| problem.kind)?;
        Ok((asked.after.map(|id| id.to_string()), asked.topics, asked.replica.map(|replica| replica.0)))
    }

    #[test]
    fn the_header_of_who_comes_again_counts_more_than_its_url() {
        assert_eq!(asked("", ""), Ok((None, Vec::new(), None)));
        assert_eq!(asked("after=3.1&replica=2", ""), Ok((Some("3.1".to_owned()), Vec::new(), Some(2))));
        let topics = vec!["a b".to_owned(), String::new()];
        assert_eq!(asked("after=3.1&topic=a+b&topic=", "7.0"), Ok((Some("7.0".to_owned()), topics, None)));
        for (query, last) in [("after=x", ""), ("", "x"), ("replica=a", ""), ("since=1", ""), ("after", "")] {
            assert_eq!(asked(query, last), Err(ProblemKind::BadArguments), "{query} {last}");
        }
    }
}
