//! What comes from outside to a primary: peers, clients, and the operator's lines.

use bytes::Bytes;

use crate::{
    CallId, ConnectionId, Epoch, InstanceName, InstanceUuid, MethodId, OpeningId, PeerIndex, PromiseToken, RequestId,
    Seq, SessionId, Ticket, Timestamp, TraceContext,
};

/// What comes from outside to a primary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Traffic {
    /// A peer connected, to send its stream.
    PeerConnected {
        /// The connection.
        connection: ConnectionId,
        /// Who it says it is.
        name: InstanceName,
        /// Which life of it.
        uuid: InstanceUuid,
        /// Epoch of its primary that connected.
        epoch: Epoch,
    },
    /// Messages of a peer that was welcomed. The driver has checked them with [`crate::check_travelling`].
    Messages {
        /// The connection that they came by.
        connection: ConnectionId,
        /// Number of the first.
        first_seq: Seq,
        /// How many there are.
        count: u32,
        /// The messages.
        messages: Bytes,
    },
    /// The driver has connected to a peer, to send our stream; the peer told what it has.
    PeerReached {
        /// The connection.
        connection: ConnectionId,
        /// The peer.
        peer: PeerIndex,
        /// Which life of it.
        uuid: InstanceUuid,
        /// Last message of our stream that it has durable.
        received: Seq,
    },
    /// The peer has made our stream durable up to `seq`.
    Acknowledged {
        /// The connection that it came by.
        connection: ConnectionId,
        /// Last message covered.
        seq: Seq,
    },
    /// A connection ended.
    Disconnected(ConnectionId),
    /// A client, or a line of stdin, wants a method run.
    Impulse {
        /// The method to run.
        method: MethodId,
        /// Its arguments, as the client encoded them.
        arguments: Bytes,
        /// Set by a client that wants the answer, or may repeat the request.
        request: Option<RequestId>,
        /// The connection that it came by, if it came by one.
        from: Option<ConnectionId>,
        /// The trace that the client says that its request belongs to.
        trace: Option<TraceContext>,
    },
    /// What came of an outgoing request. The driver tells it once; one that nobody waits for is dropped.
    Outcome {
        /// The request.
        id: CallId,
        /// What came of it, as the guest reads it; at most [`crate::limits::ARGUMENTS_BYTES_MAX`] bytes.
        outcome: Bytes,
    },
    /// Somebody outside fulfils a promise. Answered by [`crate::Output::Resolved`].
    Resolve {
        /// The connection that it came by.
        connection: ConnectionId,
        /// Which one.
        promise: CallId,
        /// What they were given to name it by.
        token: PromiseToken,
        /// One MessagePack value.
        value: Bytes,
    },
    /// A client opens a session, to send requests in it. Answered by [`crate::Output::SessionOpened`] or
    /// [`crate::Output::SessionRefused`].
    OpenSession {
        /// The connection that it came by.
        connection: ConnectionId,
        /// Which one: the one of that name, or a new one.
        session: SessionId,
        /// What the client calls the opening.
        opening: OpeningId,
    },
    /// A client wants a method run in its session. Answered by [`crate::Output::SessionAnswered`], once there is a result, or
    /// [`crate::Output::SessionRefused`].
    SessionRequest {
        /// The connection that it came by.
        connection: ConnectionId,
        /// Which session.
        session: SessionId,
        /// Which opening of it.
        ticket: Ticket,
        /// Its number, from 1: each is the next, or is repeated.
        seq: Seq,
        /// All results up to that one have reached the client.
        confirmed: Seq,
        /// The method to run.
        method: MethodId,
        /// Its arguments, as the client encoded them.
        arguments: Bytes,
        /// Why it can't be done, if it can't: then that is its result.
        impossible: Option<String>,
    },
    /// A client has all results of its session up to that one, and asks nothing.
    SessionConfirmed {
        /// The connection that it came by.
        connection: ConnectionId,
        /// Which session.
        session: SessionId,
        /// Which opening of it.
        ticket: Ticket,
        /// The last of them.
        confirmed: Seq,
    },
    /// The time of a method has come.
    Cron {
        /// The method.
        method: MethodId,
        /// The time that has come; not later than now.
        due: Timestamp,
    },
}
