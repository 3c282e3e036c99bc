//! The events of an instance for all who listen to them over HTTP: one connection brings them, and they are kept here as the instance
//! keeps them, the newest.
//!
//! **Architecture Invariant:** who listens has nothing of its own here but its place. So one that is slow costs nothing and holds up nobody;
//! what is forgotten before it was that far it is told of.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use ambrosia_client::{Client, ClientError, Heard, decode_value, without_controls};
use ambrosia_core::{
    Event, EventId, InstanceName, ReplicaIndex,
    limits::{EVENTS_BYTES_MAX, EVENTS_MAX},
};
use bytes::{Bytes, BytesMut};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::limits::{EVENT_CHUNK_BYTES, FEEDS_MAX, SMALL_BODY_BYTES};

/// Why nothing comes is found out as often as this.
const PATIENCE: Duration = Duration::from_millis(500);

/// Text of events that is kept: JSON takes more than what the instance keeps.
const TEXT_BYTES_MAX: usize = 4 * EVENTS_BYTES_MAX;

/// Feeds that somebody listens to.
#[derive(Default)]
pub(crate) struct Feeds(Mutex<HashMap<Source, Weak<Feed>>>);

/// Of which instance, and of which replica, where that is not the primary.
type Source = (InstanceName, Option<ReplicaIndex>);

/// Events of one instance, by its primary or by one replica. Dropped, it ends its connection.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    replica: Option<ReplicaIndex>,
    task: JoinHandle<()>,
}

struct Shared {
    kept: Mutex<Kept>,
    news: watch::Sender<()>,
}

/// What has come.
#[derive(Default)]
struct Kept {
    events: VecDeque<Shown>,
    bytes: usize,
    /// The newest that is not kept.
    forgotten: EventId,
    /// What there was when it began; `None` before that.
    goal: Option<EventId>,
    trouble: Option<Trouble>,
}

/// An event as those get it who listen.
#[derive(Clone)]
struct Shown {
    id: EventId,
    topic: Arc<str>,
    text: Bytes,
}

/// Why nothing comes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Nobody is reached yet.
    NotYet(String),
    /// The replica that was asked for is not reached yet.
    NoReplica(String),
    /// Nothing will come any more.
    Ended(String),
}

/// What is there for somebody who listens.
pub(crate) struct Part {
    /// Blocks of a stream of events; empty if there is nothing.
    pub(crate) text: Bytes,
    /// How far that goes.
    pub(crate) place: EventId,
    /// Nothing follows, for that reason.
    pub(crate) ended: Option<String>,
}

impl Feeds {
    /// The feed of an instance, which begins if nobody listens yet; `None` if there are as many as there may be. Must be called within a
    /// tokio runtime.
    pub(crate) fn feed(
        &self,
        name: &InstanceName,
        replica: Option<ReplicaIndex>,
        client: impl FnOnce() -> Client,
    ) -> Option<Arc<Feed>> {
        let mut feeds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.clone(), replica);
        if let Some(feed) = feeds.get(&key).and_then(Weak::upgrade)
            && !matches!(feed.trouble(), Some(Trouble::Ended(_)))
        {
            return Some(feed);
        }
        if feeds.len() >= FEEDS_MAX {
            feeds.retain(|_, feed| feed.strong_count() > 0);
        }
        if feeds.len() >= FEEDS_MAX {
            return None;
        }
        let feed = Arc::new(Feed::begin(client(), replica));
        feeds.insert(key, Arc::downgrade(&feed));
        Some(feed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Feed {
    fn begin(client: Client, replica: Option<ReplicaIndex>) -> Feed {
        let shared = Arc::new(Shared { kept: Mutex::default(), news: watch::Sender::new(()) });
        let task = tokio::spawn(follow(Arc::clone(&shared), client, replica));
        Feed { shared, replica, task }
    }

    /// Tells whenever something has come.
    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.shared.news.subscribe()
    }

    /// Waits until all has come that there was, for `limit` at most. Returns how far that goes.
    ///
    /// # Errors
    /// Why it has not.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<EventId, Trouble> {
        let mut news = self.news();
        let ready = async {
            loop {
                news.borrow_and_update();
                {
                    let kept = self.shared.lock();
                    match (kept.ready(), &kept.trouble) {
                        (_, Some(trouble @ Trouble::Ended(_))) => return Err(trouble.clone()),
                        (Some(place), _) => return Ok(place),
                        (None, _) => {}
                    }
                }
                if news.changed().await.is_err() {
                    return Err(Trouble::Ended("the host ends".to_owned()));
                }
            }
        };
        timeout(limit, ready).await.unwrap_or_else(|_| {
            let said = format!("nobody has answered within {limit:?}");
            Err(self.trouble().unwrap_or(match self.replica {
                None => Trouble::NotYet(said),
                Some(_) => Trouble::NoReplica(said),
            }))
        })
    }

    /// What there is behind a place, of these topics or of all if none is named; as much as is sent at once.
    pub(crate) fn after(&self, place: EventId, topics: &[String]) -> Part {
        self.shared.lock().after(place, topics)
    }

