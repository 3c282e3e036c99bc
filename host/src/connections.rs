//! The connections of a primary: who is there, and who waits for what.

use std::{collections::BTreeMap, time::Duration};

use ambrosia_client::Primary;
use ambrosia_core::{
    Answer, Chunk, ConnectionId, Epoch, InquiryAnswer, InstanceUuid, Lsn, Output, QueryAnswer, Refusal, Remembered,
    RequestId, Retention, SessionCounts, SessionId, SessionRefusal, Ticket, limits::SESSION_WINDOW_MAX,
    member::Verdict,
};
use ambrosia_wire::{ConnectionHandle, Control, Frame, Gathered, KEY_REUSED};
use tokio::runtime::Handle;

use crate::event::ClientRequest;

/// At the end, others have this long to take what is still to be sent to them.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// What goes to clients may be gathered until it is so much, or the driver has had so many turns.
const GATHERED_MAX: u32 = 16;

/// The connections of a primary.
#[derive(Default)]
pub(crate) struct Connections {
    open: BTreeMap<ConnectionId, ConnectionHandle>,
    /// For whom something is gathered.
    gathering: Vec<ConnectionId>,
    /// How many frames, and turns since the first of them.
    gathered: u32,
    waiting: BTreeMap<RequestId, Vec<Waiting>>,
    /// By which connection the client of a session has asked last: its answers go there. Whoever knows the ticket and not the
    /// session hears nothing.
    sessions: BTreeMap<(SessionId, Ticket), ConnectionId>,
}

/// A client that waits for a request.
struct Waiting {
    connection: ConnectionId,
    /// False if it is content with the request being durable.
    for_answer: bool,
}

impl Connections {
    pub(crate) fn keep(&mut self, handle: ConnectionHandle) -> ConnectionId {
        let id = handle.id;
        assert!(self.open.insert(id, handle).is_none(), "each connection has a number of its own");
        id
    }

    pub(crate) fn remove(&mut self, connection: ConnectionId) {
        self.open.remove(&connection);
        self.sessions.retain(|_, used_by| *used_by != connection);
    }

    pub(crate) fn welcome_client(&mut self, handle: ConnectionHandle, epoch: Epoch) {
        handle.send(Frame::Control(Control::ClientWelcome { epoch: epoch.0 }));
        handle.flush();
        self.keep(handle);
    }

    /// A client has queries for this replica, whatever its role.
    pub(crate) fn welcome_to_replica(&mut self, handle: ConnectionHandle, applied: Lsn) {
        handle.send(Frame::Control(Control::ReplicaWelcome { applied: applied.0 }));
        self.keep(handle);
    }

    /// Tells a client what its query has come to.
    pub(crate) fn answer_query(&mut self, answered: QueryAnswer) {
        let QueryAnswer { connection, number, answer: Answer { success, value }, at: lsn } = answered;
        self.send(connection, || Frame::QueryAnswer { number, success, value, lsn });
    }

    /// Tells a client what has become of a request.
    pub(crate) fn answer_inquiry(&mut self, answered: InquiryAnswer) {
        let InquiryAnswer { connection, number, status, at: _ } = answered;
        self.send(connection, || Frame::InquiryAnswer { number, status });
    }

    /// Tells somebody how much is remembered of requests.
    pub(crate) fn tell_remembered(&mut self, connection: ConnectionId, remembered: Remembered) {
        let Remembered { results, bytes, under_way, retention } = remembered;
        let Retention { count: results_max, bytes: bytes_max, age_s: age_s_max } = retention;
        self.tell(connection, Control::RememberedTold { results, bytes, under_way, results_max, bytes_max, age_s_max });
    }

    /// Tells a client that there can be no such query.
    pub(crate) fn refuse_query(&mut self, connection: ConnectionId, number: u64, reason: &str) {
        let (answer, at) = (Answer::failed(reason), Lsn(0));
        self.answer_query(QueryAnswer { connection, number, answer, at });
    }

    /// A client waits for a request from here on.
    pub(crate) fn wait_for(&mut self, request: &ClientRequest) {
        let waiting = Waiting { connection: request.connection, for_answer: request.wait };
        self.waiting.entry(request.request.clone()).or_default().push(waiting);
    }

