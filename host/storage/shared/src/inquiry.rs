//! Something that is asked until the answer is known, and what was read is durable.
//!
//! For requests that change nothing when they are repeated: those about keys, and those that make or remove a log.
//!
//! **Architecture Invariant:** nothing that an engine shows is handed on before a barrier has returned in the session in which it was
//! read.

use core::time::Duration;

use crate::{
    engine::{Answer, Answered, Fault, Request, Session},
    keys::KeysAnswer,
    limits::{ENGINE_GAP, retry_after},
};

/// A question on its way to an answer.
#[derive(Debug)]
pub struct Inquiry {
    request: Request,
    stage: Stage,
    tries: u32,
    /// It may have been done by a try that was not answered.
    may_be_done: bool,
    until: Duration,
}

#[derive(Debug)]
enum Stage {
    /// To be asked, but not before.
    Ask(Duration),
    Asked,
    /// That is so if a barrier returns in that session.
    Seen(Session, Answered),
    Barring(Answered),
    Over(Answer),
}

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// Ask this, and tell the answer.
    Ask(Request),
    /// Wait until then.
    At(Duration),
    /// The answer. If it is not one of success, the request may have been done all the same if the fault says so.
    Over(Concluded),
}

/// How an inquiry ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Concluded {
    /// The answer.
    pub answer: Answer,
    /// It was asked more than once, and a try before may have done it: what the answer says may be the work of that.
    pub may_be_done_before: bool,
    /// A try before has failed, whatever it was.
    pub has_failed_before: bool,
}

impl Concluded {
    /// Whether the engine was away meanwhile, of which this took so long. One that only takes long was not, and one that fails for a moment
    /// kept nobody from it.
    pub fn was_away(&self, took: Duration) -> bool {
        self.has_failed_before && took > ENGINE_GAP
    }
}

impl Inquiry {
    /// Is asked until it is answered, or until then.
    pub fn new(request: Request, now: Duration, until: Duration) -> Inquiry {
        Inquiry { request, stage: Stage::Ask(now), tries: 0, may_be_done: false, until }
    }

    /// What is to be done next. Whatever it says is done once.
    pub fn next(&mut self, now: Duration) -> Next {
        match std::mem::replace(&mut self.stage, Stage::Asked) {
            Stage::Ask(at) if at > now => {
                self.stage = Stage::Ask(at);
                Next::At(at)
            }
            Stage::Ask(_) => Next::Ask(self.request.clone()),
            Stage::Seen(session, answered) => {
                self.stage = Stage::Barring(answered);
                Next::Ask(Request::Barrier { session })
            }
            Stage::Over(answer) => {
                let has_failed_before = self.tries > 0;
                Next::Over(Concluded { answer, may_be_done_before: self.may_be_done, has_failed_before })
            }
            Stage::Asked | Stage::Barring(_) => unreachable!("the answer to what was asked is told first"),
        }
    }

    /// The answer to what was to be asked.
    pub fn on_answer(&mut self, answer: Answer, now: Duration) {
        self.stage = match (std::mem::replace(&mut self.stage, Stage::Asked), answer) {
            (Stage::Asked, Ok(answered)) => match read_in(&answered) {
                Some(session) => Stage::Seen(session, answered),
                None => Stage::Over(Ok(answered)),
            },
            (Stage::Barring(answered), Ok(Answered::Barred)) => Stage::Over(Ok(answered)),
            (Stage::Barring(_), Ok(other)) => Stage::Over(Err(Fault::Unknown(format!("no barrier, but {other:?}")))),
            (_, Err(fault @ Fault::Refused(_))) => Stage::Over(Err(fault)),
            (stage, Err(fault)) => self.retry(matches!(stage, Stage::Asked), fault, now),
            (Stage::Ask(_) | Stage::Seen(..) | Stage::Over(_), _) => unreachable!("nothing was asked"),
        };
    }

    fn retry(&mut self, was_asked: bool, fault: Fault, now: Duration) -> Stage {
        self.may_be_done |= was_asked && matches!(fault, Fault::Unknown(_));
        let at = now + retry_after(self.tries);
        self.tries += 1;
        if at <= self.until {
            return Stage::Ask(at);
        }
        // What is not known stays so, whatever the last try says.
        let fault = match fault {
            Fault::Unavailable(reason) if self.may_be_done => Fault::Unknown(reason),
            fault => fault,
        };
        Stage::Over(Err(fault))
    }
}

