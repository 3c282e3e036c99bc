//! The streams between this instance and all its peers, with sums over them, so that nobody has to walk them.

use crate::{Genesis, PeerIndex, Peers, limits::OUTBOX_BYTES_SOFT_MAX, stream::Stream};

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
        Waiting { bytes, messages, full: usize::from(bytes >= OUTBOX_BYTES_SOFT_MAX) }
    }

    fn add(&mut self, more: Waiting) {
        self.bytes += more.bytes;
        self.messages += more.messages;
        self.full += more.full;
    }

    fn subtract(&mut self, less: Waiting) {
        self.bytes -= less.bytes;
        self.messages -= less.messages;
        self.full -= less.full;
    }
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
    /// Streams that a checkpoint holds, one for each of the peers.
    pub(crate) fn resumed(all: Vec<Stream>, peers: &Peers, genesis: &Genesis) -> Streams {
        let mut streams = Streams { all, me: peers.index(&genesis.name), waiting: Waiting::default() };
        streams.waiting = streams.walked();
        streams
    }

    /// Every peer has a stream; the own instance's is bound from the start.
    pub(crate) fn add(&mut self, peers: &Peers, genesis: &Genesis) {
        for number in self.all.len() as u32 + 1..=peers.count() {
            let is_me = peers.name(PeerIndex(number)) == Some(&genesis.name);
            self.all.push(Stream { uuid: is_me.then_some(genesis.uuid), ..Stream::default() });
            if is_me {
                self.me = Some(PeerIndex(number));
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, peer: PeerIndex) -> &Stream {
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

    pub(crate) fn validate(&self, peers: &Peers, genesis: &Genesis) {
        assert_eq!(self.all.len(), peers.count() as usize);
        assert_eq!(self.me, peers.index(&genesis.name));
        assert_eq!(self.waiting, self.walked(), "the sums are those of all streams");
    }
}
