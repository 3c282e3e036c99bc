//! Which streams a connection has, and whether what comes on them may come.
//!
//! **Architecture Invariant:** a stream is gone once the other side has closed it, and its number never comes back. Until then
//! it counts, so that nobody can have more of them than the limit by closing what the other side still has to close.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Share, StreamError, cost,
    window::{Budget, Grant, Window},
};
use crate::{
    control::Control,
    frame::{Frame, StreamNumber},
};

/// The two ends of a connection: one opens streams and sends messages on them, the other welcomes or refuses and acknowledges.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Has connected.
    Dials,
    /// Was connected to.
    Accepts,
}

/// The streams of one end, each with somebody who takes what comes on it.
pub(crate) struct Table<T> {
    side: Side,
    streams_max: usize,
    /// The last that was opened.
    last: StreamNumber,
    streams: BTreeMap<StreamNumber, Entry<T>>,
    budget: Budget,
    grant: Grant,
}

struct Entry<T> {
    /// `None` if nobody wants to hear of it any more.
    taker: Option<T>,
    /// On the side that receives.
    window: Option<Arc<Window>>,
    /// On the side that sends: whether the other side has said welcome or no, and how much it takes.
    is_answered: bool,
    until: u64,
}

/// What a frame of a stream means.
pub(crate) enum Arrived<'a, T> {
    /// A new stream, with what it says first.
    Hello(Control),
    /// Somebody is to take it.
    For(&'a mut T, Frame, Option<Share>),
    /// The other side takes messages until there.
    Credit(u64),
    /// The other side has closed the stream, and this one has to confirm it, if it has not yet closed it itself.
    Closed(Option<T>),
    /// Nobody takes it any more.
    Nothing,
}

impl<T> Table<T> {
    /// A connection without streams. `grant` has the other side told of its credit.
    pub(crate) fn new(side: Side, streams_max: usize, grant: Grant) -> Table<T> {
        let (last, streams) = (StreamNumber(0), BTreeMap::new());
        Table { side, streams_max, last, streams, budget: Budget::new(), grant }
    }

    /// A new stream of this side; `None` if there are as many as there may be.
    pub(crate) fn open(&mut self) -> Option<StreamNumber> {
        assert_eq!(self.side, Side::Dials, "who accepts a connection opens nothing on it");
        (self.streams.len() < self.streams_max).then(|| self.insert(None))
    }

    fn insert(&mut self, window: Option<Arc<Window>>) -> StreamNumber {
        self.last = self.last.next();
        let entry = Entry { taker: None, window, is_answered: false, until: 0 };
        assert!(self.streams.insert(self.last, entry).is_none(), "numbers are counted");
        self.last
    }

    /// From now on `taker` takes what comes on the stream. Returned if the stream is gone already.
    pub(crate) fn set_taker(&mut self, stream: StreamNumber, taker: T) -> Option<T> {
        match self.streams.get_mut(&stream) {
            Some(entry) => entry.taker.replace(taker),
            None => Some(taker),
        }
    }

    /// Nobody wants to hear of the stream any more.
    pub(crate) fn take_taker(&mut self, stream: StreamNumber) -> Option<T> {
        self.streams.get_mut(&stream).and_then(|entry| entry.taker.take())
    }

    /// The connection ends, and all streams with it. Returns who took what came on them.
    pub(crate) fn end(&mut self) -> Vec<T> {
        std::mem::take(&mut self.streams).into_values().filter_map(|entry| entry.taker).collect()
    }

    /// A frame has come.
    pub(crate) fn on_frame(&mut self, stream: StreamNumber, frame: Frame) -> Result<Arrived<'_, T>, StreamError> {
        let frame = match frame {
            Frame::Control(hello @ Control::Hello { .. }) if self.side == Side::Accepts => {
                return self.on_hello(stream, hello);
            }
            Frame::Close => return self.on_close(stream),
            frame => frame,
        };
        let unexpected = || StreamError::Unexpected { stream, kind: frame.kind() };
        let last = self.last;
        let entry = self.streams.get_mut(&stream).ok_or_else(|| absent(stream, last))?;
        let mut share = None;
        match (self.side, &frame) {
            (Side::Accepts, Frame::Messages { messages, .. }) => {
                let window = entry.window.as_ref().expect("the side that accepts has a window for each stream");
                share = Some(window.receive(cost(messages.len()))?);
            }
            (Side::Dials, Frame::Credit { until }) => {
                let before = std::mem::replace(&mut entry.until, *until);
                if *until < before {
                    return Err(StreamError::CreditFalls { stream, until: *until, before });
                }
                return Ok(Arrived::Credit(*until));
            }
            (Side::Dials, Frame::Control(Control::Welcome { .. })) if !entry.is_answered => entry.is_answered = true,
            (Side::Dials, Frame::Control(Control::Refused { .. })) => entry.is_answered = true,
            (Side::Dials, Frame::Acknowledge(_) | Frame::Control(Control::Elsewhere { .. })) if entry.is_answered => {}
            _ => return Err(unexpected()),
        }
        Ok(match &mut entry.taker {
            Some(taker) => Arrived::For(taker, frame, share),
            None => Arrived::Nothing,
        })
    }

    fn on_close(&mut self, stream: StreamNumber) -> Result<Arrived<'_, T>, StreamError> {
        let entry = self.streams.remove(&stream).ok_or_else(|| absent(stream, self.last))?;
        Ok(Arrived::Closed(entry.taker))
    }

    fn on_hello(&mut self, stream: StreamNumber, hello: Control) -> Result<Arrived<'_, T>, StreamError> {
        let next = self.last.next();
        if stream <= self.last {
            return Err(StreamError::Reused(stream));
        }
        if stream != next {
            return Err(StreamError::Skipped { found: stream, next });
        }
        if self.streams.len() >= self.streams_max {
            return Err(StreamError::TooMany(self.streams_max));
        }
        self.insert(None);
        Ok(Arrived::Hello(hello))
    }

    /// The stream that has just said hello gets its first credit.
    pub(crate) fn begin(&mut self, stream: StreamNumber) {
        let window = Window::open(stream, self.budget.clone(), self.grant.clone());
        let entry = self.streams.get_mut(&stream).expect("it was opened just now");
        assert!(entry.window.replace(window).is_none(), "a stream begins once");
    }

    /// How many streams there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.streams.len()
    }
}

/// Why there is no stream of that number.
fn absent(stream: StreamNumber, last: StreamNumber) -> StreamError {
    if stream > last { StreamError::Unknown(stream) } else { StreamError::Closed(stream) }
}
