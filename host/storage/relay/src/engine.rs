//! The engine: which connection a question takes, and how long it may take.

use std::{sync::Arc, time::Duration};

use ambrosia_shared_log::{
    ANSWER_TIME, ANSWER_TIME_MAX, Answer, Answering, Asked, Engine, EngineFacts, Fault, Lane, NEEDS_OPERATOR,
    RelayFacts, Request, Session, Told, needs_to_change,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use crate::{
    error::RelayError,
    link::Link,
    place::{OPENING_TIME, RelayPlace},
    reaching::reach,
    threads::Threads,
};

/// A host answers in that time, or its engine has not in its own.
const RELAY_ANSWER_TIME: Duration = Duration::from_secs(3);
const _: () = assert!(RELAY_ANSWER_TIME.as_millis() > ANSWER_TIME.as_millis());
const _: () = assert!(RELAY_ANSWER_TIME.as_millis() < ANSWER_TIME_MAX.as_millis());

/// The engine of a store that is reached through hosts.
pub struct RelayEngine {
    pub(crate) office: Arc<Office>,
    pub(crate) threads: Threads,
}

/// What questions share.
pub(crate) struct Office {
    pub(crate) place: RelayPlace,
    facts: RelayFacts,
    threads: tokio::runtime::Handle,
    link: Mutex<Option<Arc<Link>>>,
}

impl RelayEngine {
    /// Connects with one of the hosts. Blocks.
    ///
    /// # Errors
    /// If none of them is reached in time, or none relays its store to this process.
    pub fn open(place: RelayPlace) -> Result<RelayEngine, RelayError> {
        let threads = Threads::begin().map_err(|error| RelayError::Threads(error.to_string()))?;
        let there = place.clone();
        let reached = threads.wait_for(async move { reach(&there, None, Instant::now() + OPENING_TIME).await });
        let reached = reached.ok_or_else(|| RelayError::Threads("they have ended".to_owned()))??;
        let (facts, runtime) = (reached.facts.clone(), threads.runtime().handle().clone());
        let link = Mutex::new(Some(Arc::new(Link::begin(reached, &runtime))));
        Ok(RelayEngine { office: Arc::new(Office { place, facts, threads: runtime, link }), threads })
    }

    /// Names the store, whichever way it is reached.
    pub fn store(&self) -> &str {
        &self.office.facts.store
    }

    /// Where large contents of the store lie, if that is beside the engine of the host.
    pub fn depot_place(&self) -> Option<&str> {
        self.office.facts.depot.as_deref()
    }
}

impl Engine for RelayEngine {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let office = Arc::clone(&self.office);
        self.threads.runtime().spawn(async move { answer(office.answer(lane, request).await) });
    }

    fn facts(&self) -> EngineFacts {
        let RelayFacts { group_bytes_max, lanes, place, caution, .. } = self.office.facts.clone();
        let group_bytes_max = usize::try_from(group_bytes_max).unwrap_or(usize::MAX);
        EngineFacts { group_bytes_max, lanes, place: format!("{place}, through {}", self.office.place), caution }
    }
}

impl Office {
    pub(crate) fn store(&self) -> &str {
        &self.facts.store
    }

    async fn answer(&self, lane: Lane, mut request: Request) -> Answer {
        let until = Instant::now() + RELAY_ANSWER_TIME;
        let link = match &mut request {
            // By the connection by which was read what is to be durable; another one may be with another host, whose engine knows nothing of it.
            Request::Barrier { session } => {
                let (link, theirs) = self.of_session(*session).await.ok_or_else(|| {
                    Fault::Unavailable("the connection with the host by which that was read is over".to_owned())
                })?;
                *session = theirs;
                link
            }
            _ => timeout_at(until, self.link(until)).await.map_err(|_| self.late())??,
        };
        if needs_to_change(&request) && !link.may_change {
            return Err(Fault::Refused(format!("the host at {}: {NEEDS_OPERATOR}", link.address)));
        }
        match timeout_at(until, link.ask(&Asked::Engine { lane, request })).await {
            Ok(Ok(Told::Engine(answer))) => answer,
            Ok(Ok(Told::Refused { reason })) => Err(Fault::Refused(format!("the host at {}: {reason}", link.address))),
            Ok(Ok(_)) => Err(Fault::Unknown(format!("the host at {} has answered something else", link.address))),
            Ok(Err(over)) => Err(Fault::Unknown(format!("the connection with {} has ended: {}", link.address, over.0))),
            // A host that stands still keeps its connections alive.
            Err(_) => {
                let words = format!("the host at {} has not answered within {RELAY_ANSWER_TIME:?}", link.address);
                self.give_up(&link, &words).await;
                Err(Fault::Unknown(words))
            }
        }
    }

    fn late(&self) -> Fault {
        Fault::Unavailable(format!("no host of {} has answered within {RELAY_ANSWER_TIME:?}", self.place))
    }

    /// The connection that there is, or a new one. Whoever asks meanwhile waits for the same.
    async fn link(&self, until: Instant) -> Result<Arc<Link>, Fault> {
        let mut there = self.link.lock().await;
        if let Some(link) = there.as_ref().filter(|link| !link.is_over()) {
            return Ok(Arc::clone(link));
        }
        *there = None;
        let reached = reach(&self.place, Some(self.store()), until).await.map_err(|error| match error {
            RelayError::Refused { .. } => Fault::Refused(error.to_string()),
            RelayError::Unreached { .. } | RelayError::Threads(_) => Fault::Unavailable(error.to_string()),
        })?;
        Ok(Arc::clone(there.insert(Arc::new(Link::begin(reached, &self.threads)))))
    }

    /// The connection of that session, and what the host calls it, if it goes on.
    async fn of_session(&self, session: Session) -> Option<(Arc<Link>, Session)> {
        let there = self.link.lock().await;
        let link = there.as_ref().filter(|link| !link.is_over())?;
        Some((Arc::clone(link), link.theirs(session)?))
    }

    async fn give_up(&self, link: &Arc<Link>, reason: &str) {
        link.give_up(reason);
        let mut there = self.link.lock().await;
        if there.as_ref().is_some_and(|there| Arc::ptr_eq(there, link)) {
            *there = None;
        }
    }
}
