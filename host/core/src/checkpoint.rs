//! The replicated state as bytes, for checkpoints.
//!
//! ```text
//! u32 version
//! genesis      u32 bytes, the body of the genesis record
//! position     u64 lsn, u64 link, u64 epoch, u64 time
//! world        u64 state of the generator
//! peers        u32 count; each: u8 bytes, name; u8 has uuid, 16 uuid; u64 received;
//!                u64 last seq, u64 acknowledged; u32 chunks; each: u64 after, u64 first seq, u32 count, u32 bytes, messages
//! timers       u32 count; each: u64 due, u64 id
//! calls        u32 count; each: u64 call, u32 peer
//! failed calls u32 count; each: u64 call
//! results      u32 count; each: request, u64 time, u64 answered by, u8 success, u32 bytes, value
//! pending      u32 count; each: request, u64 call
//! impulses     u64 last number
//! started      u8
//! request      u8 bytes, id; u64 accepted by
//! ```
//!
//! Timers, calls, failed calls and pending requests rise; so a state is written in one way only.
//!
//! **Architecture Invariant:** bytes from a file are never believed: what does not fit together is an error, and no
//! count makes the decoder allocate more than the bytes at hand.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    CallId, Chunk, Epoch, Genesis, InstanceName, InstanceUuid, Lsn, PeerIndex, Peers, Random, RequestId, Seq,
    Timestamp, World,
    bytes_reader::BytesReader,
    check_travelling,
    outbox::Outbox,
    requests::{Pending, Requests},
    shared_state::SharedState,
    state::{Position, State},
    stream::Stream,
    streams::Streams,
    timers::Timers,
};

const VERSION: u32 = 1;

/// Why bytes are not a replicated state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// Written by another version.
    #[error("the state has format version {0}, this program reads version {VERSION}")]
    Version(u32),
    /// Nonsense.
    #[error("the bytes are not the state of an instance")]
    Shape,
}

/// The replicated state of a checkpoint, read back: what [`crate::Replica::resume`] goes on from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckpointState(pub(crate) State);

impl CheckpointState {
    /// Reads what [`crate::Replica::checkpoint`] gave. Messages and results are slices of the bytes.
    pub fn decode(bytes: &Bytes) -> Result<CheckpointState, StateError> {
        State::decode(bytes).map(CheckpointState)
    }

    /// Who the instance is, to restore its guest.
    pub fn genesis(&self) -> &Genesis {
        &self.0.genesis
    }

    /// The last record that it holds.
    pub fn lsn(&self) -> Lsn {
        self.0.position.lsn
    }

    /// The peers that the instance knows.
    pub fn peers(&self) -> impl Iterator<Item = (PeerIndex, &InstanceName)> {
        let peers = &self.0.world.peers;
        (1..=peers.count()).map(PeerIndex).filter_map(|peer| Some((peer, peers.name(peer)?)))
    }

    /// Chain value of that record: what the next one carries as `previous`.
    pub fn link(&self) -> u64 {
        self.0.position.link
    }
}

impl State {
    /// Appends the state to `out`.
    ///
    /// # Panics
    /// After the end of the instance: there is nothing to go on from.
    pub(crate) fn encode(&self, out: &mut SharedState) {
        assert!(self.outcome.is_none(), "nothing goes on from an instance that has ended");
        // No field is left out by oversight: a new one has to be named here.
        let State {
            genesis,
            position: Position { lsn, link, epoch, time },
            world: World { name: _, time: _, peers: _, random: _ },
            streams: _,
            timers: _,
            calls: _,
            failed_calls: _,
            requests: _,
            last_impulse: _,
            started: _,
            outcome: _,
        } = self;
        put_u32(out, VERSION as usize);
        let mut genesis_bytes = Vec::new();
        genesis.encode(&mut genesis_bytes);
        put_u32(out, genesis_bytes.len());
        out.put(&genesis_bytes);
        for number in [lsn.0, *link, epoch.0, time.0] {
            put_u64(out, number);
        }
        put_u64(out, self.world.random.state());
        self.encode_peers(out);
        self.encode_waiting(out);
        self.encode_requests(out);
        put_u64(out, self.last_impulse.0);
        put_u8(out, u8::from(self.started));
    }

