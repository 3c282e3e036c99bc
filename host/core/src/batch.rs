//! Gathers what waits into the next record. Nothing but the upper bounds of a record limits it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    CallId, Message, MessageKind, MethodId, PeerIndex, Record, RecordHeader, RecordKind, RequestEntry, Seq,
    SessionPart, SessionRun, Ticket, TraceEntry, Watermark, begin_run,
    bodies::{begin_deliver, finish_deliver},
    finish_run,
    inbox::{Inbox, NO_ANSWER, WaitingImpulse, WaitingNews, WaitingSessionRequest},
    limits::{RECORD_MESSAGES_MAX, RUNS_BYTES_FULL, SESSION_BYTES_SOFT_MAX, SESSION_PARTS_MAX, SESSION_WINDOW_MAX},
    outbox::Chunk,
    push_message,
    record::begin_record,
    state::State,
};

/// What of that which comes from outside may be delivered. The host's own messages always may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Opening {
    Host,
    HostAndTimers,
    All,
}

/// The next record while it is being gathered.
pub(crate) struct Batch {
    header: RecordHeader,
    /// The record as it will be stored, from the first run on: room for what comes before the runs, then those. So what is
    /// gathered is copied into the record once, and not from place to place.
    stored: Vec<u8>,
    /// Where the runs begin in it.
    runs_at: usize,
    requests: Vec<RequestEntry>,
    sessions: Vec<SessionRun>,
    traces: Vec<TraceEntry>,
    last_impulse: CallId,
}

