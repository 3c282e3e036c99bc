//! Queries that a member is asked, and inquiries after requests: those that wait for the state to come so far, and answers that
//! may not be seen yet.
//!
//! **Architecture Invariant:** an answer leaves a primary once all that it tells of is durable, and after a look at the fence
//! that was begun behind that: so no later reign has answered anything before this query was asked. One that is under way when
//! a query is asked says nothing of it; all that have come meanwhile share the next one. A standby knows nothing but
//! what is durable, and says how far it is.

use core::time::Duration;
use std::collections::VecDeque;

use super::{Command, Context, FenceLook, inquiries::Inquiries};
use crate::{Answer, Epoch, Guest, Inquiry, InquiryAnswer, Lsn, Query, QueryAnswer, Replica, RequestId, RequestStatus};

/// Queries that may wait at a time, and answers.
const WAITING_MAX: usize = 4096;

/// No query waits for longer than this, and no inquiry.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// What a member has of queries, and of inquiries after requests.
#[derive(Default)]
pub(super) struct Queries {
    /// They wait for a record, each no longer than that.
    waiting: Vec<(Duration, Query)>,
    /// They wait for results.
    inquiries: Inquiries,
    /// Some of those came while nothing could be said of the state.
    came_too_early: bool,
    /// What is answered and not let out yet, in the order of the records, with the last record that each tells of.
    answered: VecDeque<(Lsn, Command)>,
    /// What tells of no record, but is true only in the newest reign, and is not let out yet.
    of_now: VecDeque<Command>,
    looks_ever: u64,
    looking: Option<Looking>,
}

/// A look at the fence that is under way, and how many it is for: those at the front.
struct Looking {
    number: u64,
    answered: usize,
    of_now: usize,
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

    /// Answers what has become of a request, or has the inquiry wait for the result.
    pub(super) fn inquire<G: Guest>(&mut self, now: Duration, replica: &Replica<G>, is_ready: bool, inquiry: Inquiry) {
        let until = now + inquiry.wait.min(WAIT_MAX);
        self.inquire_until(now, until, replica, is_ready, inquiry);
    }

    fn inquire_until<G: Guest>(
        &mut self,
        now: Duration,
        until: Duration,
        replica: &Replica<G>,
        is_ready: bool,
        inquiry: Inquiry,
    ) {
        let may_come = match replica.status_of(&inquiry.request) {
            RequestStatus::Answered { .. } => false,
            RequestStatus::UnderWay { .. } => true,
            RequestStatus::Unknown => replica.is_waiting(&inquiry.request),
        };
        if is_ready && !(may_come && until > now) {
            return self.answer_inquiry(replica, inquiry);
        }
        match self.inquiries.add(until, inquiry) {
            Ok(()) => self.came_too_early |= !is_ready,
            Err(inquiry) if is_ready => self.answer_inquiry(replica, inquiry),
            // Whoever asks hears nothing, and asks again.
            Err(_) => {}
        }
    }

    fn answer_inquiry<G: Guest>(&mut self, replica: &Replica<G>, inquiry: Inquiry) {
        let Inquiry { connection, number, request, wait: _ } = inquiry;
        let (status, at) = (replica.status_of(&request), replica.applied());
        self.put(at, Command::AnswerInquiry(InquiryAnswer { connection, number, status, at }));
    }

    /// A request has its result by the last record applied: whoever waits for that is answered.
    pub(super) fn on_answered<G: Guest>(&mut self, replica: &Replica<G>, request: &RequestId) {
        if self.inquiries.is_empty() {
            return;
        }
        for inquiry in self.inquiries.take(request) {
            self.answer_inquiry(replica, inquiry);
        }
    }

