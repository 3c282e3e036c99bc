//! The streams between this instance and all its peers, with sums over them, so that nobody has to walk them.

use crate::{
    Genesis, InstanceName, PeerIndex, Peers,
    digest::Digested,
    limits::OUTBOX_BYTES_SOFT_MAX,
    part::{Beside, Broken, Part, StateReader, holds},
    shared_state::SharedState,
    stream::Stream,
};

/// What waits for other instances. What waits for the instance itself drains by being delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Waiting {
    /// Bytes held for them.
    pub(crate) bytes: usize,
    /// Messages that they have not acknowledged.
    pub(crate) messages: u64,
    /// Outboxes that have reached [`OUTBOX_BYTES_SOFT_MAX`].
    pub(crate) full: usize,
}

impl Waiting {
    fn of(stream: &Stream) -> Waiting {
        let bytes = stream.outbox.bytes();
        let messages = stream.outbox.last_seq().0 - stream.outbox.acknowledged().0;
        Waiting { bytes, messages, full: usize::from(is_full(bytes)) }
    }

    pub(crate) fn add(&mut self, more: Waiting) {
        self.bytes += more.bytes;
        self.messages += more.messages;
        self.full += more.full;
    }

    pub(crate) fn subtract(&mut self, less: Waiting) {
        assert!(self.bytes >= less.bytes, "the bytes that wait are a sum over the streams");
        assert!(self.messages >= less.messages, "the messages that wait are a sum over the streams");
        assert!(self.full >= less.full, "the full outboxes are counted over the streams");
        self.bytes -= less.bytes;
        self.messages -= less.messages;
        self.full -= less.full;
    }
}

/// Whether an outbox that holds so much keeps the guest from beginning anything new.
pub(crate) fn is_full(bytes: usize) -> bool {
    bytes >= OUTBOX_BYTES_SOFT_MAX
}

/// By peer index, from 1.
///
/// **Architecture Invariant:** a stream changes only in [`Streams::change`], which keeps the sums right.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Streams {
    all: Vec<Stream>,
    me: Option<PeerIndex>,
    waiting: Waiting,
}

impl Streams {
    /// Every peer has a stream; the own instance's is bound from the start.
    pub(crate) fn add(&mut self, peers: &Peers, genesis: &Genesis) {
        for number in self.all.len() as u32 + 1..=peers.count() {
            let is_me = peers.name(PeerIndex(number)) == Some(&genesis.name);
            self.all.push(Stream { uuid: is_me.then_some(genesis.uuid), ..Stream::default() });
            if is_me {
                assert_eq!(self.me, None, "the instance is one peer of itself");
                self.me = Some(PeerIndex(number));
            }
        }
        assert_eq!(self.all.len(), peers.count() as usize, "every peer has a stream");
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, peer: PeerIndex) -> &Stream {
        debug_assert_ne!(peer, PeerIndex::OUTSIDE, "the outside world has no stream");
        &self.all[peer.0 as usize - 1]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerIndex, &Stream)> {
        self.all.iter().enumerate().map(|(at, stream)| (PeerIndex(at as u32 + 1), stream))
    }

    /// This instance as a peer of its own, if the guest has attached it.
    pub(crate) fn me(&self) -> Option<PeerIndex> {
        self.me
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Changes the stream of `peer`.
    pub(crate) fn change<T>(&mut self, peer: PeerIndex, change: impl FnOnce(&mut Stream) -> T) -> T {
        let stream = &mut self.all[peer.0 as usize - 1];
        let before = Waiting::of(stream);
        let result = change(stream);
        let after = Waiting::of(stream);
        if Some(peer) != self.me {
            self.waiting.subtract(before);
            self.waiting.add(after);
        }
        result
    }

    /// Forgets what the record being applied has added so far: its delivery failed.
    pub(crate) fn discard_open(&mut self) {
        self.all.iter_mut().for_each(|stream| stream.outbox.discard_open());
    }

    fn others(&self) -> impl Iterator<Item = &Stream> {
        self.iter().filter(|(peer, _)| Some(*peer) != self.me).map(|(_, stream)| stream)
    }

    fn walked(&self) -> Waiting {
        let mut waiting = Waiting::default();
        self.others().for_each(|stream| waiting.add(Waiting::of(stream)));
        waiting
    }
}

/// Each stream behind the name of its peer.
impl Part for Streams {
    fn encode(&self, beside: Beside<'_>, out: &mut SharedState) {
        let Streams { all, me: _, waiting: _ } = self; // both follow from the streams
        out.put_count(all.len());
        for (peer, stream) in self.iter() {
            let name = beside.peers.name(peer).expect("streams are as many as names").as_str();
            out.put_u8(name.len() as u8);
            out.put(name.as_bytes());
            stream.encode(beside, out);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Streams> {
        let mut streams = Streams::default();
        for number in 1..=reader.u32()? {
            let name_bytes = reader.u8()? as usize;
            let name = InstanceName::new(std::str::from_utf8(reader.rest.take(name_bytes)?).ok()?).ok()?;
            if reader.peers.attach(&name)? != PeerIndex(number) {
                return None;
            }
            streams.all.push(Stream::decode(reader)?);
        }
        streams.me = reader.peers.index(&reader.genesis.name);
        streams.waiting = streams.walked();
        Some(streams)
    }

    fn digest(&self, beside: Beside<'_>, digested: &mut Digested) {
        let Streams { all: _, me: _, waiting: _ } = self;
        for (peer, stream) in self.iter() {
            digested.bytes(beside.peers.name(peer).map_or(&[], |name| name.as_str().as_bytes()));
            stream.digest(beside, digested);
        }
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Streams { all, me, waiting } = self;
        holds!(all.len() == beside.peers.count() as usize, "every peer has a stream");
        holds!(*me == beside.peers.index(&beside.genesis.name), "the instance knows which peer it is itself");
        holds!(*waiting == self.walked(), "the sums are those of all streams");
        all.iter().try_for_each(|stream| stream.validate(beside))?;
        let Some(own) = me.map(|me| self.get(me)) else { return Ok(()) };
        holds!(
            own.received == own.outbox.acknowledged(),
            "what the instance sent itself is acknowledged as it is received"
        );
        holds!(own.uuid == Some(beside.genesis.uuid), "the instance is bound to itself");
        Ok(())
    }
}
