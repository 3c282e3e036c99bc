//! Connections between processes: each carries one stream forth and acknowledgements back, in order, until it is cut.
//! Packets of different connections overtake each other.

use std::collections::{BTreeMap, VecDeque};

use ambrosia_core::{Chunk, ConnectionId, Epoch, InstanceName, InstanceUuid, Messages, PeerIndex, Seq};

use crate::{dice::Dice, ids::ProcessId};

#[derive(Clone, Debug)]
pub(crate) enum Forth {
    Hello { name: InstanceName, uuid: InstanceUuid, epoch: Epoch },
    Messages(Chunk),
}

#[derive(Clone, Debug)]
pub(crate) enum Back {
    Welcome { uuid: InstanceUuid, received: Seq },
    Acknowledge(Seq),
}

/// One end, and what is on its way to it.
#[derive(Debug)]
pub(crate) struct End<T> {
    pub(crate) process: ProcessId,
    pub(crate) uuid: InstanceUuid,
    pub(crate) open: bool,
    pub(crate) packets: VecDeque<T>,
    /// When the last packet arrives.
    last_arrival: u64,
}

impl<T> End<T> {
    fn new(process: ProcessId, uuid: InstanceUuid) -> End<T> {
        End { process, uuid, open: true, packets: VecDeque::new(), last_arrival: 0 }
    }

    /// When something arrives that is sent now and takes so long: not before what was sent earlier.
    pub(crate) fn arrival(&mut self, at: u64) -> u64 {
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// The peer that `from` wanted.
    pub(crate) peer: PeerIndex,
    pub(crate) from: End<Back>,
    pub(crate) to: End<Forth>,
    /// A frame was lost on it: what comes behind must be refused.
    pub(crate) broken: bool,
    last_frame: Option<Chunk>,
}

/// A side of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    From,
    To,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    last: u64,
}

impl Network {
    pub(crate) fn dial(
        &mut self,
        from: (ProcessId, InstanceUuid),
        peer: PeerIndex,
        to: (ProcessId, InstanceUuid),
    ) -> ConnectionId {
        self.last += 1;
        let connection = Connection {
            peer,
            from: End::new(from.0, from.1),
            to: End::new(to.0, to.1),
            broken: false,
            last_frame: None,
        };
        self.connections.insert(ConnectionId(self.last), connection);
        ConnectionId(self.last)
    }

    /// The process that `process` is connected to as `peer`.
    pub(crate) fn dialled(&self, from: ProcessId, peer: PeerIndex) -> Option<(ConnectionId, ProcessId)> {
        let mut connections = self.connections.iter();
        let found = connections.find(|(_, c)| c.from.process == from && c.from.open && c.peer == peer);
        found.map(|(id, c)| (*id, c.to.process))
    }

    /// Connections with an end at `process`, and which end.
    pub(crate) fn of(&self, process: ProcessId) -> Vec<(ConnectionId, Side)> {
        let sides = |(id, c): (&ConnectionId, &Connection)| {
            let from = (c.from.process == process).then_some((*id, Side::From));
            let to = (c.to.process == process).then_some((*id, Side::To));
            [from, to]
        };
        self.connections.iter().flat_map(sides).flatten().collect()
    }

    /// One side ends the connection. The other one notices later, and may read before that what is on its way to it.
    /// False if that side had ended it already.
    pub(crate) fn close(&mut self, connection: ConnectionId, side: Side, lost: bool) -> bool {
        let Some(c) = self.connections.get_mut(&connection) else { return false };
        let was_open;
        match side {
            Side::From => {
                was_open = std::mem::replace(&mut c.from.open, false);
                c.from.packets.clear();
                if lost {
                    c.to.packets.clear();
                }
            }
            Side::To => {
                was_open = std::mem::replace(&mut c.to.open, false);
                c.to.packets.clear();
                if lost {
                    c.from.packets.clear();
                }
            }
        }
        if !c.from.open && !c.to.open {
            self.connections.remove(&connection);
        }
        was_open
    }
}

impl Connection {
    /// Cuts a chunk into frames of some messages each; sometimes a frame comes twice, with the next one in its tail.
    pub(crate) fn frames(&mut self, chunk: Chunk, dice: &mut Dice, repeated_percent: u64) -> Vec<Chunk> {
        let mut frames = Vec::new();
        let mut rest = Some(chunk);
        while let Some(chunk) = rest {
            let count = 1 + dice.below(u64::from(chunk.count)) as u32;
            let (frame, tail) = split(chunk, count);
            if dice.percent(repeated_percent)
                && let Some(last) = &self.last_frame
            {
                let follows = last.last_seq().next() == frame.first_seq;
                frames.push(if follows && dice.percent(50) { join(last, &frame) } else { last.clone() });
            }
            frames.push(frame.clone());
            self.last_frame = Some(frame);
            rest = tail;
        }
        frames
    }
}

fn split(chunk: Chunk, count: u32) -> (Chunk, Option<Chunk>) {
    let bytes = Messages::new(&chunk.messages).take(count as usize);
    let bytes = bytes.map(|message| message.expect("sent by the core").encoded_len()).sum::<usize>();
    let tail = (count < chunk.count).then(|| Chunk {
        after: chunk.after,
        first_seq: Seq(chunk.first_seq.0 + u64::from(count)),
        count: chunk.count - count,
        messages: chunk.messages.slice(bytes..),
    });
    (Chunk { count, messages: chunk.messages.slice(..bytes), ..chunk }, tail)
}

/// One frame of two that follow each other.
fn join(first: &Chunk, second: &Chunk) -> Chunk {
    let messages = [&first.messages[..], &second.messages[..]].concat();
    Chunk { count: first.count + second.count, messages: messages.into(), ..first.clone() }
}
