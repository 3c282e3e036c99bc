//! The events that an instance emits, as they come: in order, each once, wherever the primary is.

use std::time::{Duration, Instant};

use ambrosia_core::{Epoch, Event, EventId, Lsn, ReplicaIndex};
use ambrosia_wire::{ConnectionError, ConnectionHandle, Control, EVENTS_VERSION, Frame, event_counts};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    client::{Client, ClientError, LOOK_INTERVAL, REFUSED_PAUSE, RETRY_PAUSE},
    reign,
    replica::reach_replica,
    values::without_controls,
};

/// Events on their way count up to this, unless one alone counts more.
const WINDOW: u64 = 256 << 10;

/// What a listener hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// Something that the guest emitted.
    Event(Event),
    /// Events are missing here: the instance keeps the newest only, and whoever listens was not there, or too slow.
    Lost {
        /// All of them are behind this one,
        after: EventId,
        /// and this is the last of them.
        through: EventId,
    },
}

/// Listens to the events of an instance. It is made by [`Client::events`].
pub struct Events<'a> {
    client: &'a mut Client,
    /// Who is listened to, if not the primary.
    replica: Option<ReplicaIndex>,
    /// What was heard last, or where it begins; not known yet where it begins now.
    place: Option<EventId>,
    line: Option<Line>,
}

/// A connection on which events come.
struct Line {
    handle: ConnectionHandle,
    frames: mpsc::UnboundedReceiver<Frame>,
    task: JoinHandle<()>,
    /// The reign that is listened to, where it is the primary.
    epoch: Option<Epoch>,
    /// What was the newest event when it began; `None` before that.
    newest: Option<EventId>,
    /// What the events that were heard count.
    taken: u64,
    /// What they may count.
    allowed: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// There is no line yet; of a replica it is said why.
struct NoLine(Option<String>);

impl Client {
    /// Listens to events: those behind `after`, all that are kept if that is the default, or from now on. Without a `replica` the
    /// primary is listened to, and the next one when another takes over; nothing is missed or repeated by that, and nothing is heard that
    /// is not durable.
    pub fn events(&mut self, after: Option<EventId>, replica: Option<ReplicaIndex>) -> Events<'_> {
        Events { client: self, replica, place: after, line: None }
    }
}