    fn trouble(&self) -> Option<Trouble> {
        self.shared.lock().trouble.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.lock());
        self.news.send_replace(());
    }
}

/// Takes what comes, until nothing comes any more.
async fn follow(shared: Arc<Shared>, mut client: Client, replica: Option<ReplicaIndex>) {
    let mut events = client.events(Some(EventId::default()), replica);
    loop {
        let heard = match events.begin(PATIENCE).await {
            Ok(newest) => {
                if shared.lock().goal.is_none() {
                    shared.change(|kept| kept.goal = Some(newest));
                }
                events.next(PATIENCE).await
            }
            Err(error) => Err(error),
        };
        match heard {
            Ok(Heard::Event(event)) => {
                if let Some(shown) = show(event).await {
                    shared.change(|kept| kept.push(shown));
                }
            }
            Ok(Heard::Lost { after: _, through }) => shared.change(|kept| kept.forget(through)),
            Err(error) => {
                let trouble = trouble_of(&error);
                let has_ended = matches!(trouble, Trouble::Ended(_));
                shared.change(|kept| kept.trouble = Some(trouble));
                if has_ended {
                    return;
                }
            }
        }
    }
}

fn trouble_of(error: &ClientError) -> Trouble {
    let said = error.to_string();
    match error {
        ClientError::NoReplica { .. } => Trouble::NoReplica(said),
        ClientError::NoPrimary { .. } | ClientError::Unreached { .. } | ClientError::NotFound { .. } => {
            Trouble::NotYet(said)
        }
        // It has ended, is gone, or takes no more: whoever listens asks anew.
        _ => Trouble::Ended(said),
    }
}

/// An event as text; a large one where nobody else waits. `None` if the host ends meanwhile.
async fn show(event: Event) -> Option<Shown> {
    if event.value.len() <= SMALL_BODY_BYTES {
        return Some(Shown::of(&event));
    }
    tokio::task::spawn_blocking(move || Shown::of(&event)).await.ok()
}

impl Shown {
    fn of(event: &Event) -> Shown {
        let topic = without_controls(&event.topic);
        let mut text = format!("id: {}\n", event.id);
        if !topic.is_empty() {
            text.push_str(&format!("event: {topic}\n"));
        }
        text.push_str(&format!("data: {}\n\n", decode_value(&event.value)));
        Shown { id: event.id, topic: event.topic.as_str().into(), text: text.into() }
    }
}

impl Kept {
    fn push(&mut self, shown: Shown) {
        assert!(self.events.back().is_none_or(|last| last.id < shown.id), "events rise");
        self.bytes += shown.text.len();
        self.events.push_back(shown);
        while self.events.len() > EVENTS_MAX || (self.bytes > TEXT_BYTES_MAX && self.events.len() > 1) {
            let oldest = self.events.pop_front().expect("there are more than the limit");
            self.bytes -= oldest.text.len();
            self.forgotten = oldest.id;
        }
        self.trouble = None;
    }

    /// What comes up to `through` is not known, but for what has come before.
    fn forget(&mut self, through: EventId) {
        assert!(self.place() < through, "what has come is not lost");
        self.events.clear();
        (self.bytes, self.forgotten, self.trouble) = (0, through, None);
    }

    /// How far it goes.
    fn place(&self) -> EventId {
        self.events.back().map_or(self.forgotten, |last| last.id)
    }

    /// The same, once all has come that there was.
    fn ready(&self) -> Option<EventId> {
        self.goal.filter(|goal| *goal <= self.place()).map(|_| self.place())
    }

    fn after(&self, place: EventId, topics: &[String]) -> Part {
        let mut blocks: Vec<Bytes> = Vec::new();
        let mut place = place;
        if place < self.forgotten {
            blocks.push(self.lost(place));
            place = self.forgotten;
        }
        let mut bytes = 0;
        for shown in self.events.range(self.events.partition_point(|shown| shown.id <= place)..) {
            let is_wanted = topics.is_empty() || topics.iter().any(|topic| **topic == *shown.topic);
            if is_wanted && bytes > 0 && bytes + shown.text.len() > EVENT_CHUNK_BYTES {
                break;
            }
            place = shown.id;
            if is_wanted {
                bytes += shown.text.len();
                blocks.push(shown.text.clone());
            }
        }
        let ended = match &self.trouble {
            Some(Trouble::Ended(reason)) if place >= self.place() => Some(reason.clone()),
            _ => None,
        };
        Part { text: joined(blocks), place, ended }
    }

    /// That events behind `place` are not kept any more.
    fn lost(&self, place: EventId) -> Bytes {
        let oldest = self.events.front().map(|oldest| oldest.id.to_string());
        let through = self.forgotten;
        let data = json!({ "after": place.to_string(), "through": through.to_string(), "oldest": oldest });
        format!("id: {through}\nevent: ambrosia.lost\ndata: {data}\n\n").into()
    }
}

