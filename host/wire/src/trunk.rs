//! One TCP connection between two hosts that carries many streams, each from an instance of the host that connects to an
//! instance of the host that accepts.
//!
//! **Architecture Invariant:** it is read whatever becomes of what comes: what a stream may have on its way is bounded by its
//! credit, so a member that takes nothing in holds up nobody but who sends to it.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::timeout,
};

use crate::{
    connection::{Connection, ConnectionError, ConnectionHandle, FrameReader, WRITE_BYTES_FULL},
    control::Control,
    frame::{Frame, STREAMS_VERSION, StreamNumber},
    halves::WriteHalf,
    permits::Permit,
    streams::{Arrived, Command, Outgoing, STREAMS_MAX, Side, Table},
};

/// The other side has this long to hear why it is hung up on.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// So many commands are taken at once before something is written.
const COMMANDS_AT_ONCE: usize = 1024;

/// Takes what comes on one stream. It is called by the task of the connection, which all its streams wait for: it does not
/// wait itself.
pub trait StreamTaker: Send {
    /// A frame that belongs on a stream in this direction. The permit is held as long as the frame is.
    fn take(&mut self, frame: Frame, permit: Permit);

    /// Nothing more comes.
    fn on_end(self: Box<Self>);
}

type Taker = Box<dyn StreamTaker>;

/// A connection of many streams, to be served. See [`TrunkHandle`] for opening streams on it.
pub struct Trunk {
    reader: FrameReader,
    writer: WriteHalf,
    commands: UnboundedReceiver<Command>,
    shared: Arc<Shared>,
}

/// What the task of the connection shares with those who open and close streams.
struct Shared {
    state: Mutex<State>,
    commands: UnboundedSender<Command>,
}

struct State {
    table: Table<Taker>,
    has_ended: bool,
}

/// Opens streams on a connection. Clones are the same.
#[derive(Clone)]
pub struct TrunkHandle(Arc<Shared>);

/// A stream that this side has opened. Dropped, it is closed at once: what was queued is forgotten.
pub struct OpenStream {
    shared: Arc<Shared>,
    stream: StreamNumber,
}

impl Trunk {
    /// Says hello to the host at the other end of a fresh connection. `None` if that host speaks earlier versions of the
    /// protocol only, in which a connection carries one stream.
    ///
    /// # Errors
    /// If the connection ends, or the other side speaks another protocol.
    pub async fn greet(mut connection: Connection) -> Result<Option<(TrunkHandle, Trunk)>, ConnectionError> {
        connection.write_frame(&Frame::Control(Control::host_hello(STREAMS_VERSION))).await?;
        match connection.read_frame().await? {
            Frame::Control(Control::HostWelcome { version: STREAMS_VERSION, streams_max }) => {
                let streams_max = STREAMS_MAX.min(streams_max as usize);
                Ok(Some(Trunk::new(connection, Side::Dials, streams_max)))
            }
            Frame::Control(Control::Refused { elsewhere: false, .. }) => Ok(None),
            Frame::Control(Control::Refused { elsewhere: true, .. }) => Err(ConnectionError::Closed),
            _ => Err(ConnectionError::Unexpected),
        }
    }

    /// Welcomes a host that has said hello in at least [`STREAMS_VERSION`].
    ///
    /// # Errors
    /// If the connection ends.
    pub async fn welcome(mut connection: Connection) -> Result<Trunk, ConnectionError> {
        let welcome = Control::HostWelcome { version: STREAMS_VERSION, streams_max: STREAMS_MAX as u32 };
        connection.write_frame(&Frame::Control(welcome)).await?;
        Ok(Trunk::new(connection, Side::Accepts, STREAMS_MAX).1)
    }

    fn new(connection: Connection, side: Side, streams_max: usize) -> (TrunkHandle, Trunk) {
        let Connection { mut reader, writer, .. } = connection;
        reader.expect_streams();
        let (sender, commands) = unbounded_channel();
        let grants = sender.clone();
        let grant = Arc::new(move |stream, until| {
            let _ended_already = grants.send(Command::Grant(stream, until));
        });
        let state = State { table: Table::new(side, streams_max, grant), has_ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), commands: sender });
        (TrunkHandle(Arc::clone(&shared)), Trunk { reader, writer, commands, shared })
    }

    /// Carries all streams until either side ends the connection. `accept` gets the hello of each stream that the other side
    /// opens, and says who takes what comes on it; nobody does if it was refused.
    pub async fn serve(
        self,
        mut accept: impl FnMut(Control, ConnectionHandle) -> Option<Taker> + Send,
    ) -> ConnectionError {
        let Trunk { mut reader, mut writer, mut commands, shared } = self;
        let mut writing = pin!(write_turns(&mut writer, &mut commands));
        let reading = async {
            loop {
                match reader.next().await {
                    Ok(Frame::OfStream { stream, frame }) => {
                        if let Err(error) = shared.on_frame(stream, *frame, &mut accept) {
                            return error;
                        }
                    }
                    Ok(Frame::Control(Control::Refused { reason, .. })) => return ConnectionError::Refused(reason),
                    Ok(_) => return ConnectionError::Unexpected,
                    Err(error) => return error,
                }
            }
        };
        let ended = tokio::select! {
            ended = reading => ended,
            ended = &mut writing => ended.err().unwrap_or(ConnectionError::Closed),
        };
        shared.end();
        if ended.is_violation() {
            let refused = Frame::Control(Control::Refused { elsewhere: false, reason: ended.to_string() });
            let _still_written = shared.commands.send(Command::Last(refused));
            // A socket that is closed while something came takes its last word along, so it is read on until that was heard.
            let _heard_or_not = timeout(LAST_WORD_TIMEOUT, async { tokio::join!(writing, reader.drain()) }).await;
        }
        ended
    }
}

