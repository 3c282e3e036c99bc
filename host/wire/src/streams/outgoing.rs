//! What is to be written on the streams of a connection: each has a queue, and they take turns.

use std::collections::{BTreeMap, VecDeque};

use ambrosia_core::Seq;
use tokio::sync::oneshot;

use super::cost;
use crate::frame::{Frame, StreamNumber, encode, encode_in_stream, take_fitting};

/// A stream gives way to the next once it has written this much.
const TURN_BYTES: usize = 64 << 10;

/// What is asked of the side that writes.
pub(crate) enum Command {
    /// This side opens a stream by that hello, whatever becomes of it: numbers are counted.
    Open(StreamNumber, Frame),
    /// The other side has opened a stream.
    Begin(StreamNumber),
    /// A frame is to be sent.
    Send(StreamNumber, Frame),
    /// Nothing follows: the stream is closed once all is written, and then the sender is dropped.
    End(StreamNumber, Option<oneshot::Sender<()>>),
    /// The stream is closed at once; what was not written never will be.
    Drop(StreamNumber),
    /// The other side takes messages until there.
    Credit(StreamNumber, u64),
    /// The other side may send until there.
    Grant(StreamNumber, u64),
    /// The connection ends, and this is the last that is said.
    Last(Frame),
}

/// The queues of all streams.
#[derive(Default)]
pub(crate) struct Outgoing {
    streams: BTreeMap<StreamNumber, Queue>,
    /// What opens streams, in order. It goes before all else.
    hellos: VecDeque<(StreamNumber, Frame)>,
    /// Streams that can write something, in turn.
    turns: VecDeque<StreamNumber>,
    /// Streams whose end is to be told.
    closed: VecDeque<StreamNumber>,
    last: Option<Frame>,
}

/// What one stream has to write.
#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame>,
    /// The newest acknowledgement, which says all that those before it did. It goes behind the frames.
    acknowledge: Option<Seq>,
    /// The newest credit, likewise. It goes before the frames.
    grant: Option<u64>,
    /// What was sent, and until where the other side takes messages.
    sent: u64,
    until: u64,
    is_in_turn: bool,
    is_ending: bool,
    #[allow(dead_code, reason = "held for what its drop tells")]
    ended: Option<oneshot::Sender<()>>,
}

impl Queue {
    fn push(&mut self, frame: Frame) {
        match frame {
            Frame::Acknowledge(seq) => self.acknowledge = self.acknowledge.max(Some(seq)),
            frame => self.frames.push_back(frame),
        }
    }

    /// Whether something can be written just now.
    fn has_turn(&self) -> bool {
        match self.frames.front() {
            _ if self.grant.is_some() => true,
            Some(Frame::Messages { .. }) => self.sent < self.until,
            Some(_) => true,
            None => self.acknowledge.is_some() || self.is_ending,
        }
    }

    /// Writes as much as one turn is. True if the stream has come to its end.
    fn write(&mut self, stream: StreamNumber, out: &mut Vec<u8>) -> bool {
        let began = out.len();
        if let Some(until) = self.grant.take() {
            encode_in_stream(stream, &Frame::Credit { until }, out);
        }
        while out.len() - began < TURN_BYTES {
            let Some(frame) = self.next() else { break };
            encode_in_stream(stream, &frame, out);
        }
        self.is_ending && self.frames.is_empty() && self.acknowledge.is_none()
    }

    /// The next frame that may be sent.
    fn next(&mut self) -> Option<Frame> {
        match self.frames.front_mut() {
            Some(Frame::Messages { .. }) if self.sent >= self.until => None,
            Some(Frame::Messages { first_seq, count, messages }) => {
                let fitting = take_fitting(first_seq, count, messages);
                let frame = fitting.or_else(|| self.frames.pop_front())?;
                let Frame::Messages { messages, .. } = &frame else { unreachable!("the front was of messages") };
                self.sent += cost(messages.len());
                Some(frame)
            }
            Some(_) => self.frames.pop_front(),
            None => self.acknowledge.take().map(Frame::Acknowledge),
        }
    }
}

impl Outgoing {
    /// Does what is asked. What concerns a stream that was closed is nothing any more.
    pub(crate) fn on_command(&mut self, command: Command) {
        match command {
            Command::Open(stream, hello) => {
                assert!(self.hellos.back().is_none_or(|(last, _)| *last < stream), "numbers are counted");
                self.hellos.push_back((stream, hello));
                self.begin(stream);
            }
            Command::Begin(stream) => self.begin(stream),
            Command::Drop(stream) => {
                if self.streams.remove(&stream).is_some() {
                    self.closed.push_back(stream);
                }
            }
            Command::Send(stream, frame) => self.change(stream, |queue| queue.push(frame)),
            Command::End(stream, ended) => self.change(stream, |queue| {
                queue.is_ending = true;
                queue.ended = queue.ended.take().or(ended);
            }),
            Command::Credit(stream, until) => self.change(stream, |queue| queue.until = queue.until.max(until)),
            Command::Grant(stream, until) => self.change(stream, |queue| queue.grant = queue.grant.max(Some(until))),
            Command::Last(frame) => self.last = Some(frame),
        }
    }

    fn begin(&mut self, stream: StreamNumber) {
        assert!(self.streams.insert(stream, Queue::default()).is_none(), "a stream has a number of its own");
    }

    fn change(&mut self, stream: StreamNumber, change: impl FnOnce(&mut Queue)) {
        let Some(queue) = self.streams.get_mut(&stream) else { return };
        change(queue);
        if queue.has_turn() && !std::mem::replace(&mut queue.is_in_turn, true) {
            self.turns.push_back(stream);
        }
    }

    /// Whether there is something to write.
    pub(crate) fn has_turn(&self) -> bool {
        !self.turns.is_empty() || !self.closed.is_empty() || !self.hellos.is_empty() || self.last.is_some()
    }

    /// Whether nothing follows what is written in the next turn.
    pub(crate) fn is_at_end(&self) -> bool {
        self.last.is_some()
    }

    /// Has the next stream write what may be written of it in one turn. False if there is nothing to write.
    pub(crate) fn write_turn(&mut self, out: &mut Vec<u8>) -> bool {
        if let Some(last) = self.last.take() {
            encode(&last, out);
            return false;
        }
        let began = out.len();
        while let Some((stream, hello)) = self.hellos.pop_front() {
            encode_in_stream(stream, &hello, out);
        }
        while let Some(stream) = self.closed.pop_front() {
            encode_in_stream(stream, &Frame::Close, out);
        }
        // A stream that was closed may still have its place.
        while let Some(stream) = self.turns.pop_front() {
            let Some(queue) = self.streams.get_mut(&stream) else { continue };
            let has_ended = queue.write(stream, out);
            queue.is_in_turn = queue.has_turn() && !has_ended;
            if queue.is_in_turn {
                self.turns.push_back(stream);
            }
            if has_ended {
                self.streams.remove(&stream);
                encode_in_stream(stream, &Frame::Close, out);
            }
            return true;
        }
        out.len() > began
    }
}