/// One alone is shared by all who get it.
fn joined(mut blocks: Vec<Bytes>) -> Bytes {
    if blocks.len() <= 1 {
        return blocks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(blocks.iter().map(Bytes::len).sum());
    blocks.iter().for_each(|block| all.extend_from_slice(block));
    all.freeze()
}

#[cfg(test)]
mod tests {
    use ambrosia_core::{Lsn, Timestamp};

    use super::*;

    fn event(lsn: u64, topic: &str, value: &'static [u8]) -> Event {
        let (id, value) = (EventId { lsn: Lsn(lsn), index: 0 }, Bytes::from_static(value));
        Event { id, time: Timestamp(1), topic: topic.to_owned(), value }
    }

    fn kept(events: &[(u64, &str)]) -> Kept {
        let mut kept = Kept::default();
        events.iter().for_each(|(lsn, topic)| kept.push(Shown::of(&event(*lsn, topic, b"\x07"))));
        kept
    }

    fn after(kept: &Kept, place: &str, topics: &[&str]) -> (String, String) {
        let topics: Vec<_> = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let part = kept.after(place.parse().expect("an id"), &topics);
        (String::from_utf8(part.text.to_vec()).expect("text"), part.place.to_string())
    }

    #[test]
    fn an_event_is_a_block_whatever_its_topic_is() {
        let text = |topic: &str, value| String::from_utf8(Shown::of(&event(7, topic, value)).text.to_vec());
        assert_eq!(text("paid", b"\x92\x01\xa1\x0a").as_deref(), Ok("id: 7.0\nevent: paid\ndata: [1,\"\\n\"]\n\n"));
        assert_eq!(text("", b"\xc0").as_deref(), Ok("id: 7.0\ndata: null\n\n"));
        let told = text("a\nid: 9\r\n\ndata: x", b"\x01").expect("text");
        assert_eq!(told.lines().count(), 4, "nobody puts a line of its own into it: {told:?}");
        assert!(!told.contains('\r') && told.ends_with("\ndata: 1\n\n"), "{told:?}");
    }

    #[test]
    fn each_gets_what_is_behind_its_place_and_of_its_topics() {
        let kept = kept(&[(2, "a"), (3, "b"), (5, "a")]);
        let block = |lsn: u64, topic: &str| format!("id: {lsn}.0\nevent: {topic}\ndata: 7\n\n");
        let all = [block(2, "a"), block(3, "b"), block(5, "a")].concat();
        assert_eq!(after(&kept, "0", &[]), (all, "5.0".to_owned()));
        assert_eq!(after(&kept, "2.0", &["a"]), (block(5, "a"), "5.0".to_owned()));
        assert_eq!(after(&kept, "3.0", &["b"]), (String::new(), "5.0".to_owned()), "the place goes on all the same");
        assert_eq!(after(&kept, "9.0", &[]), (String::new(), "9.0".to_owned()));
    }

    #[test]
    fn what_is_forgotten_is_told_of_once() {
        let mut kept = kept(&[(2, "a"), (3, "b")]);
        kept.forget(EventId { lsn: Lsn(6), index: 1 });
        let lost = |after: &str, oldest: &str| {
            format!(
                "id: 6.1\nevent: ambrosia.lost\ndata: {{\"after\":\"{after}\",\"oldest\":{oldest},\"through\":\"6.1\"}}\n\n"
            )
        };
        assert_eq!(after(&kept, "3.0", &[]), (lost("3.0", "null"), "6.1".to_owned()));
        kept.push(Shown::of(&event(7, "a", b"\x07")));
        let block = "id: 7.0\nevent: a\ndata: 7\n\n";
        assert_eq!(after(&kept, "2.0", &["b"]), (lost("2.0", "\"7.0\""), "7.0".to_owned()));
        assert_eq!(after(&kept, "6.1", &[]), (block.to_owned(), "7.0".to_owned()));
    }

    #[test]
    fn what_is_kept_is_bounded_and_sent_in_parts() {
        let mut kept = Kept::default();
        for lsn in 1..=EVENTS_MAX as u64 + 10 {
            kept.push(Shown::of(&event(lsn, "a", b"\x07")));
        }
        assert_eq!((kept.events.len(), kept.forgotten.to_string()), (EVENTS_MAX, "10.0".to_owned()));
        let (mut place, mut parts, mut count) = ("10.0".to_owned(), 0, 0);
        while place != kept.place().to_string() {
            let (text, further) = after(&kept, &place, &[]);
            assert!(!text.is_empty() && text.len() <= EVENT_CHUNK_BYTES);
            (place, parts, count) = (further, parts + 1, count + text.matches("data: 7").count());
        }
        assert!(parts > 1, "it is more than is sent at once");
        assert_eq!(count, EVENTS_MAX);
        let large = b"\xdb\x00\x40\x00\x00".iter().chain(&[b'\x01'; 4 << 20]).copied().collect::<Vec<_>>();
        let large: &'static [u8] = large.leak();
        for lsn in 5000..5003 {
            kept.push(Shown::of(&event(lsn, "a", large)));
        }
        assert_eq!((kept.events.len(), kept.forgotten.to_string()), (1, "5001.0".to_owned()), "six bytes each");
    }
}
