//! What instances ask of the world outside is performed, and what they tell it is the same whoever tells it.

use std::collections::{BTreeMap, BTreeSet};

use ambrosia_core::{CallId, Event, EventId, InstanceUuid, PromiseToken};

use crate::model::Callback;

#[derive(Default)]
pub(crate) struct Outside {
    /// What was performed.
    performed: BTreeMap<(InstanceUuid, CallId), Vec<u8>>,
    /// What was performed by the reign that made it.
    made: BTreeSet<(InstanceUuid, CallId)>,
    /// The events that were seen, with their numbers.
    events: BTreeMap<InstanceUuid, BTreeMap<EventId, u64>>,
    /// Promises that somebody outside was asked to fulfil, and whether it has heard that they are fulfilled.
    promises: BTreeMap<(InstanceUuid, CallId), (PromiseToken, bool)>,
}

impl Outside {
    /// A request is performed. Once by the reign that made it: all others know that it may have been done already, which is what
    /// keeps one from being repeated that must not be. That reign may be late, and do it after the next one has.
    pub(crate) fn on_performed(&mut self, uuid: InstanceUuid, id: CallId, body: &[u8], resumed: bool) {
        let is_first = resumed || self.made.insert((uuid, id));
        assert!(is_first, "request {id} is performed again by who does not know that");
        let before = self.performed.insert((uuid, id), body.to_vec());
        assert!(before.is_none_or(|before| before == body), "request {id} is the same each time");
    }

    /// Somebody outside is asked to fulfil a promise; whether that is news.
    pub(crate) fn on_promise(&mut self, uuid: InstanceUuid, callback: Callback) -> bool {
        let Callback { promise, token } = callback;
        let before = self.promises.insert((uuid, promise), (token, self.is_fulfilled(uuid, promise)));
        assert!(before.is_none_or(|(before, _)| before == token), "the token of a promise is the same in each reign");
        before.is_none()
    }

    /// Somebody outside hears that a promise is fulfilled.
    pub(crate) fn on_fulfilled(&mut self, uuid: InstanceUuid, promise: CallId) {
        self.promises.get_mut(&(uuid, promise)).expect("it was learned").1 = true;
    }

    pub(crate) fn is_fulfilled(&self, uuid: InstanceUuid, promise: CallId) -> bool {
        self.promises.get(&(uuid, promise)).is_some_and(|(_, is_fulfilled)| *is_fulfilled)
    }

    pub(crate) fn token(&self, uuid: InstanceUuid, promise: CallId) -> PromiseToken {
        self.promises[&(uuid, promise)].0
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