    /// The client of a session asks by that connection.
    pub(crate) fn use_session(&mut self, session: SessionId, ticket: Ticket, connection: ConnectionId) {
        // What was sent on an earlier connection may be read later than what was sent again on the next one.
        let used = self.sessions.entry((session, ticket)).or_insert(connection);
        *used = connection.max(*used);
    }

    /// Tells somebody how many sessions there are.
    pub(crate) fn tell_sessions(&mut self, connection: ConnectionId, counts: SessionCounts) {
        let SessionCounts { sessions, under_way, results, bytes } = counts;
        self.tell(connection, Control::SessionsTold { sessions, under_way, results, bytes });
    }

    /// Sends a listener what is for it.
    pub(crate) fn pass(&mut self, connection: ConnectionId, frame: Frame) {
        self.send(connection, || frame);
    }

    pub(crate) fn tell(&mut self, connection: ConnectionId, control: Control) {
        self.send(connection, || Frame::Control(control));
    }

    /// Tells an operator what becomes of a checkpoint.
    pub(crate) fn answer(&mut self, connection: ConnectionId, verdict: Verdict) {
        self.tell(
            connection,
            match verdict {
                Verdict::Asked { lsn, replica } => Control::CheckpointAsked { lsn: lsn.0, replica: replica.0 },
                Verdict::Refused(reason) => Control::CheckpointRefused { reason },
            },
        );
    }

    /// Sends what the replica wants sent.
    ///
    /// # Panics
    /// If that is for something else than a connection.
    pub(crate) fn carry(&mut self, output: Output, me: InstanceUuid) {
        match output {
            Output::Welcome { connection, received, .. } => {
                self.tell(connection, Control::Welcome { uuid: me.0, received: received.0 });
            }
            Output::Send { connection, chunk } => {
                let Chunk { first_seq, count, messages, .. } = chunk;
                assert!(count > 0, "a peer is sent something");
                self.send(connection, || Frame::Messages { first_seq, count, messages });
            }
            Output::Acknowledge { connection, seq, .. } => self.send(connection, || Frame::Acknowledge(seq)),
            Output::Refuse { connection, reason } => self.refuse(connection, reason),
            Output::Accepted { request, after } => self.accepted(&request, after),
            Output::Answered { request, answer, after } => self.answered(&request, &answer, after),
            Output::KeyReused { connection, request, .. } => self.key_reused(connection, &request),
            Output::SessionOpened { connection, session, opening, ticket, accepted, confirmed, after: _ } => {
                let ((session, opening, ticket), window) =
                    ((session.0, opening.0, ticket.0), SESSION_WINDOW_MAX as u32);
                let (accepted, confirmed) = (accepted.0, confirmed.0);
                let opened = Control::SessionOpened { session, opening, ticket, accepted, confirmed, window };
                self.tell(connection, opened);
            }
            Output::SessionAnswered { session, ticket, seq, answer: Answer { success, value }, after: lsn } => {
                let Some(connection) = self.sessions.get(&(session, ticket)) else { return };
                self.send(*connection, || Frame::SessionAnswer { ticket, seq, success, value, lsn });
            }
            Output::SessionRefused { connection, session, ticket, seq, refusal, after: _ } => {
                let used_by = self.sessions.get(&(session, ticket)).copied();
                if matches!(refusal, SessionRefusal::Ended | SessionRefusal::Superseded) {
                    self.sessions.remove(&(session, ticket));
                }
                let (session, ticket, seq) = (session.0, ticket.0, seq.0);
                let (refusal, reason) = (refusal.number(), refusal.to_string());
                let Some(connection) = connection.or(used_by) else { return };
                self.tell(connection, Control::SessionRefused { session, ticket, seq, refusal, reason });
            }
            Output::Resolved { connection, promise, token, is_known, .. } => {
                self.tell(connection, Control::Resolved { promise: promise.0, token, is_known });
            }
            output => unreachable!("no connection carries it: {output:?}"),
        }
    }

    fn send(&mut self, connection: ConnectionId, frame: impl FnOnce() -> Frame) {
        let Some(handle) = self.open.get(&connection) else { return };
        if handle.gather(frame()) {
            self.gathered += 1;
            if self.gathering.last() != Some(&connection) {
                self.gathering.push(connection);
            }
        }
    }

