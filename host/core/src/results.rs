//! Results of requests, as the bytes that a checkpoint holds of them, one behind the other.
//!
//! New ones are added behind, the oldest go in front. The bytes are cut into blocks, and a block that is full never
//! changes: a checkpoint shares it, and a restart takes it as it is.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    Answer, Lsn, RequestId, Timestamp,
    bytes_reader::BytesReader,
    part::{Broken, holds},
    shared_state::SharedState,
};

/// A block is full once it has this many bytes; a large result alone may have more.
const BLOCK_BYTES_FULL: usize = 64 << 10;

/// A request with its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Answered<'a> {
    /// Bytes of its id.
    pub(crate) id: &'a [u8],
    /// Record that holds the impulse.
    pub(crate) accepted: Lsn,
    /// Time of the record that brought the result about.
    pub(crate) time: Timestamp,
    /// That record.
    pub(crate) lsn: Lsn,
    /// Hash of what was asked for; 0 if that is not known any more.
    pub(crate) content: u64,
    /// As in [`Answer`].
    pub(crate) success: bool,
    /// As in [`Answer`].
    pub(crate) value: &'a [u8],
}

impl<'a> Answered<'a> {
    /// `None` if the bytes are nothing of the kind.
    fn read(reader: &mut BytesReader<'a>, has_content: bool) -> Option<Answered<'a>> {
        let id_bytes = reader.u8()? as usize;
        let id = reader.take(id_bytes)?;
        let (accepted, time, lsn) = (Lsn(reader.u64()?), Timestamp(reader.u64()?), Lsn(reader.u64()?));
        let content = if has_content { reader.u64()? } else { 0 };
        let success = reader.u8()?;
        let value_bytes = reader.u32()? as usize;
        let value = reader.take(value_bytes)?;
        (RequestId::fits(id) && success <= 1).then_some(())?;
        Some(Answered { id, accepted, time, lsn, content, success: success == 1, value })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Answered { id, accepted, time, lsn, content, success, value } = self;
        out.push(id.len() as u8);
        out.extend_from_slice(id);
        for number in [accepted.0, time.0, lsn.0, *content] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.push(u8::from(*success));
        let bytes = u32::try_from(value.len()).expect("arguments of messages have a limit that fits");
        out.extend_from_slice(&bytes.to_le_bytes());
        out.extend_from_slice(value);
    }
}

/// Where a result stands: so many bytes behind the first that there ever was in this life of the replica.
pub(crate) type Place = u64;

/// Bytes that nobody changes any more.
#[derive(Clone, Debug)]
struct Block {
    /// Of its first byte.
    place: Place,
    bytes: Bytes,
}

/// All results that are remembered, in the order of their records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    blocks: VecDeque<Block>,
    /// The block that is not full yet.
    open: Vec<u8>,
    /// Of the first byte of `open`.
    open_place: Place,
    /// Of the oldest result; what comes before it in the first block is forgotten.
    oldest: Place,
    count: usize,
    value_bytes: usize,
}

impl Results {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of their values together.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Adds the latest.
    pub(crate) fn push(&mut self, answered: &Answered<'_>) -> Place {
        debug_assert!(RequestId::fits(answered.id), "a result is that of a request");
        let place = self.open_place + self.open.len() as u64;
        assert!(place >= self.oldest, "the latest result is behind the oldest");
        answered.encode(&mut self.open);
        self.count += 1;
        self.value_bytes += answered.value.len();
        if self.open.len() >= BLOCK_BYTES_FULL {
            let bytes = Bytes::from(std::mem::take(&mut self.open).into_boxed_slice());
            self.push_block(bytes);
        }
        place
    }

    fn push_block(&mut self, bytes: Bytes) {
        assert!(!bytes.is_empty(), "a block holds a result");
        let place = self.open_place;
        let behind = self.blocks.back().is_none_or(|last| last.place + last.bytes.len() as u64 == place);
        assert!(behind, "blocks follow each other without a gap");
        self.open_place += bytes.len() as u64;
        self.blocks.push_back(Block { place, bytes });
    }

    /// The oldest one, if there is any.
    pub(crate) fn oldest(&self) -> Option<(Place, Answered<'_>)> {
        (self.count > 0).then(|| (self.oldest, self.at(self.oldest)))
    }

