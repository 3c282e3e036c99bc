//! What the primary of an instance says of its peers, of its requests to the world outside and of its schedules, for `status`.

use std::time::Duration;

use ambrosia_core::{HostAddress, InstanceName, Remembered, Retention, SessionCounts};
use ambrosia_wire::{CLIENT_VERSION, Connection, ConnectionError, Control, Frame, Security};
use tokio::time::timeout;

use crate::{greeting::greet, unreached::Unreached};

/// One peer, as the primary sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerReport {
    /// Its name.
    pub name: String,
    /// "connected", "connecting", or why not, in a word or two.
    pub state: String,
    /// Why not, for a person; empty if it is connected.
    pub reason: String,
    /// How long it is connected, or not.
    pub since: Duration,
    /// Messages that the peer has not acknowledged.
    pub messages: u64,
    /// Bytes that are kept for them.
    pub bytes: u64,
    /// Age of the oldest of them, to the second; at least that if it is older than the replica's process.
    pub oldest: Option<Duration>,
    /// Calls that it has not answered.
    pub calls: u64,
    /// Id of the oldest of them.
    pub oldest_call: Option<u64>,
}

/// One request to the world outside that has no outcome yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingRequest {
    /// The guest's number of it.
    pub id: u64,
    /// Method and URL without its query.
    pub what: String,
    /// Attempts that have begun in this reign.
    pub tries: u32,
    /// How long it has been under way in this reign.
    pub age: Duration,
    /// When the next attempt begins; `None` while one is under way or waits for its turn.
    pub next_try: Option<Duration>,
    /// How the last attempt has failed; empty if none has.
    pub error: String,
}

/// The requests to the world outside that have no outcome yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutgoingReport {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub first: Vec<OutgoingRequest>,
}

/// A method that runs by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScheduleReport {
    /// What it is called.
    pub method: String,
    /// Its times.
    pub cron: String,
    /// The time zone in which they are meant; empty for UTC.
    pub zone: String,
    /// What becomes of those that are missed: "one", "all" or "none".
    pub missed: String,
    /// When it runs next, in nanoseconds since 1970; `None` if it never does.
    pub next: Option<u64>,
    /// The last of its times for which it has run; `None` if it has not.
    pub done: Option<u64>,
}

/// What a primary says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Its peers.
    pub peers: Vec<PeerReport>,
    /// Its requests; `None` if it is of a version that has none.
    pub outgoing: Option<OutgoingReport>,
    /// What it remembers of requests; `None` if it is of a version that does not tell.
    pub remembered: Option<Remembered>,
    /// Its methods that run by themselves; `None` if it is of a version that knows of none.
    pub schedules: Option<Vec<ScheduleReport>>,
    /// What it has of sessions; `None` if it is of a version that knows of none.
    pub sessions: Option<SessionCounts>,
    /// Why its log takes no records for the time being; `None` if it takes them, or the primary is of a version that does not tell.
    pub stall: Option<Stall>,
}

/// The log of an instance takes no records for the time being.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stall {
    /// For how long.
    pub since: Duration,
    /// Why, for a person.
    pub reason: String,
}

impl Stall {
    /// As it is told: for how many milliseconds, if it takes none.
    pub(crate) fn told(since_ms: Option<u64>, reason: String) -> Option<Stall> {
        since_ms.map(|since_ms| Stall { since: Duration::from_millis(since_ms), reason })
    }
}

/// A primary has not said what it waits for.
#[derive(Debug, thiserror::Error)]
pub enum NoReport {
    /// It can't be talked to.
    #[error(transparent)]
    Unreached(#[from] Unreached),
    /// It does not know the question.
    #[error("the primary ended the connection: it changes just now, or is of an earlier version")]
    Ended,
}

/// Asks the primary of `name`, whose host is at `primary`, for its peers, requests and schedules. Must be called within a tokio runtime.
///
/// # Errors
/// If it can't be reached or does not answer within `limit`.
pub async fn ask_for_report(
    name: &InstanceName,
    primary: &HostAddress,
    limit: Duration,
    security: &Security,
) -> Result<Report, NoReport> {
    let asking = async {
        let (_handle, mut connection) = greet(name, primary, CLIENT_VERSION, security).await?;
        connection.write_frame(&Frame::Control(Control::Peers)).await?;
        let peers = gather(&mut connection).await?;
        connection.write_frame(&Frame::Control(Control::Outgoing)).await?;
        // Who does not know the question ends the connection.
        let outgoing = gather_outgoing(&mut connection).await.ok();
        let remembered = remembered(&mut connection).await.ok();
        let schedules = match &outgoing {
            Some(_) if remembered.is_some() => ask_for_schedules(&mut connection).await.ok(),
            _ => None,
        };
        let sessions = match &schedules {
            Some(_) => ask_for_sessions(&mut connection).await.ok(),
            None => None,
        };
        let stall = match &sessions {
            Some(_) => ask_for_stall(&mut connection).await.unwrap_or(None),
            None => None,
        };
        Ok(Report { peers, outgoing, remembered, schedules, sessions, stall })
    };
    let failed = |error: &ConnectionError| match Unreached::of(primary, error) {
        Some(unreached) => NoReport::Unreached(unreached),
        None => NoReport::Ended,
    };
    match timeout(limit, asking).await {
        Ok(Ok(report)) => Ok(report),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_) => Err(failed(&ConnectionError::HandshakeTimeout)),
    }
}

