//! Connections between processes: each carries one stream forth and acknowledgements back, in order, until it is cut.

use std::collections::{BTreeMap, VecDeque};

use ambrosia_core::{Chunk, ConnectionId, Epoch, InstanceName, InstanceUuid, Messages, PeerIndex, Seq};

use crate::dice::Dice;

pub(crate) type ProcessId = u32;

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
    pub(crate) open: bool,
    pub(crate) packets: VecDeque<T>,
}

#[derive(Debug)]
pub(crate) struct Connection {
    /// The peer that `from` wanted.
    pub(crate) peer: PeerIndex,
    pub(crate) from: End<Back>,
    pub(crate) to: End<Forth>,
    last_frame: Option<Chunk>,
}

#[derive(Default)]
pub(crate) struct Network {
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    last: u64,
}

impl Network {
    pub(crate) fn dial(&mut self, from: ProcessId, peer: PeerIndex, to: ProcessId, hello: Forth) {
        self.last += 1;
        let connection = Connection {
            peer,
            from: End { process: from, open: true, packets: VecDeque::new() },
            to: End { process: to, open: true, packets: VecDeque::from([hello]) },
            last_frame: None,
        };
        self.connections.insert(ConnectionId(self.last), connection);
    }

    pub(crate) fn is_dialled(&self, from: ProcessId, peer: PeerIndex) -> bool {
        self.connections.values().any(|c| c.from.process == from && c.from.open && c.peer == peer)
    }

    /// `process` ends the connection. The other end notices later, and may read before that what is on its way to it.
    pub(crate) fn close(&mut self, connection: ConnectionId, process: ProcessId, lost: bool) {
        let Some(c) = self.connections.get_mut(&connection) else { return };
        if c.from.process == process {
            c.from.open = false;
            c.from.packets.clear();
            if lost {
                c.to.packets.clear();
            }
        } else {
            c.to.open = false;
            c.to.packets.clear();
            if lost {
                c.from.packets.clear();
            }
        }
    }

    /// The process is gone.
    pub(crate) fn close_all(&mut self, process: ProcessId, lost: bool) {
        for connection in self.connections.keys().copied().collect::<Vec<_>>() {
            let c = &self.connections[&connection];
            if c.from.process == process || c.to.process == process {
                self.close(connection, process, lost);
            }
        }
        self.sweep();
    }

    /// Forgets connections that both ends have closed.
    pub(crate) fn sweep(&mut self) {
        self.connections.retain(|_, c| c.from.open || c.to.open);
    }
}

impl Connection {
    /// Sends a chunk as frames of some messages each; sometimes a frame comes twice, with the next one in its tail.
    pub(crate) fn send(&mut self, chunk: Chunk, dice: &mut Dice, faults: bool) -> u64 {
        let mut repeated = 0;
        let mut rest = Some(chunk);
        while let Some(chunk) = rest {
            let count = 1 + dice.below(u64::from(chunk.count)) as u32;
            let (frame, tail) = split(chunk, count);
            if faults
                && dice.percent(15)
                && let Some(last) = &self.last_frame
            {
                repeated += 1;
                let follows = last.last_seq().next() == frame.first_seq;
                let again = if follows && dice.percent(50) { join(last, &frame) } else { last.clone() };
                self.to.packets.push_back(Forth::Messages(again));
            }
            self.to.packets.push_back(Forth::Messages(frame.clone()));
            self.last_frame = Some(frame);
            rest = tail;
        }
        repeated
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
