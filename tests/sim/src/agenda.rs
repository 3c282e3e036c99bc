//! What is going to happen, in the order of simulated time.

use std::collections::BTreeMap;

use ambrosia_core::{CallId, ConnectionId, Epoch, InstanceUuid, PeerIndex, SessionId};
use ambrosia_storage::LogEvent;
use bytes::Bytes;

use crate::{
    ids::{Place, ProcessId},
    sessions::{Heard, Packet},
    wishes::WishStep,
};

/// Something that happens at a moment. What belongs to a reign has its epoch.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A process starts as replica `Place`, if none runs there.
    Start(Place),
    /// A standby reads what there is, and looks whether there is a primary.
    Follow(ProcessId),
    /// The same, again and again.
    Watch(ProcessId),
    /// A primary makes and executes a record of what has gathered.
    Deliver(ProcessId),
    /// A timer of the guest may be due.
    Wake(ProcessId),
    /// The log of a primary writes what is queued.
    Write(ProcessId, Epoch),
    /// The log of a primary syncs what it wrote.
    Settle(ProcessId, Epoch),
    /// The log of a primary may have been idle for a while.
    Idle(ProcessId, Epoch),
    /// The log tells the primary something.
    LogSays(ProcessId, Epoch, LogEvent),
    /// A primary connects to a peer.
    Dial(ProcessId, PeerIndex),
    /// A process notices that a connection broke.
    Broken(ProcessId, ConnectionId),
    /// The next packet of a connection arrives at its receiver.
    Forth(ConnectionId),
    /// The same at the sender's end.
    Back(ConnectionId),
    /// A client asks something new of an instance.
    Ask(usize),
    /// A client's request, by its number, arrives.
    Request(ProcessId, usize),
    /// A client that waits for an answer asks again.
    AskAgain(usize),
    /// A client with a session looks after its requests.
    SessionLook(SessionId),
    /// What such a client has sent arrives.
    SessionPacket(ProcessId, Packet),
    /// Such a client hears something.
    SessionHears(SessionId, Heard),
    /// A replica of another engine asks for a digest.
    AskForDigest(ProcessId),
    /// A client asks an instance something that changes nothing.
    AskQuery(usize),
    /// Such a query, by its number, arrives.
    Query(ProcessId, usize),
    /// What comes of a request to the world outside is known to the primary that has performed it.
    Outside(ProcessId, Epoch, CallId, Bytes),
    /// Somebody outside fulfils a promise of an instance.
    Fulfil(usize, InstanceUuid, CallId),
    /// That arrives.
    Resolve(ProcessId, InstanceUuid, CallId),
    /// A method of an instance is due by the calendar.
    Tick(usize),
    /// A process notices that.
    Due(ProcessId),
    /// An operator sets another value for an instance.
    Configure(usize),
    /// A process is told of that.
    Configured(ProcessId),
    /// A process that was paused goes on.
    Resume(ProcessId),
    /// Something breaks.
    Fault,
    /// An operator may wish something.
    Operate,
    /// A process goes on with a wish.
    Wish(ProcessId, WishStep),
    /// An operator restores the bit that was flipped in the log of an instance.
    Restore(usize),
    /// A process goes on with the checkpoint that it is taking.
    Checkpoint(ProcessId),
    /// A process hears of what was seen of the others.
    Looked(ProcessId),
    /// Everybody who should be connected looks whether they are.
    Mend(ProcessId, Epoch),
}

impl Event {
    /// The process that it happens to, which does not notice while it is paused.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        match self {
            Event::Follow(id)
            | Event::Watch(id)
            | Event::Deliver(id)
            | Event::Wake(id)
            | Event::Write(id, _)
            | Event::Settle(id, _)
            | Event::Idle(id, _)
            | Event::LogSays(id, ..)
            | Event::Dial(id, _)
            | Event::Request(id, _)
            | Event::AskForDigest(id)
            | Event::Query(id, _)
            | Event::SessionPacket(id, _)
            | Event::Outside(id, ..)
            | Event::Resolve(id, ..)
            | Event::Due(id)
            | Event::Configured(id)
            | Event::Broken(id, _)
            | Event::Checkpoint(id)
            | Event::Looked(id)
            | Event::Wish(id, _)
            | Event::Mend(id, _) => Some(*id),
            _ => None,
        }
    }
}

/// Events by time; those of one moment in the order in which they were put down.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
}

impl Agenda {
    pub(crate) fn put(&mut self, at: u64, event: Event) {
        self.count += 1;
        self.events.insert((at, self.count), event);
    }

    /// The next event, if it is not later than `until`.
    pub(crate) fn take(&mut self, until: u64) -> Option<(u64, Event)> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 <= until)?;
        let ((at, _), event) = entry.remove_entry();
        Some((at, event))
    }

    /// How many events there have been.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}