    /// Inquiries that have waited for long enough are answered as it is.
    fn go_on_inquiring<G: Guest>(&mut self, now: Duration, replica: &Replica<G>, is_ready: bool) {
        if self.inquiries.is_empty() || !is_ready {
            return;
        }
        if std::mem::take(&mut self.came_too_early) {
            for (until, inquiry) in self.inquiries.take_all() {
                self.inquire_until(now, until, replica, is_ready, inquiry);
            }
        }
        for inquiry in self.inquiries.take_due(now) {
            self.answer_inquiry(replica, inquiry);
        }
    }

    /// Answers those that waited for what has been applied, and those that have waited for too long.
    pub(super) fn go_on<G: Guest>(&mut self, now: Duration, replica: &mut Replica<G>, is_ready: bool) {
        self.go_on_inquiring(now, replica, is_ready);
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
        let waiting = self.waiting.iter().map(|(until, _)| *until).chain(self.inquiries.first_due());
        waiting.map(|until| until.saturating_sub(now)).min()
    }

    fn answer<G: Guest>(&mut self, replica: &mut Replica<G>, query: &Query) {
        let at = replica.applied();
        let answer = replica.query(query.method, &query.arguments);
        assert_eq!(replica.applied(), at, "a query makes no record");
        let (connection, number) = (query.connection, query.number);
        self.put(at, Command::AnswerQuery(QueryAnswer { connection, number, answer, at }));
    }

    fn fail<G: Guest>(&mut self, replica: &Replica<G>, query: &Query, reason: &str) {
        let (connection, number, at) = (query.connection, query.number, replica.applied());
        let answer = Answer::failed(reason);
        self.put(at, Command::AnswerQuery(QueryAnswer { connection, number, answer, at }));
    }

    fn put(&mut self, at: Lsn, answer: Command) {
        assert!(self.answered.back().is_none_or(|(last, _)| *last <= at), "records are applied in order");
        self.answered.push_back((at, answer));
    }

    /// Lets out what a standby has answered: all that it knows is durable.
    pub(super) fn let_out<G>(&mut self, context: &mut Context<'_, G>) {
        for (_, answer) in self.answered.drain(..) {
            context.carry(answer);
        }
    }

    /// Lets out what a primary has answered and tells of nothing that is not durable, if the log is still that of its reign.
    ///
    /// # Errors
    /// The later reign. Nothing that was answered is let out any more.
    pub(super) fn let_out_durable<G>(&mut self, context: &mut Context<'_, G>, durable: Lsn) -> Result<(), Epoch> {
        if self.looking.is_some() {
            return Ok(());
        }
        let answered = self.answered.iter().take_while(|(at, _)| *at <= durable).count();
        let of_now = self.of_now.len();
        if answered == 0 && of_now == 0 {
            return Ok(());
        }
        self.looks_ever += 1;
        let looking = Looking { number: self.looks_ever, answered, of_now };
        match context.shell.look_at_fence(looking.number) {
            Ok(FenceLook::Done) => self.let_out_looked(context, &looking),
            Ok(FenceLook::Begun) => self.looking = Some(looking),
            Err(by) => {
                self.forget_answers();
                return Err(by);
            }
        }
        Ok(())
    }

    /// A look has shown that the reign was the newest.
    pub(super) fn on_looked<G>(&mut self, context: &mut Context<'_, G>, number: u64) {
        if let Some(looking) = self.looking.take_if(|looking| looking.number == number) {
            self.let_out_looked(context, &looking);
        }
    }

    fn let_out_looked<G>(&mut self, context: &mut Context<'_, G>, looking: &Looking) {
        self.answered.drain(..looking.answered).for_each(|(_, answer)| context.carry(answer));
        self.of_now.drain(..looking.of_now).for_each(|output| context.carry(output));
    }

    /// Has something let out behind the next look that is begun.
    pub(super) fn put_of_now(&mut self, output: Command) {
        self.of_now.push_back(output);
    }

    /// A reign begins. What a look of an earlier one shows says nothing of it.
    pub(super) fn begin_reign(&mut self) {
        self.looking = None;
        self.of_now.clear();
    }

    fn forget_answers(&mut self) {
        self.answered.clear();
        self.of_now.clear();
    }
}
