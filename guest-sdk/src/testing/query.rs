//! Queries, held to what a host holds them to.

use super::{
    Harness, Pending,
    delivery::{Entered, Incoming, walk},
};
use crate::{
    Call, CallError, Immortal, MethodKind,
    call::error_text,
    deliver::deliver,
    layout::{Effect, MessageKind, OUTSIDE},
};

/// Queries.
impl<S: Immortal> Harness<S> {
    /// Runs the query that `call` names, and returns its answer.
    ///
    /// ```
    /// # use ambrosia::testing::Harness;
    /// # #[ambrosia::state] struct Counter { total: u64 }
    /// #[ambrosia::immortal]
    /// impl Counter {
    ///     fn total(&self) -> u64 {
    ///         self.total
    ///     }
    /// }
    ///
    /// # fn main() {
    /// let mut counter = Harness::<Counter>::start("counter");
    /// assert_eq!(counter.query(|counter| counter.total()), Ok(0));
    /// # }
    /// ```
    ///
    /// Panics if the method is no query, or does what a host lets no query do: send, spawn, set a timer,
    /// exit, draw a random number, or attach an instance that was not known.
    pub fn query<R>(&mut self, call: impl FnOnce(S::Proxy) -> Call<R>) -> Result<R, CallError> {
        let (sent, messages) = self.by_tester(|proxy| call(proxy).into_parts());
        let pending = Pending::new(OUTSIDE, sent);
        let name = pending.method;
        let [message] = &messages[..] else { panic!("a query is one call") };
        let is_query = |method: &crate::Method| method.answers_to(message.method) && method.kind == MethodKind::Query;
        assert!(
            S::METHODS.iter().any(is_query),
            "`{name}` is no query, which has `&self` and gives something back: `ask` it"
        );
        let message = Incoming { kind: MessageKind::Impulse, ..message.clone() };
        let answered = self.answered(name, &message);
        self.answers.insert(pending.key, answered);
        self.answer(&pending).expect("it was put there")
    }

    /// The one effect of a query.
    fn answered(&mut self, name: &str, message: &Incoming) -> Result<Vec<u8>, String> {
        let drawn = self.runtime.world.borrow().drawn();
        let run = self.run(OUTSIDE, std::slice::from_ref(message));
        let runtime = &self.runtime;
        let effects = Entered::new(runtime).run(|| deliver::<S>(runtime, &run));
        assert_eq!(
            drawn,
            self.runtime.world.borrow().drawn(),
            "`{name}` is a query: it draws no random number, and attaches nobody anew"
        );
        let mut answer = None;
        for Effect { target, message: effect, .. } in walk(&effects) {
            let is_answer = target == OUTSIDE && effect.call_id == message.call_id;
            answer = Some(match effect.kind {
                MessageKind::Reply if is_answer => Ok(effect.arguments.to_vec()),
                MessageKind::Error if is_answer => Err(error_text(effect.arguments)),
                kind => {
                    panic!("`{name}` is a query, which brings about nothing but its answer, and not a {}", kind.word())
                }
            });
        }
        answer.unwrap_or_else(|| panic!("`{name}` is a query, and has not answered"))
    }
}
