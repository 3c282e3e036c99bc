//! What comes from outside to a primary: peers, clients, and the operator's lines.

use bytes::Bytes;

use crate::{
    CallId, ConnectionId, Epoch, InstanceName, InstanceUuid, MethodId, PeerIndex, PromiseToken, RequestId, Seq,
    Timestamp,
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
    /// The time of a method has come.
    Cron {
        /// The method.
        method: MethodId,
        /// The time that has come; not later than now.
        due: Timestamp,
    },
}
