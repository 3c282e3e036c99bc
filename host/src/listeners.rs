//! Who listens to the events of the guest, and how far each of them is.
//!
//! **Architecture Invariant:** a listener has nothing of its own here but its place: what it is still to get is read from the events that
//! the state keeps. So one that is slow costs nothing, and holds up nobody; what was forgotten before it was that far it is told of.

use std::collections::BTreeMap;

use ambrosia_core::{ConnectionId, Event, EventId, Lsn};
use ambrosia_wire::{Control, Frame, event_counts};

/// So many may listen at one replica.
pub(crate) const LISTENERS_MAX: usize = 1024;

/// Those who listen.
#[derive(Default)]
pub(crate) struct Listeners {
    listening: BTreeMap<ConnectionId, Listener>,
    /// Somebody may have something to get.
    is_due: bool,
}

/// One of them.
struct Listener {
    /// What it has got, or was told that it is lost.
    place: EventId,
    /// What that counts since it began.
    sent: u64,
    /// What it takes in all.
    until: u64,
}

/// The events of a replica, as far as they may be seen.
pub(crate) trait Ring {
    /// Those behind `place`, the oldest first.
    fn after(&self, place: EventId) -> impl Iterator<Item = &Event>;

    /// The newest that was forgotten; before all if none was.
    fn forgotten(&self) -> EventId;

    /// The newest that may be seen, or was forgotten.
    fn newest(&self) -> EventId;
}

/// The events of a replica that are of records up to `visible`.
pub(crate) struct Visible<'a> {
    pub(crate) replica: &'a crate::driver::Replica,
    pub(crate) visible: Lsn,
}

impl Ring for Visible<'_> {
    fn after(&self, place: EventId) -> impl Iterator<Item = &Event> {
        self.replica.events_after(place).take_while(|event| event.id.lsn <= self.visible)
    }

    fn forgotten(&self) -> EventId {
        self.replica.forgotten_event().unwrap_or_default()
    }

    fn newest(&self) -> EventId {
        let kept = self.replica.events().rev().find(|event| event.id.lsn <= self.visible);
        kept.map_or_else(|| self.forgotten(), |event| event.id)
    }
}

impl Listeners {
    /// Somebody listens from here on; `after` is its place, or it begins behind the newest event.
    ///
    /// # Errors
    /// Why not, for a person.
    pub(crate) fn add(
        &mut self,
        connection: ConnectionId,
        after: Option<EventId>,
        until: u64,
        ring: &impl Ring,
    ) -> Result<Frame, String> {
        if self.listening.len() >= LISTENERS_MAX && !self.listening.contains_key(&connection) {
            return Err(format!("{LISTENERS_MAX} listen to the events of this replica already"));
        }
        let newest = ring.newest();
        let place = after.unwrap_or(newest);
        self.listening.insert(connection, Listener { place, sent: 0, until });
        self.is_due = true;
        let told = |id: EventId| (id.lsn.0, id.index);
        Ok(Frame::Control(Control::Listening { after: told(place), newest: told(newest) }))
    }

    /// A listener takes more.
    pub(crate) fn allow(&mut self, connection: ConnectionId, until: u64) {
        if let Some(listener) = self.listening.get_mut(&connection) {
            listener.until = listener.until.max(until);
            self.is_due = true;
        }
    }

    /// Nobody listens there any more.
    pub(crate) fn remove(&mut self, connection: ConnectionId) {
        self.listening.remove(&connection);
    }

    /// Nobody listens any more.
    pub(crate) fn clear(&mut self) {
        self.listening.clear();
    }

    /// There is an event that may be seen.
    pub(crate) fn on_event(&mut self) {
        self.is_due = !self.listening.is_empty();
    }

