//! One replica of one instance: [`Replica::step`] takes what happened and says what to do.

mod changing;
mod sessions;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    Bind, CallId, CheckpointState, Configuration, ConnectionId, Delivered, DigestBody, Divergence, Epoch, Event,
    EventId, Genesis, Guest, Input, InstanceName, InstanceUuid, Limits, Lsn, MethodId, Outcome, Output,
    PROMISE_KEY_BYTES, PeerIndex, PeerWaits, PromiseToken, Record, RecordError, RecordHeader, RecordKind, Refusal,
    ReplicaIndex, RequestId, Retention, Seq, SharedState, Timestamp, Traffic,
    acknowledged::Acknowledged,
    batch::{Batch, Opening},
    inbox::{Inbox, WaitingImpulse, WaitingNews, WaitingSessionRequest},
    limits,
    outbox::Chunk,
    promise_token,
    requests::content_hash,
    sessions::SessionAnswer,
    state::{Applied, State},
    streams::Waiting,
};

/// One replica of one instance.
///
/// Its inputs come in families:
/// - *log*: [`Input::Record`] and [`Input::Void`] on a standby and at a restart; [`Input::Elected`] once, after the own epoch record;
///   [`Input::Durable`] on a primary;
/// - [`Input::Traffic`], on a primary only; on a standby it is a mistake of the driver;
/// - *work*, on a primary: [`Replica::deliver`], [`Input::Digest`], [`Input::Upgrade`], and [`Input::Mend`], without which
///   nothing else is done behind a record that was left out.
///
/// A primary that is fenced is dropped as a whole and built anew from the log, for it has executed records that are
/// not in it.
pub struct Replica<G> {
    guest: G,
    state: State,
    primary: Option<PrimaryState>,
    delivered: Delivered,
    /// The last record at which this replica was found equal to the primary.
    compared: Lsn,
}

/// What only a primary has. Lost with it.
#[derive(Default)]
struct PrimaryState {
    durable: Lsn,
    inbox: Inbox,
    /// The guest is still to be told that this replica is primary.
    announce: bool,
    /// Acknowledgements that no record holds yet.
    acknowledged: Acknowledged,
    incoming: BTreeMap<PeerIndex, Incoming>,
    incoming_peers: BTreeMap<ConnectionId, PeerIndex>,
    outgoing: BTreeMap<PeerIndex, ConnectionId>,
    outgoing_peers: BTreeMap<ConnectionId, PeerIndex>,
    /// Peers that the driver was told to connect to.
    wanted: BTreeSet<PeerIndex>,
    /// Impulses wait for an upgrade.
    is_held: bool,
    /// Who waits for a promise that they have fulfilled to be so.
    resolving: BTreeMap<CallId, (PromiseToken, Vec<ConnectionId>)>,
}

#[derive(Clone, Copy)]
struct Incoming {
    connection: ConnectionId,
    epoch: Epoch,
}

/// What an instance remembers of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// Results.
    pub results: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Requests that have no result yet; these are never forgotten.
    pub under_way: u64,
    /// When results are forgotten.
    pub retention: Retention,
}

/// How much an instance has of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionCounts {
    /// Sessions.
    pub sessions: u64,
    /// Their requests that have no result yet.
    pub under_way: u64,
    /// Results that their clients have not confirmed,
    pub results: u64,
    /// and the bytes of these.
    pub bytes: u64,
}

/// Why nothing is delivered although something waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blocked {
    /// Peers don't take their messages; impulses, timers and own messages wait, messages of peers are delivered.
    OutboxSoft,
    /// Peers don't take their messages; everything waits.
    OutboxHard,
    /// Many requests to the world outside have no outcome; impulses, timers and own messages wait.
    Outgoing,
}

impl<G: Guest> Replica<G> {
    /// A replica that has applied the genesis record and nothing else; the guest is a fresh one of that module.
    pub fn new(genesis: &Record, guest: G) -> Result<Self, RecordError> {
        Ok(Replica::with(State::new(genesis)?, guest))
    }

    /// A replica that is where [`Replica::checkpoint`] was taken; the guest was restored from the same checkpoint.
    pub fn resume(checkpoint: CheckpointState, guest: G) -> Self {
        let mut replica = Replica::with(checkpoint.0, guest);
        replica.compared = replica.applied();
        replica
    }

    fn with(state: State, guest: G) -> Self {
        Replica { guest, state, primary: None, delivered: Delivered::default(), compared: Lsn(0) }
    }

    /// All replicated state but the guest's memory, to go on from; what only a primary has is not part of it.
    /// Messages and results are shared and not copied.
    ///
    /// # Panics
    /// After the end of the instance, when no digest record is made any more.
    pub fn checkpoint(&self) -> SharedState {
        let mut shared = SharedState::default();
        self.state.encode(&mut shared);
        shared
    }