    fn encode_peers(&self, out: &mut SharedState) {
        put_u32(out, self.world.peers.count() as usize);
        for (peer, stream) in self.streams() {
            let name = self.world.peers.name(peer).expect("streams are as many as names").as_str();
            put_u8(out, name.len() as u8);
            out.put(name.as_bytes());
            put_u8(out, u8::from(stream.uuid.is_some()));
            out.put(&stream.uuid.unwrap_or(InstanceUuid([0; 16])).0);
            put_u64(out, stream.received.0);
            put_u64(out, stream.outbox.last_seq().0);
            put_u64(out, stream.outbox.acknowledged().0);
            put_u32(out, stream.outbox.chunks().len());
            for chunk in stream.outbox.chunks() {
                put_u64(out, chunk.after.0);
                put_u64(out, chunk.first_seq.0);
                put_u32(out, chunk.count as usize);
                put_u32(out, chunk.messages.len());
                out.share(&chunk.messages);
            }
        }
    }

    /// Timers and calls.
    fn encode_waiting(&self, out: &mut SharedState) {
        put_u32(out, self.timers.iter().len());
        for (due, id) in self.timers.iter() {
            put_u64(out, due.0);
            put_u64(out, id.0);
        }
        put_u32(out, self.calls.len());
        for (call, peer) in &self.calls {
            put_u64(out, call.0);
            put_u32(out, peer.0 as usize);
        }
        put_u32(out, self.failed_calls.len());
        for call in &self.failed_calls {
            put_u64(out, call.0);
        }
    }

    fn encode_requests(&self, out: &mut SharedState) {
        put_u32(out, self.requests.answered_count());
        self.requests.share_answered(out);
        put_u32(out, self.requests.pending().len());
        for (call, Pending { id, accepted }) in self.requests.pending() {
            put_u8(out, id.as_bytes().len() as u8);
            out.put(id.as_bytes());
            put_u64(out, accepted.0);
            put_u64(out, call.0);
        }
    }

    /// Reads back what [`State::encode`] wrote.
    pub(crate) fn decode(bytes: &Bytes) -> Result<State, StateError> {
        let mut reader = BytesReader(bytes);
        match reader.u32() {
            Some(VERSION) => {}
            Some(version) => return Err(StateError::Version(version)),
            None => return Err(StateError::Shape),
        }
        let state = Decoder { reader, whole: bytes }.state().ok_or(StateError::Shape)?;
        if state.fits_together() { Ok(state) } else { Err(StateError::Shape) }
    }

    /// Whether the parts agree with each other, as [`State::validate`] asserts of a state that was made here.
    fn fits_together(&self) -> bool {
        let peers = self.world.peers.count();
        let of_peer = |(call, peer): (&CallId, &PeerIndex)| *call != CallId(0) && peer.0 > 0 && peer.0 <= peers;
        let known = |(_, stream): (PeerIndex, &Stream)| stream.uuid.is_some() || stream.received == Seq(0);
        let me = self.me().map(|me| self.stream(me));
        let happened = |lsn: Lsn| lsn <= self.position.lsn;
        let sent = |(_, stream): (PeerIndex, &Stream)| stream.outbox.chunks().all(|chunk| happened(chunk.after));
        self.position.lsn >= Lsn(1)
            && self.streams().all(sent)
            && self.requests.answered().all(|answered| happened(answered.accepted) && happened(answered.lsn))
            && self.requests.pending().all(|(call, pending)| happened(pending.accepted) && call <= self.last_impulse)
            && self.calls.iter().all(of_peer)
            && self.failed_calls.iter().all(|call| !self.calls.contains_key(call))
            && self.streams().all(known)
            && me.is_none_or(|me| me.received == me.outbox.acknowledged() && me.uuid == Some(self.genesis.uuid))
    }
}

/// Reads a state. Every method says `None` if the bytes can't be what it reads.
struct Decoder<'a> {
    reader: BytesReader<'a>,
    /// All bytes, so that messages and results are slices of them.
    whole: &'a Bytes,
}