impl Events<'_> {
    /// What was heard last, or where listening begins; `None` if it begins now and nobody was reached yet. Whoever listens anew behind this
    /// misses nothing.
    pub fn place(&self) -> Option<EventId> {
        self.place
    }

    /// Waits until somebody is listened to, for `limit` at most. Returns the newest event that there was then, or the newest that is kept
    /// no more; what comes up to it comes at once.
    ///
    /// # Errors
    /// [`ClientError::Ended`] if nothing comes any more, and nobody answers. The others say why nobody is reached; it can be called again.
    pub async fn begin(&mut self, limit: Duration) -> Result<EventId, ClientError> {
        if let Some(newest) = self.line.as_ref().and_then(|line| line.newest) {
            return Ok(newest);
        }
        let (began, mut reason) = (Instant::now(), None);
        let reached = timeout(limit, self.reach(&mut reason)).await;
        reached.unwrap_or_else(|_| Err(self.not_reached(reason, began.elapsed())))
    }

    /// The next event, whenever it comes. `limit` is how long nobody may be reached.
    ///
    /// # Errors
    /// As [`Events::begin`]: it can be called again, and nothing is missed by that.
    pub async fn next(&mut self, limit: Duration) -> Result<Heard, ClientError> {
        loop {
            self.begin(limit).await?;
            if let Some(frame) = self.frame().await
                && let Some(heard) = self.hear(frame)?
            {
                return Ok(heard);
            }
        }
    }

    async fn reach(&mut self, reason: &mut Option<String>) -> Result<EventId, ClientError> {
        loop {
            if self.line.is_none() {
                match self.connect().await {
                    Ok(line) => self.line = Some(line),
                    Err(NoLine(why)) => {
                        *reason = why;
                        self.client.whereabouts().check_alive()?;
                        self.pause().await;
                        continue;
                    }
                }
            }
            match self.frame().await {
                Some(Frame::Control(Control::Listening { after, newest })) => {
                    let newest = id_of(newest);
                    self.place = Some(self.place.unwrap_or(id_of(after)));
                    let line = self.line.as_mut().expect("the frame came on it");
                    line.newest = Some(newest);
                    return Ok(newest);
                }
                Some(Frame::Control(Control::Refused { reason, elsewhere: false })) => {
                    self.line = None;
                    return Err(ClientError::Rejected(without_controls(&reason)));
                }
                // It speaks before it was asked, or hangs up.
                _ => {
                    self.line = None;
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Connects, and asks for what comes behind the place.
    async fn connect(&mut self) -> Result<Line, NoLine> {
        let (handle, connection, epoch) = match self.replica {
            None => match self.client.greet_primary(EVENTS_VERSION).await {
                Ok((primary, handle, connection)) => (handle, connection, Some(primary.epoch)),
                Err(error) => {
                    tracing::debug!(%error, "no connection to the primary yet");
                    return Err(NoLine(None));
                }
            },
            Some(replica) => match reach_replica(self.client.name(), self.client.whereabouts(), replica).await {
                Ok((handle, connection)) => (handle, connection, None),
                Err(reason) => return Err(NoLine(Some(reason))),
            },
        };
        let (sender, frames) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            let take = |frame, _permit| match frame {
                Frame::Event(_) | Frame::Control(_) => sender.send(frame).map_err(|_| ConnectionError::Closed),
                _ => Err(ConnectionError::Unexpected),
            };
            let ended = connection.serve(take).await;
            tracing::debug!("connection ended: {ended}");
        });
        let after = self.place.map(|id| (id.lsn.0, id.index));
        handle.send(Frame::Control(Control::Listen { after, until: WINDOW }));
        Ok(Line { handle, frames, task, epoch, newest: None, taken: 0, allowed: WINDOW })
    }

    async fn pause(&mut self) {
        if self.replica.is_some() {
            return sleep(REFUSED_PAUSE).await;
        }
        self.client.whereabouts().look_again();
        let unreached = self.client.unreached().cloned();
        reign::paused(unreached.as_ref(), self.client.primaries()).await;
    }

    /// The next frame; `None` if the connection was lost, or another one is primary.
    async fn frame(&mut self) -> Option<Frame> {
        let line = self.line.as_mut()?;
        let mut primaries = self.client.primaries().clone();
        let frame = loop {
            let moved = async {
                match line.epoch {
                    Some(epoch) => {
                        let moved = primaries.wait_for(|now| now.as_ref().is_some_and(|now| now.epoch != epoch));
                        let _directory_is_gone = moved.await.is_err();
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                frame = line.frames.recv() => break frame,
                () = moved => break None,
                () = sleep(LOOK_INTERVAL) => self.client.whereabouts().look_again(),
            }
        };
        if frame.is_none() {
            self.line = None;
        }
        frame
    }

    /// What a frame says; `None` if it says nothing new.
    fn hear(&mut self, frame: Frame) -> Result<Option<Heard>, ClientError> {
        let (Some(line), Some(place)) = (&mut self.line, self.place) else { return Ok(None) };
        match frame {
            Frame::Event(event) => {
                line.taken += event_counts(&event);
                if line.allowed.saturating_sub(line.taken) <= WINDOW / 2 {
                    line.allowed = line.taken + WINDOW;
                    line.handle.send(Frame::Listened { until: line.allowed });
                }
                // A replica that is not so far yet begins with what was heard of another.
                if event.id <= place {
                    return Ok(None);
                }
                self.place = Some(event.id);
                Ok(Some(Heard::Event(event)))
            }
            Frame::Control(Control::EventsLost { after: _, through }) if id_of(through) > place => {
                let through = id_of(through);
                self.place = Some(through);
                Ok(Some(Heard::Lost { after: place, through }))
            }
            Frame::Control(Control::Refused { reason, elsewhere: false }) => {
                self.line = None;
                Err(ClientError::Rejected(without_controls(&reason)))
            }
            Frame::Control(Control::Refused { .. }) => {
                self.line = None;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn not_reached(&self, reason: Option<String>, waited: Duration) -> ClientError {
        match self.replica {
            None => self.client.not_reached(waited),
            Some(replica) => {
                let reason = reason.unwrap_or_else(|| "it does not answer".to_owned());
                let (name, reason) = (self.client.name().clone(), without_controls(&reason));
                ClientError::NoReplica { replica, name, reason, waited }
            }
        }
    }
}

fn id_of((lsn, index): (u64, u32)) -> EventId {
    EventId { lsn: Lsn(lsn), index }
}