    /// Whether [`Listeners::serve`] may have something to do.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Sends each listener what it takes of what it has not got.
    pub(crate) fn serve(&mut self, ring: &impl Ring, mut send: impl FnMut(ConnectionId, Frame)) {
        self.is_due = false;
        let forgotten = ring.forgotten();
        for (connection, listener) in &mut self.listening {
            // As long as a listener takes anything, one event fits, however large.
            if listener.sent >= listener.until {
                continue;
            }
            if listener.place < forgotten {
                let told = |id: EventId| (id.lsn.0, id.index);
                let lost = Control::EventsLost { after: told(listener.place), through: told(forgotten) };
                send(*connection, Frame::Control(lost));
                listener.place = forgotten;
            }
            for event in ring.after(listener.place) {
                if listener.sent >= listener.until {
                    break;
                }
                assert!(event.id > listener.place, "events rise");
                (listener.place, listener.sent) = (event.id, listener.sent + event_counts(event));
                send(*connection, Frame::Event(event.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_core::Timestamp;
    use bytes::Bytes;

    use super::*;

    #[derive(Default)]
    struct Kept {
        events: Vec<Event>,
        forgotten: EventId,
    }

    impl Ring for Kept {
        fn after(&self, place: EventId) -> impl Iterator<Item = &Event> {
            self.events.iter().filter(move |event| event.id > place)
        }

        fn forgotten(&self) -> EventId {
            self.forgotten
        }

        fn newest(&self) -> EventId {
            self.events.last().map_or(self.forgotten, |event| event.id)
        }
    }

    impl Kept {
        fn emit(&mut self, lsn: u64, bytes: usize) {
            let (id, value) = (EventId { lsn: Lsn(lsn), index: 0 }, Bytes::from(vec![0; bytes]));
            self.events.push(Event { id, time: Timestamp(1), topic: String::new(), value });
        }

        fn forget(&mut self, count: usize) {
            self.forgotten = self.events.drain(..count).last().expect("there are so many").id;
        }
    }

    /// What each connection gets: the records of events, and what is lost as two numbers.
    fn served(listeners: &mut Listeners, kept: &Kept) -> Vec<(u64, String)> {
        let mut got = Vec::new();
        listeners.serve(kept, |ConnectionId(connection), frame| {
            got.push((
                connection,
                match frame {
                    Frame::Event(event) => event.id.lsn.to_string(),
                    Frame::Control(Control::EventsLost { after, through }) => format!("lost {}-{}", after.0, through.0),
                    other => panic!("{other:?}"),
                },
            ));
        });
        assert!(!listeners.is_due());
        got
    }

    fn of(connection: u64, got: &[&str]) -> Vec<(u64, String)> {
        got.iter().map(|got| (connection, (*got).to_owned())).collect()
    }

    #[test]
    fn each_gets_what_comes_behind_its_place() {
        let (mut kept, mut listeners) = (Kept::default(), Listeners::default());
        (2..=4).for_each(|lsn| kept.emit(lsn, 1));
        let place = |lsn| Some(EventId { lsn: Lsn(lsn), index: 0 });
        for (connection, after) in [(1, place(0)), (2, place(3)), (3, None), (4, place(7))] {
            listeners.add(ConnectionId(connection), after, 1 << 20, &kept).expect("there is room");
        }
        assert_eq!(served(&mut listeners, &kept), [of(1, &["2", "3", "4"]), of(2, &["4"])].concat());
        listeners.remove(ConnectionId(2));
        (5..=8).for_each(|lsn| kept.emit(lsn, 1));
        listeners.on_event();
        let four = &["5", "6", "7", "8"];
        assert_eq!(served(&mut listeners, &kept), [of(1, four), of(3, four), of(4, &["8"])].concat());
    }

    #[test]
    fn who_takes_nothing_gets_nothing_and_is_told_what_it_has_lost() {
        let (mut kept, mut listeners) = (Kept::default(), Listeners::default());
        let (slow, quick) = (ConnectionId(1), ConnectionId(2));
        listeners.add(slow, None, 150, &kept).expect("there is room");
        listeners.add(quick, None, u64::MAX, &kept).expect("there is room");
        (2..=5).for_each(|lsn| kept.emit(lsn, 100));
        listeners.on_event();
        // The second exceeds what it takes: as long as it takes anything, one fits.
        assert_eq!(served(&mut listeners, &kept), [of(1, &["2", "3"]), of(2, &["2", "3", "4", "5"])].concat());
        listeners.allow(slow, 100);
        assert_eq!(served(&mut listeners, &kept), [], "what it takes never falls");
        kept.forget(3);
        listeners.on_event();
        assert_eq!(served(&mut listeners, &kept), []);
        listeners.allow(slow, 1000);
        assert_eq!(served(&mut listeners, &kept), of(1, &["lost 3-4", "5"]));
        kept.forget(1);
        listeners.on_event();
        assert_eq!(served(&mut listeners, &kept), [], "what it has got is not lost");
    }

    #[test]
    fn there_is_a_bound_to_how_many_listen() {
        let (kept, mut listeners) = (Kept::default(), Listeners::default());
        for connection in 0..LISTENERS_MAX as u64 {
            listeners.add(ConnectionId(connection), None, 1, &kept).expect("there is room");
        }
        assert!(listeners.add(ConnectionId(LISTENERS_MAX as u64), None, 1, &kept).is_err());
        assert!(listeners.add(ConnectionId(0), None, 1, &kept).is_ok(), "it listens already");
        listeners.remove(ConnectionId(0));
        assert!(listeners.add(ConnectionId(LISTENERS_MAX as u64), None, 1, &kept).is_ok());
    }
}
