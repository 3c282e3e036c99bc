//! The engine: a node in office, what of it is replicated, and a node that was in office before and does not know that it is not.

use std::collections::{BTreeMap, VecDeque};

use ambrosia_shared_log::{Answer, Answered, AppendFault, EngineHead, Fault, Group, Request, RequestId, Rows, Session};

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asker {
    pub(super) host: usize,
    pub(super) life: u32,
    pub(super) request: RequestId,
}

/// A change that the node in office shows, and no other node has.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) request: Request,
    session: Session,
    answered: Answered,
    /// Places of groups that were too large, and are not in the request.
    refused: Vec<usize>,
    /// Told once it is replicated.
    pub(super) asker: Option<Asker>,
}

/// A change that is replicated.
pub(super) struct Replicated {
    pub(super) request: Request,
    pub(super) answered: Answered,
    /// Who is told of it, and what: of groups that were too large, too.
    pub(super) told: Option<(Asker, Answered)>,
}

/// What has become of a request that has arrived.
pub(super) enum Arrived {
    /// It is answered at once.
    Answered(Answer),
    /// It is answered once it is replicated.
    Changed,
    /// It is never answered.
    Nothing,
}

/// Where a request has been read or done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    InOffice,
    OutOfOffice,
}

#[derive(Debug, Default)]
pub(super) struct Office {
    /// What the node in office shows.
    pub(super) shown: Rows,
    /// What no failover loses.
    pub(super) replicated: Rows,
    pub(super) changes: VecDeque<Change>,
    /// The node that was in office before, while it lives.
    former: Option<Rows>,
    term: u64,
    sessions_ever: u64,
    /// Open sessions, with the term of the node that they are with.
    sessions: BTreeMap<Session, u64>,
    /// Groups that are larger are refused.
    pub(super) group_bytes_max: usize,
    /// An older state.
    backup: Option<Rows>,
}

impl Office {
    pub(super) fn new(group_bytes_max: usize) -> Office {
        Office { group_bytes_max, ..Office::default() }
    }

    pub(super) fn connect(&mut self, prefers_former: bool) -> Session {
        self.sessions_ever += 1;
        let session = Session(self.sessions_ever);
        let term = if prefers_former && self.former.is_some() { self.term - 1 } else { self.term };
        self.sessions.insert(session, term);
        session
    }

    pub(super) fn cut(&mut self, session: Session) {
        self.sessions.remove(&session);
    }

    pub(super) fn node(&self, session: Session) -> Option<Node> {
        let term = *self.sessions.get(&session)?;
        if term == self.term {
            return Some(Node::InOffice);
        }
        (term + 1 == self.term && self.former.is_some()).then_some(Node::OutOfOffice)
    }

    /// A request arrives.
    /// The heads that somebody may be shown, by either node.
    pub(super) fn heads(&self) -> impl Iterator<Item = EngineHead> {
        let nodes = self.former.iter().chain([&self.shown]);
        nodes.flat_map(|rows| rows.logs().filter_map(|log| rows.head(log)))
    }

    pub(super) fn arrive(&mut self, session: Session, request: Request, asker: Asker) -> Arrived {
        let over = || Arrived::Answered(Err(Fault::Unavailable("the session is over".to_owned())));
        if let Request::Barrier { session: read } = request
            && read != session
        {
            return over();
        }
        match self.node(session) {
            None => Arrived::Answered(Err(Fault::Unknown("the connection was cut".to_owned()))),
            Some(Node::OutOfOffice) => {
                let former = self.former.as_mut().expect("it lives");
                let answered = former.execute(&request, session);
                if is_change(&request, &answered) { Arrived::Nothing } else { Arrived::Answered(Ok(answered)) }
            }
            Some(Node::InOffice) => {
                let (request, refused) = self.without_large(request);
                let answered = self.shown.execute(&request, session);
                if !is_change(&request, &answered) {
                    return Arrived::Answered(Ok(self.with_refused(answered, &refused)));
                }
                self.changes.push_back(Change { request, session, answered, refused, asker: Some(asker) });
                Arrived::Changed
            }
        }
    }

    /// The request without groups that are too large, and the places of those.
    fn without_large(&self, request: Request) -> (Request, Vec<usize>) {
        let Request::Append { mut groups } = request else { return (request, Vec::new()) };
        let is_large = |group: &Group| group.bytes.len() > self.group_bytes_max;
        let refused = groups.iter().enumerate().filter(|(_, group)| is_large(group)).map(|(at, _)| at).collect();
        groups.retain(|group| !is_large(group));
        (Request::Append { groups }, refused)
    }

    fn with_refused(&self, answered: Answered, refused: &[usize]) -> Answered {
        let Answered::Appended(mut results) = answered else { return answered };
        for at in refused {
            results.insert(*at, Err(AppendFault::TooLarge { max: self.group_bytes_max }));
        }
        Answered::Appended(results)
    }

    /// The oldest change is replicated.
    pub(super) fn replicate(&mut self) -> Option<Replicated> {
        let change = self.changes.pop_front()?;
        let answered = self.replicated.execute(&change.request, change.session);
        assert_eq!(answered, change.answered, "the simulated engine does on each node what it did on the first");
        let told = change.asker.map(|asker| (asker, self.with_refused(answered.clone(), &change.refused)));
        Some(Replicated { request: change.request, answered, told })
    }

    /// Another node comes into office, which has what was replicated: how much of the rest has vanished.
    pub(super) fn fail_over(&mut self, former_lives: bool) -> usize {
        let vanished = self.changes.len();
        self.changes.clear();
        let former = std::mem::replace(&mut self.shown, self.replicated.clone());
        self.former = former_lives.then_some(former);
        self.term += 1;
        vanished
    }

    /// The node that was in office before dies; whether there was one.
    pub(super) fn bury(&mut self) -> bool {
        self.former.take().is_some()
    }

    pub(super) fn back_up(&mut self) {
        self.backup = Some(self.replicated.clone());
    }

    /// The older state is restored, if there is one.
    pub(super) fn restore(&mut self) -> bool {
        let Some(backup) = self.backup.take() else { return false };
        self.changes.clear();
        (self.shown, self.replicated, self.former) = (backup.clone(), backup, None);
        self.term += 1;
        self.sessions.clear();
        true
    }
}

/// Whether something has to be replicated before it is answered.
fn is_change(request: &Request, answered: &Answered) -> bool {
    match (request, answered) {
        (_, Answered::Appended(results)) => results.iter().any(Result::is_ok),
        (_, Answered::Raised(results)) => results.iter().any(Result::is_ok),
        (Request::Barrier { .. } | Request::Release { .. } | Request::Trim { .. }, _) => true,
        _ => false,
    }
}
