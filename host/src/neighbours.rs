//! The way from a client in this process to a member of it: what it says is an event at once, and no socket has to carry it.
//!
//! **Architecture Invariant:** a member can't tell such a client from another one: it is greeted or refused as others are, has its answers when
//! they have theirs, and hears of the end of a reign by the end of its connection.

use std::sync::{Arc, Mutex, PoisonError};

use ambrosia_client::{Nearby, Primary};
use ambrosia_core::{ConnectionId, HostAddress, InstanceName};
use ambrosia_door::Family;
use ambrosia_wire::{ConnectionHandle, Frame, FrameTaker, Permit};
use tokio::sync::mpsc;

use crate::{
    event::Event,
    listener::{Reception, Receptions},
    look,
};

/// The members of this process, for its own clients.
pub(crate) struct Neighbours {
    /// Where others reach them.
    address: HostAddress,
    receptions: Arc<Receptions>,
}

impl Neighbours {
    pub(crate) fn new(address: HostAddress, receptions: Arc<Receptions>) -> Neighbours {
        Neighbours { address, receptions }
    }

    /// What there is to be seen of them, and who they are replicas of.
    pub(crate) fn figures(&self) -> (Vec<InstanceName>, Vec<Family>) {
        let names = self.receptions.all().iter().map(|reception| reception.name.clone()).collect();
        (names, look::members(&self.receptions))
    }

    /// A connection with the member of that instance, if that primary is here.
    pub(crate) fn connect(&self, name: &InstanceName, primary: &Primary) -> Option<Nearby> {
        if primary.address != self.address {
            return None;
        }
        let reception = self.receptions.of(name)?;
        let (says, frames) = mpsc::unbounded_channel();
        let theirs = ConnectionHandle::within(Heard { gathered: Mutex::default(), says });
        let caller = Caller { id: theirs.id, reception };
        caller.reception.mailbox.push(Event::ClientHello { handle: theirs });
        Some(Nearby { handle: ConnectionHandle::within(caller), frames })
    }
}

/// What the client says is an event for the member.
struct Caller {
    id: ConnectionId,
    reception: Arc<Reception>,
}

impl FrameTaker for Caller {
    fn take(&self, frame: Frame) {
        // What is under way is counted where it is asked for.
        let taken = self.reception.take(self.id, frame, Permit::NONE);
        taken.expect("a client of this process says what a client may");
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.reception.mailbox.push(Event::Disconnected(self.id));
    }
}

/// What the member says is gathered, so that the client is woken once for all that becomes durable at once.
struct Heard {
    gathered: Mutex<Vec<Frame>>,
    says: mpsc::UnboundedSender<Vec<Frame>>,
}

impl FrameTaker for Heard {
    fn take(&self, frame: Frame) {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
    }

    fn flush(&self) {
        let gathered = std::mem::take(&mut *self.gathered.lock().unwrap_or_else(PoisonError::into_inner));
        if !gathered.is_empty() {
            // Who has gone hears nothing, as with a socket.
            let _gone = self.says.send(gathered);
        }
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_at_once_is_one_wake_and_nothing_is_lost_at_the_end() {
        let (says, mut frames) = mpsc::unbounded_channel();
        let heard = Heard { gathered: Mutex::default(), says };
        let frame = |seq| Frame::Acknowledge(ambrosia_core::Seq(seq));
        heard.flush();
        heard.take(frame(1));
        heard.take(frame(2));
        assert!(frames.try_recv().is_err(), "it waits for the others");
        heard.flush();
        assert_eq!(frames.try_recv().ok(), Some(vec![frame(1), frame(2)]));
        heard.take(frame(3));
        drop(heard);
        assert_eq!(frames.try_recv().ok(), Some(vec![frame(3)]));
        assert_eq!(frames.try_recv(), Err(mpsc::error::TryRecvError::Disconnected), "by which the client knows");
    }
}
