//! Sessions of programs: each request has a number, one behind the other, so that one watermark a session says what was done.
//!
//! What is kept is what its client has not confirmed: the state is as large as there are clients, and not as there were
//! requests. Whoever opens a session again goes on behind the watermark, and the openings before it are over: requests that
//! these have sent and that come late are refused, since their numbers stand for others by now.
//!
//! **Architecture Invariant:** a request is done if its number is the next one, and never otherwise. A session ends by a rule on
//! what is in the records, and what is asked with the ticket of one that has ended is refused.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Answer, CallId, Lsn, OpeningId, RecordError, Seq, SessionId, SessionPart, SessionRun, Ticket, Timestamp,
    digest::Digested,
    limits::{SESSION_IDLE_NS_MAX, SESSION_IDLE_NS_MIN, SESSION_WINDOW_MAX, SESSIONS_MAX},
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// Why something that was asked in a session is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// There is none of that ticket.
    #[error("the session has ended, or was never opened: nothing was done. Open it anew, and see how far it has come")]
    Ended,
    /// It was opened again.
    #[error("the session was opened again by another client: nothing was done. One client at a time may use it")]
    Superseded,
    /// The number is that of another request.
    #[error("the number of the request was used before in this session, with another method or other arguments")]
    Reused,
    /// It was done, and its result is not kept any more.
    #[error("the request was done, and its result was confirmed by the client and forgotten")]
    Forgotten,
    /// Requests are missing before it.
    #[error("request {expected} of the session is due: those before this one have not arrived")]
    Gap {
        /// The number that is due.
        expected: Seq,
    },
    /// Too many are under way.
    #[error("the client has not confirmed {SESSION_WINDOW_MAX} results before this one")]
    Window,
    /// What has no result, or was never asked, is confirmed.
    #[error("the client has confirmed results that there are not")]
    Confirmation,
    /// There are too many, and all are used.
    #[error("the instance has {SESSIONS_MAX} sessions, and all of them are used: end some clients, or try later")]
    TooMany,
    /// The instance takes no requests any more.
    #[error("the instance is finished or halted")]
    InstanceEnded,
}

impl SessionRefusal {
    /// By what it is told to a client.
    pub const fn number(self) -> u8 {
        match self {
            SessionRefusal::Ended => 1,
            SessionRefusal::Superseded => 2,
            SessionRefusal::Reused => 3,
            SessionRefusal::Forgotten => 4,
            SessionRefusal::Gap { .. } => 5,
            SessionRefusal::Window => 6,
            SessionRefusal::Confirmation => 7,
            SessionRefusal::TooMany => 8,
            SessionRefusal::InstanceEnded => 9,
        }
    }
}

/// One session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    ticket: Ticket,
    opening: OpeningId,
    /// All results up to this one have reached the client.
    confirmed: Seq,
    /// Time of the last record that it was used in.
    used: Timestamp,
    /// Requests behind `confirmed`, each the next.
    kept: VecDeque<Kept>,
    /// How many of them have no result.
    under_way: usize,
    /// Bytes of the results.
    value_bytes: usize,
}

/// A request whose result was not confirmed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Kept {
    /// The record that holds it.
    accepted: Lsn,
    /// Hash of what was asked for.
    content: u64,
    result: Progress,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Progress {
    Pending(CallId),
    Answered(Lsn, Answer),
}

impl Kept {
    /// Whether the same is asked for.
    pub(crate) fn is(&self, content: u64) -> bool {
        self.content == content
    }

    /// Its result, and the record that brought it about.
    pub(crate) fn answer(&self) -> Option<(Lsn, &Answer)> {
        match &self.result {
            Progress::Pending(_) => None,
            Progress::Answered(lsn, answer) => Some((*lsn, answer)),
        }
    }

    fn value_bytes(&self) -> usize {
        self.answer().map_or(0, |(_, answer)| answer.value.len())
    }
}

impl Session {
    fn new(ticket: Ticket, opening: OpeningId, now: Timestamp) -> Session {
        Session { ticket, opening, confirmed: Seq(0), used: now, kept: VecDeque::new(), under_way: 0, value_bytes: 0 }
    }

    pub(crate) fn ticket(&self) -> Ticket {
        self.ticket
    }

    pub(crate) fn opening(&self) -> OpeningId {
        self.opening
    }

    pub(crate) fn confirmed(&self) -> Seq {
        self.confirmed
    }

    /// The last request that was delivered.
    pub(crate) fn accepted(&self) -> Seq {
        Seq(self.confirmed.0 + self.kept.len() as u64)
    }

