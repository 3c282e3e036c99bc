//! What can happen to a replica, as its driver thread finds it in the mailbox.

use std::sync::mpsc::SyncSender;

use ambrosia_core::{
    CallId, ConnectionId, Epoch, EventId, Inquiry, InstanceName, InstanceUuid, MethodId, OpeningId, PeerIndex,
    PromiseToken, Query, RequestId, Seq, SessionId, Ticket, TraceContext,
};
use ambrosia_outgoing::Turn;
use ambrosia_storage::{LogEvent, StandingWish, Vacancy};
use ambrosia_wire::{ConnectionHandle, Permit};
use bytes::Bytes;

use crate::{driver::Others, look::Look};

pub(crate) enum Event {
    /// A peer has connected and wants to send its stream.
    PeerHello { handle: ConnectionHandle, name: InstanceName, uuid: InstanceUuid, epoch: Epoch },
    /// A peer was reached and welcomes our stream.
    PeerReached { handle: ConnectionHandle, peer: PeerIndex, uuid: InstanceUuid, received: Seq },
    /// A client has connected.
    ClientHello { handle: ConnectionHandle },
    /// A client has connected that has queries for this replica, whatever its role.
    ReplicaHello { handle: ConnectionHandle },
    /// A client asks something that changes nothing.
    Query(Query),
    /// A client asks what has become of a request.
    Inquiry(Inquiry),
    /// A client asks what can't be asked.
    BadQuery { connection: ConnectionId, number: u64, reason: String },
    /// A client listens to what the guest emits.
    Listen { connection: ConnectionId, after: Option<EventId>, until: u64 },
    /// One that listens takes more.
    Listened { connection: ConnectionId, until: u64 },
    /// Messages came from a peer.
    Messages { connection: ConnectionId, first_seq: Seq, count: u32, messages: Bytes },
    /// A peer acknowledged part of our stream.
    Acknowledged { connection: ConnectionId, seq: Seq },
    /// A client wants a method run.
    Request(ClientRequest),
    /// A client opens a session.
    OpenSession { connection: ConnectionId, session: SessionId, opening: OpeningId },
    /// A client wants a method run in its session.
    SessionRequest(SessionRequest),
    /// A client has results of its session.
    SessionConfirmed { connection: ConnectionId, session: SessionId, ticket: Ticket, confirmed: Seq },
    /// Somebody wants to know how many sessions there are.
    SessionsWanted { connection: ConnectionId },
    /// Somebody wants to know whether the log stands.
    StallWanted { connection: ConnectionId },
    /// What came before this was looked at, and counts no more.
    Seen(#[allow(dead_code, reason = "held for what its drop does")] Permit),
    /// Somebody has asked for what their token does not allow.
    Denied { connection: ConnectionId, reason: String },
    /// Somebody fulfils a promise.
    Resolve { connection: ConnectionId, promise: CallId, token: PromiseToken, value: Bytes },
    /// A client wants what can't be; nothing of it is logged.
    BadRequest { connection: ConnectionId, request: RequestId, reason: String },
    /// A line was read from stdin.
    Line { method: MethodId, arguments: Bytes },
    /// A request to the world outside has an outcome, in that reign. With it comes the right to have it in memory.
    Outcome { epoch: Epoch, id: CallId, outcome: Bytes, turn: Option<Turn> },
    /// A connection ended.
    Disconnected(ConnectionId),
    /// The log of a reign reports.
    Log { epoch: Epoch, event: LogEvent },
    /// More of the log may be durable than was read.
    MoreRecords,
    /// The log belongs to a later reign.
    Fenced { by: Epoch },
    /// The thread that does something to a checkpoint has ended, with the job of that number.
    JobEnded(u64),
    /// An operator wants a checkpoint.
    CheckpointWanted { connection: ConnectionId },
    /// A peer can't be reached for some time.
    PeerHindered(PeerIndex),
    /// Somebody wants to know what waits for peers.
    PeersWanted { connection: ConnectionId },
    /// Somebody wants to know what is under way to the world outside.
    OutgoingWanted { connection: ConnectionId },
    /// Somebody wants to know how much is remembered of requests.
    RememberedWanted { connection: ConnectionId },
    /// Somebody wants to know its figures.
    LookWanted(SyncSender<Look>),
    /// Somebody wants to know which methods run by themselves, and when.
    SchedulesWanted { connection: ConnectionId },
    /// Somebody wants to know what methods there are.
    MethodsWanted { connection: ConnectionId },
    /// What is wished for the instance has changed.
    Wish(Option<StandingWish>),
    /// The module of a wish is at hand, or can't be.
    Prepared { attempt: u64, result: Result<(), String> },
    /// Whether a reign sees to a wish, as the registry has it.
    Claimed { attempt: u64, epoch: Epoch, is_claimed: bool },
    /// Nobody seems to be primary.
    Vacancy(Vacancy),
    /// It was looked which replicas run.
    OthersSeen(Result<Others, ambrosia_storage::LogError>),
    /// Watching for a vacancy failed.
    WatchFailed(ambrosia_storage::LogError),
    /// The store was replaced or removed: what lies there is not what this process has opened.
    StoreLost(String),
    /// What the driver had somebody else do was done.
    ErrandDone,
    /// What could not be done without the store may be done by now.
    Again,
    /// The output has room again.
    RoomToPrint,
    /// The operator wants the process to end.
    Shutdown,
    /// The process wants the replica to end at once, as if it was killed.
    Abandoned,
}

pub(crate) struct ClientRequest {
    pub(crate) connection: ConnectionId,
    pub(crate) request: RequestId,
    pub(crate) method: MethodId,
    pub(crate) arguments: Bytes,
    /// False if the client is content with the request being durable.
    pub(crate) wait: bool,
    /// The trace that it belongs to.
    pub(crate) trace: Option<TraceContext>,
}

pub(crate) struct SessionRequest {
    pub(crate) connection: ConnectionId,
    pub(crate) session: SessionId,
    pub(crate) ticket: Ticket,
    pub(crate) seq: Seq,
    pub(crate) confirmed: Seq,
    pub(crate) method: MethodId,
    pub(crate) arguments: Bytes,
    /// Why it can't be done: that is its result then.
    pub(crate) impossible: Option<String>,
}