/// Where something was read; `None` if the answer is durable by itself, or need not be.
fn read_in(answered: &Answered) -> Option<Session> {
    match answered {
        Answered::Heads { session, .. } | Answered::Read { session, .. } | Answered::Logs { session, .. } => {
            Some(*session)
        }
        Answered::Keys(KeysAnswer::Got { session, .. } | KeysAnswer::Listed { session, .. }) => Some(*session),
        // A refusal was read, too: but whoever is refused decides anew, by what is read behind a barrier.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_storage::Revision;

    use super::*;
    use crate::keys::{KeysRequest, Space};

    const GET: Request = Request::Keys(KeysRequest::Get { space: Space::Store, key: String::new() });
    const UNTIL: Duration = Duration::from_secs(10);

    fn got(session: u64) -> Answer {
        Ok(Answered::Keys(KeysAnswer::Got { session: Session(session), entry: None }))
    }

    fn unknown() -> Answer {
        Err(Fault::Unknown("cut".to_owned()))
    }

    /// Answers one after the other at their times; what is asked, and how it ends.
    fn run(request: &Request, answers: Vec<Answer>) -> (Vec<Request>, Option<Concluded>) {
        let (mut inquiry, mut now, mut asked) =
            (Inquiry::new(request.clone(), Duration::ZERO, UNTIL), Duration::ZERO, Vec::new());
        let mut answers = answers.into_iter();
        loop {
            match inquiry.next(now) {
                Next::Ask(request) => {
                    asked.push(request);
                    let Some(answer) = answers.next() else { return (asked, None) };
                    inquiry.on_answer(answer, now);
                }
                Next::At(at) => now = at,
                Next::Over(concluded) => return (asked, Some(concluded)),
            }
        }
    }

    #[test]
    fn what_was_read_counts_behind_a_barrier_in_its_session_and_is_read_again_without_one() {
        let barrier = |session| Request::Barrier { session: Session(session) };
        let (asked, concluded) = run(&GET, vec![got(1), unknown(), got(2), Ok(Answered::Barred)]);
        assert_eq!(asked, [GET, barrier(1), GET, barrier(2)]);
        assert_eq!(concluded, Some(Concluded { answer: got(2), may_be_done_before: false, has_failed_before: true }));
    }

    #[test]
    fn what_is_refused_is_not_asked_again() {
        let refused: Answer = Err(Fault::Refused("a certificate of an operator is needed".to_owned()));
        let (asked, concluded) = run(&GET, vec![Err(Fault::Unavailable("away".to_owned())), refused.clone()]);
        assert_eq!(asked.len(), 2);
        let has_failed_before = true;
        assert_eq!(concluded, Some(Concluded { answer: refused, may_be_done_before: false, has_failed_before }));
    }

    #[test]
    fn what_may_have_been_done_is_asked_again_and_said_to_be_so() {
        let delete =
            Request::Keys(KeysRequest::Delete { space: Space::Store, key: String::new(), expected: Revision(1) });
        let gone = Ok(Answered::Keys(KeysAnswer::Deleted(Err(None))));
        let away = Err(Fault::Unavailable("refused".to_owned()));
        let (asked, concluded) = run(&delete, vec![away.clone(), unknown(), gone.clone()]);
        assert_eq!(asked.len(), 3);
        let has_failed_before = true;
        assert_eq!(concluded, Some(Concluded { answer: gone.clone(), may_be_done_before: true, has_failed_before }));
        let (_, concluded) = run(&delete, vec![away.clone(), gone.clone()]);
        assert_eq!(concluded, Some(Concluded { answer: gone.clone(), may_be_done_before: false, has_failed_before }));
        let (_, concluded) = run(&delete, vec![gone.clone()]);
        let has_failed_before = false;
        assert_eq!(concluded, Some(Concluded { answer: gone, may_be_done_before: false, has_failed_before }));
        let mut answers = vec![unknown()];
        answers.resize(100, away);
        let (_, concluded) = run(&delete, answers);
        assert!(matches!(concluded.expect("it is given up").answer, Err(Fault::Unknown(_))), "it may have been done");
    }
}
