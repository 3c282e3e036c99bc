//! Events that the guest has emitted for whoever listens outside: the newest of them.

use core::{fmt, str::FromStr};
use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    Lsn, Timestamp,
    bytes_reader::BytesReader,
    digest::Digested,
    limits::{EVENT_TOPIC_BYTES_MAX, EVENTS_BYTES_MAX, EVENTS_MAX},
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// What tells an event from all others of its instance, on every replica; later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct EventId {
    /// The record that brought it about.
    pub lsn: Lsn,
    /// Which of the events of that record, from 0.
    pub index: u32,
}

impl EventId {
    /// Behind all that the record `lsn` has brought about.
    pub fn behind(lsn: Lsn) -> EventId {
        EventId { lsn, index: u32::MAX }
    }
}

/// As it is written: `LSN.INDEX`.
impl fmt::Display for EventId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.lsn, self.index)
    }
}

/// Reads `LSN.INDEX`, or `LSN` alone, which is behind all that this record has brought about; 0 is before all events.
impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<EventId, NoEventId> {
        let number = |text: &str| {
            let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if is_plain { text.parse().ok() } else { None }
        };
        let read = match text.split_once('.') {
            None => number(text).map(|lsn| if lsn == 0 { EventId::default() } else { EventId::behind(Lsn(lsn)) }),
            Some((lsn, index)) => number(lsn)
                .zip(number(index).and_then(|index| u32::try_from(index).ok()))
                .map(|(lsn, index)| EventId { lsn: Lsn(lsn), index }),
        };
        read.ok_or_else(|| NoEventId(text.chars().take(64).collect()))
    }
}

/// A text that names no event.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no id of an event: write LSN.INDEX, such as 812.0, or the number of a record alone")]
pub struct NoEventId(String);

/// Something that the guest told to whoever listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Its name.
    pub id: EventId,
    /// Time of its record.
    pub time: Timestamp,
    /// What it is about; at most [`EVENT_TOPIC_BYTES_MAX`] bytes.
    pub topic: String,
    /// One value, as the guest encoded it.
    pub value: Bytes,
}

impl Event {
    /// Reads what a guest emits: the topic with its length in two bytes before it, then the value.
    ///
    /// # Errors
    /// Why that is the guest's fault.
    pub(crate) fn emitted(arguments: &[u8], id: EventId, time: Timestamp) -> Result<Event, String> {
        let mut fields = BytesReader(arguments);
        let topic = fields.u16().and_then(|length| fields.take(usize::from(length)));
        let topic = topic.ok_or_else(|| "the guest emitted an event whose topic is cut off".to_owned())?;
        if topic.len() > EVENT_TOPIC_BYTES_MAX {
            return Err(format!(
                "the guest emitted an event with a topic of {} bytes; {EVENT_TOPIC_BYTES_MAX} are allowed",
                topic.len()
            ));
        }
        let topic = std::str::from_utf8(topic).map_err(|_| "the guest emitted an event whose topic is no text")?;
        let event = Event { id, time, topic: topic.to_owned(), value: Bytes::copy_from_slice(fields.0) };
        if event.bytes() > EVENTS_BYTES_MAX {
            return Err(format!(
                "the guest emitted an event of {} bytes; {EVENTS_BYTES_MAX} are allowed",
                event.bytes()
            ));
        }
        Ok(event)
    }

    /// What it counts of [`EVENTS_BYTES_MAX`].
    fn bytes(&self) -> usize {
        self.topic.len() + self.value.len()
    }

    fn digest(&self) -> u64 {
        // The time is that of the record.
        let Event { id: EventId { lsn, index }, time: _, topic, value } = self;
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        hasher.update(&lsn.0.to_le_bytes());
        hasher.update(&index.to_le_bytes());
        hasher.update(topic.as_bytes());
        hasher.update(value);
        hasher.digest()
    }
}

/// The newest events; the oldest go first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Events {
    kept: VecDeque<Event>,
    /// The newest that was forgotten, so that whoever resumes behind it knows that events are missing.
    forgotten: Option<EventId>,
    bytes: usize,
    /// Sum of the digests of those that are kept.
    digest: u64,
}

impl Events {
    /// Adds the newest.
    pub(crate) fn push(&mut self, event: Event) {
        assert!(self.kept.back().is_none_or(|last| last.id < event.id), "events rise");
        self.bytes += event.bytes();
        self.digest = self.digest.wrapping_add(event.digest());
        self.kept.push_back(event);
        while self.kept.len() > EVENTS_MAX || self.bytes > EVENTS_BYTES_MAX {
            let oldest = self.kept.pop_front().expect("there are more than the limit");
            self.bytes -= oldest.bytes();
            self.digest = self.digest.wrapping_sub(oldest.digest());
            self.forgotten = Some(oldest.id);
        }
    }

