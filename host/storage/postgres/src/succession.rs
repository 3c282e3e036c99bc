//! Whether another server has come into office while the one at hand is silent.
//!
//! A machine that is gone does not say so, and what it was asked would be waited for as long as a request may take. If its standby is primary
//! by then, that is known at once by its timeline.
//!
//! **Architecture Invariant:** that it is wrong costs a new connection and nothing else: what counts is what is durable.

use std::time::Duration;

use ambrosia_shared_log::Session;
use tokio::{
    sync::{Mutex, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    conversation::{Conversation, newest_session, successor},
    place::PostgresPlace,
};

/// A server that has answered nothing for so long may be gone. Many that are only slow are so for less.
const SILENT_AFTER: Duration = Duration::from_millis(400);

/// What is known of servers that have come into office behind others.
#[derive(Default)]
pub(crate) struct Succession {
    newest: watch::Sender<Option<Successor>>,
    /// One looks for all.
    looking: Mutex<()>,
}

/// A server that has come into office.
#[derive(Clone, Copy)]
struct Successor {
    timeline: u32,
    /// The newest conversation that was there when it was found. Of later ones nothing is said: a store may be restored with a lower timeline.
    behind: Session,
}

impl Succession {
    /// Returns when another server is known to have the office of that conversation's, which is looked for while that is silent.
    pub(crate) async fn wait(&self, place: &PostgresPlace, conversation: &Conversation) {
        let Some(timeline) = conversation.timeline() else { return std::future::pending().await };
        let mut newest = self.newest.subscribe();
        let follows = |newest: &Option<Successor>| {
            newest.is_some_and(|newest| newest.timeline > timeline && conversation.session() <= newest.behind)
        };
        let looking = async {
            wait_until_silent(conversation).await;
            let _for_all = self.looking.lock().await;
            loop {
                if let Some(timeline) = successor(place, timeline).await {
                    self.newest.send_replace(Some(Successor { timeline, behind: newest_session() }));
                }
                sleep(SILENT_AFTER).await;
            }
        };
        tokio::select! {
            // The sender is here.
            _found = newest.wait_for(follows) => {}
            () = looking => unreachable!("it looks for ever"),
        }
    }
}

async fn wait_until_silent(conversation: &Conversation) {
    let began = Instant::now();
    loop {
        let silent = conversation.last_answer().max(began) + SILENT_AFTER;
        if silent <= Instant::now() {
            return;
        }
        sleep_until(silent).await;
    }
}