    /// Takes one input and appends what is to be done to `outputs`.
    ///
    /// # Panics
    /// If the driver breaks the order that [`Replica`] describes, or a record does not follow the one before.
    pub fn step(&mut self, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Record(record) => self.on_record(&record, outputs),
            Input::Void(record) => self.on_void(&record),
            Input::Elected => self.on_elected(outputs),
            Input::Durable(lsn) => self.on_durable(lsn),
            Input::Traffic { traffic, now } => self.on_traffic(traffic, now, outputs),
            Input::Digest { checkpoint_by, now } => self.on_digest(checkpoint_by, now, outputs),
            Input::Configure { values, entropy, now } => self.on_configure(values, entropy, now, outputs),
            Input::Upgrade { upgrade, now } => self.on_upgrade(upgrade, now, outputs),
            Input::Mend { remedy, now } => self.on_mend(remedy, now, outputs),
        }
        if cfg!(debug_assertions) {
            self.validate();
        }
    }

    /// Makes a record of what has gathered, hands it to `append`, and executes it: so the log writes while the guest works.
    /// False if nothing has gathered, or nothing may be delivered now.
    ///
    /// # Panics
    /// On a standby.
    pub fn deliver(&mut self, now: Timestamp, append: impl FnOnce(Record), outputs: &mut Vec<Output>) -> bool {
        let Some(record) = self.next_record(now) else { return false };
        append(record.clone());
        self.execute(&record, outputs);
        if cfg!(debug_assertions) {
            self.validate();
        }
        true
    }

    /// Whether impulses are to wait.
    ///
    /// # Panics
    /// On a standby.
    pub fn hold_impulses(&mut self, hold: bool) {
        self.primary_state().is_held = hold;
    }

    /// Who the instance is.
    pub fn genesis(&self) -> &Genesis {
        &self.state.genesis
    }

    /// SHA-256 of the module that handles the next delivery.
    pub fn module(&self) -> [u8; 32] {
        self.state.code.module
    }

    /// What the guest may use.
    pub fn limits(&self) -> Limits {
        self.state.code.limits
    }

    /// The record that was left out, if the mend of it is still to come.
    pub fn void(&self) -> Option<Lsn> {
        self.state.void.as_ref().map(Record::lsn)
    }

    /// The wish that the last upgrade or skip fulfilled; 0 if there was none.
    pub fn attempt(&self) -> u64 {
        self.state.code.attempt
    }

    /// The record of it; 0 if there was none.
    pub fn upgraded_at(&self) -> Lsn {
        self.state.code.since
    }

    /// How many handlers of the guest wait; `None` if it has never told.
    pub fn waiting_handlers(&self) -> Option<u64> {
        self.state.code.waiting
    }

    /// Chain value of the last record applied: what the next one carries as `previous`.
    pub fn link(&self) -> u64 {
        self.state.position.link
    }

    /// Number of the last record applied.
    pub fn applied(&self) -> Lsn {
        self.state.position.lsn
    }

    /// Epoch of the last record applied.
    pub fn epoch(&self) -> Epoch {
        self.state.position.epoch
    }

    /// Time of the last record applied.
    pub fn time(&self) -> Timestamp {
        self.state.position.time
    }

    /// How the instance ended, if it did.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.state.outcome.as_ref()
    }

    /// Whether anything can be delivered: the instance has not ended, and nothing that was left out is to be mended first.
    pub fn goes_on(&self) -> bool {
        self.state.outcome.is_none() && self.state.void.is_none()
    }

    /// When the driver must deliver even if nothing comes in: the next timer. `None` while no timer can be delivered.
    pub fn wake_at(&self) -> Option<Timestamp> {
        if !self.goes_on() || self.blocked().is_some() {
            return None;
        }
        self.state.timers.next_due()
    }

    /// Messages to other instances that these have not acknowledged. They are not lost with this process, but nobody
    /// sends them while no replica runs.
    pub fn undelivered(&self) -> u64 {
        self.waiting().messages
    }

    /// What waits for other instances, as far as this replica has heard.
    fn waiting(&self) -> Waiting {
        let mut waiting = self.state.streams.waiting();
        if let Some(reign) = &self.primary {
            waiting.subtract(reign.acknowledged.freed());
        }
        waiting
    }

    /// What waits for each peer, in the order of the peers.
    pub fn waits(&self) -> Vec<PeerWaits> {
        let none = Acknowledged::default();
        self.state.waits(self.primary.as_ref().map_or(&none, |reign| &reign.acknowledged))
    }

    /// The name of a peer.
    pub fn peer_name(&self, peer: PeerIndex) -> Option<&InstanceName> {
        self.state.world.peers.name(peer)
    }

    /// Which instance of its name a peer is; `None` until it was met.
    pub fn peer_uuid(&self, peer: PeerIndex) -> Option<InstanceUuid> {
        self.state.stream(peer).uuid
    }

    /// Number of the last message that was sent to a peer; 0 before the first.
    pub fn sent(&self, peer: PeerIndex) -> Seq {
        self.state.stream(peer).outbox.last_seq()
    }

    /// The name that would stand for another instance than before, if this replica took that. What is refused anyway is
    /// left to that.
    pub(crate) fn unmet_peer(&self, traffic: &Traffic) -> Option<InstanceName> {
        let (name, uuid) = match traffic {
            Traffic::PeerConnected { name, uuid, .. } => (name, *uuid),
            Traffic::PeerReached { peer, uuid, .. } => (self.peer_name(*peer)?, *uuid),
            Traffic::Messages { .. }
            | Traffic::Acknowledged { .. }
            | Traffic::Disconnected(_)
            | Traffic::Impulse { .. }
            | Traffic::Outcome { .. }
            | Traffic::Resolve { .. }
            | Traffic::OpenSession { .. }
            | Traffic::SessionRequest { .. }
            | Traffic::SessionConfirmed { .. }
            | Traffic::Cron { .. } => return None,
        };
        let met = self.state.world.peers.index(name).and_then(|peer| self.state.stream(peer).uuid);
        let is_refused = self.state.outcome.is_some() || *name == self.state.genesis.name;
        (met != Some(uuid) && !is_refused).then(|| name.clone())
    }

    /// Whether messages or calls wait for a peer.
    pub fn waits_for(&self, peer: PeerIndex) -> bool {
        let none = Acknowledged::default();
        self.state.waits_for(peer, self.primary.as_ref().map_or(&none, |reign| &reign.acknowledged))
    }

    /// Requests to the world outside that have no outcome yet: number, what is to be done, and the record of each.
    pub fn outgoing(&self) -> impl ExactSizeIterator<Item = (CallId, &Bytes, Lsn)> {
        self.state.outgoing.pending().map(|(id, request)| (id, &request.body, request.since))
    }

    /// Whether somebody waits for what comes of that request.
    pub fn waits_for_outcome(&self, id: CallId) -> bool {
        self.state.outgoing.get(id).is_some()
    }

    /// Whether that request waits to be delivered: it is not in the log yet.
    pub(crate) fn is_waiting(&self, request: &RequestId) -> bool {
        self.primary.as_ref().is_some_and(|reign| reign.inbox.content_of(request).is_some())
    }

    /// How much is remembered of requests, and how much may be.
    pub fn remembered(&self) -> Remembered {
        let (results, bytes, under_way) = self.state.requests.counts();
        Remembered { results, bytes, under_way, retention: Retention::of(self.configuration()) }
    }

    /// How much there is of sessions.
    pub fn session_counts(&self) -> SessionCounts {
        let (under_way, results, bytes) = self.state.sessions.counts();
        SessionCounts { sessions: self.state.sessions.len() as u64, under_way, results, bytes }
    }

    /// The newest events of the guest, the oldest of them first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> + ExactSizeIterator {
        self.state.events.kept()
    }

    /// Those of them that come behind `place`.
    pub fn events_after(&self, place: EventId) -> impl ExactSizeIterator<Item = &Event> {
        self.state.events.after(place)
    }

    /// The newest event that is not kept any more; `None` if all are.
    pub fn forgotten_event(&self) -> Option<EventId> {
        self.state.events.forgotten()
    }

    /// Until when each method has run that runs at times of the calendar.
    pub fn crons_done(&self) -> &BTreeMap<MethodId, Timestamp> {
        self.state.crons.done()
    }

    /// What the operator has set for the guest, as of the last record.
    pub fn configuration(&self) -> &Configuration {
        &self.state.world.configuration
    }

    /// The guest, to capture it between two deliveries.
    pub fn guest_mut(&mut self) -> &mut G {
        &mut self.guest
    }

    /// The guest, to look at.
    pub fn guest(&self) -> &G {
        &self.guest
    }

    /// Why nothing is delivered, if that is so.
    pub fn blocked(&self) -> Option<Blocked> {
        let waiting = self.waiting();
        if waiting.bytes >= limits::OUTBOX_BYTES_HARD_MAX {
            return Some(Blocked::OutboxHard);
        }
        if waiting.full > 0 {
            return Some(Blocked::OutboxSoft);
        }
        let outgoing = &self.state.outgoing;
        let is_much = outgoing.pending().len() >= limits::OUTGOING_SOFT_MAX
            || outgoing.bytes() >= limits::OUTGOING_BYTES_SOFT_MAX;
        is_much.then_some(Blocked::Outgoing)
    }

    /// Digest of all replicated state but the guest's memory: equal on replicas that have applied the same records.
    pub fn digest(&self) -> u64 {
        self.state.digest()
    }

    /// All invariants, as asserts; run after every step in debug builds.
    pub fn validate(&self) {
        self.state.validate();
        if let Some(reign) = &self.primary {
            assert!(reign.durable <= self.state.position.lsn.next());
            assert_eq!(reign.incoming.len(), reign.incoming_peers.len());
            assert_eq!(reign.outgoing.len(), reign.outgoing_peers.len());
        }
    }

    /// The guest, and the world as it is.
    pub(crate) fn guest_and_world(&mut self) -> (&mut G, &crate::World) {
        (&mut self.guest, &self.state.world)
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    fn primary_state(&mut self) -> &mut PrimaryState {
        self.primary.as_mut().expect("the driver sends this to a primary only")
    }

    fn on_record(&mut self, record: &Record, outputs: &mut Vec<Output>) {
        assert!(self.primary.is_none(), "a primary makes its records itself");
        debug_assert_eq!(record.check_body(), Ok(()), "the driver has checked what it read");
        if record.header().kind == RecordKind::Digest {
            self.compare(record, outputs);
        }
        let applied = self.state.apply(record, &mut self.guest, &mut self.delivered);
        match &applied.upgrade {
            None => {}
            Some(Ok(upgrade)) => {
                self.guest.keep_upgrade();
                outputs.push(Output::Upgraded { upgrade: *upgrade, after: record.lsn() });
            }
            // The primary has done it, so it is this replica that is at fault.
            Some(Err(error)) => {
                let fault = error.clone().into_fault();
                return outputs.push(Output::UpgradeFailed { fault, at: record.lsn() });
            }
        }
        match &applied.mend {
            None => {}
            Some(Ok(mend)) => outputs.push(Output::Mended { mend: mend.clone(), after: record.lsn() }),
            Some(Err(fault)) => {
                return outputs.push(Output::UpgradeFailed { fault: fault.clone(), at: record.lsn() });
            }
        }
        self.put_prints(true, outputs);
        self.put_rebound(&applied, outputs);
        let after = record.lsn();
        outputs.extend(applied.events.into_iter().map(|event| Output::Event { event, after }));
        // Whoever becomes primary passes on what the one before may not have.
        let time = record.header().time;
        outputs.extend(applied.logged.into_iter().map(|(id, line)| Output::Log { id, time, line, after }));
        self.put_outcome(record.lsn(), outputs);
        if record.header().kind == RecordKind::Digest {
            self.put_checkpoint(record, outputs);
        }
    }

    fn on_void(&mut self, record: &Record) {
        assert!(self.primary.is_none(), "a primary makes its records itself");
        debug_assert_eq!(record.check_body(), Ok(()), "the driver has checked what it read");
        self.state.leave_out(record);
    }

    /// Compares this replica with what the primary was at the same record.
    fn compare(&mut self, record: &Record, outputs: &mut Vec<Output>) {
        let body = DigestBody::decode(record.body()).expect("a record with right checksums has the shape of its kind");
        let (own_state, own_memory) = (self.state.digest(), self.guest.digest());
        let lsn = self.applied();
        // A guest that was put back by its own `load` has another memory, and says 0.
        let memory_differs = body.memory != own_memory && body.memory != 0 && own_memory != 0;
        if body.state == own_state && !memory_differs {
            self.compared = lsn;
            return;
        }
        outputs.push(Output::Diverged(Divergence {
            lsn,
            equal_at: self.compared,
            epoch: record.header().epoch,
            state: body.state,
            memory: body.memory,
            own_state,
            own_memory,
        }));
    }

    fn put_checkpoint(&self, record: &Record, outputs: &mut Vec<Output>) {
        let body = DigestBody::decode(record.body()).expect("a record with right checksums has the shape of its kind");
        if let Some(by) = body.checkpoint_by {
            outputs.push(Output::Checkpoint { by, at: record.lsn() });
        }
    }

    fn on_digest(&mut self, checkpoint_by: Option<ReplicaIndex>, now: Timestamp, outputs: &mut Vec<Output>) {
        if !self.goes_on() {
            return;
        }
        let mut body = Vec::new();
        DigestBody { state: self.state.digest(), memory: self.guest.digest(), checkpoint_by }.encode(&mut body);
        let record = Record::seal(self.next_header(RecordKind::Digest, now), &body);
        outputs.push(Output::Append(record.clone()));
        self.state.apply(&record, &mut self.guest, &mut self.delivered);
        self.compared = record.lsn();
        self.put_checkpoint(&record, outputs);
    }

    fn on_elected(&mut self, outputs: &mut Vec<Output>) {
        assert!(self.primary.is_none(), "a reign begins once");
        let durable = self.state.position.lsn;
        self.primary = Some(PrimaryState { durable, announce: true, ..PrimaryState::default() });
        if self.state.void.is_none() {
            self.want_all(outputs);
            self.resume_requests(durable.next(), outputs);
        }
    }

    /// Has done what earlier reigns may have done or not: all that is of records before that one.
    fn resume_requests(&self, before: Lsn, outputs: &mut Vec<Output>) {
        let after = self.state.position.lsn;
        let resumed = self.state.outgoing.pending().filter(|(_, request)| request.since < before);
        outputs.extend(resumed.map(|(id, request)| {
            let body = request.body.clone();
            Output::Request { id, body, resumed: true, after }
        }));
    }

    /// Has connections made to all peers that something waits for.
    fn want_all(&mut self, outputs: &mut Vec<Output>) {
        let me = self.state.me();
        let to_send = |(peer, stream): (PeerIndex, &crate::stream::Stream)| {
            (stream.outbox.acknowledged() < stream.outbox.last_seq()).then_some(peer)
        };
        let mut wanted: BTreeSet<_> = self.state.streams().filter_map(to_send).collect();
        // Only who connects learns that a peer was registered anew and that the calls to it have failed.
        wanted.extend(self.state.called_peers());
        for peer in wanted.into_iter().filter(|peer| Some(*peer) != me) {
            self.want(peer, outputs);
        }
    }

    fn on_durable(&mut self, lsn: Lsn) {
        let reign = self.primary_state();
        assert!(lsn >= reign.durable, "what is durable stays so");
        reign.durable = lsn;
    }

    fn on_traffic(&mut self, traffic: Traffic, now: Timestamp, outputs: &mut Vec<Output>) {
        match traffic {
            Traffic::PeerConnected { connection, name, uuid, epoch } => {
                self.on_peer_connected(connection, name, uuid, epoch, now, outputs);
            }
            Traffic::Messages { connection, first_seq, count, messages } => {
                self.on_messages(connection, Chunk { after: Lsn(0), first_seq, count, messages }, outputs);
            }
            Traffic::PeerReached { connection, peer, uuid, received } => {
                self.on_peer_reached(connection, peer, uuid, received, now, outputs);
            }
            Traffic::Acknowledged { connection, seq } => self.on_acknowledged(connection, seq, outputs),
            Traffic::Disconnected(connection) => self.on_disconnected(connection),
            Traffic::Impulse { method, arguments, request, from, trace } => {
                self.on_impulse(WaitingImpulse { method, arguments, request, trace }, from, outputs);
            }
            Traffic::Outcome { id, outcome } => {
                self.primary_state().inbox.push_news(WaitingNews::Outcome { id, outcome });
            }
            Traffic::Resolve { connection, promise, token, value } => {
                self.on_resolve(connection, promise, token, value, outputs);
            }
            Traffic::OpenSession { connection, session, opening } => {
                self.on_open_session(connection, session, opening, now, outputs);
            }
            Traffic::SessionRequest { connection, session, ticket, seq, confirmed, method, arguments, impossible } => {
                let content = content_hash(method, &arguments);
                let request = WaitingSessionRequest { seq, method, arguments, content, impossible };
                self.on_session_request((connection, session, ticket), confirmed, request, outputs);
            }
            Traffic::SessionConfirmed { connection, session, ticket, confirmed } => {
                self.on_confirmed((connection, session, ticket), confirmed, outputs);
            }
            Traffic::Cron { method, due } => {
                if due <= now && self.state.crons.is_new(method, due) {
                    self.primary_state().inbox.push_cron(method, due);
                }
            }
        }
    }

    fn on_peer_connected(
        &mut self,
        connection: ConnectionId,
        name: InstanceName,
        uuid: InstanceUuid,
        epoch: Epoch,
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) {
        if self.state.outcome.is_some() {
            return outputs.push(Output::Refuse { connection, reason: Refusal::Ended });
        }
        if name == self.state.genesis.name {
            return outputs.push(Output::Refuse { connection, reason: Refusal::OwnName });
        }
        let Some(peer) = self.bind(name, uuid, now, outputs) else {
            return outputs.push(Output::Refuse { connection, reason: Refusal::TooManyPeers });
        };
        let reign = self.primary_state();
        if let Some(known) = reign.incoming.get(&peer).copied() {
            if known.epoch > epoch {
                return outputs.push(Output::Refuse { connection, reason: Refusal::StaleEpoch });
            }
            reign.incoming_peers.remove(&known.connection);
            outputs.push(Output::Refuse { connection: known.connection, reason: Refusal::Superseded });
        }
        reign.inbox.forget(peer);
        reign.incoming.insert(peer, Incoming { connection, epoch });
        reign.incoming_peers.insert(connection, peer);
        let received = self.state.stream(peer).received;
        outputs.push(Output::Welcome { connection, received, after: self.state.position.lsn });
    }

    /// Makes sure that the log says which instance `name` stands for. `None` if there are too many peers.
    fn bind(
        &mut self,
        name: InstanceName,
        uuid: InstanceUuid,
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) -> Option<PeerIndex> {
        let known = self.state.world.peers.index(&name);
        if let Some(peer) = known
            && self.state.stream(peer).uuid == Some(uuid)
        {
            return known;
        }
        let count = self.state.world.peers.count();
        if known.is_none() && count >= limits::PEERS_MAX {
            return None;
        }
        let peer = known.unwrap_or(PeerIndex(count + 1));
        assert!(self.state.void.is_none(), "nobody is heard between a record that was left out and its mend");
        let mut body = Vec::new();
        Bind { peer, uuid, name }.encode(&mut body);
        let record = Record::seal(self.next_header(RecordKind::Bind, now), &body);
        outputs.push(Output::Append(record.clone()));
        // Whatever came from, or was confirmed by, the earlier instance of that name does not count any more.
        let reign = self.primary_state();
        reign.inbox.forget(peer);
        let heard = reign.acknowledged.forget(peer);
        let old = [reign.incoming.get(&peer).map(|old| old.connection), reign.outgoing.get(&peer).copied()];
        for connection in old.into_iter().flatten() {
            outputs.push(Output::Refuse { connection, reason: Refusal::Superseded });
            self.on_disconnected(connection);
        }
        let mut applied = self.state.apply(&record, &mut self.guest, &mut self.delivered);
        if let Some(rebound) = &mut applied.rebound {
            assert!(heard <= rebound.dropped, "what was acknowledged was kept until now");
            rebound.dropped -= heard;
        }
        self.put_rebound(&applied, outputs);
        Some(peer)
    }

    fn next_header(&self, kind: RecordKind, now: Timestamp) -> RecordHeader {
        let position = self.state.position;
        let mut header = RecordHeader::new(kind, position.epoch, position.lsn.next(), now.max(position.time));
        header.previous = position.link;
        header.durable = self.primary.as_ref().map_or(Lsn(0), |reign| reign.durable);
        header
    }

    fn on_messages(&mut self, connection: ConnectionId, chunk: Chunk, outputs: &mut Vec<Output>) {
        let Some(peer) = self.primary_state().incoming_peers.get(&connection).copied() else {
            return; // of a connection that was refused since
        };
        if chunk.count == 0 {
            return;
        }
        let received = self.state.stream(peer).received;
        let reign = self.primary_state();
        let last = reign.inbox.last_seq(peer, received);
        if chunk.first_seq > last.next() {
            let reason = Refusal::Gap { expected: last.next(), found: chunk.first_seq };
            outputs.push(Output::Refuse { connection, reason });
            return self.on_disconnected(connection);
        }
        if let Some(news) = chunk.after_seq(last) {
            reign.inbox.push_messages(peer, news);
        }
    }

    fn on_peer_reached(
        &mut self,
        connection: ConnectionId,
        peer: PeerIndex,
        uuid: InstanceUuid,
        received: Seq,
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) {
        if matches!(self.state.outcome, Some(Outcome::Halted { .. })) {
            // Nothing comes behind the record that the guest can't handle but what mends it.
            return outputs.push(Output::Refuse { connection, reason: Refusal::Ended });
        }
        let name = self.state.world.peers.name(peer).expect("the driver connects to peers it was told").clone();
        self.bind(name, uuid, now, outputs);
        let outbox = &self.state.stream(peer).outbox;
        let reign = self.primary.as_mut().expect("the driver sends this to a primary only");
        let acknowledged = reign.acknowledged.seq(peer, outbox);
        let refusal = if received < acknowledged {
            Some(Refusal::PeerLostLog { has: received, acknowledged })
        } else if received > outbox.last_seq() {
            Some(Refusal::OwnLogLost { has: received, made: outbox.last_seq() })
        } else {
            None
        };
        if let Some(reason) = refusal {
            return outputs.push(Output::Refuse { connection, reason });
        }
        if let Some(old) = reign.outgoing.insert(peer, connection) {
            reign.outgoing_peers.remove(&old);
        }
        reign.outgoing_peers.insert(connection, peer);
        reign.acknowledged.note(peer, received, outbox);
        // The record that binds the peer may be newer than the messages: if it is lost, they are of another stream.
        let after = self.state.position.lsn;
        let chunks = self.state.stream(peer).outbox.chunks_after(received);
        outputs.extend(chunks.map(|chunk| Output::Send { connection, chunk: Chunk { after, ..chunk } }));
    }

    fn on_acknowledged(&mut self, connection: ConnectionId, seq: Seq, outputs: &mut Vec<Output>) {
        let Some(peer) = self.primary_state().outgoing_peers.get(&connection).copied() else {
            return; // of a connection that ended since
        };
        let outbox = &self.state.stream(peer).outbox;
        let made = outbox.last_seq();
        if seq > made {
            outputs.push(Output::Refuse { connection, reason: Refusal::Acknowledgement { seq, made } });
            return self.on_disconnected(connection);
        }
        let reign = self.primary.as_mut().expect("checked above");
        reign.acknowledged.note(peer, seq, outbox);
    }

    fn on_disconnected(&mut self, connection: ConnectionId) {
        let reign = self.primary_state();
        if let Some(peer) = reign.incoming_peers.remove(&connection) {
            reign.incoming.remove(&peer);
        }
        if let Some(peer) = reign.outgoing_peers.remove(&connection) {
            reign.outgoing.remove(&peer);
        }
    }

    fn on_impulse(&mut self, impulse: WaitingImpulse, from: Option<ConnectionId>, outputs: &mut Vec<Output>) {
        if let Some(request) = &impulse.request {
            let content = content_hash(impulse.method, &impulse.arguments);
            // What was left out is not known to the state before its mend, which answers it.
            let (waiting, left_out) = (self.primary_state().inbox.content_of(request), self.state.left_out(request));
            if waiting.or(left_out).is_some_and(|other| other != content) {
                let (request, after) = (request.clone(), self.state.position.lsn);
                return outputs.push(Output::KeyReused { connection: from, request, after });
            }
            if left_out.is_some() || self.put_known_request(request.clone(), content, from, outputs) {
                return;
            }
        }
        self.primary_state().inbox.push_impulse(impulse);
    }

    /// Says again what is known of a request, or that its id stands for another one. False if it is new.
    fn put_known_request(
        &self,
        request: RequestId,
        content: u64,
        connection: Option<ConnectionId>,
        outputs: &mut Vec<Output>,
    ) -> bool {
        let Some(known) = self.state.requests.get(&request) else {
            return false;
        };
        if known.content != 0 && known.content != content {
            outputs.push(Output::KeyReused { connection, request, after: known.accepted });
            return true;
        }
        outputs.push(Output::Accepted { request: request.clone(), after: known.accepted });
        if let Some((after, answer)) = known.answer {
            outputs.push(Output::Answered { request, answer, after });
        }
        true
    }

    /// Who knows the token of a promise fulfils it, once: what comes later is told that it is done.
    fn on_resolve(
        &mut self,
        connection: ConnectionId,
        promise: CallId,
        token: PromiseToken,
        value: Bytes,
        outputs: &mut Vec<Output>,
    ) {
        let key = self.state.world.configuration.promise_key;
        let is_known = key.is_some_and(|key| is_same(promise_token(&key, promise), token));
        if is_known && self.state.promises.is_pending(promise) && self.goes_on() {
            let reign = self.primary_state();
            reign.inbox.push_news(WaitingNews::Resolved { promise, value });
            let (_, waiting) = reign.resolving.entry(promise).or_insert_with(|| (token, Vec::new()));
            return waiting.push(connection);
        }
        outputs.push(Output::Resolved { connection, promise, token, is_known, after: self.state.position.lsn });
    }

    /// Writes down what the operator has set for the guest, if that is not what the log says already and the instance goes
    /// on.
    fn on_configure(
        &mut self,
        values: BTreeMap<String, Bytes>,
        entropy: [u8; PROMISE_KEY_BYTES],
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) {
        if !self.goes_on() {
            return;
        }
        let known = &self.state.world.configuration;
        let promise_key = known.promise_key.or_else(|| self.guest.makes_promises().then_some(entropy));
        let wanted = Configuration { values, promise_key };
        assert_eq!(wanted.check(), Ok(()), "whoever sets values has checked them");
        if wanted == *known {
            return;
        }
        let mut body = Vec::new();
        wanted.encode(&mut body);
        let record = Record::seal(self.next_header(RecordKind::Configuration, now), &body);
        outputs.push(Output::Append(record.clone()));
        self.state.apply(&record, &mut self.guest, &mut self.delivered);
    }

    /// The record of what has gathered, if anything has that may be delivered.
    fn next_record(&mut self, now: Timestamp) -> Option<Record> {
        let blocked = self.blocked();
        let header = self.next_header(RecordKind::Deliver, now);
        if !self.goes_on() || blocked == Some(Blocked::OutboxHard) {
            return None;
        }
        let reign = self.primary.as_mut().expect("only a primary delivers");
        let mut batch = Batch::new(header);
        let opening = match (blocked, reign.is_held) {
            (Some(_), _) => Opening::Host,
            (None, true) => Opening::HostAndTimers,
            (None, false) => Opening::All,
        };
        batch.add_outside(&self.state, &mut reign.inbox, reign.announce, opening);
        if blocked.is_none() {
            batch.add_own(&self.state);
        }
        batch.add_peers(&mut reign.inbox);
        // Acknowledgements wait for something to go with, unless they free much.
        if batch.is_empty() && reign.acknowledged.freed().bytes < limits::ACKNOWLEDGED_BYTES_MAX {
            return None;
        }
        batch.add_confirmed(&self.state, &mut reign.inbox);
        reign.announce = false;
        Some(batch.seal(reign.acknowledged.take()))
    }

    fn execute(&mut self, record: &Record, outputs: &mut Vec<Output>) {
        let applied = self.state.apply(record, &mut self.guest, &mut self.delivered);
        self.put_effects(applied, record.lsn(), outputs);
        self.put_outcome(record.lsn(), outputs);
    }

    /// Says what a record of this primary has brought about.
    fn put_effects(&mut self, applied: Applied, after: Lsn, outputs: &mut Vec<Output>) {
        self.put_prints(false, outputs);
        for (peer, chunk) in applied.chunks {
            self.send(peer, chunk, outputs);
        }
        let reign = self.primary.as_mut().expect("checked above");
        for (peer, seq) in applied.received {
            if let Some(incoming) = reign.incoming.get(&peer) {
                outputs.push(Output::Acknowledge { connection: incoming.connection, seq, after });
            }
        }
        outputs.extend(applied.accepted.into_iter().map(|request| Output::Accepted { request, after }));
        let answers = applied.answered.into_iter();
        outputs.extend(answers.map(|(request, answer)| Output::Answered { request, answer, after }));
        let answers = applied.answered_in_sessions.into_iter();
        outputs.extend(answers.map(|answered| {
            let SessionAnswer { session, ticket, seq, answer } = answered;
            Output::SessionAnswered { session, ticket, seq, answer, after }
        }));
        // Those that were fulfilled, or that nobody waits for any more.
        for (promise, (token, connections)) in
            reign.resolving.extract_if(.., |promise, _| !self.state.promises.is_pending(*promise))
        {
            let told = connections.into_iter();
            outputs.extend(told.map(|connection| Output::Resolved {
                connection,
                promise,
                token,
                is_known: true,
                after,
            }));
        }
        for id in applied.requested {
            // What was begun and cancelled in one record is not begun.
            if let Some(request) = self.state.outgoing.get(id) {
                outputs.push(Output::Request { id, body: request.body.clone(), resumed: false, after });
            }
        }
        outputs.extend(applied.cancelled.into_iter().map(|id| Output::CancelRequest { id, after }));
        outputs.extend(applied.events.into_iter().map(|event| Output::Event { event, after }));
        let time = self.state.position.time;
        outputs.extend(applied.logged.into_iter().map(|(id, line)| Output::Log { id, time, line, after }));
    }

    fn send(&mut self, peer: PeerIndex, chunk: Chunk, outputs: &mut Vec<Output>) {
        if self.state.me() == Some(peer) {
            return; // it stays in the outbox and is delivered from there
        }
        match self.primary_state().outgoing.get(&peer).copied() {
            Some(connection) => outputs.push(Output::Send { connection, chunk }),
            None => self.want(peer, outputs),
        }
    }

    fn want(&mut self, peer: PeerIndex, outputs: &mut Vec<Output>) {
        if self.primary_state().wanted.insert(peer) {
            let name = self.state.world.peers.name(peer).expect("streams are as many as names").clone();
            outputs.push(Output::Connect { peer, name });
        }
    }

    fn put_prints(&mut self, replayed: bool, outputs: &mut Vec<Output>) {
        let after = self.state.position.lsn;
        for print in self.delivered.prints.drain(..) {
            outputs.push(Output::Print { stream: print.stream, bytes: Bytes::from(print.bytes), after, replayed });
        }
    }

    fn put_rebound(&self, applied: &Applied, outputs: &mut Vec<Output>) {
        if let Some(rebound) = &applied.rebound {
            let name = self.state.world.peers.name(rebound.peer).expect("it was just bound").clone();
            outputs.push(Output::Rebound { name, dropped: rebound.dropped, failed_calls: rebound.failed_calls });
        }
    }

    /// Says how the instance ended, if the record `lsn` did it.
    fn put_outcome(&self, lsn: Lsn, outputs: &mut Vec<Output>) {
        match &self.state.outcome {
            Some(Outcome::Finished { code, lsn: at }) if *at == lsn => {
                outputs.push(Output::Finished { code: *code, after: lsn });
            }
            Some(Outcome::Halted { fault, lsn: at }) if *at == lsn => {
                outputs.push(Output::Halted { fault: fault.clone(), after: lsn });
            }
            _ => {}
        }
    }
}

/// Whether two tokens are the same, in a time that does not depend on where they differ.
fn is_same(one: PromiseToken, other: PromiseToken) -> bool {
    u128::from_le_bytes(one) ^ u128::from_le_bytes(other) == 0
}