impl Batch {
    pub(crate) fn new(header: RecordHeader) -> Self {
        assert_eq!(header.kind, RecordKind::Deliver, "messages are gathered for a delivery");
        assert_eq!(header.messages, 0, "nothing is gathered yet");
        assert!(header.durable < header.lsn, "a record is not durable before it is made");
        Batch {
            header,
            stored: Vec::new(),
            runs_at: 0,
            requests: Vec::new(),
            sessions: Vec::new(),
            traces: Vec::new(),
            last_impulse: CallId(0),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.header.messages == 0 && self.sessions.is_empty()
    }

    /// Where runs are appended.
    fn out(&mut self) -> &mut Vec<u8> {
        if self.stored.is_empty() {
            begin_record(&mut self.stored);
            self.runs_at = begin_deliver(&mut self.stored);
        }
        &mut self.stored
    }

    fn runs_bytes(&self) -> usize {
        self.stored.len() - self.runs_at
    }

    fn is_full(&self) -> bool {
        self.runs_bytes() >= RUNS_BYTES_FULL || self.header.messages >= RECORD_MESSAGES_MAX
    }

    /// True when a source that comes before the peers has taken its share, so that a flood of it starves nobody.
    fn is_half_full(&self) -> bool {
        self.has_part(2)
    }

    /// Whether it holds that part of what it may hold.
    fn has_part(&self, of: u32) -> bool {
        self.runs_bytes() >= RUNS_BYTES_FULL / of as usize || self.header.messages >= RECORD_MESSAGES_MAX / of
    }

    /// Adds what comes from outside.
    pub(crate) fn add_outside(&mut self, state: &State, inbox: &mut Inbox, announce: bool, opening: Opening) {
        let (timers, impulses) = (opening >= Opening::HostAndTimers, opening == Opening::All);
        let due = state.timers.next_due().is_some_and(|due| due <= self.header.time);
        // A guest with full outboxes still hears what the host itself says: a call that failed may be what it waits for.
        // So it does what comes of its own requests to the outside.
        let told = announce || state.calls.failed().len() > 0 || inbox.has_news();
        let anything = told
            || (timers && (due || inbox.has_crons()))
            || (impulses && (inbox.has_impulses() || inbox.sessions.has_requests()));
        if !anything {
            return;
        }
        assert!(self.is_empty(), "what comes from outside is first in a record");
        let at = begin_run(self.out(), PeerIndex::OUTSIDE, Seq(0));
        let before = self.header.messages;
        if announce && !state.started {
            self.push_outside(MessageKind::Start, CallId(0), &[]);
        }
        if announce {
            self.push_outside(MessageKind::Primary, CallId(0), &[]);
        }
        let room = RECORD_MESSAGES_MAX - self.header.messages;
        for call in state.calls.failed().take(room as usize) {
            self.push_outside(MessageKind::Error, call, PEER_REPLACED);
        }
        self.add_news(state, inbox);
        if timers {
            self.add_timers(state);
            self.add_crons(state, inbox);
        }
        if impulses {
            self.last_impulse = state.requests.last_impulse();
            self.add_impulses(inbox);
            self.add_sessions(state, inbox);
        }
        match self.header.messages - before {
            // All that was told is of requests that nobody waits for any more, or requests of sessions fail or wait.
            0 => {
                self.stored.clear();
                self.runs_at = 0;
            }
            count => finish_run(&mut self.stored, at, count),
        }
    }

    fn push_outside(&mut self, kind: MessageKind, call_id: CallId, arguments: &[u8]) {
        debug_assert!(kind.comes_from_outside(), "the outside world may deliver {kind:?}");
        push_message(self.out(), Message { kind, method: MethodId(0), call_id, arguments });
        self.header.messages += 1;
    }

    fn add_news(&mut self, state: &State, inbox: &mut Inbox) {
        while !self.is_half_full()
            && let Some(news) = inbox.pop_news()
        {
            match news {
                WaitingNews::Outcome { id, outcome } if state.outgoing.get(id).is_some() => {
                    self.push_outside(MessageKind::Outcome, id, &outcome);
                }
                WaitingNews::Resolved { promise, value } if state.promises.is_pending(promise) => {
                    self.push_outside(MessageKind::Resolved, promise, &value);
                }
                WaitingNews::Outcome { .. } | WaitingNews::Resolved { .. } => {}
            }
        }
    }

    fn add_crons(&mut self, state: &State, inbox: &mut Inbox) {
        let mut added = BTreeMap::new();
        while !self.is_half_full()
            && let Some((method, due)) = inbox.pop_cron()
        {
            let before = added.insert(method, due);
            if state.crons.is_new(method, due) && before < Some(due) {
                let arguments = due.0.to_le_bytes();
                let message = Message { kind: MessageKind::Cron, method, call_id: CallId(0), arguments: &arguments };
                push_message(self.out(), message);
                self.header.messages += 1;
            }
        }
    }

    fn add_timers(&mut self, state: &State) {
        for timer in state.timers.due(self.header.time) {
            if self.is_half_full() {
                return;
            }
            self.push_outside(MessageKind::Timer, timer, &[]);
        }
    }

    fn add_impulses(&mut self, inbox: &mut Inbox) {
        // A flood of these leaves room for sessions, and the other way round.
        let share = if inbox.sessions.has_requests() { 4 } else { 2 };
        while !self.has_part(share)
            && let Some(WaitingImpulse { method, arguments, request, trace }) = inbox.pop_impulse()
        {
            let call_id = request.map_or(NO_ANSWER, |request| {
                self.last_impulse = self.last_impulse.next();
                self.requests.push(RequestEntry { call_id: self.last_impulse, request });
                self.traces.extend(trace.map(|context| TraceEntry { call_id: self.last_impulse, context }));
                self.last_impulse
            });
            push_message(self.out(), Message { kind: MessageKind::Impulse, method, call_id, arguments: &arguments });
            self.header.messages += 1;
        }
    }

    /// Adds requests of sessions, each session in its turn, as long as it holds no more than it may of unconfirmed results.
    fn add_sessions(&mut self, state: &State, inbox: &mut Inbox) {
        for ticket in inbox.sessions.next_round() {
            let session = state.sessions.of_ticket(ticket).expect("what waits of a session goes with it");
            let confirmed = inbox.sessions.confirmed(ticket).max(session.confirmed());
            let (mut kept, bytes) = session.rest_behind(confirmed);
            let mut due = session.accepted().next();
            while !self.is_half_full()
                && self.sessions.len() < SESSION_PARTS_MAX
                && bytes < SESSION_BYTES_SOFT_MAX
                && kept < SESSION_WINDOW_MAX
                && let Some(request) = inbox.sessions.pop(ticket)
            {
                assert_eq!(request.seq, due, "requests of a session wait without a gap");
                self.push_session_request(ticket, confirmed, request);
                (due, kept) = (due.next(), kept + 1);
            }
        }
    }

    fn push_session_request(&mut self, ticket: Ticket, confirmed: Seq, request: WaitingSessionRequest) {
        let WaitingSessionRequest { seq, method, arguments, content, impossible } = request;
        if let Some(reason) = impossible {
            let part = SessionPart::Failed { seq, content, reason };
            return self.sessions.push(SessionRun { ticket, confirmed, part });
        }
        self.last_impulse = self.last_impulse.next();
        let call_id = self.last_impulse;
        push_message(self.out(), Message { kind: MessageKind::Impulse, method, call_id, arguments: &arguments });
        self.header.messages += 1;
        // What follows another request of the session is of one part with that.
        if let Some(SessionRun { ticket: of, part: SessionPart::Delivered { count, .. }, .. }) =
            self.sessions.last_mut()
            && *of == ticket
        {
            *count += 1;
            return;
        }
        let part = SessionPart::Delivered { first_seq: seq, first_call: call_id, count: 1 };
        self.sessions.push(SessionRun { ticket, confirmed, part });
    }

    /// Adds what clients have confirmed whose sessions have no request in the record: it is no reason for one.
    pub(crate) fn add_confirmed(&mut self, state: &State, inbox: &mut Inbox) {
        let told: BTreeSet<_> = self.sessions.iter().map(|run| run.ticket).collect();
        for (ticket, confirmed) in inbox.sessions.take_confirmed() {
            let Some(session) = state.sessions.of_ticket(ticket) else { continue };
            if !told.contains(&ticket) && confirmed > session.confirmed() {
                self.sessions.push(SessionRun { ticket, confirmed, part: SessionPart::Confirmed });
            }
        }
    }

    /// Adds messages of the instance to itself.
    pub(crate) fn add_own(&mut self, state: &State) {
        let Some(me) = state.me() else { return };
        let stream = state.stream(me);
        assert!(stream.received <= stream.outbox.last_seq(), "the instance hears what it has sent itself");
        let mut chunks = stream.outbox.chunks_after(stream.received);
        self.add_run(me, || chunks.next());
    }

    /// Adds messages of peers, each in its turn.
    pub(crate) fn add_peers(&mut self, inbox: &mut Inbox) {
        if !inbox.has_messages() {
            return;
        }
        for peer in inbox.next_round() {
            if self.is_full() {
                return;
            }
            if let Some(rest) = self.add_run(peer, || inbox.pop_messages(peer)) {
                inbox.put_back(peer, rest);
            }
        }
    }

    /// Returns what did not fit of the last chunk taken.
    fn add_run(&mut self, peer: PeerIndex, mut next: impl FnMut() -> Option<Chunk>) -> Option<Chunk> {
        if self.is_full() {
            return None;
        }
        let first = next()?;
        let mut expected = first.first_seq;
        let at = begin_run(self.out(), peer, first.first_seq);
        let before = self.header.messages;
        // Chunks are one record of the sender each; here they follow each other as one run, so where the sender's records
        // ended is forgotten, and a chunk may be cut anywhere between two messages.
        let mut chunk = Some(first);
        let mut rest = None;
        while let Some(taken) = chunk {
            assert_eq!(taken.first_seq, expected, "a run of peer {peer} has no gap and no repetition");
            expected = taken.last_seq().next();
            // One byte of room at least, so that a message larger than any record's share goes somewhere: alone, or as the
            // last of a record, which is why a body may be larger than what fills a record.
            let (fits, left) = taken.split(
                RUNS_BYTES_FULL.saturating_sub(self.runs_bytes()).max(1),
                RECORD_MESSAGES_MAX - self.header.messages,
            );
            self.out().extend_from_slice(&fits.messages);
            self.header.messages += fits.count;
            assert!(left.is_none() || self.is_full(), "only a record that is full leaves messages behind");
            rest = left;
            chunk = if self.is_full() { None } else { next() };
        }
        assert!(self.header.messages > before, "a run holds a message at least");
        finish_run(&mut self.stored, at, self.header.messages - before);
        rest
    }

    /// The record, with what peers have acknowledged.
    pub(crate) fn seal(mut self, acknowledged: Vec<Watermark>) -> Record {
        assert!(!self.is_empty() || !acknowledged.is_empty(), "a record is made of something");
        assert!(self.header.messages <= RECORD_MESSAGES_MAX, "a record holds no more messages than the limit");
        assert!(self.requests.len() <= self.header.messages as usize, "each request has its impulse in the record");
        debug_assert!(acknowledged.is_sorted_by(|one, next| one.peer < next.peer), "a peer acknowledges once a record");
        self.out(); // a record that only acknowledges has no run
        let Batch { header, mut stored, runs_at, requests, sessions, traces, .. } = self;
        finish_deliver(&mut stored, runs_at, &acknowledged, &requests, &sessions, &traces);
        Record::seal_written(header, stored)
    }
}

/// MessagePack string: what a caller is told whose peer was registered anew.
const PEER_REPLACED: &[u8] = b"\xd9\x2ethe called instance was registered anew (peer)";
const _: () = assert!(PEER_REPLACED.len() == 2 + 0x2e);
