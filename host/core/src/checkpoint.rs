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
//! results      u32 count; each: request, u64 time, u64 answered by, u64 content, u8 success, u32 bytes, value
//! pending      u32 count; each: request, u64 call, u64 content
//! impulses     u64 last number
//! started      u8
//! code         32 module, u64 fuel, u64 memory bytes, u64 attempt, u64 since, u8 has told, u64 waiting; not in version 1
//! outgoing     u32 count; each: u64 id, u64 since, u32 bytes, body
//! promises     u32 count; each: u64 id
//! events       u64 lsn, u32 index of the newest that was forgotten, 0 if none was; u32 count; each: u64 lsn, u32 index, u64 time,
//!                u32 bytes, topic, u32 bytes, value
//! crons        u32 count; each: u32 method, u64 due
//! configuration u8 has key, 32 key; u32 count; each: u32 bytes, name, u32 bytes, value
//! sessions     u32 count; each: 16 id, u64 ticket, 16 opening, u64 confirmed, u64 used, u32 count; each: u64 accepted by,
//!                u64 content, u8 kind; 0, it has no result: u64 call; 1, it succeeded, or 2, it failed: u64 answered by, u32 bytes,
//!                value
//! request      u8 bytes, id; u64 accepted by
//! ```
//! Version 3 ends before `sessions`. Versions 1 and 2 end before `outgoing`, and have no `content`, the hash of what a request asked for.
//!
//! Timers, calls, failed calls and pending requests rise; so a state is written in one way only.
//!
//! **Architecture Invariant:** bytes from a file are never believed: what does not fit together is an error, and no
//! count makes the decoder allocate more than the bytes at hand.

use bytes::Bytes;

use crate::{
    Configuration, Epoch, Genesis, InstanceName, Limits, Lsn, PeerIndex, Peers, Random, Retention, Timestamp, World,
    bytes_reader::BytesReader,
    calls::Calls,
    code::Code,
    part::{Part, StateReader},
    requests::Requests,
    sessions::Sessions,
    shared_state::SharedState,
    state::{Position, State},
    streams::Streams,
    timers::Timers,
};

const VERSION: u32 = 4;

/// Knew no sessions.
const VERSION_WITHOUT_SESSIONS: u32 = 3;

/// Knew nothing of the world outside but clients.
const VERSION_WITHOUT_DOOR: u32 = 2;

/// Had no code of its own: it was that of genesis.
const VERSION_WITHOUT_CODE: u32 = 1;