    /// Those that are kept, the oldest first.
    pub(crate) fn kept(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.kept.iter()
    }

    /// Those of them that come behind `place`.
    pub(crate) fn after(&self, place: EventId) -> impl ExactSizeIterator<Item = &Event> {
        self.kept.range(self.kept.partition_point(|event| event.id <= place)..)
    }

    /// The newest that was forgotten.
    pub(crate) fn forgotten(&self) -> Option<EventId> {
        self.forgotten
    }
}

impl Part for Events {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Events { kept, forgotten, bytes: _, digest: _ } = self; // the others follow from the first
        let EventId { lsn, index } = forgotten.unwrap_or_default();
        out.put_u64(lsn.0);
        out.put_count(index as usize);
        out.put_count(kept.len());
        for Event { id, time, topic, value } in kept {
            out.put_u64(id.lsn.0);
            out.put_count(id.index as usize);
            out.put_u64(time.0);
            out.put_count(topic.len());
            out.put(topic.as_bytes());
            out.put_count(value.len());
            out.share(value);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Events> {
        let forgotten = EventId { lsn: Lsn(reader.u64()?), index: reader.u32()? };
        let mut before = (forgotten != EventId::default()).then_some(forgotten);
        let mut events = Events { forgotten: before, ..Events::default() };
        let count = reader.u32()?;
        (count as usize <= EVENTS_MAX).then_some(())?;
        for _ in 0..count {
            let id = EventId { lsn: Lsn(reader.u64()?), index: reader.u32()? };
            rises(&mut before, id)?;
            let time = Timestamp(reader.u64()?);
            let topic_bytes = reader.u32()? as usize;
            (topic_bytes <= EVENT_TOPIC_BYTES_MAX).then_some(())?;
            let topic = std::str::from_utf8(reader.rest.take(topic_bytes)?).ok()?.to_owned();
            let value_bytes = reader.u32()? as usize;
            let value = reader.bytes(value_bytes)?;
            events.push(Event { id, time, topic, value });
        }
        // What was kept is kept, else it would not be written as it was read.
        (events.kept.len() == count as usize).then_some(events)
    }

    /// Of an instance that has none nothing is added, so that the digests in logs from before there were any still hold.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Events { kept, forgotten: _, bytes: _, digest } = self; // what was forgotten follows from the records
        if !kept.is_empty() {
            digested.bytes(b"events");
            digested.number(*digest);
        }
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Events { kept, forgotten, bytes, digest } = self;
        holds!(kept.len() <= EVENTS_MAX, "there are no more events than the limit");
        holds!(*bytes <= EVENTS_BYTES_MAX, "events have no more bytes than the limit");
        holds!(!kept.is_empty() || (*bytes, *digest) == (0, 0), "without events their sums are zero");
        let (first, last) = (kept.front().map(|event| event.id), kept.back().map(|event| event.id));
        holds!(last.is_none_or(|last| last.lsn <= beside.position.lsn), "an event is of a record that was applied");
        holds!(first.is_none_or(|first| *forgotten < Some(first)), "the oldest event goes first");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for (text, id) in [
            ("0", EventId::default()),
            ("0.0", EventId::default()),
            ("812.3", EventId { lsn: Lsn(812), index: 3 }),
            ("812", EventId::behind(Lsn(812))),
            ("18446744073709551615.4294967295", EventId { lsn: Lsn(u64::MAX), index: u32::MAX }),
        ] {
            assert_eq!(text.parse(), Ok(id), "{text}");
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for bad in ["", ".", "1.", ".1", "+1", "1.-1", "1.4294967296", "18446744073709551616", "1.2.3", " 1", "a"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_comes_behind_a_place_is_found_also_if_that_place_is_gone() {
        let mut events = Events::default();
        for lsn in [2, 2, 5] {
            let index = u32::from(events.kept.back().is_some_and(|last| last.id.lsn == Lsn(lsn)));
            let id = EventId { lsn: Lsn(lsn), index };
            events.push(Event { id, time: Timestamp(1), topic: String::new(), value: Bytes::new() });
        }
        let after = |place: &str| {
            let place = place.parse().expect("an id");
            events.after(place).map(|event| event.id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(after("0"), ["2.0", "2.1", "5.0"]);
        assert_eq!(after("2.0"), ["2.1", "5.0"]);
        assert_eq!((after("2"), after("3.7")), (vec!["5.0".to_owned()], vec!["5.0".to_owned()]));
        assert_eq!((after("5.0"), after("9")), (Vec::<String>::new(), Vec::new()));
    }
}