    /// A request that was delivered and is kept.
    pub(crate) fn kept(&self, seq: Seq) -> Option<&Kept> {
        let at = seq.0.checked_sub(self.confirmed.0 + 1)?;
        self.kept.get(usize::try_from(at).ok()?)
    }

    /// Whether all up to that one have results.
    pub(crate) fn may_confirm(&self, seq: Seq) -> bool {
        let count = seq.0.saturating_sub(self.confirmed.0);
        count <= self.kept.len() as u64 && self.kept.iter().take(count as usize).all(|kept| kept.answer().is_some())
    }

    /// How many are kept once that is confirmed, and the bytes of their results.
    pub(crate) fn rest_behind(&self, confirmed: Seq) -> (usize, usize) {
        let gone = (confirmed.0.saturating_sub(self.confirmed.0) as usize).min(self.kept.len());
        let bytes: usize = self.kept.iter().take(gone).map(Kept::value_bytes).sum();
        (self.kept.len() - gone, self.value_bytes - bytes)
    }

    fn idle_ns(&self, now: Timestamp) -> u64 {
        // Somebody waits for what has no result.
        if self.under_way > 0 { 0 } else { now.0.saturating_sub(self.used.0) }
    }

    fn push(&mut self, kept: Kept) {
        self.under_way += usize::from(kept.answer().is_none());
        self.value_bytes += kept.value_bytes();
        self.kept.push_back(kept);
        assert!(self.kept.len() <= SESSION_WINDOW_MAX, "no more is accepted than a client may leave unconfirmed");
    }

    fn confirm(&mut self, seq: Seq) {
        while self.confirmed < seq {
            let gone = self.kept.pop_front().expect("only what was delivered is confirmed");
            assert!(gone.answer().is_some(), "only what has a result is confirmed");
            self.value_bytes -= gone.value_bytes();
            self.confirmed = self.confirmed.next();
        }
    }
}

/// All sessions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    by_ticket: BTreeMap<Ticket, SessionId>,
    /// Requests without a result, by their impulses.
    pending: BTreeMap<CallId, (SessionId, Seq)>,
}