impl Decoder<'_> {
    fn state(&mut self) -> Option<State> {
        let genesis_bytes = self.reader.u32()? as usize;
        let genesis = Genesis::decode(self.reader.take(genesis_bytes)?).ok()?;
        let position = Position {
            lsn: Lsn(self.reader.u64()?),
            link: self.reader.u64()?,
            epoch: Epoch(self.reader.u64()?),
            time: Timestamp(self.reader.u64()?),
        };
        let random = Random::from_state(self.reader.u64()?);
        let (peers, streams) = self.peers()?;
        let timers = self.timers()?;
        let calls = self.calls()?;
        let failed_calls = self.failed_calls()?;
        let requests = self.requests(genesis.seed)?;
        let last_impulse = CallId(self.reader.u64()?);
        let started = self.boolean()?;
        self.reader.0.is_empty().then_some(State {
            streams: Streams::resumed(streams, &peers, &genesis),
            world: World { name: genesis.name.clone(), time: position.time, peers, random },
            genesis,
            position,
            timers,
            calls,
            failed_calls,
            requests,
            last_impulse,
            started,
            outcome: None,
        })
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.reader.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// The next `count` bytes, as a slice of the whole.
    fn bytes(&mut self, count: usize) -> Option<Bytes> {
        Some(self.whole.slice_ref(self.reader.take(count)?))
    }

    fn peers(&mut self) -> Option<(Peers, Vec<Stream>)> {
        let (mut peers, mut streams) = (Peers::default(), Vec::new());
        for number in 1..=self.reader.u32()? {
            let name_bytes = self.reader.u8()? as usize;
            let name = InstanceName::new(std::str::from_utf8(self.reader.take(name_bytes)?).ok()?).ok()?;
            if peers.attach(&name)? != PeerIndex(number) {
                return None;
            }
            let has_uuid = self.boolean()?;
            let uuid = InstanceUuid(self.reader.array()?);
            if !has_uuid && uuid != InstanceUuid([0; 16]) {
                return None;
            }
            let received = Seq(self.reader.u64()?);
            streams.push(Stream { uuid: has_uuid.then_some(uuid), received, outbox: self.outbox()? });
        }
        Some((peers, streams))
    }

    fn outbox(&mut self) -> Option<Outbox> {
        let (last_seq, acknowledged) = (Seq(self.reader.u64()?), Seq(self.reader.u64()?));
        let mut outbox = Outbox::resumed(last_seq, acknowledged);
        for _ in 0..self.reader.u32()? {
            let after = Lsn(self.reader.u64()?);
            let first_seq = Seq(self.reader.u64()?);
            let count = self.reader.u32()?;
            let bytes = self.reader.u32()? as usize;
            let messages = self.bytes(bytes)?;
            if check_travelling(&messages) != Ok(count) || count == 0 {
                return None;
            }
            outbox.push_chunk(Chunk { after, first_seq, count, messages })?;
        }
        outbox.is_whole().then_some(outbox)
    }

    fn timers(&mut self) -> Option<Timers> {
        let mut timers = Timers::default();
        let (count, mut before) = (self.reader.u32()?, None);
        for _ in 0..count {
            let due = Timestamp(self.reader.u64()?);
            let id = CallId(self.reader.u64()?);
            rises(&mut before, (due, id))?;
            timers.set(id, due).then_some(())?;
        }
        let set = timers.iter().len();
        (set == count as usize).then_some(timers)
    }

    fn calls(&mut self) -> Option<BTreeMap<CallId, PeerIndex>> {
        let (mut calls, mut before) = (BTreeMap::new(), None);
        for _ in 0..self.reader.u32()? {
            let call = CallId(self.reader.u64()?);
            rises(&mut before, call)?;
            calls.insert(call, PeerIndex(self.reader.u32()?));
        }
        Some(calls)
    }

    fn failed_calls(&mut self) -> Option<BTreeSet<CallId>> {
        let (mut calls, mut before) = (BTreeSet::new(), None);
        for _ in 0..self.reader.u32()? {
            let call = CallId(self.reader.u64()?);
            rises(&mut before, call)?;
            calls.insert(call);
        }
        Some(calls)
    }

    fn requests(&mut self, seed: u64) -> Option<Requests> {
        let mut requests = Requests::new(seed);
        let answered = self.reader.u32()?;
        requests.resume_answered(&mut self.reader, self.whole, answered)?;
        let mut before = None;
        for _ in 0..self.reader.u32()? {
            let bytes = self.reader.u8()? as usize;
            let id = RequestId::new(self.reader.take(bytes)?).ok()?;
            let accepted = Lsn(self.reader.u64()?);
            let call = CallId(self.reader.u64()?);
            rises(&mut before, call)?;
            requests.resume_pending(call, Pending { id, accepted })?;
        }
        Some(requests)
    }
}

/// `None` if `next` does not come after the one before it.
fn rises<T: Copy + Ord>(before: &mut Option<T>, next: T) -> Option<()> {
    (before.replace(next) < Some(next)).then_some(())
}

fn put_u8(out: &mut SharedState, number: u8) {
    out.put(&[number]);
}

fn put_u64(out: &mut SharedState, number: u64) {
    out.put(&number.to_le_bytes());
}

/// Counts and lengths, which all have limits below.
fn put_u32(out: &mut SharedState, number: usize) {
    let number = u32::try_from(number).expect("every count and length has a limit that fits");
    out.put(&number.to_le_bytes());
}
