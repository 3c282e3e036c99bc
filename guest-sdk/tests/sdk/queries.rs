//! Queries are answered, and do nothing else.

use ambrosia::{CallError, testing::Harness};

#[ambrosia::interface]
trait Listener {
    fn told(total: u64);
}

#[ambrosia::state]
struct Counter {
    total: u64,
    listener: Option<Listener>,
}

#[ambrosia::immortal]
impl Counter {
    fn add(&mut self, n: u64, listener: Listener) -> u64 {
        self.total += n;
        self.listener = Some(listener);
        self.total
    }

    #[ambrosia(query)]
    fn total(&self, at_most: u64) -> u64 {
        self.total.min(at_most)
    }

    #[ambrosia(query)]
    fn tell(&self) {
        if let Some(listener) = self.listener {
            listener.fork().told(self.total);
        }
    }

    #[ambrosia(query)]
    fn chance(&self) -> u64 {
        ambrosia::random()
    }

    #[ambrosia(query)]
    fn meet(&self) -> bool {
        ambrosia::Peer::attach("nobody-yet").name().is_empty()
    }
}

fn counter() -> Harness<Counter> {
    let mut counter = Harness::<Counter>::start("counter");
    assert_eq!(counter.ask(|counter| counter.add(7, Listener::attach("bob"))), Ok(7));
    counter
}

#[test]
fn a_query_is_answered() {
    let mut counter = counter();
    assert_eq!(counter.query(|counter| counter.total(5)), Ok(5));
    assert_eq!(counter.query(|counter| counter.total(9)), Ok(7));
    assert_eq!(counter.sent(), []);
}

#[test]
fn a_query_that_is_refused_says_why() {
    #[ambrosia::interface]
    trait Wrong {
        fn total(at_most: String) -> u64;
    }
    let wrong: Result<u64, CallError> = counter().query(|counter| Wrong::attach(&counter.name()).total("many"));
    assert!(matches!(&wrong, Err(CallError::Refused { reason, .. }) if reason.contains("at_most")), "{wrong:?}");
}

#[test]
#[should_panic(expected = "`tell` is a query, which brings about nothing but its answer, and not a fork")]
fn a_query_sends_nothing() {
    counter().query(|counter| counter.tell()).expect("it panics");
}

#[test]
#[should_panic(expected = "`chance` is a query: it draws no random number")]
fn a_query_draws_nothing() {
    counter().query(|counter| counter.chance()).expect("it panics");
}

#[test]
#[should_panic(expected = "`meet` is a query: it draws no random number, and attaches nobody anew")]
fn a_query_attaches_nobody() {
    counter().query(|counter| counter.meet()).expect("it panics");
}

#[test]
#[should_panic(expected = "`add` is no query")]
fn what_is_no_query_is_not_run_as_one() {
    counter().query(|counter| counter.add(1, Listener::attach("bob"))).expect("it panics");
}