/// A request of a session that has its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SessionAnswer {
    pub(crate) session: SessionId,
    pub(crate) ticket: Ticket,
    pub(crate) seq: Seq,
    pub(crate) answer: Answer,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(crate) fn of_ticket(&self, ticket: Ticket) -> Option<&Session> {
        self.by_ticket.get(&ticket).map(|id| &self.by_id[id])
    }

    /// The session of a ticket that holds.
    pub(crate) fn id_of(&self, ticket: Ticket) -> Option<SessionId> {
        self.by_ticket.get(&ticket).copied()
    }

    /// The session that is meant.
    pub(crate) fn find(&self, id: SessionId, ticket: Ticket) -> Result<&Session, SessionRefusal> {
        match self.by_id.get(&id) {
            Some(session) if session.ticket == ticket => Ok(session),
            Some(session) if session.ticket > ticket => Err(SessionRefusal::Superseded),
            _ => Err(SessionRefusal::Ended),
        }
    }

    /// How many requests have no result, how many results are kept, and the bytes of these.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let kept: usize = self.by_id.values().map(|session| session.kept.len()).sum();
        let bytes: usize = self.by_id.values().map(|session| session.value_bytes).sum();
        (self.pending.len() as u64, (kept - self.pending.len()) as u64, bytes as u64)
    }

    /// Whether there is room for that one, at that time.
    pub(crate) fn may_open(&self, id: SessionId, now: Timestamp) -> bool {
        let is_known = self.by_id.contains_key(&id);
        is_known || self.by_id.len() < SESSIONS_MAX || self.longest_idle(now).is_some()
    }

    /// The session that makes room if there is none.
    fn longest_idle(&self, now: Timestamp) -> Option<SessionId> {
        let idle = self.by_id.iter().filter(|(_, session)| session.idle_ns(now) >= SESSION_IDLE_NS_MIN);
        idle.min_by_key(|(_, session)| (session.used, session.ticket)).map(|(id, _)| *id)
    }

    /// A client opens the session. Those that are idle for too long end.
    ///
    /// # Errors
    /// If there is no room, which no primary writes.
    pub(crate) fn open(
        &mut self,
        id: SessionId,
        opening: OpeningId,
        ticket: Ticket,
        now: Timestamp,
    ) -> Result<(), RecordError> {
        let is_idle = |(other, session): (&SessionId, &Session)| {
            (*other != id && session.idle_ns(now) > SESSION_IDLE_NS_MAX).then_some(*other)
        };
        let idle: Vec<SessionId> = self.by_id.iter().filter_map(is_idle).collect();
        idle.into_iter().for_each(|idle| self.end(idle));
        if !self.by_id.contains_key(&id) && self.by_id.len() >= SESSIONS_MAX {
            let idle = self.longest_idle(now).ok_or(RecordError::Shape)?;
            self.end(idle);
        }
        let session = self.by_id.entry(id).or_insert_with(|| Session::new(ticket, opening, now));
        self.by_ticket.remove(&session.ticket);
        (session.ticket, session.opening, session.used) = (ticket, opening, now);
        self.by_ticket.insert(ticket, id);
        assert_eq!(self.by_id.len(), self.by_ticket.len(), "each session has one ticket that holds");
        Ok(())
    }

    fn end(&mut self, id: SessionId) {
        let session = self.by_id.remove(&id).expect("only a session ends");
        assert_eq!(session.under_way, 0, "a session whose results are waited for is not idle");
        self.by_ticket.remove(&session.ticket);
    }

    /// Takes what a record holds of one session. `content_of` says what an impulse of the record asks for. Returns the result
    /// that there is at once.
    ///
    /// # Errors
    /// If it is not what is due, which no primary writes.
    pub(crate) fn take(
        &mut self,
        run: SessionRun,
        lsn: Lsn,
        now: Timestamp,
        content_of: impl Fn(CallId) -> Option<u64>,
    ) -> Result<Option<SessionAnswer>, RecordError> {
        let SessionRun { ticket, confirmed, part } = run;
        let id = *self.by_ticket.get(&ticket).ok_or(RecordError::Shape)?;
        let session = self.by_id.get_mut(&id).expect("a ticket is that of a session");
        if !session.may_confirm(confirmed) {
            return Err(RecordError::Shape);
        }
        session.confirm(confirmed);
        session.used = now;
        let due = session.accepted().next();
        match part {
            SessionPart::Confirmed => Ok(None),
            SessionPart::Delivered { first_seq, first_call, count } => {
                assert_eq!(first_seq, due, "requests of a session are delivered without a gap or a repetition");
                for at in 0..u64::from(count) {
                    let (seq, call) = (Seq(first_seq.0 + at), CallId(first_call.0 + at));
                    let content = content_of(call).ok_or(RecordError::Shape)?;
                    session.push(Kept { accepted: lsn, content, result: Progress::Pending(call) });
                    if self.pending.insert(call, (id, seq)).is_some() {
                        return Err(RecordError::Shape);
                    }
                }
                Ok(None)
            }
            SessionPart::Failed { seq, content, reason } => {
                assert_eq!(seq, due, "requests of a session fail without a gap or a repetition");
                let answer = Answer::failed(&reason);
                let result = Progress::Answered(lsn, answer.clone());
                session.push(Kept { accepted: lsn, content, result });
                Ok(Some(SessionAnswer { session: id, ticket, seq, answer }))
            }
        }
    }

    /// The impulse has a result by the record `lsn`. `None` if it belongs to no session.
    pub(crate) fn answer(&mut self, call: CallId, lsn: Lsn, answer: &Answer) -> Option<SessionAnswer> {
        let (id, seq) = self.pending.remove(&call)?;
        let session = self.by_id.get_mut(&id).expect("a session does not end while results are waited for");
        let at = (seq.0 - session.confirmed.0 - 1) as usize;
        let kept = &mut session.kept[at];
        assert_eq!(kept.result, Progress::Pending(call), "a request has one result");
        kept.result = Progress::Answered(lsn, answer.clone());
        session.under_way -= 1;
        session.value_bytes += answer.value.len();
        Some(SessionAnswer { session: id, ticket: session.ticket, seq, answer: answer.clone() })
    }
}

const PENDING: u8 = 0;
const SUCCEEDED: u8 = 1;
const FAILED: u8 = 2;