/// Writes what is to be written as it comes, much of it at once, until the last.
async fn write_turns(writer: &mut WriteHalf, commands: &mut UnboundedReceiver<Command>) -> Result<(), ConnectionError> {
    let mut outgoing = Outgoing::default();
    let mut bytes = Vec::new();
    loop {
        if !outgoing.has_turn() {
            let Some(command) = commands.recv().await else { return Ok(()) };
            outgoing.on_command(command);
        }
        for _ in 0..COMMANDS_AT_ONCE {
            let Ok(command) = commands.try_recv() else { break };
            outgoing.on_command(command);
        }
        let is_last = outgoing.is_at_end();
        while bytes.len() < WRITE_BYTES_FULL && outgoing.write_turn(&mut bytes) {}
        writer.write_all(&bytes).await?;
        bytes.clear();
        bytes.shrink_to(4 * WRITE_BYTES_FULL);
        if is_last {
            return Ok(writer.shutdown().await?);
        }
    }
}

impl TrunkHandle {
    /// Opens a stream with that hello. `take` gets the end that sends, and says who takes what comes.
    ///
    /// # Errors
    /// [`ConnectionError::Closed`] if the connection has ended, [`ConnectionError::Full`] if it has no room.
    pub fn open(
        &self,
        hello: Control,
        take: impl FnOnce(ConnectionHandle) -> Taker,
    ) -> Result<OpenStream, ConnectionError> {
        let shared = Arc::clone(&self.0);
        // Hellos go out in the order of their numbers, since both are made under the lock.
        let mut state = shared.lock();
        if state.has_ended {
            return Err(ConnectionError::Closed);
        }
        let stream = state.table.open().ok_or(ConnectionError::Full)?;
        shared.command(Command::Open(stream, Frame::Control(hello)));
        let none = state.table.set_taker(stream, take(ConnectionHandle::of_stream(stream, shared.commands.clone())));
        assert!(none.is_none(), "the stream is new");
        drop(state);
        Ok(OpenStream { shared, stream })
    }

    /// Whether the connection has ended.
    pub fn has_ended(&self) -> bool {
        self.0.lock().has_ended
    }

    /// Waits until the connection has ended.
    pub async fn ended(&self) {
        self.0.commands.closed().await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let taker = self.shared.lock().table.take_taker(self.stream);
        drop(taker);
        self.shared.command(Command::Drop(self.stream));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, command: Command) {
        let _ended_already = self.commands.send(command);
    }

    fn on_frame(
        &self,
        stream: StreamNumber,
        frame: Frame,
        accept: &mut impl FnMut(Control, ConnectionHandle) -> Option<Taker>,
    ) -> Result<(), ConnectionError> {
        let mut state = self.lock();
        match state.table.on_frame(stream, frame)? {
            Arrived::For(taker, frame, share) => taker.take(frame, share.map_or(Permit::NONE, Permit::from)),
            Arrived::Credit(until) => self.command(Command::Credit(stream, until)),
            Arrived::Nothing => {}
            Arrived::Closed(taker) => {
                drop(state);
                self.command(Command::Drop(stream));
                if let Some(taker) = taker {
                    taker.on_end();
                }
            }
            Arrived::Hello(hello) => {
                self.command(Command::Begin(stream));
                state.table.begin(stream);
                drop(state);
                let handle = ConnectionHandle::of_stream(stream, self.commands.clone());
                if let Some(taker) = accept(hello, handle) {
                    let none = self.lock().table.set_taker(stream, taker);
                    assert!(none.is_none(), "the stream is new");
                }
            }
        }
        Ok(())
    }

    /// The connection has ended, and all streams with it.
    fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        let takers = state.table.end();
        drop(state);
        takers.into_iter().for_each(|taker| taker.on_end());
    }
}

#[cfg(test)]
mod tests;
