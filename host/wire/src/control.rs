//! Handshakes and whatever else is rare or small, so bincode encodes them. The only use of bincode on the wire.

use serde::{Deserialize, Deserializer, Serialize};

use crate::frame::STREAMS_VERSION;

/// The contents of a control frame.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Control {
    /// A peer's first frame: it will send its stream.
    Hello {
        /// Version of the protocol.
        version: u16,
        /// Name of the instance that sends.
        #[serde(deserialize_with = "text")]
        from: String,
        /// Its uuid.
        from_uuid: [u8; 16],
        /// Epoch of its primary.
        epoch: u64,
        /// Name of the instance that it means to reach.
        #[serde(deserialize_with = "text")]
        to: String,
    },
    /// Answer to a hello: the stream may begin.
    Welcome {
        /// Uuid of the instance that receives.
        uuid: [u8; 16],
        /// Last message of the stream that it has durable.
        received: u64,
    },
    /// A client's first frame.
    ClientHello {
        /// Version of the protocol.
        version: u16,
        /// Name of the instance that it means to reach.
        #[serde(deserialize_with = "text")]
        to: String,
    },
    /// Answer to a client's hello.
    ClientWelcome {
        /// Epoch of the primary.
        epoch: u64,
    },
    /// The handshake or the connection ends.
    Refused {
        /// True if another replica may accept it.
        elsewhere: bool,
        /// Why, for a person to read.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// A client of version 1 wants a method run; later ones send a frame of its own.
    Request {
        /// Chosen by the client.
        #[serde(deserialize_with = "octets")]
        request: Vec<u8>,
        /// Name of the method.
        #[serde(deserialize_with = "text")]
        method: String,
        /// Encoded arguments.
        #[serde(deserialize_with = "octets")]
        arguments: Vec<u8>,
        /// False if the client is content with the request being durable.
        wait: bool,
    },
    /// The request can't be taken; it was not logged.
    Rejected {
        /// Id of the request, as its client chose it.
        #[serde(deserialize_with = "octets")]
        request: Vec<u8>,
        /// Why, for a person to read.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// The request is durable.
    Accepted {
        /// Id of the request, as its client chose it.
        #[serde(deserialize_with = "octets")]
        request: Vec<u8>,
    },
    /// The result of a request is durable, for a client of version 1.
    Answer {
        /// Id of the request, as its client chose it.
        #[serde(deserialize_with = "octets")]
        request: Vec<u8>,
        /// False if the value is the text of a failure.
        success: bool,
        /// Encoded result.
        #[serde(deserialize_with = "octets")]
        value: Vec<u8>,
    },
    /// An operator wants a checkpoint now.
    Checkpoint,
    /// A checkpoint is under way.
    CheckpointAsked {
        /// The record that it will hold as its last.
        lsn: u64,
        /// The replica that takes it.
        replica: u16,
    },
    /// There will be no checkpoint.
    CheckpointRefused {
        /// Why, for a person to read.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// Somebody wants to know what the instance waits for at its peers.
    Peers,
    /// One peer. One of these for each, then a [`Control::PeersEnd`].
    Peer {
        /// Its name.
        #[serde(deserialize_with = "text")]
        name: String,
        /// How far the connection with it has come, in a word or two.
        #[serde(deserialize_with = "text")]
        state: String,
        /// Why there is none, for a person to read; empty otherwise.
        #[serde(deserialize_with = "text")]
        reason: String,
        /// For how long there is one, or none.
        since_ms: u64,
        /// Messages that it has not acknowledged.
        messages: u64,
        /// Bytes that are kept for them.
        bytes: u64,
        /// Age of the oldest of them.
        oldest_ms: Option<u64>,
        /// Calls that it has not answered.
        calls: u64,
        /// Id of the oldest of them.
        oldest_call: Option<u64>,
    },
    /// These were all peers.
    PeersEnd,
    /// Behind a [`Control::Refused`]: who is primary, as far as the host knows.
    Elsewhere {
        /// Epoch of its reign.
        epoch: u64,
        /// Address and port where its host takes connections.
        #[serde(deserialize_with = "text")]
        address: String,
    },
    /// Answer to the hello of a host: the connection carries streams from here on.
    HostWelcome {
        /// Version of the protocol that both speak.
        version: u16,
        /// Streams that it may have at most.
        streams_max: u32,
    },
    /// A client wants to know what the module of the instance describes; since version 3.
    Methods,
    /// What the module describes.
    MethodTable {
        /// As it is written down beside the module.
        #[serde(deserialize_with = "octets")]
        table: Vec<u8>,
    },
    /// What the module describes can't be told.
    NoMethods {
        /// Why, for a person to read.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// Behind a [`Control::Refused`]: nobody ever answers for the instance, as far as the host knows.
    Ended {
        /// Why, for a person to read.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// The first frame of a client that has queries for that replica of the instance, whatever its role; since version 4.
    ReplicaHello {
        /// Version of the protocol.
        version: u16,
        /// Name of the instance.
        #[serde(deserialize_with = "text")]
        to: String,
        /// The replica that it means to reach.
        replica: u16,
    },
    /// Answer to that.
    ReplicaWelcome {
        /// The last record that the replica has applied.
        applied: u64,
    },
    /// Somebody fulfils a promise of the instance; since version 4.
    Resolve {
        /// Which one.
        promise: u64,
        /// What they were given to name it by.
        token: [u8; 16],
        /// One MessagePack value.
        #[serde(deserialize_with = "octets")]
        value: Vec<u8>,
    },
    /// What became of that.
    Resolved {
        /// Which one.
        promise: u64,
        /// What it was named by.
        token: [u8; 16],
        /// Whether it is fulfilled, by this or before; if not, there is none of that name.
        is_known: bool,
    },
    /// Somebody wants to know which requests of the instance to the world outside are under way.
    Outgoing,
    /// One request to the world outside. One of these for each of the first, then a [`Control::OutgoingEnd`].
    OutgoingRequest {
        /// The guest's number of it.
        id: u64,
        /// Method and URL without its query.
        #[serde(deserialize_with = "text")]
        what: String,
        /// Attempts that have begun in this reign.
        tries: u32,
        /// How long it has been under way in this reign.
        age_ms: u64,
        /// When the next attempt begins; none while one is under way or waits for its turn.
        next_try_ms: Option<u64>,
        /// How the last attempt has failed, for a person to read; empty if none has.
        #[serde(deserialize_with = "text")]
        error: String,
    },
    /// These were the first requests.
    OutgoingEnd {
        /// How many there are in all.
        count: u64,
    },
    /// The request is durable, and in which record; since version 4, in the place of [`Control::Accepted`].
    AcceptedAt {
        /// Id of the request, as its client chose it.
        #[serde(deserialize_with = "octets")]
        request: Vec<u8>,
        /// The record that holds it.
        lsn: u64,
    },
    /// A client listens to the events of the instance from here on, and no more as it did before; since version 4.
    Listen {
        /// Those behind this one: its record, and its number in it. From now on if there is none.
        after: Option<(u64, u32)>,
        /// It takes events that count up to this in all.
        until: u64,
    },
    /// Answer to that.
    Listening {
        /// Events behind this one follow.
        after: (u64, u32),
        /// The newest that may be seen now, or was forgotten; events up to this one follow at once.
        newest: (u64, u32),
    },
    /// Among events: some are missing here, for they are kept no more.
    EventsLost {
        /// The first that is missing is behind this one,
        after: (u64, u32),
        /// and the last is this one.
        through: (u64, u32),
    },
    /// Somebody wants to know how much the instance remembers of requests.
    Remembered,
    /// That.
    RememberedTold {
        /// Results that are remembered.
        results: u64,
        /// Bytes of their values.
        bytes: u64,
        /// Requests without a result.
        under_way: u64,
        /// Most results that are remembered,
        results_max: u64,
        /// most bytes of them,
        bytes_max: u64,
        /// and for how long, in seconds.
        age_s_max: u64,
    },
    /// Somebody wants to know which methods of the instance run by themselves, and when; since version 4.
    Schedules,
    /// One method that does. One of these for each, then a [`Control::SchedulesEnd`].
    Schedule {
        /// What it is called.
        #[serde(deserialize_with = "text")]
        method: String,
        /// Its times.
        #[serde(deserialize_with = "text")]
        cron: String,
        /// The time zone in which they are meant; empty for UTC.
        #[serde(deserialize_with = "text")]
        zone: String,
        /// What becomes of those that are missed: `one`, `all` or `none`.
        #[serde(deserialize_with = "text")]
        missed: String,
        /// When it runs next, in nanoseconds since 1970; none if it never does.
        next: Option<u64>,
        /// The last of its times for which it has run; none if it has not.
        done: Option<u64>,
    },
    /// These were all of them.
    SchedulesEnd,
    /// A client opens a session; since version 5.
    OpenSession {
        /// Which one: the one of that name, or a new one.
        session: [u8; 16],
        /// What the client calls the opening, which is done once for each such name.
        opening: [u8; 16],
    },
    /// The session is open, durably.
    SessionOpened {
        /// Which one.
        session: [u8; 16],
        /// What the client calls the opening.
        opening: [u8; 16],
        /// By what requests name the opening.
        ticket: u64,
        /// The last request that was done, or is under way.
        accepted: u64,
        /// The last result that was confirmed; those behind it can be asked for again.
        confirmed: u64,
        /// So many requests may be sent behind the last result that was confirmed.
        window: u32,
    },
    /// What was asked in a session is not done.
    SessionRefused {
        /// Which session.
        session: [u8; 16],
        /// The opening that was meant; 0 if it was to be opened.
        ticket: u64,
        /// The request; 0 if it was none.
        seq: u64,
        /// Why, as a number: see `docs/formats.md`.
        refusal: u8,
        /// Why, for a person to read.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// A client has all results of its session up to one, and has nothing to ask.
    SessionConfirmed {
        /// Which session.
        session: [u8; 16],
        /// The opening of it.
        ticket: u64,
        /// The last result.
        confirmed: u64,
    },
    /// Somebody wants to know how many sessions there are.
    Sessions,
    /// That.
    SessionsTold {
        /// Sessions.
        sessions: u64,
        /// Requests of them without a result.
        under_way: u64,
        /// Results that were not confirmed,
        results: u64,
        /// and the bytes of these.
        bytes: u64,
    },
    /// Somebody wants to know whether the log of the instance takes records.
    Stall,
    /// That.
    StallTold {
        /// For how long it has taken none, in milliseconds; `None` if it takes them.
        since_ms: Option<u64>,
        /// Why, for a person to read; empty otherwise.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// A client's first frame: it wants to know of the next primary as soon as there is one. It is answered like the hello of a client that
    /// is meant for another host, once there is one, or after a while.
    NextPrimary {
        /// Name of the instance.
        #[serde(deserialize_with = "text")]
        to: String,
        /// The epoch of the last reign that the client knows of; 0 for none.
        behind: u64,
    },
    /// Before the hello of a client that has no certificate: what it may do is what the token says.
    Token {
        /// As it was shown when it was made.
        #[serde(deserialize_with = "text")]
        token: String,
    },
    /// The first frame of somebody who means to use the store of the host, which they can't reach themselves.
    RelayHello {
        /// Version of what is relayed.
        version: u16,
    },
    /// Answer to that: from here on, questions and answers are relayed.
    RelayWelcome {
        /// What the store is like. Whoever has it knows what it means.
        #[serde(deserialize_with = "octets")]
        facts: Vec<u8>,
    },
    /// A first frame: somebody wants to know which replicas the host runs. It is answered also while the store of the host does not answer.
    Replicas,
    /// One replica. One of these for each, then a [`Control::ReplicasEnd`].
    Replica {
        /// Name of the instance.
        #[serde(deserialize_with = "text")]
        name: String,
        /// Which replica of it.
        replica: u16,
        /// Epoch of its reign; `None` if it is a standby.
        epoch: Option<u64>,
        /// For how long its log has taken no records, in milliseconds; `None` if it takes them, or has none to take.
        stalled_ms: Option<u64>,
        /// Why, for a person to read; empty otherwise.
        #[serde(deserialize_with = "text")]
        reason: String,
    },
    /// These were all replicas.
    ReplicasEnd,
}

/// The reason of a [`Control::Rejected`] whose id belongs to a request that wants something else.
pub const KEY_REUSED: &str = "the request id was used before, with another method or other arguments";

/// Largest value by which a promise is fulfilled.
pub const PROMISED_BYTES_MAX: usize = 16 << 20;

/// Largest table of methods that is told.
pub const METHODS_BYTES_MAX: usize = 16 << 20;

impl Control {
    /// What a host says first that means to have many streams on one connection: a hello that names no instance. Hosts of
    /// before refuse it for its version, and so tell which one they speak.
    pub fn host_hello(version: u16) -> Control {
        Control::Hello { version, from: String::new(), from_uuid: [0; 16], epoch: 0, to: String::new() }
    }

    /// The version in the hello of a host, if it is one.
    pub fn version_of_host(&self) -> Option<u16> {
        match self {
            Control::Hello { version, .. } if *self == Control::host_hello(*version) => {
                (*version >= STREAMS_VERSION).then_some(*version)
            }
            _ => None,
        }
    }
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard()
}

pub(crate) fn encode(control: &Control, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(control, out, configuration()).expect("a Vec takes everything");
}

/// `None` if the bytes are no control frame, or more than one. Allocates no more than there are bytes.
pub(crate) fn decode(body: &[u8]) -> Option<Control> {
    let (control, length) = bincode::serde::decode_from_slice(body, configuration()).ok()?;
    (length == body.len()).then_some(control)
}

/// A string, borrowed before it is owned: bincode then looks whether the bytes are there before it allocates as many as
/// the length in front of them claims.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    <&str>::deserialize(deserializer).map(str::to_owned)
}

/// As [`text`], of bytes.
fn octets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    <&[u8]>::deserialize(deserializer).map(<[u8]>::to_vec)
}
