//! What a primary does for clients with sessions.
//!
//! **Architecture Invariant:** a request waits only if it is the next one behind those that were delivered and those that wait, and
//! what waits of an opening is dropped before the next one is in the log: so nothing is delivered behind what that was told.

use std::collections::BTreeSet;

use super::Replica;
use crate::{
    ConnectionId, Guest, OpenSession, OpeningId, Outcome, Output, Record, RecordKind, Seq, SessionId, SessionRefusal,
    Ticket, Timestamp,
    inbox::WaitingSessionRequest,
    limits::{SESSION_REASON_BYTES_MAX, SESSION_WINDOW_MAX},
    sessions::Session,
};

/// Who asks: the connection, and the session that is meant.
type Asking = (ConnectionId, SessionId, Ticket);

impl<G: Guest> Replica<G> {
    /// A client opens a session.
    pub(super) fn on_open_session(
        &mut self,
        connection: ConnectionId,
        id: SessionId,
        opening: OpeningId,
        now: Timestamp,
        outputs: &mut Vec<Output>,
    ) {
        if self.state.sessions.get(id).is_some_and(|session| session.opening() == opening) {
            return self.put_opened(connection, id, outputs);
        }
        let refused = if !self.goes_on() {
            Some(SessionRefusal::InstanceEnded)
        } else if !self.state.sessions.may_open(id, now.max(self.state.position.time)) {
            Some(SessionRefusal::TooMany)
        } else {
            None
        };
        if let Some(refusal) = refused {
            return self.put_refused((connection, id, Ticket(0)), Seq(0), refusal, outputs);
        }
        let before = self.state.sessions.get(id).map(|session| (session.ticket(), id));
        let used = self.waiting_sessions();
        let mut body = Vec::new();
        OpenSession { session: id, opening }.encode(&mut body);
        let record = Record::seal(self.next_header(RecordKind::Session, now), &body);
        outputs.push(Output::Append(record.clone()));
        self.state.apply(&record, &mut self.guest, &mut self.delivered);
        self.drop_what_is_over(before.into_iter().chain(used).collect(), outputs);
        self.put_opened(connection, id, outputs);
    }

    /// Sessions of which something waits, by their tickets.
    fn waiting_sessions(&self) -> Vec<(Ticket, SessionId)> {
        let reign = self.primary.as_ref().expect("only a primary opens sessions");
        let tickets = reign.inbox.sessions.tickets().into_iter();
        tickets.filter_map(|ticket| Some((ticket, self.state.sessions.id_of(ticket)?))).collect()
    }

    /// What waits of tickets that hold no more is never delivered, and whoever uses them is told.
    fn drop_what_is_over(&mut self, used: BTreeSet<(Ticket, SessionId)>, outputs: &mut Vec<Output>) {
        for (ticket, id) in used {
            if let Err(refusal) = self.state.sessions.find(id, ticket) {
                let reign = self.primary.as_mut().expect("only a primary opens sessions");
                let _never_delivered = reign.inbox.sessions.forget(ticket);
                let (connection, session, seq, after) = (None, id, Seq(0), self.state.position.lsn);
                outputs.push(Output::SessionRefused { connection, session, ticket, seq, refusal, after });
            }
        }
    }

    fn put_opened(&self, connection: ConnectionId, id: SessionId, outputs: &mut Vec<Output>) {
        let session = self.state.sessions.get(id).expect("it is open");
        let (ticket, accepted, confirmed) = (session.ticket(), session.accepted(), session.confirmed());
        let after = self.state.position.lsn;
        let opening = session.opening();
        outputs.push(Output::SessionOpened { connection, session: id, opening, ticket, accepted, confirmed, after });
    }

    /// A request of a session: it waits if it is the next one, and is answered as before if it was done.
    pub(super) fn on_session_request(
        &mut self,
        asking: Asking,
        confirmed: Seq,
        request: WaitingSessionRequest,
        outputs: &mut Vec<Output>,
    ) {
        let seq = request.seq;
        let request = WaitingSessionRequest { impossible: request.impossible.map(shortened), ..request };
        if let Err(refusal) = self.take_session_request(asking, confirmed, request, outputs) {
            self.put_refused(asking, seq, refusal, outputs);
        }
    }

    /// A client has results, and asks nothing.
    pub(super) fn on_confirmed(&mut self, asking: Asking, confirmed: Seq, outputs: &mut Vec<Output>) {
        if let Err(refusal) = self.note_confirmed(asking, confirmed) {
            self.put_refused(asking, Seq(0), refusal, outputs);
        }
    }

    fn take_session_request(
        &mut self,
        asking: Asking,
        confirmed: Seq,
        request: WaitingSessionRequest,
        outputs: &mut Vec<Output>,
    ) -> Result<(), SessionRefusal> {
        let (_, id, ticket) = asking;
        let session = self.state.sessions.find(id, ticket)?;
        let (seq, accepted, told) = (request.seq, session.accepted(), session.confirmed());
        if seq <= accepted {
            self.put_known(id, session, &request, outputs)?;
            return self.note_confirmed(asking, confirmed);
        }
        if !self.goes_on() {
            return Err(SessionRefusal::InstanceEnded);
        }
        self.note_confirmed(asking, confirmed)?;
        let waiting = &mut self.primary_state().inbox.sessions;
        if let Some(known) = waiting.get(ticket, seq) {
            return if known.content == request.content { Ok(()) } else { Err(SessionRefusal::Reused) };
        }
        let expected = waiting.last_seq(ticket, accepted).next();
        if seq != expected {
            return Err(SessionRefusal::Gap { expected });
        }
        if seq.0 - told.max(waiting.confirmed(ticket)).0 > SESSION_WINDOW_MAX as u64 {
            return Err(SessionRefusal::Window);
        }
        waiting.push(ticket, request);
        Ok(())
    }

    /// Answers a request that was delivered before, if it has its result.
    fn put_known(
        &self,
        id: SessionId,
        session: &Session,
        request: &WaitingSessionRequest,
        outputs: &mut Vec<Output>,
    ) -> Result<(), SessionRefusal> {
        let Some(known) = session.kept(request.seq) else { return Err(SessionRefusal::Forgotten) };
        if !known.is(request.content) {
            return Err(SessionRefusal::Reused);
        }
        // What a record says that the guest could not handle is told by its mend alone.
        let halted = match &self.state.outcome {
            Some(Outcome::Halted { lsn, .. }) => Some(*lsn),
            _ => None,
        };
        if let Some((after, answer)) = known.answer().filter(|(after, _)| Some(*after) != halted) {
            let (ticket, seq, answer) = (session.ticket(), request.seq, answer.clone());
            outputs.push(Output::SessionAnswered { session: id, ticket, seq, answer, after });
        }
        Ok(())
    }

    fn note_confirmed(&mut self, (_, id, ticket): Asking, confirmed: Seq) -> Result<(), SessionRefusal> {
        let session = self.state.sessions.find(id, ticket)?;
        if !session.may_confirm(confirmed) {
            return Err(SessionRefusal::Confirmation);
        }
        if confirmed > session.confirmed() {
            self.primary_state().inbox.sessions.confirm(ticket, confirmed);
        }
        Ok(())
    }

    fn put_refused(
        &self,
        (connection, session, ticket): Asking,
        seq: Seq,
        refusal: SessionRefusal,
        outputs: &mut Vec<Output>,
    ) {
        let after = self.state.position.lsn;
        let connection = Some(connection);
        outputs.push(Output::SessionRefused { connection, session, ticket, seq, refusal, after });
    }
}

/// As much of a reason as a record may hold.
fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(SESSION_REASON_BYTES_MAX));
    reason
}
