//! A wall clock that jumps while a primary reigns. The test moves the clock of the processes that it starts, and of no other.

use serde_json::json;

use crate::support::{Moved, Replicas, Session, fails};

#[test]
fn a_request_is_done_once_although_the_clock_was_hours_ahead_for_a_moment() {
    let moved = Moved::new();
    let counter = Replicas::of(&moved.cluster, "counter", "counter", 1);
    let mut session = Session::new(&moved.cluster, "counter");
    assert_eq!(session.call_as("order-1", "add", json!([1])), 1);
    moved.jump_to(2 * 3600);
    assert_eq!(session.call("add", json!([1])), 2);
    counter.host(0).wait_for_word("the clock of this machine jumped by 7200");
    moved.jump_to(0);
    assert_eq!(session.call_as("order-1", "add", json!([1])), 1, "the first result");
    assert_eq!(session.call("total", json!([])), 2);
    counter.host(0).wait_for_word("the clock of this machine jumped by -7200");
}

#[test]
fn timers_go_on_although_the_clock_was_an_hour_ahead_for_a_moment() {
    let moved = Moved::new();
    let mut ticker = Replicas::of(&moved.cluster, "ticker", "ticker", 1);
    let mut session = Session::new(&moved.cluster, "ticker");
    assert_eq!(session.call("every", json!([1, 2])), 2);
    moved.jump_to(3600);
    session.call("report", json!([]));
    moved.jump_to(0);
    assert_eq!(session.call("every", json!([1, 2])), 2, "a timer set after the jump is due in time");
    ticker.restart(0);
    ticker.next_reign();
    assert_eq!(session.call("every", json!([1, 2])), 2, "in the next reign, too");
}

#[test]
fn a_clock_that_was_never_set_is_refused_at_the_start() {
    let moved = Moved::new();
    moved.cluster.register("counter", "counter", 1);
    moved.jump_to(-4_000_000_000);
    let words = ["stands before 1970", "date --set"];
    fails(&moved.cluster, &["run", "--instance", "counter"], &words);
    let module = moved.cluster.guest("counter");
    let module = module.to_str().expect("the path is text");
    fails(&moved.cluster, &["register-instance", "--instance", "other", "--module", module], &words);
}