/// Why bytes are not a replicated state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StateError {
    /// Written by another version.
    #[error("the state has format version {0}, this program reads versions {VERSION_WITHOUT_CODE} to {VERSION}")]
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

    /// By which its guest is made again: as at the beginning, but for limits that an upgrade has changed.
    pub fn genesis_of_guest(&self) -> Genesis {
        Genesis { limits: self.limits(), ..self.genesis().clone() }
    }

    /// What the guest knows besides its messages.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// SHA-256 of the module that its guest runs.
    pub fn module(&self) -> [u8; 32] {
        self.0.code.module
    }

    /// What its guest may use.
    pub fn limits(&self) -> Limits {
        self.0.code.limits
    }

    /// The wish that the last upgrade fulfilled; 0 if there was none.
    pub fn attempt(&self) -> u64 {
        self.0.code.attempt
    }

    /// The last record that it holds.
    pub fn lsn(&self) -> Lsn {
        self.0.position.lsn
    }

    /// Epoch of that record.
    pub fn epoch(&self) -> Epoch {
        self.0.position.epoch
    }

    /// Time of that record.
    pub fn time(&self) -> Timestamp {
        self.0.position.time
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
    /// After the end of the instance: there is nothing to go on from. And between a record that was left out and its mend.
    pub(crate) fn encode(&self, out: &mut SharedState) {
        // No field is left out by oversight: a new one has to be named here.
        let State {
            genesis,
            code,
            position: Position { lsn, link, epoch, time },
            world: World { name: _, time: _, peers: _, random, configuration }, // as in genesis, position and streams
            streams,
            timers,
            calls,
            requests,
            outgoing,
            promises,
            events,
            crons,
            sessions,
            started,
            outcome,
            void,
        } = self;
        assert!(outcome.is_none(), "nothing goes on from an instance that has ended");
        assert!(void.is_none(), "no checkpoint is taken between a record that was left out and its mend");
        let beside = self.beside();
        out.put_count(VERSION as usize);
        let mut genesis_bytes = Vec::new();
        genesis.encode(&mut genesis_bytes);
        out.put_count(genesis_bytes.len());
        out.put(&genesis_bytes);
        for number in [lsn.0, *link, epoch.0, time.0] {
            out.put_u64(number);
        }
        out.put_u64(random.state());
        streams.encode(beside, out);
        timers.encode(beside, out);
        calls.encode(beside, out);
        requests.encode(beside, out);
        out.put_u8(u8::from(*started));
        code.encode(beside, out);
        outgoing.encode(beside, out);
        promises.encode(beside, out);
        events.encode(beside, out);
        crons.encode(beside, out);
        Part::encode(configuration, beside, out);
        sessions.encode(beside, out);
    }

    /// Reads back what [`State::encode`] wrote. The parts agree with each other, as in a state that was made here.
    pub(crate) fn decode(bytes: &Bytes) -> Result<State, StateError> {
        let mut rest = BytesReader(bytes);
        let version = match rest.u32() {
            Some(version @ VERSION_WITHOUT_CODE..=VERSION) => version,
            Some(version) => return Err(StateError::Version(version)),
            None => return Err(StateError::Shape),
        };
        let state = State::read(rest, bytes, version).ok_or(StateError::Shape)?;
        state.relations().map_err(|_| StateError::Shape)?;
        Ok(state)
    }

    /// Reads what stands behind the version. `None` if that is no state.
    fn read(mut rest: BytesReader<'_>, whole: &Bytes, version: u32) -> Option<State> {
        let genesis_bytes = rest.u32()? as usize;
        let genesis = Genesis::decode(rest.take(genesis_bytes)?).ok()?;
        let position = Position {
            lsn: Lsn(rest.u64()?),
            link: rest.u64()?,
            epoch: Epoch(rest.u64()?),
            time: Timestamp(rest.u64()?),
        };
        let random = Random::from_state(rest.u64()?);
        let has_door = version > VERSION_WITHOUT_DOOR;
        let has_sessions = version > VERSION_WITHOUT_SESSIONS;
        let peers = Peers::default();
        let mut reader = StateReader { rest, whole, genesis: &genesis, position, has_door, peers };
        let streams = Streams::decode(&mut reader)?;
        let timers = Timers::decode(&mut reader)?;
        let calls = Calls::decode(&mut reader)?;
        let requests = Requests::decode(&mut reader)?;
        let started = reader.boolean()?;
        let code = if version > VERSION_WITHOUT_CODE { Code::decode(&mut reader)? } else { Code::of(&genesis) };
        let outgoing = reader.of_door()?;
        let promises = reader.of_door()?;
        let events = reader.of_door()?;
        let crons = reader.of_door()?;
        let configuration: Configuration = reader.of_door()?;
        let sessions = if has_sessions { Sessions::decode(&mut reader)? } else { Sessions::default() };
        let requests = requests.with_retention(Retention::of(&configuration));
        let StateReader { rest, peers, .. } = reader;
        rest.0.is_empty().then_some(())?;
        let world = World { name: genesis.name.clone(), time: position.time, peers, random, configuration };
        Some(State {
            code,
            genesis,
            position,
            world,
            streams,
            timers,
            calls,
            requests,
            outgoing,
            promises,
            events,
            crons,
            sessions,
            started,
            outcome: None,
            void: None,
        })
    }
}
