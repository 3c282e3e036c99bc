//! Where in a log each message was delivered, by what its sender knows of it.

use std::collections::{BTreeMap, HashMap};

use ambrosia_core::{
    DeliverBody, Lsn, Mend, MessageKind, Messages, PeerIndex, Record, RecordKind, Remedy, Runs, Seq, Timestamp,
};

use super::span::Place;

/// A message that was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Delivered {
    pub(super) place: Place,
    pub(super) time: Timestamp,
}

/// Messages of a peer that were delivered one behind the other.
struct Stretch {
    first_seq: Seq,
    count: u64,
    first: Delivered,
}

/// How the messages of a record were delivered that the guest could not handle.
struct Mended {
    at: Lsn,
    time: Timestamp,
    /// Which of them were skipped, in order.
    skipped: Vec<u32>,
}

/// What a mend made of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It was handled there.
    Handled(Delivered),
    /// It was left out by the record of the mend, in which it has its index all the same.
    Skipped(Delivered),
}

/// The messages of one log.
#[derive(Default)]
pub(super) struct Index {
    streams: HashMap<PeerIndex, Vec<Stretch>>,
    /// What comes back to an instance from outside: timers, outcomes, what promises were fulfilled with, and that one of these failed.
    returned: HashMap<(Returning, u64), Delivered>,
    requests: HashMap<Vec<u8>, Delivered>,
    mended: BTreeMap<Lsn, Mended>,
    /// The last delivery, and its chain value: a mend of it says both.
    last: Option<(Lsn, u64)>,
}

/// Calls, requests and promises have their numbers from one counter, timers from theirs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Returning {
    Timer,
    Other,
}

impl Index {
    /// Takes the next record.
    pub(super) fn push(&mut self, record: &Record) -> anyhow::Result<()> {
        let header = record.header();
        if let Some(mend) = Mend::of(record)?
            && self.last == Some((mend.lsn, mend.link))
        {
            let skipped = match mend.remedy {
                Remedy::Skip(skip) => skip.messages,
                Remedy::Upgrade(_) => Vec::new(),
            };
            self.mended.insert(mend.lsn, Mended { at: header.lsn, time: header.time, skipped });
        }
        if header.kind != RecordKind::Deliver {
            return Ok(());
        }
        self.last = Some((header.lsn, header.link()));
        let body = DeliverBody::decode(record.body())?;
        let mut index = 0;
        let mut delivered = |count| {
            let place = Place { lsn: header.lsn, index };
            index += count;
            Delivered { place, time: header.time }
        };
        for run in Runs::new(body.runs) {
            let run = run?;
            if run.first_seq != Seq(0) {
                let count = Messages::new(run.messages).count();
                let stretch = Stretch { first_seq: run.first_seq, count: count as u64, first: delivered(count as u32) };
                self.streams.entry(run.peer).or_default().push(stretch);
                continue;
            }
            for message in Messages::new(run.messages) {
                let (message, delivered) = (message?, delivered(1));
                let returning = match message.kind {
                    MessageKind::Timer => Some(Returning::Timer),
                    MessageKind::Outcome | MessageKind::Resolved | MessageKind::Error => Some(Returning::Other),
                    _ => None,
                };
                if let Some(returning) = returning {
                    self.returned.insert((returning, message.call_id.0), delivered);
                }
                if message.kind == MessageKind::Impulse
                    && let Some(entry) = body.requests.iter().find(|entry| entry.call_id == message.call_id)
                {
                    self.requests.insert(entry.request.as_bytes().to_vec(), delivered);
                }
            }
        }
        Ok(())
    }

    /// The message of a peer that has this number, if it was delivered.
    pub(super) fn of_peer(&self, peer: PeerIndex, seq: Seq) -> Option<Delivered> {
        // Numbers begin anew if the peer was registered anew; the last stretch that fits is of its present life.
        let stretches = self.streams.get(&peer)?.iter().rev();
        let stretch = stretches
            .into_iter()
            .find(|stretch| (stretch.first_seq.0..stretch.first_seq.0 + stretch.count).contains(&seq.0))?;
        let Delivered { place, time } = stretch.first;
        let index = place.index + (seq.0 - stretch.first_seq.0) as u32;
        Some(Delivered { place: Place { index, ..place }, time })
    }

    /// What has come back under a number.
    pub(super) fn returned(&self, returning: Returning, id: u64) -> Option<Delivered> {
        self.returned.get(&(returning, id)).copied()
    }

    /// The impulse of a request.
    pub(super) fn request(&self, id: &[u8]) -> Option<Delivered> {
        self.requests.get(id).copied()
    }

    /// Where a message that was delivered was handled.
    pub(super) fn fate(&self, delivered: Delivered) -> Fate {
        let Delivered { place: Place { lsn, index }, .. } = delivered;
        let Some(Mended { at, time, skipped }) = self.mended.get(&lsn) else { return Fate::Handled(delivered) };
        let there = |index| Delivered { place: Place { lsn: *at, index }, time: *time };
        match skipped.binary_search(&index) {
            Ok(_) => Fate::Skipped(there(index)),
            Err(before) => Fate::Handled(there(index - before as u32)),
        }
    }
}
