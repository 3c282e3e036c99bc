//! What waits of sessions on the primary: requests, and what clients have confirmed that no record says yet.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{MethodId, Seq, Ticket};

/// A request of a session that waits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WaitingSessionRequest {
    pub(crate) seq: Seq,
    pub(crate) method: MethodId,
    pub(crate) arguments: Bytes,
    /// Hash of what it asks for.
    pub(crate) content: u64,
    /// Why it can't be done, if it can't.
    pub(crate) impossible: Option<String>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Consecutive ones.
    requests: VecDeque<WaitingSessionRequest>,
    confirmed: Seq,
}

/// What waits of all sessions, by the tickets that hold.
#[derive(Debug, Default)]
pub(crate) struct WaitingSessions {
    queues: BTreeMap<Ticket, Queue>,
    /// Requests of all of them.
    count: usize,
    /// Whose turn it is to be first.
    turn: Ticket,
}

impl WaitingSessions {
    pub(crate) fn has_requests(&self) -> bool {
        self.count > 0
    }

    /// The number of the last request of the session that waits; `accepted` if none does.
    pub(crate) fn last_seq(&self, ticket: Ticket, accepted: Seq) -> Seq {
        self.queues.get(&ticket).and_then(|queue| queue.requests.back()).map_or(accepted, |last| last.seq)
    }

    /// A request that waits.
    pub(crate) fn get(&self, ticket: Ticket, seq: Seq) -> Option<&WaitingSessionRequest> {
        let requests = &self.queues.get(&ticket)?.requests;
        let at = seq.0.checked_sub(requests.front()?.seq.0)?;
        requests.get(usize::try_from(at).ok()?)
    }

    pub(crate) fn push(&mut self, ticket: Ticket, request: WaitingSessionRequest) {
        let queue = self.queues.entry(ticket).or_default();
        let follows = queue.requests.back().is_none_or(|last| last.seq.next() == request.seq);
        assert!(follows, "requests of a session wait without a gap or a repetition");
        queue.requests.push_back(request);
        self.count += 1;
    }

    pub(crate) fn pop(&mut self, ticket: Ticket) -> Option<WaitingSessionRequest> {
        let request = self.queues.get_mut(&ticket)?.requests.pop_front()?;
        self.count -= 1;
        Some(request)
    }

    /// The client has all results up to that one.
    pub(crate) fn confirm(&mut self, ticket: Ticket, confirmed: Seq) {
        let queue = self.queues.entry(ticket).or_default();
        queue.confirmed = queue.confirmed.max(confirmed);
    }

    /// What the client has confirmed that no record says yet; 0 if that is nothing.
    pub(crate) fn confirmed(&self, ticket: Ticket) -> Seq {
        self.queues.get(&ticket).map_or(Seq(0), |queue| queue.confirmed)
    }

    /// All that was confirmed and no record says. Sessions of which nothing else waits are gone.
    pub(crate) fn take_confirmed(&mut self) -> Vec<(Ticket, Seq)> {
        let taken = self.queues.iter_mut().map(|(ticket, queue)| (*ticket, std::mem::take(&mut queue.confirmed)));
        let taken = taken.filter(|(_, confirmed)| *confirmed > Seq(0)).collect();
        self.queues.retain(|_, queue| !queue.requests.is_empty());
        taken
    }

    /// Sessions with requests, each once, beginning with another one each time so that none starves.
    pub(crate) fn next_round(&mut self) -> Vec<Ticket> {
        let waits = |(ticket, queue): (&Ticket, &Queue)| (!queue.requests.is_empty()).then_some(*ticket);
        let later = self.queues.range(self.turn..).filter_map(waits);
        let round: Vec<_> = later.chain(self.queues.range(..self.turn).filter_map(waits)).collect();
        self.turn = round.first().map_or(Ticket(0), |first| Ticket(first.0 + 1));
        round
    }

    /// Tickets of all of which something waits.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        self.queues.keys().copied().collect()
    }

    /// Takes all that waits of a session, which is over. Returns its requests.
    pub(crate) fn forget(&mut self, ticket: Ticket) -> VecDeque<WaitingSessionRequest> {
        let requests = self.queues.remove(&ticket).unwrap_or_default().requests;
        self.count -= requests.len();
        requests
    }
}
