//! What comes into a replica and what goes out of it.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Answer, CallId, Chunk, Epoch, Event, EventId, Fault, InstanceName, Lsn, Mend, OpeningId, PROMISE_KEY_BYTES,
    PeerIndex, PrintStream, PromiseToken, Record, Remedy, ReplicaIndex, RequestId, Seq, SessionId, SessionRefusal,
    Ticket, Timestamp, Traffic, Upgrade,
};

/// Names one connection, so that what was meant for an older one is dropped. Given out by the driver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Something that happened. See [`crate::Replica::step`] for who may send what when.
#[derive(Clone, Debug)]
pub enum Input {
    /// The next record of the log was read.
    Record(Record),
    /// The next record of the log was read, and is to be left out: a mend behind it delivers what it holds.
    Void(Record),
    /// The epoch record just applied is this replica's own: it is primary.
    Elected,
    /// The log has made durable everything up to this record.
    Durable(Lsn),
    /// Something came from outside.
    Traffic {
        /// What came.
        traffic: Traffic,
        /// Time by the driver's clock.
        now: Timestamp,
    },
    /// Append the digest of the state as it is, so that the others can compare.
    Digest {
        /// The replica that is to take a checkpoint of what it is after that record, if one is.
        checkpoint_by: Option<ReplicaIndex>,
        /// Time by the driver's clock.
        now: Timestamp,
    },
    /// What the operator has set for the guest; for a primary.
    Configure {
        /// One MessagePack value for each name. They keep to the limits ([`crate::Configuration::check`]).
        values: BTreeMap<String, Bytes>,
        /// Random, of the operating system: by it the key of promises is made if there is none.
        entropy: [u8; PROMISE_KEY_BYTES],
        /// Time by the driver's clock.
        now: Timestamp,
    },
    /// Hand over to another module now; for a primary. Answered by one of [`Output::Upgraded`],
    /// [`Output::UpgradeWaits`] and [`Output::UpgradeRefused`].
    Upgrade {
        /// To which.
        upgrade: Upgrade,
        /// Time by the driver's clock.
        now: Timestamp,
    },
    /// Deliver now what the record holds that was left out; for a primary. Answered by [`Output::Mended`] or
    /// [`Output::UpgradeRefused`].
    Mend {
        /// How.
        remedy: Remedy,
        /// Time by the driver's clock.
        now: Timestamp,
    },
}