async fn gather(connection: &mut Connection) -> Result<Vec<PeerReport>, ConnectionError> {
    let mut peers = Vec::new();
    loop {
        match connection.read_frame().await? {
            Frame::Control(Control::Peer {
                name,
                state,
                reason,
                since_ms,
                messages,
                bytes,
                oldest_ms,
                calls,
                oldest_call,
            }) => peers.push(PeerReport {
                name,
                state,
                reason,
                since: Duration::from_millis(since_ms),
                messages,
                bytes,
                oldest: oldest_ms.map(Duration::from_millis),
                calls,
                oldest_call,
            }),
            Frame::Control(Control::PeersEnd) => return Ok(peers),
            Frame::Control(Control::Refused { reason, .. }) => return Err(ConnectionError::Refused(reason)),
            _ => return Err(ConnectionError::Unexpected),
        }
    }
}

async fn gather_outgoing(connection: &mut Connection) -> Result<OutgoingReport, ConnectionError> {
    let mut first = Vec::new();
    loop {
        match connection.read_frame().await? {
            Frame::Control(Control::OutgoingRequest { id, what, tries, age_ms, next_try_ms, error }) => {
                let (age, next_try) = (Duration::from_millis(age_ms), next_try_ms.map(Duration::from_millis));
                first.push(OutgoingRequest { id, what, tries, age, next_try, error });
            }
            Frame::Control(Control::OutgoingEnd { count }) => return Ok(OutgoingReport { count, first }),
            _ => return Err(ConnectionError::Unexpected),
        }
    }
}

async fn remembered(connection: &mut Connection) -> Result<Remembered, ConnectionError> {
    connection.write_frame(&Frame::Control(Control::Remembered)).await?;
    match connection.read_frame().await? {
        Frame::Control(Control::RememberedTold { results, bytes, under_way, results_max, bytes_max, age_s_max }) => {
            let retention = Retention { count: results_max, bytes: bytes_max, age_s: age_s_max };
            Ok(Remembered { results, bytes, under_way, retention })
        }
        _ => Err(ConnectionError::Unexpected),
    }
}

async fn ask_for_sessions(connection: &mut Connection) -> Result<SessionCounts, ConnectionError> {
    connection.write_frame(&Frame::Control(Control::Sessions)).await?;
    match connection.read_frame().await? {
        Frame::Control(Control::SessionsTold { sessions, under_way, results, bytes }) => {
            Ok(SessionCounts { sessions, under_way, results, bytes })
        }
        _ => Err(ConnectionError::Unexpected),
    }
}

async fn ask_for_stall(connection: &mut Connection) -> Result<Option<Stall>, ConnectionError> {
    connection.write_frame(&Frame::Control(Control::Stall)).await?;
    match connection.read_frame().await? {
        Frame::Control(Control::StallTold { since_ms, reason }) => Ok(Stall::told(since_ms, reason)),
        _ => Err(ConnectionError::Unexpected),
    }
}

async fn ask_for_schedules(connection: &mut Connection) -> Result<Vec<ScheduleReport>, ConnectionError> {
    connection.write_frame(&Frame::Control(Control::Schedules)).await?;
    let mut schedules = Vec::new();
    loop {
        match connection.read_frame().await? {
            Frame::Control(Control::Schedule { method, cron, zone, missed, next, done }) => {
                schedules.push(ScheduleReport { method, cron, zone, missed, next, done });
            }
            Frame::Control(Control::SchedulesEnd) => return Ok(schedules),
            _ => return Err(ConnectionError::Unexpected),
        }
    }
}