impl Part for Sessions {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Sessions { by_id, by_ticket: _, pending: _ } = self; // they follow from the first
        out.put_count(by_id.len());
        for (id, session) in by_id {
            // How many are under way, and the bytes of results, follow from what is kept.
            let Session { ticket, opening, confirmed, used, kept, under_way: _, value_bytes: _ } = session;
            out.put(&id.0);
            out.put_u64(ticket.0);
            out.put(&opening.0);
            out.put_u64(confirmed.0);
            out.put_u64(used.0);
            out.put_count(kept.len());
            for Kept { accepted, content, result } in kept {
                out.put_u64(accepted.0);
                out.put_u64(*content);
                match result {
                    Progress::Pending(call) => {
                        out.put_u8(PENDING);
                        out.put_u64(call.0);
                    }
                    Progress::Answered(lsn, Answer { success, value }) => {
                        out.put_u8(if *success { SUCCEEDED } else { FAILED });
                        out.put_u64(lsn.0);
                        out.put_count(value.len());
                        out.share(value);
                    }
                }
            }
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Sessions> {
        let (mut sessions, mut before) = (Sessions::default(), None);
        for _ in 0..reader.u32()? {
            let id = SessionId(reader.rest.array()?);
            rises(&mut before, id)?;
            let (ticket, opening) = (Ticket(reader.u64()?), OpeningId(reader.rest.array()?));
            let confirmed = Seq(reader.u64()?);
            let mut session = Session::new(ticket, opening, Timestamp(reader.u64()?));
            session.confirmed = confirmed;
            let count = reader.u32()?;
            (count as usize <= SESSION_WINDOW_MAX).then_some(())?;
            confirmed.0.checked_add(u64::from(count) + 1)?;
            for _ in 0..count {
                let kept = Kept::read(reader)?;
                let seq = session.accepted().next();
                if let Progress::Pending(call) = kept.result {
                    sessions.pending.insert(call, (id, seq)).is_none().then_some(())?;
                }
                session.push(kept);
            }
            sessions.by_ticket.insert(ticket, id).is_none().then_some(())?;
            sessions.by_id.insert(id, session);
        }
        Some(sessions)
    }

    /// Of an instance that has none nothing is added, so that the digests in logs from before there were any still hold.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Sessions { by_id, by_ticket: _, pending: _ } = self;
        if by_id.is_empty() {
            return;
        }
        digested.bytes(b"sessions");
        for (id, session) in by_id {
            let Session { ticket, opening, confirmed, used, kept, under_way: _, value_bytes: _ } = session;
            digested.bytes(&id.0);
            digested.bytes(&opening.0);
            for number in [ticket.0, confirmed.0, used.0, kept.len() as u64] {
                digested.number(number);
            }
            for Kept { accepted, content, result } in kept {
                digested.number(accepted.0);
                digested.number(*content);
                match result {
                    Progress::Pending(call) => digested.number(call.0),
                    Progress::Answered(lsn, Answer { success, value }) => {
                        digested.number(lsn.0 << 1 | u64::from(*success));
                        digested.number(xxh3_64(value));
                    }
                }
            }
        }
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Sessions { by_id, by_ticket, pending } = self;
        holds!(by_id.len() <= SESSIONS_MAX, "there are no more sessions than the limit");
        holds!(by_id.len() == by_ticket.len(), "each session has one ticket that holds");
        let now = beside.position.lsn;
        let mut under_way = 0;
        for (id, session) in by_id {
            let Session { ticket, opening: _, confirmed: _, used, kept, under_way: waiting, value_bytes } = session;
            holds!(by_ticket.get(ticket) == Some(id), "a session is found by its ticket");
            holds!(ticket.0 <= now.0, "a session was opened by a record that was applied");
            holds!(*used <= beside.position.time, "a session was used by a record that was applied");
            holds!(kept.len() <= SESSION_WINDOW_MAX, "a session keeps no more than the limit");
            let bytes: usize = kept.iter().map(Kept::value_bytes).sum();
            holds!(*value_bytes == bytes, "the bytes of results are a sum");
            let pending_here = kept.iter().filter(|kept| kept.answer().is_none()).count();
            holds!(*waiting == pending_here, "requests without a result are counted");
            under_way += pending_here;
            for kept in kept {
                let answered = kept.answer().map_or(kept.accepted, |(lsn, _)| lsn);
                holds!(kept.accepted <= answered, "a request is accepted before it is answered");
                holds!(answered <= now, "a request is answered by a record that was applied");
            }
        }
        holds!(pending.len() == under_way, "a request without a result is found by its impulse");
        Ok(())
    }
}

impl Kept {
    fn read(reader: &mut StateReader<'_>) -> Option<Kept> {
        let (accepted, content) = (Lsn(reader.u64()?), reader.u64()?);
        let result = match reader.u8()? {
            PENDING => Progress::Pending(CallId(reader.u64()?)),
            kind @ (SUCCEEDED | FAILED) => {
                let (lsn, bytes) = (Lsn(reader.u64()?), reader.u32()? as usize);
                let value: Bytes = reader.bytes(bytes)?;
                Progress::Answered(lsn, Answer { success: kind == SUCCEEDED, value })
            }
            _ => return None,
        };
        Some(Kept { accepted, content, result })
    }
}
