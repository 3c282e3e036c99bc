//! Messages to one peer that it has not acknowledged yet, in order.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    Lsn, MESSAGE_HEADER_BYTES, Messages, Seq, check_travelling,
    digest::Digested,
    part::{Beside, Broken, Part, StateReader, holds},
    shared_state::SharedState,
};

/// Messages that one record brought about for one peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The record; nothing of the chunk may be seen outside before it is durable.
    pub after: Lsn,
    /// Number of the first message.
    pub first_seq: Seq,
    /// How many there are.
    pub count: u32,
    /// The messages.
    pub messages: Bytes,
}

impl Chunk {
    /// Number of the last message.
    pub fn last_seq(&self) -> Seq {
        debug_assert!(self.count > 0, "a chunk has a last message");
        Seq(self.first_seq.0 + u64::from(self.count) - 1)
    }

    /// The part of the chunk that comes after `seq`; `None` if nothing does.
    pub fn after_seq(&self, seq: Seq) -> Option<Chunk> {
        if self.last_seq() <= seq {
            return None;
        }
        let covered = (seq.0 + 1).saturating_sub(self.first_seq.0) as u32;
        assert!(covered < self.count, "something comes after the number");
        Some(Chunk {
            after: self.after,
            first_seq: Seq(self.first_seq.0 + u64::from(covered)),
            count: self.count - covered,
            messages: self.messages.slice(bytes_of_first(&self.messages, covered)..),
        })
    }
}

impl Chunk {
    /// Takes messages off the front while fewer than `bytes` and `count` are taken; returns them and the rest.
    pub(crate) fn split(self, bytes: usize, count: u32) -> (Chunk, Option<Chunk>) {
        if self.messages.len() <= bytes && self.count <= count {
            return (self, None);
        }
        let (mut taken_bytes, mut taken) = (0, 0);
        for message in Messages::new(&self.messages) {
            if taken_bytes >= bytes || taken >= count {
                break;
            }
            taken_bytes += message.expect("messages are checked when they come in").encoded_len();
            taken += 1;
        }
        assert!(taken > 0, "there is room for one at least");
        let rest = self.after_seq(Seq(self.first_seq.0 + u64::from(taken) - 1));
        let left = rest.as_ref().map_or(0, |rest| rest.messages.len());
        assert_eq!(taken_bytes + left, self.messages.len(), "each message is on one side");
        (Chunk { count: taken, messages: self.messages.slice(..taken_bytes), ..self }, rest)
    }
}

/// Bytes that the first `count` messages take. They were checked when they came in.
fn bytes_of_first(messages: &[u8], count: u32) -> usize {
    Messages::new(messages)
        .take(count as usize)
        .map(|message| message.expect("messages are checked when they come in").encoded_len())
        .sum()
}

/// The outbox of one stream. A gap in it or a message in it twice would break exactly-once delivery.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// What the record being applied adds, until [`Outbox::close_chunk`].
    open: Vec<u8>,
    open_count: u32,
    last_seq: Seq,
    acknowledged: Seq,
    bytes: usize,
}

impl Outbox {
    /// Adds the next chunk of an outbox that is being read. `None` if it can't be.
    fn push_chunk(&mut self, chunk: Chunk) -> Option<()> {
        let first = self.chunks.back().map_or(chunk.first_seq, |last| last.last_seq().next());
        let last = chunk.first_seq.0.checked_add(u64::from(chunk.count))?.checked_sub(1)?;
        if chunk.first_seq != first || first.0 == 0 || last > self.last_seq.0 {
            return None;
        }
        self.bytes += chunk.messages.len();
        self.chunks.push_back(chunk);
        Some(())
    }

    /// Whether nothing is missing in an outbox that was read: what was not acknowledged is there up to the last message.
    fn is_whole(&self) -> bool {
        // A chunk goes only when all of it is acknowledged, so the first one may begin before what is missing at the peer, but
        // never behind it; and without chunks nothing may be missing there.
        let first = self.chunks.front().map_or(self.last_seq.0.checked_add(1), |chunk| Some(chunk.first_seq.0));
        let last = self.chunks.back().map_or(self.last_seq, Chunk::last_seq);
        let reaches = first.is_some_and(|first| first <= self.acknowledged.0.saturating_add(1));
        self.acknowledged <= self.last_seq && last == self.last_seq && reaches
    }

    /// The chunk at that place, from the oldest on.
    pub(crate) fn chunk(&self, at: usize) -> Option<&Chunk> {
        self.chunks.get(at)
    }

    /// Adds an encoded message.
    pub(crate) fn push(&mut self, message: &[u8]) {
        debug_assert!(message.len() >= MESSAGE_HEADER_BYTES, "a message has a header");
        self.open.extend_from_slice(message);
        self.open_count += 1;
    }

