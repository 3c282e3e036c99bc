//! Inquiries after requests: what a primary says of them, and when.

use std::time::Duration;

use ambrosia_core::{
    Answer, ConnectionId, Epoch, Inquiry, InquiryAnswer, Lsn, MethodId, RequestId, RequestStatus, Traffic,
    member::{Command, LogEvent, MemberInput, Next, Notice},
};

use crate::bench::{Bench, LATER, NOW, Nothing};

const WAIT: Duration = Duration::from_millis(100);

fn id(text: &str) -> RequestId {
    RequestId::new(text).expect("short")
}

pub(crate) fn inquiry(number: u64, request: &str, wait: Duration) -> MemberInput<Nothing> {
    MemberInput::Inquiry(Inquiry { connection: ConnectionId(7), number, request: id(request), wait })
}

fn told(number: u64, status: RequestStatus, at: u64) -> Command {
    Command::AnswerInquiry(InquiryAnswer { connection: ConnectionId(7), number, status, at: Lsn(at) })
}

fn under_way(accepted: u64) -> RequestStatus {
    RequestStatus::UnderWay { accepted: Lsn(accepted) }
}

fn answered(accepted: u64, lsn: u64) -> RequestStatus {
    let answer = Answer { success: true, value: NOW.into() };
    RequestStatus::Answered { accepted: Lsn(accepted), lsn: Lsn(lsn), answer }
}

fn durable(lsn: u64) -> MemberInput<Nothing> {
    MemberInput::Log { epoch: Epoch(1), event: LogEvent::Durable(Lsn(lsn)) }
}

fn request(text: &str, arguments: &'static [u8]) -> MemberInput<Nothing> {
    let (arguments, request) = (arguments.into(), Some(id(text)));
    MemberInput::Traffic(Traffic::Impulse { method: MethodId(1), arguments, request, from: None, trace: None })
}

/// Has all delivered that has come in. What the member wants beside outputs.
fn delivered(bench: &mut Bench) -> Vec<Command> {
    while bench.turn() == Next::Again {}
    without_outputs(bench.commands())
}

fn without_outputs(mut commands: Vec<Command>) -> Vec<Command> {
    commands.retain(|command| !matches!(command, Command::Out(_)));
    commands
}

/// A primary that has the request `r` without a result, all of it durable; and its record.
fn primary() -> (Bench, u64) {
    let mut bench = Bench::primary();
    bench.on(request("r", LATER));
    delivered(&mut bench);
    let last = bench.member.replica().expect("it has one").applied().0;
    bench.on(durable(last));
    (bench, last)
}

#[test]
fn a_primary_tells_at_once_what_is_durable_and_looks_at_the_fence_for_it() {
    let (mut bench, last) = primary();
    let made = bench.seen.appended.len();
    assert_eq!(bench.on(inquiry(1, "r", Duration::ZERO)), [told(1, under_way(last), last)]);
    assert_eq!(bench.on(inquiry(2, "nobody's", WAIT)), [told(2, RequestStatus::Unknown, last)]);
    assert_eq!((bench.seen.appended.len(), bench.seen.looks), (made, 2), "it looks at the fence, and writes nothing");
}

#[test]
fn a_request_whose_record_is_not_durable_is_not_told_of() {
    let (mut bench, last) = primary();
    bench.on(request("s", LATER));
    delivered(&mut bench);
    assert_eq!(bench.on(inquiry(1, "s", Duration::ZERO)), []);
    assert_eq!(bench.on(inquiry(2, "nobody's", Duration::ZERO)), [], "in order");
    assert_eq!(bench.seen.looks, 0, "a look before it is durable says nothing");
    let wanted = without_outputs(bench.on(durable(last + 1)));
    assert_eq!(wanted, [told(1, under_way(last + 1), last + 1), told(2, RequestStatus::Unknown, last + 1)]);
}

#[test]
fn a_result_is_waited_for_and_told_once_it_is_durable() {
    let (mut bench, last) = primary();
    assert_eq!(bench.on(inquiry(1, "r", WAIT)), []);
    assert_eq!(bench.turn(), Next::After(Some(WAIT)));
    bench.on(request("s", NOW));
    assert_eq!(delivered(&mut bench), [], "it is not durable");
    let wanted = without_outputs(bench.on(durable(last + 1)));
    assert_eq!(wanted, [told(1, answered(last, last + 1), last + 1)]);
    assert_eq!(bench.on(inquiry(2, "r", WAIT)), [told(2, answered(last, last + 1), last + 1)], "and again");
    bench.pass(WAIT);
    assert_eq!(delivered(&mut bench), [], "each is told once");
}

#[test]
fn who_has_waited_for_long_enough_is_told_how_it_is() {
    let (mut bench, last) = primary();
    assert_eq!(bench.on(inquiry(1, "r", WAIT)), []);
    bench.pass(WAIT / 2);
    assert_eq!(delivered(&mut bench), []);
    bench.pass(WAIT / 2);
    assert_eq!(delivered(&mut bench), [told(1, under_way(last), last)]);
}

#[test]
fn a_request_that_waits_to_be_delivered_is_waited_for() {
    let (mut bench, last) = primary();
    bench.on(request("s", LATER));
    assert_eq!(bench.on(inquiry(1, "s", Duration::ZERO)), [told(1, RequestStatus::Unknown, last)], "as of now");
    assert_eq!(bench.on(inquiry(2, "s", WAIT)), []);
    delivered(&mut bench);
    bench.on(durable(last + 1));
    bench.pass(WAIT);
    assert_eq!(delivered(&mut bench), [told(2, under_way(last + 1), last + 1)]);
}

#[test]
fn a_primary_that_was_deposed_tells_nothing_and_steps_down() {
    let (mut bench, _) = primary();
    bench.seen.fence = Err(Epoch(2));
    let deposed = Command::Tell(Notice::Deposed { own: Epoch(1), by: Epoch(2) });
    assert_eq!(bench.on(inquiry(1, "r", Duration::ZERO)), [deposed, Command::Abandon, Command::ListCheckpoints]);
}

#[test]
fn a_standby_tells_nothing_since_it_may_not_have_heard_of_the_result() {
    let mut bench = Bench::standby();
    assert_eq!(bench.on(inquiry(1, "r", WAIT)), []);
    bench.pass(WAIT);
    assert_eq!(delivered(&mut bench), []);
}