/// Something to be done. Outputs are to be carried out in order; one with `after` not before that record is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Append the record to the log, now.
    Append(Record),
    /// Keep an outgoing connection to that instance: there is or will be something to send.
    Connect {
        /// The peer.
        peer: PeerIndex,
        /// Its name.
        name: InstanceName,
    },
    /// Tell the peer what of its stream is here, then read its messages.
    Welcome {
        /// The connection.
        connection: ConnectionId,
        /// Last message received.
        received: Seq,
        /// Not before this is durable.
        after: Lsn,
    },
    /// Send messages on an outgoing connection.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// The messages; not before `chunk.after` is durable.
        chunk: Chunk,
    },
    /// Tell the peer that its stream is durable up to `seq`.
    Acknowledge {
        /// The connection that its messages come by.
        connection: ConnectionId,
        /// Last message covered.
        seq: Seq,
        /// Not before this is durable.
        after: Lsn,
    },
    /// End the connection: the peer is not what it should be.
    Refuse {
        /// The connection.
        connection: ConnectionId,
        /// What is wrong with the peer or its connection.
        reason: Refusal,
    },
    /// A client's request is in the log.
    Accepted {
        /// The request.
        request: RequestId,
        /// Not before this is durable.
        after: Lsn,
    },
    /// A client's request has its result.
    Answered {
        /// The request.
        request: RequestId,
        /// The result.
        answer: Answer,
        /// Not before this is durable.
        after: Lsn,
    },
    /// The id of a client's request was used before, for something else. Nothing was done.
    KeyReused {
        /// The connection that it came by, if it came by one.
        connection: Option<ConnectionId>,
        /// The request.
        request: RequestId,
        /// The record of the request that has the id; not before this is durable.
        after: Lsn,
    },
    /// A client's session is open.
    SessionOpened {
        /// The connection that it came by.
        connection: ConnectionId,
        /// The session.
        session: SessionId,
        /// What the client calls the opening.
        opening: OpeningId,
        /// By what its requests name it.
        ticket: Ticket,
        /// The last request of it that was delivered; the next one is the next number.
        accepted: Seq,
        /// The last result that its client has confirmed; those behind it are kept.
        confirmed: Seq,
        /// Not before this is durable.
        after: Lsn,
    },
    /// A request of a session has its result.
    SessionAnswered {
        /// The session,
        session: SessionId,
        /// and the opening of it that holds.
        ticket: Ticket,
        /// The request.
        seq: Seq,
        /// The result.
        answer: Answer,
        /// The record that brought it about; not before this is durable.
        after: Lsn,
    },
    /// What was asked in a session is not done.
    SessionRefused {
        /// The connection that it came by; none if nothing came: whoever uses that ticket is to know that it holds no more.
        connection: Option<ConnectionId>,
        /// The session.
        session: SessionId,
        /// What it was asked with; 0 if it was to be opened.
        ticket: Ticket,
        /// The request; 0 if that was none.
        seq: Seq,
        /// Why.
        refusal: SessionRefusal,
        /// Not before this is durable.
        after: Lsn,
    },
    /// Do something outside, and say what came of it: [`Traffic::Outcome`].
    Request {
        /// Its number.
        id: CallId,
        /// What, as the guest encoded it.
        body: Bytes,
        /// Whether an earlier reign may have done it already.
        resumed: bool,
        /// Not before this is durable.
        after: Lsn,
    },
    /// Nobody waits for what comes of that any more.
    CancelRequest {
        /// Its number.
        id: CallId,
        /// Not before this is durable.
        after: Lsn,
    },
    /// What became of [`Traffic::Resolve`].
    Resolved {
        /// The connection that it came by.
        connection: ConnectionId,
        /// The promise.
        promise: CallId,
        /// What it was named by.
        token: PromiseToken,
        /// Whether the promise is fulfilled, by this or before; if not, there is none of that name.
        is_known: bool,
        /// Not before this is durable.
        after: Lsn,
    },
    /// The guest told an event, on every replica.
    Event {
        /// What.
        event: Event,
        /// Not before this is durable.
        after: Lsn,
    },
    /// The guest wrote a line for the log of the application, on every replica: whoever becomes primary knows the last ones.
    Log {
        /// What names it, the same on every replica.
        id: EventId,
        /// Time of its record.
        time: Timestamp,
        /// The line, as the guest encoded it.
        line: Bytes,
        /// Not before this is durable.
        after: Lsn,
    },
    /// The guest printed something.
    Print {
        /// The stream that it was printed to.
        stream: PrintStream,
        /// The bytes as the guest printed them.
        bytes: Bytes,
        /// Not before this is durable.
        after: Lsn,
        /// True if the record was applied from the log: shown only by those who ask for it.
        replayed: bool,
    },
    /// The replica named is to take a checkpoint of what it is now, before the next input. It counts only once the
    /// record `at` is durable.
    Checkpoint {
        /// The replica that is to take the checkpoint.
        by: ReplicaIndex,
        /// The record just applied.
        at: Lsn,
    },
    /// This replica is not what the primary was at the same record: nothing that it does can be trusted.
    Diverged(Divergence),
    /// A peer's name now stands for another instance: the streams with it start afresh.
    Rebound {
        /// The peer.
        name: InstanceName,
        /// Messages to the old instance that it had not acknowledged.
        dropped: u64,
        /// Calls to it that now fail.
        failed_calls: u64,
    },
    /// The guest has finished the instance.
    Finished {
        /// Exit code.
        code: i32,
        /// Not before this is durable.
        after: Lsn,
    },
    /// The instance runs another module, or has other limits.
    Upgraded {
        /// What was done.
        upgrade: Upgrade,
        /// Not before this, the record of it, is durable.
        after: Lsn,
    },
    /// The instance goes on behind a record that it stood at.
    Mended {
        /// What was done.
        mend: Mend,
        /// Not before this, the record of it, is durable.
        after: Lsn,
    },
    /// The instance goes on as it was: handlers wait that can't go on in the new code.
    UpgradeWaits {
        /// The wish.
        attempt: u64,
        /// Which handlers.
        report: String,
    },
    /// The instance goes on as it was. Nothing of the try is in the log.
    UpgradeRefused {
        /// The wish.
        attempt: u64,
        /// Why.
        fault: Fault,
        /// Whether the guest was lost in the try: the replica must be built anew from the log.
        is_lost: bool,
    },
    /// The primary has done an upgrade or a mend that this replica can't do: it can't go on.
    UpgradeFailed {
        /// Why.
        fault: Fault,
        /// The record of it.
        at: Lsn,
    },
    /// The guest failed; the instance stands still at this record.
    Halted {
        /// What the guest did wrong.
        fault: Fault,
        /// The record; nothing is to be said of it before it is durable.
        after: Lsn,
    },
}