    /// Ends what the record `after` adds and returns it, if that is anything.
    pub(crate) fn close_chunk(&mut self, after: Lsn) -> Option<&Chunk> {
        if self.open_count == 0 {
            return None;
        }
        let chunk = Chunk {
            after,
            first_seq: self.last_seq.next(),
            count: self.open_count,
            messages: Bytes::copy_from_slice(&self.open),
        };
        assert!(self.chunks.back().is_none_or(|last| last.after <= after), "chunks are in the order of their records");
        self.open.clear();
        self.open_count = 0;
        self.last_seq = chunk.last_seq();
        self.bytes += chunk.messages.len();
        self.chunks.push_back(chunk);
        self.chunks.back()
    }

    /// Forgets what the record being applied has added so far: its delivery failed.
    pub(crate) fn discard_open(&mut self) {
        self.open.clear();
        self.open_count = 0;
    }

    /// The peer has everything up to `seq`. Chunks go when all of them is covered.
    pub(crate) fn acknowledge(&mut self, seq: Seq) {
        assert!(seq <= self.last_seq, "a peer can't acknowledge what was never sent");
        if seq <= self.acknowledged {
            return;
        }
        self.acknowledged = seq;
        while let Some(chunk) = self.chunks.front()
            && chunk.last_seq() <= seq
        {
            assert!(self.bytes >= chunk.messages.len(), "the bytes held are those of all chunks");
            self.bytes -= chunk.messages.len();
            self.chunks.pop_front();
        }
        debug_assert!(!self.chunks.is_empty() || self.acknowledged == self.last_seq, "what is not covered is kept");
    }

    /// Everything after `seq`, for a peer that connects.
    pub(crate) fn chunks_after(&self, seq: Seq) -> impl Iterator<Item = Chunk> {
        assert!(seq >= self.acknowledged, "what was acknowledged is gone");
        self.chunks.iter().filter_map(move |chunk| chunk.after_seq(seq))
    }

    /// The stream starts afresh: what was not acknowledged is dropped, and numbers begin at 1 again. Returns how many
    /// messages were dropped.
    pub(crate) fn restart(&mut self) -> u64 {
        assert_eq!(self.open_count, 0, "a stream starts afresh between two deliveries");
        assert!(self.acknowledged <= self.last_seq, "nothing is acknowledged that was never sent");
        let dropped = self.last_seq.0 - self.acknowledged.0;
        *self = Outbox::default();
        dropped
    }

    /// Number of the last message; 0 if there was none.
    pub(crate) fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Last number that the peer acknowledged.
    pub(crate) fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn check(&self) -> Result<(), Broken> {
        let Outbox { chunks, open, open_count, last_seq, acknowledged, bytes } = self;
        holds!(*open_count == 0 && open.is_empty(), "between records no chunk is open");
        holds!(acknowledged <= last_seq, "nothing is acknowledged that was never sent");
        holds!(*bytes == chunks.iter().map(|chunk| chunk.messages.len()).sum::<usize>(), "the bytes are a sum");
        let mut next = chunks.front().map_or(last_seq.next(), |chunk| chunk.first_seq);
        holds!(next <= acknowledged.next(), "nothing that was not acknowledged is missing");
        let mut after = Lsn(0);
        for chunk in chunks {
            holds!(chunk.count > 0, "no chunk is empty");
            holds!(chunk.first_seq == next, "chunks follow each other without a gap");
            holds!(chunk.after >= after, "chunks are in the order of their records");
            (next, after) = (chunk.last_seq().next(), chunk.after);
        }
        holds!(next == last_seq.next(), "the last chunk ends with the last message");
        Ok(())
    }
}

impl Part for Outbox {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Outbox { chunks, open, open_count: _, last_seq, acknowledged, bytes: _ } = self;
        assert!(open.is_empty(), "between records no chunk is open");
        out.put_u64(last_seq.0);
        out.put_u64(acknowledged.0);
        out.put_count(chunks.len());
        for Chunk { after, first_seq, count, messages } in chunks {
            out.put_u64(after.0);
            out.put_u64(first_seq.0);
            out.put_count(*count as usize);
            out.put_count(messages.len());
            out.share(messages);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Outbox> {
        let (last_seq, acknowledged) = (Seq(reader.u64()?), Seq(reader.u64()?));
        let mut outbox = Outbox { last_seq, acknowledged, ..Outbox::default() };
        for _ in 0..reader.u32()? {
            let after = Lsn(reader.u64()?);
            let first_seq = Seq(reader.u64()?);
            let count = reader.u32()?;
            let bytes = reader.u32()? as usize;
            let messages = reader.bytes(bytes)?;
            if check_travelling(&messages) != Ok(count) || count == 0 {
                return None;
            }
            outbox.push_chunk(Chunk { after, first_seq, count, messages })?;
        }
        outbox.is_whole().then_some(outbox)
    }

    /// What the peer has acknowledged, and so what is still held, is left out: the primary knows it before the log does.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Outbox { chunks: _, open: _, open_count: _, last_seq, acknowledged: _, bytes: _ } = self;
        digested.number(last_seq.0);
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        self.check()?;
        let newest = self.chunks.back().map_or(Lsn(0), |chunk| chunk.after);
        holds!(newest <= beside.position.lsn, "messages come of records that were applied");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
