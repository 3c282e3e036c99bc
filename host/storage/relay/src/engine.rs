//! The engine: which connection a question takes, and how long it may take.

use std::{sync::Arc, time::Duration};

use ambrosia_core::HostAddress;
use ambrosia_shared_log::{
    ANSWER_TIME_MAX, Answer, Answering, Asked, Engine, EngineFacts, Fault, Lane, NEEDS_OPERATOR, RelayFacts, Request,
    SLOW_ANSWER_TIME, Session, Told, needs_to_change,
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
const RELAY_ANSWER_TIME: Duration = Duration::from_millis(3900);
const _: () = assert!(RELAY_ANSWER_TIME.as_millis() > SLOW_ANSWER_TIME.as_millis());
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
    there: Mutex<There>,
}

/// With which host there is a connection.
#[derive(Default)]
struct There {
    link: Option<Arc<Link>>,
    /// The host whose engine does not answer, so that the next one is asked first.
    behind: Option<HostAddress>,
}

impl There {
    /// The connection, if it goes on.
    fn present(&self) -> Option<&Arc<Link>> {
        self.link.as_ref().filter(|link| !link.is_over())
    }

    /// Nothing more is asked on that connection.
    fn leave(&mut self, link: &Arc<Link>) {
        self.link.take_if(|there| Arc::ptr_eq(there, link));
    }
}

impl RelayEngine {
    /// Connects with one of the hosts. Blocks.
    ///
    /// # Errors
    /// If none of them is reached in time, or none relays its store to this process.
    pub fn open(place: RelayPlace) -> Result<RelayEngine, RelayError> {
        let threads = Threads::begin().map_err(|error| RelayError::Threads(error.to_string()))?;
        let there = place.clone();
        let reached = threads.wait_for(async move { reach(&there, None, None, Instant::now() + OPENING_TIME).await });
        let reached = reached.ok_or_else(|| RelayError::Threads("they have ended".to_owned()))??;
        let (facts, runtime) = (reached.facts.clone(), threads.runtime().handle().clone());
        let link = Some(Arc::new(Link::begin(reached, &runtime)));
        let there = Mutex::new(There { link, behind: None });
        Ok(RelayEngine { office: Arc::new(Office { place, facts, threads: runtime, there }), threads })
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
            Ok(Ok(Told::Engine(answer))) => {
                if matches!(answer, Err(Fault::Unavailable(_) | Fault::Unknown(_))) {
                    self.turn_away(&link);
                }
                answer
            }
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
        let mut there = self.there.lock().await;
        if let Some(link) = there.present() {
            return Ok(Arc::clone(link));
        }
        let reached = reach(&self.place, Some(self.store()), there.behind.as_ref(), until).await;
        let reached = reached.map_err(|error| match error {
            RelayError::Refused { .. } => Fault::Refused(error.to_string()),
            RelayError::Unreached { .. } | RelayError::Threads(_) => Fault::Unavailable(error.to_string()),
        })?;
        Ok(Arc::clone(there.link.insert(Arc::new(Link::begin(reached, &self.threads)))))
    }

    /// The connection of that session, and what the host calls it, if it goes on.
    async fn of_session(&self, session: Session) -> Option<(Arc<Link>, Session)> {
        let there = self.there.lock().await;
        let link = there.present()?;
        Some((Arc::clone(link), link.theirs(session)?))
    }

    /// The host whose engine does not answer.
    pub(crate) async fn behind(&self) -> Option<HostAddress> {
        self.there.lock().await.behind.clone()
    }

    async fn give_up(&self, link: &Arc<Link>, reason: &str) {
        link.give_up(reason);
        self.there.lock().await.leave(link);
    }

    /// The engine of that host does not answer, and another one's may: the host alone may be cut off from it. What is under way there goes on.
    fn turn_away(&self, link: &Arc<Link>) {
        if self.place.addresses().len() == 1 {
            return;
        }
        // Whoever has it reaches for another one just now, and nobody waits for that with an answer that is there.
        if let Ok(mut there) = self.there.try_lock() {
            there.leave(link);
            there.behind = Some(link.address.clone());
        }
    }
}