    /// Forgets the oldest one.
    pub(crate) fn forget_oldest(&mut self) {
        assert!(self.count > 0, "there is a result to forget");
        let whole = self.bytes_from(self.oldest);
        let (answered, rest) = read_known(whole);
        let (value, taken) = (answered.value.len(), (whole.len() - rest.len()) as u64);
        assert!(self.value_bytes >= value, "the bytes of values are a sum");
        self.count -= 1;
        self.value_bytes -= value;
        self.oldest += taken;
        while let Some(block) = self.blocks.front()
            && block.place + block.bytes.len() as u64 <= self.oldest
        {
            self.blocks.pop_front();
        }
    }

    /// The result at `place`, where one must be.
    pub(crate) fn at(&self, place: Place) -> Answered<'_> {
        read_known(self.bytes_from(place)).0
    }

    /// The result at `place`, to be given away.
    pub(crate) fn answer_at(&self, place: Place) -> Answer {
        let Answered { success, value, .. } = self.at(place);
        let value = match self.block_of(place) {
            Some(block) => block.bytes.slice_ref(value),
            None => Bytes::copy_from_slice(value),
        };
        Answer { success, value }
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Place, Answered<'_>)> {
        let mut place = self.oldest;
        (0..self.count).map(move |_| {
            let whole = self.bytes_from(place);
            let (answered, rest) = read_known(whole);
            let at = place;
            place += (whole.len() - rest.len()) as u64;
            (at, answered)
        })
    }

    /// `None` if `place` is in the block that is not full yet.
    fn block_of(&self, place: Place) -> Option<&Block> {
        if place >= self.open_place {
            return None;
        }
        let after = self.blocks.partition_point(|block| block.place <= place);
        assert!(after > 0, "the block of place {place} is kept");
        Some(&self.blocks[after - 1])
    }

    /// From `place` to the end of its block.
    fn bytes_from(&self, place: Place) -> &[u8] {
        assert!(place >= self.oldest, "nothing is asked for that was forgotten");
        match self.block_of(place) {
            Some(block) => &block.bytes[(place - block.place) as usize..],
            None => &self.open[(place - self.open_place) as usize..],
        }
    }

    /// Appends all of them to a checkpoint.
    pub(crate) fn share(&self, out: &mut SharedState) {
        // Blocks are cut where it suits this replica. The bytes that come out are the same on each, for a reader finds results
        // one behind the other and not by blocks; only how many pieces are shared differs.
        for block in &self.blocks {
            let forgotten = self.oldest.saturating_sub(block.place) as usize;
            out.share(&block.bytes.slice(forgotten..));
        }
        let forgotten = self.oldest.saturating_sub(self.open_place) as usize;
        out.put(&self.open[forgotten..]);
    }

    /// Takes `count` results off the front of `reader`, which were written before there was a hash of what was asked for.
    /// `None` if they are not there.
    pub(crate) fn read_without_content(reader: &mut BytesReader<'_>, count: u32) -> Option<Results> {
        let mut results = Results::default();
        for _ in 0..count {
            results.push(&Answered::read(reader, false)?);
        }
        Some(results)
    }

    /// Takes `count` results off the front of `reader`, as slices of `whole`. `None` if they are not there.
    pub(crate) fn read(reader: &mut BytesReader<'_>, whole: &Bytes, count: u32) -> Option<Results> {
        let mut results = Results::default();
        let mut block = reader.0;
        for _ in 0..count {
            let answered = Answered::read(reader, true)?;
            results.count += 1;
            results.value_bytes += answered.value.len();
            let bytes = block.len() - reader.0.len();
            if bytes >= BLOCK_BYTES_FULL {
                results.push_block(whole.slice_ref(&block[..bytes]));
                block = reader.0;
            }
        }
        results.open.extend_from_slice(&block[..block.len() - reader.0.len()]);
        Some(results)
    }

    pub(crate) fn check(&self) -> Result<(), Broken> {
        let Results { blocks, open, open_place, oldest, count, value_bytes } = self;
        let end = open_place + open.len() as u64;
        holds!(blocks.front().map_or(*open_place, |block| block.place) <= *oldest, "the oldest result is kept");
        holds!(*oldest <= end, "the oldest result is not behind the newest");
        holds!(*count > 0 || *oldest == end, "without results everything is forgotten");
        holds!(*count > 0 || *value_bytes == 0, "without results there are no values");
        holds!(open.len() < BLOCK_BYTES_FULL, "a full block is not added to");
        Ok(())
    }
}

/// The result at the front of `bytes`, and what comes behind it.
fn read_known(bytes: &[u8]) -> (Answered<'_>, &[u8]) {
    let mut reader = BytesReader(bytes);
    let answered = Answered::read(&mut reader, true).expect("results were checked when they came in");
    (answered, reader.0)
}

#[cfg(test)]
mod tests;