impl Output {
    /// The record that must be durable before the output may be carried out.
    pub fn after(&self) -> Lsn {
        match self {
            Output::Append(_)
            | Output::Connect { .. }
            | Output::Refuse { .. }
            | Output::Rebound { .. }
            | Output::Checkpoint { .. }
            | Output::Diverged(_)
            | Output::UpgradeWaits { .. }
            | Output::UpgradeRefused { .. }
            | Output::UpgradeFailed { .. } => Lsn(0),
            Output::Send { chunk, .. } => chunk.after,
            Output::Welcome { after, .. }
            | Output::Acknowledge { after, .. }
            | Output::Accepted { after, .. }
            | Output::Answered { after, .. }
            | Output::KeyReused { after, .. }
            | Output::SessionOpened { after, .. }
            | Output::SessionAnswered { after, .. }
            | Output::SessionRefused { after, .. }
            | Output::Request { after, .. }
            | Output::CancelRequest { after, .. }
            | Output::Resolved { after, .. }
            | Output::Event { after, .. }
            | Output::Log { after, .. }
            | Output::Print { after, .. }
            | Output::Finished { after, .. }
            | Output::Upgraded { after, .. }
            | Output::Mended { after, .. }
            | Output::Halted { after, .. } => *after,
        }
    }
}

/// Two replicas that have applied the same records, and differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this replica differs from the primary of epoch {epoch} at lsn {lsn}; they were equal at lsn {equal_at}. Digests \
     here: state {own_state:016x}, memory {own_memory:016x}; in the log: state {state:016x}, memory {memory:016x}"
)]
pub struct Divergence {
    /// The last record that both had applied.
    pub lsn: Lsn,
    /// The last record at which they were compared before and were equal; 0 if never.
    pub equal_at: Lsn,
    /// Epoch of the primary that wrote the digest.
    pub epoch: Epoch,
    /// Digest of the replicated state in the log.
    pub state: u64,
    /// Digest of the guest's memory in the log.
    pub memory: u64,
    /// Digest of the replicated state here.
    pub own_state: u64,
    /// Digest of the guest's memory here.
    pub own_memory: u64,
}

/// Why a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Messages are missing in between.
    #[error("the peer sent message {found} where {expected} was due")]
    Gap {
        /// What was due.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// The peer has less of our stream than it once acknowledged.
    #[error(
        "the peer has our messages up to {has} only and once acknowledged {acknowledged}: it has lost its log. Restore \
         the log of the peer, or register the peer anew"
    )]
    PeerLostLog {
        /// What it has.
        has: Seq,
        /// What it once had.
        acknowledged: Seq,
    },
    /// The peer has more of our stream than we ever made.
    #[error(
        "the peer has our messages up to {has} and we have made {made} only: our own log is not the one that the peer \
         knows. Restore it, or register this instance anew"
    )]
    OwnLogLost {
        /// What it has.
        has: Seq,
        /// What we made.
        made: Seq,
    },
    /// A message of a kind that peers don't send, or something else that a sound peer never does.
    #[error("the peer acknowledged message {seq} and only {made} have been made")]
    Acknowledgement {
        /// What it acknowledged.
        seq: Seq,
        /// What we made.
        made: Seq,
    },
    /// The instance does not take messages: it is finished or halted.
    #[error("the instance is finished or halted")]
    Ended,
    /// Another connection of the same peer took its place.
    #[error("the peer has connected anew")]
    Superseded,
    /// The connection is of a primary that was deposed.
    #[error("a later primary of the peer is connected already")]
    StaleEpoch,
    /// It belongs to an instance that had the name before, or has it no more.
    #[error("the registry does not say that the peer is the instance of that name now")]
    NotRegistered,
    /// It says that it is the instance it connects to, which hears itself without a connection.
    #[error("the peer goes by the name of this instance")]
    OwnName,
    /// The instance knows too many peers.
    #[error("the instance knows too many peers already")]
    TooManyPeers,
}

impl Refusal {
    /// True if an operator has to look at it; the others happen in the course of takeovers.
    pub fn is_serious(self) -> bool {
        match self {
            Refusal::Ended | Refusal::Superseded | Refusal::StaleEpoch | Refusal::NotRegistered => false,
            Refusal::Gap { .. } | Refusal::PeerLostLog { .. } | Refusal::OwnLogLost { .. } => true,
            Refusal::Acknowledgement { .. } | Refusal::OwnName | Refusal::TooManyPeers => true,
        }
    }
}

#[cfg(test)]
mod tests;
