//! What a member has done.

use super::{Ending, Keep, Notice, WishOutcome};
use crate::{
    ConnectionId, Epoch, Genesis, InquiryAnswer, InstanceName, Lsn, Outcome, Output, QueryAnswer, ReplicaIndex, Traffic,
};

/// Something to be done by the driver, in the order in which it was put out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// List the checkpoints. Answered by [`super::MemberInput::Listed`].
    ListCheckpoints,
    /// Read that checkpoint. Answered by [`super::MemberInput::Loaded`], or by [`super::MemberInput::Unusable`].
    Load(Lsn),
    /// Make a guest of the checkpoint just loaded. Answered by [`super::MemberInput::Made`], or by
    /// [`super::MemberInput::Unusable`].
    Restore,
    /// Make a fresh guest. Answered by [`super::MemberInput::Made`].
    MakeGuest(Genesis),
    /// Begin to read the log at that record. Answered by [`super::MemberInput::Opened`] or
    /// [`super::MemberInput::Trimmed`]; by [`super::MemberInput::Unusable`] if the log can't be read there and a
    /// checkpoint was just restored; by [`super::MemberInput::Away`] if it was read before and can't be reached.
    Open(Lsn),
    /// Read on. Answered by [`super::MemberInput::Read`], as soon as there are records or something else came in.
    Read,
    /// Notice from now on when nobody seems to be primary, and say so by [`super::MemberInput::Vacant`].
    Watch,
    /// The last such notice was another one's: notice the next.
    WatchOn,
    /// Become primary in place of the one of that reign. Answered by [`super::MemberInput::Acquired`],
    /// [`super::MemberInput::Contended`] or [`super::MemberInput::Away`].
    Acquire(Epoch),
    /// See whether the registry says how the instance ended. Answered by [`super::MemberInput::Outcome`].
    LookAtOutcome,
    /// Look which replicas run. Answered by [`super::MemberInput::Others`] once for the last time that this was asked for, with what was seen since:
    /// that may take a while, and this member goes on meanwhile.
    Look,
    /// See which instance the registry has under the name, before any other input. Answered by
    /// [`super::MemberInput::PeerLookedUp`].
    LookUpPeer {
        /// The name of the peer.
        name: InstanceName,
        /// What came from the peer, to be handed back.
        traffic: Traffic,
    },
    /// The guest could not handle that record: see whether a mend of it is in the log behind it, and what is wished. Answered
    /// by [`super::MemberInput::Mending`], before any other input.
    LookForMend {
        /// The record.
        lsn: Lsn,
        /// Its chain value.
        link: u64,
    },
    /// This replica is primary: it is to be seen by its heartbeat that it lives.
    Reign(Epoch),
    /// Tell all that this replica is primary, and where: from now on it may be spoken to.
    Announce(Epoch),
    /// Carry out what the replica wants, which may be seen by now.
    Out(Output),
    /// Answer an operator who wanted a checkpoint.
    Answer {
        /// Who.
        connection: ConnectionId,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// Tell somebody what a query has come to.
    AnswerQuery(QueryAnswer),
    /// Tell somebody what has become of a request.
    AnswerInquiry(InquiryAnswer),
    /// Copy some of the guest's memory ahead of a capture, unless the checkpoint `parent` is there, since which it counts
    /// its changes. Answered by [`CheckpointEvent::CopiedAhead`](super::CheckpointEvent::CopiedAhead).
    CopyAhead {
        /// The checkpoint since which the guest counts its changes.
        parent: Option<Lsn>,
    },
    /// Capture the replica as it is, before any other input: what has changed since `parent`, or everything if that is
    /// `None` or not there any more. Answered by [`CheckpointEvent::Captured`](super::CheckpointEvent::Captured).
    Capture {
        /// The record just applied.
        at: Lsn,
        /// The checkpoint since which the guest counts its changes.
        parent: Option<Lsn>,
    },
    /// Write what was captured. Answered by [`CheckpointEvent::Written`](super::CheckpointEvent::Written).
    Write(Lsn),
    /// Make the checkpoint written count. Answered by
    /// [`CheckpointEvent::Published`](super::CheckpointEvent::Published).
    Publish(Lsn),
    /// Make a base of the checkpoint, if it rests on too much. Answered by
    /// [`CheckpointEvent::Compacted`](super::CheckpointEvent::Compacted).
    Compact(Lsn),
    /// Remove what is not needed any more. Answered by [`CheckpointEvent::Tidied`](super::CheckpointEvent::Tidied).
    Trim {
        /// What is kept in any case.
        keep: Keep,
        /// How far the replicas are that still read the log.
        applied: Vec<Lsn>,
    },
    /// Have the module of a wish at hand, so that a guest can be handed over to it at once. Answered by
    /// [`super::MemberInput::Prepared`].
    Prepare {
        /// The wish.
        attempt: u64,
        /// SHA-256 of the module.
        module: [u8; 32],
    },
    /// Tell the others that the module of that wish is at hand here.
    Ready(u64),
    /// Write into the registry that the primary of that reign sees to the wish, unless a later one does, or it stands no
    /// more. Answered by [`super::MemberInput::Claimed`].
    ClaimWish {
        /// The wish.
        attempt: u64,
        /// The reign.
        epoch: Epoch,
    },
    /// Write into the registry what became of a wish, which is wished no more; unless a later reign has claimed it.
    SettleWish {
        /// The wish.
        attempt: u64,
        /// The reign that has claimed it.
        epoch: Epoch,
        /// What became of it.
        outcome: WishOutcome,
    },
    /// The replica ends its reign for an output that is stuck: it does so once.
    Yield,
    /// Drop what the guest prints and has no room.
    DropPrints,
    /// Write into the registry how the instance ended.
    WriteDown(Outcome),
    /// Make all that was appended durable and end the reign in the log; what the log reports comes first. Answered by
    /// [`super::MemberInput::Closed`].
    Close,
    /// Drop all that belongs to this incarnation of the replica: log, connections, and a checkpoint that does not count yet.
    /// Another one begins.
    Abandon,
    /// Ask the primary for a checkpoint, for the digest record that comes with it. It may be in vain.
    AskForCheckpoint,
    /// Tell the operator.
    Tell(Notice),
    /// It is over: nothing follows.
    End(Ending),
}

/// What becomes of a checkpoint that an operator wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A replica was asked for it.
    Asked {
        /// At which record.
        lsn: Lsn,
        /// Which replica.
        replica: ReplicaIndex,
    },
    /// There will be none.
    Refused(String),
}