    /// The driver has had a turn: what was gathered goes, unless more of it comes at once. What goes to many is written by a task of
    /// `network`, so that it is woken once and not by each of them.
    pub(crate) fn let_go(&mut self, may_wait: bool, network: &Handle) {
        if self.gathering.is_empty() {
            return;
        }
        self.gathered += 1;
        if may_wait && self.gathered < GATHERED_MAX {
            return;
        }
        self.gathered = 0;
        let mut gathered = Gathered::default();
        for connection in self.gathering.drain(..) {
            if let Some(handle) = self.open.get(&connection) {
                gathered.add(handle);
            }
        }
        if gathered.is_for_many() {
            network.spawn(async { gathered.write() });
        }
    }

    fn refuse(&mut self, connection: ConnectionId, reason: Refusal) {
        if let Some(handle) = self.open.remove(&connection) {
            if reason.is_serious() {
                tracing::error!("a connection with a peer can't go on: {reason}");
            }
            handle
                .send(Frame::Control(Control::Refused { elsewhere: !reason.is_serious(), reason: reason.to_string() }));
        }
    }

    fn accepted(&mut self, request: &RequestId, lsn: Lsn) {
        let Some(waiting) = self.waiting.get_mut(request) else { return };
        assert!(!waiting.is_empty(), "a request is forgotten with the last who waits for it");
        let content: Vec<_> = waiting.extract_if(.., |waiting| !waiting.for_answer).collect();
        if waiting.is_empty() {
            self.waiting.remove(request);
        }
        for waiting in content {
            let request = request.as_bytes().to_vec();
            self.tell(waiting.connection, Control::AcceptedAt { request, lsn: lsn.0 });
        }
    }

    /// Whoever used the id of another request is told so; those who wait for that one go on waiting.
    fn key_reused(&mut self, connection: Option<ConnectionId>, request: &RequestId) {
        let Some(connection) = connection else { return };
        if let Some(waiting) = self.waiting.get_mut(request) {
            // The last one: what it asked for before may be that request.
            if let Some(at) = waiting.iter().rposition(|waiting| waiting.connection == connection) {
                waiting.remove(at);
            }
            if waiting.is_empty() {
                self.waiting.remove(request);
            }
        }
        let (request, reason) = (request.as_bytes().to_vec(), KEY_REUSED.to_owned());
        self.tell(connection, Control::Rejected { request, reason });
    }

    fn answered(&mut self, request: &RequestId, answer: &Answer, lsn: Lsn) {
        for waiting in self.waiting.remove(request).unwrap_or_default() {
            let (success, value) = (answer.success, answer.value.clone());
            self.send(waiting.connection, || Frame::Answer { request: request.clone(), success, value, lsn });
        }
    }

    /// Waits until everybody has taken what was sent, and ends all connections. `None` if there are none.
    pub(crate) fn farewell(&mut self) -> Option<impl Future<Output = ()> + Send + use<>> {
        self.waiting.clear();
        self.sessions.clear();
        let open = std::mem::take(&mut self.open);
        if open.is_empty() {
            return None;
        }
        let finish = async {
            for handle in open.into_values() {
                handle.finish().await;
            }
        };
        Some(async {
            if tokio::time::timeout(FAREWELL_TIMEOUT, finish).await.is_err() {
                tracing::warn!("not everybody took what was sent to them; it is sent again when they connect");
            }
        })
    }

    /// Ends all connections; what was queued on them is still written.
    pub(crate) fn drop_all(&mut self) {
        self.waiting.clear();
        self.sessions.clear();
        self.open.clear();
    }
}

/// Tells somebody who connected that another replica is primary, and which, as far as that is known.
pub(crate) fn refuse(handle: &ConnectionHandle, primary: Option<Primary>) {
    for frame in refusal(true, "this replica is not the primary".to_owned(), primary) {
        handle.send(frame);
    }
}

/// What is said to somebody who is turned away, and where they should go instead, if that is known.
pub(crate) fn refusal(elsewhere: bool, reason: String, primary: Option<Primary>) -> Vec<Frame> {
    let refused = Control::Refused { elsewhere, reason };
    let there = primary.map(|to| Control::Elsewhere { epoch: to.epoch.0, address: to.address.to_string() });
    [Some(refused), there].into_iter().flatten().map(Frame::Control).collect()
}
