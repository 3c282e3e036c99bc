//! Queries that a member is asked: those that wait for the state to come so far, and answers that may not be seen yet.
//!
//! **Architecture Invariant:** an answer leaves a primary once all that it tells of is durable, and after a look at the fence
//! that was made behind that: so no later reign has answered anything before this query was asked. A standby knows nothing but
//! what is durable, and says how far it is.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Command, Context};
use crate::{Answer, Epoch, Guest, Lsn, Query, QueryAnswer, Replica};

/// Queries that may wait at a time, and answers.
const WAITING_MAX: usize = 4096;

/// No query waits for longer than this.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a member has of queries.
#[derive(Default)]
pub(super) struct Queries {
    /// They wait for a record, each no longer than that.
    waiting: Vec<(Duration, Query)>,
    /// What is answered and not let out yet, in the order of the records.
    answered: VecDeque<QueryAnswer>,
}

impl Queries {
    /// Answers a query, or has it wait until the state has come so far.
    pub(super) fn ask<G: Guest>(&mut self, now: Duration, replica: &mut Replica<G>, is_ready: bool, query: Query) {
        if is_ready && query.at_least <= replica.applied() {
            return self.answer(replica, &query);
        }
        if self.waiting.len() >= WAITING_MAX {
            return self.fail(replica, &query, &format!("{WAITING_MAX} queries wait already: ask again later"));
        }
        self.waiting.push((now + query.wait.min(WAIT_MAX), query));
    }

    /// Answers those that waited for what has been applied, and those that have waited for too long.
    pub(super) fn go_on<G: Guest>(&mut self, now: Duration, replica: &mut Replica<G>, is_ready: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let applied = replica.applied();
        let is_due = |query: &Query| is_ready && query.at_least <= applied;
        let due: Vec<_> = self.waiting.extract_if(.., |(until, query)| is_due(query) || *until <= now).collect();
        for (_, query) in due {
            if is_due(&query) {
                self.answer(replica, &query);
            } else {
                let (at_least, waited) = (query.at_least, query.wait.min(WAIT_MAX));
                let text =
                    format!("this replica is at lsn {applied} and has not come to lsn {at_least} within {waited:?}");
                self.fail(replica, &query, &text);
            }
        }
    }

    /// After which time one has waited for too long.
    pub(super) fn wake_after(&self, now: Duration) -> Option<Duration> {
        self.waiting.iter().map(|(until, _)| until.saturating_sub(now)).min()
    }

    fn answer<G: Guest>(&mut self, replica: &mut Replica<G>, query: &Query) {
        let at = replica.applied();
        let answer = replica.query(query.method, &query.arguments);
        assert_eq!(replica.applied(), at, "a query makes no record");
        self.put(QueryAnswer { connection: query.connection, number: query.number, answer, at });
    }

    fn fail<G: Guest>(&mut self, replica: &Replica<G>, query: &Query, reason: &str) {
        let (connection, number, at) = (query.connection, query.number, replica.applied());
        self.put(QueryAnswer { connection, number, answer: Answer::failed(reason), at });
    }

    fn put(&mut self, answer: QueryAnswer) {
        assert!(self.answered.back().is_none_or(|last| last.at <= answer.at), "records are applied in order");
        self.answered.push_back(answer);
    }

    /// Lets out what a standby has answered: all that it knows is durable.
    pub(super) fn let_out<G>(&mut self, context: &mut Context<'_, G>) {
        for answer in self.answered.drain(..) {
            context.carry(Command::AnswerQuery(answer));
        }
    }

    /// Lets out what a primary has answered and tells of nothing that is not durable, if the log is still that of its reign.
    ///
    /// # Errors
    /// The later reign. Nothing that was answered is let out any more.
    pub(super) fn let_out_durable<G>(&mut self, context: &mut Context<'_, G>, durable: Lsn) -> Result<(), Epoch> {
        if self.answered.front().is_none_or(|answer| answer.at > durable) {
            return Ok(());
        }
        if let Err(by) = context.shell.look_at_fence() {
            self.answered.clear();
            return Err(by);
        }
        while let Some(answer) = self.answered.pop_front_if(|answer| answer.at <= durable) {
            context.carry(Command::AnswerQuery(answer));
        }
        Ok(())
    }
}
