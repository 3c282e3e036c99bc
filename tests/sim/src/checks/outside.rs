//! What instances ask of the world outside is performed, and what they tell it is the same whoever tells it.

use std::collections::BTreeMap;

use ambrosia_core::{CallId, Event, EventId, InstanceUuid};

#[derive(Default)]
pub(crate) struct Outside {
    /// What was performed.
    performed: BTreeMap<(InstanceUuid, CallId), Vec<u8>>,
    /// The events that were seen, with their numbers.
    events: BTreeMap<InstanceUuid, BTreeMap<EventId, u64>>,
}

impl Outside {
    /// A request is performed. Only a primary that took it over does what may have been done already, and knows that.
    pub(crate) fn on_performed(&mut self, uuid: InstanceUuid, id: CallId, body: &[u8], resumed: bool) {
        let before = self.performed.insert((uuid, id), body.to_vec());
        assert!(before.is_none() || resumed, "request {id} is performed again by who does not know that");
        assert!(before.is_none_or(|before| before == body), "request {id} is the same each time");
    }

    /// An event is seen, of any replica.
    pub(crate) fn on_event(&mut self, uuid: InstanceUuid, event: &Event) {
        let number = number(event);
        let seen = self.events.entry(uuid).or_default();
        let before = seen.insert(event.id, number);
        assert!(before.is_none_or(|before| before == number), "an event is the same on each replica");
        let earlier = seen.range(..event.id).next_back().map(|(_, number)| *number);
        let later = seen.range(event.id..).nth(1).map(|(_, number)| *number);
        assert!(earlier.is_none_or(|earlier| earlier < number), "events are told in their order");
        assert!(later.is_none_or(|later| number < later), "events are told in their order");
    }
}

/// The number of an event of the model.
pub(crate) fn number(event: &Event) -> u64 {
    u64::from_le_bytes(event.value[..].try_into().expect("the value of an event is a number"))
}
