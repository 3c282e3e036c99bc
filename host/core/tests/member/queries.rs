//! Queries: what a primary and a standby answer, and when.

use std::time::Duration;

use ambrosia_core::{
    Answer, ConnectionId, Epoch, Lsn, MethodId, Output, Query, QueryAnswer, Seq, SessionId, SessionRefusal, Ticket,
    Traffic,
    member::{Command, LogEvent, MemberInput, Next, Notice},
};

use crate::bench::{Bench, Nothing};

const WAIT: Duration = Duration::from_millis(100);

fn query(number: u64, at_least: u64) -> MemberInput<Nothing> {
    MemberInput::Query(Query {
        connection: ConnectionId(7),
        number,
        method: MethodId(1),
        arguments: b"\x90"[..].into(),
        at_least: Lsn(at_least),
        wait: WAIT,
    })
}

/// The answer that so many deliveries were seen.
fn saw(number: u64, deliveries: u8, at: u64) -> Command {
    let answer = Answer { success: true, value: vec![deliveries].into() };
    Command::AnswerQuery(QueryAnswer { connection: ConnectionId(7), number, answer, at: Lsn(at) })
}

/// Why there is no answer.
fn failure(commands: &[Command]) -> String {
    let [Command::AnswerQuery(QueryAnswer { answer: Answer { success: false, value }, .. })] = commands else {
        panic!("{commands:?}")
    };
    String::from_utf8(value[5..].to_vec()).expect("a text")
}

fn durable(lsn: u64) -> MemberInput<Nothing> {
    MemberInput::Log { epoch: Epoch(1), event: LogEvent::Durable(Lsn(lsn)) }
}

fn impulse() -> MemberInput<Nothing> {
    MemberInput::Traffic(Traffic::Impulse {
        method: MethodId(1),
        arguments: b"\x90"[..].into(),
        request: None,
        from: None,
        trace: None,
    })
}

/// A primary whose log is durable.
fn primary() -> (Bench, u64) {
    let mut bench = Bench::primary();
    let last = bench.member.replica().expect("it has one").applied().0;
    bench.on(durable(last));
    (bench, last)
}

#[test]
fn a_primary_answers_at_once_when_all_is_durable_and_makes_no_record() {
    let (mut bench, last) = primary();
    let made = bench.seen.appended.len();
    assert_eq!(bench.on(query(3, 0)), [saw(3, 1, last)]);
    assert_eq!(bench.on(query(4, last)), [saw(4, 1, last)]);
    while bench.turn() == Next::Again {}
    assert_eq!((bench.seen.appended.len(), bench.seen.looks), (made, 2), "it looks at the fence, and writes nothing");
}

#[test]
fn an_answer_that_tells_of_a_record_waits_until_that_is_durable_and_looks_at_the_fence_behind_that() {
    let (mut bench, last) = primary();
    bench.on(impulse());
    while bench.turn() == Next::Again {}
    assert_eq!(bench.on(query(1, 0)), []);
    assert_eq!(bench.seen.looks, 0, "a look before it is durable says nothing");
    assert_eq!(bench.on(durable(last + 1)), [saw(1, 2, last + 1)]);
    assert_eq!(bench.seen.looks, 1);
}

#[test]
fn a_primary_that_was_deposed_answers_nothing_and_steps_down() {
    let (mut bench, _) = primary();
    bench.seen.fence = Err(Epoch(2));
    let wanted = bench.on(query(1, 0));
    let deposed = Command::Tell(Notice::Deposed { own: Epoch(1), by: Epoch(2) });
    assert_eq!(wanted, [deposed, Command::Abandon, Command::ListCheckpoints]);
    assert_eq!(bench.on(query(2, 0)), [], "nothing is answered before it was built anew");
}

fn looked(number: u64, newest: Result<(), Epoch>) -> MemberInput<Nothing> {
    MemberInput::Log { epoch: Epoch(1), event: LogEvent::Looked { number, newest } }
}

#[test]
fn a_look_that_takes_time_counts_for_queries_that_came_before_it_was_begun_and_the_others_share_the_next() {
    let (mut bench, last) = primary();
    bench.seen.is_fence_far = true;
    assert_eq!(bench.on(query(1, 0)), []);
    for number in 2..5 {
        assert_eq!(bench.on(query(number, 0)), [], "the look under way says nothing of it");
    }
    assert_eq!(bench.seen.looks, 1);
    assert_eq!(bench.on(looked(1, Ok(()))), [saw(1, 1, last)]);
    assert_eq!(bench.seen.looks, 2);
    assert_eq!(bench.on(looked(1, Ok(()))), [], "that was another one");
    assert_eq!(bench.on(looked(2, Ok(()))), [2, 3, 4].map(|number| saw(number, 1, last)));
    assert_eq!(bench.seen.looks, 2, "nobody waits any more");
}

#[test]
fn a_look_that_takes_time_says_nothing_of_what_becomes_durable_meanwhile() {
    let (mut bench, last) = primary();
    bench.seen.is_fence_far = true;
    assert_eq!(bench.on(query(1, 0)), []);
    bench.on(impulse());
    while bench.turn() == Next::Again {}
    assert_eq!(bench.on(query(2, 0)), []);
    assert_eq!(bench.on(durable(last + 1)), []);
    assert_eq!(bench.on(looked(1, Ok(()))), [saw(1, 1, last)]);
    assert_eq!(bench.on(looked(2, Ok(()))), [saw(2, 2, last + 1)]);
}

#[test]
fn a_look_that_finds_a_later_reign_ends_this_one_and_what_waits_is_not_let_out() {
    let (mut bench, _) = primary();
    bench.seen.is_fence_far = true;
    assert_eq!(bench.on(query(1, 0)), []);
    let deposed = Command::Tell(Notice::Deposed { own: Epoch(1), by: Epoch(2) });
    assert_eq!(bench.on(looked(1, Err(Epoch(2)))), [deposed, Command::Abandon, Command::ListCheckpoints]);
    assert_eq!(bench.on(looked(1, Ok(()))), []);
}

#[test]
fn a_primary_that_hands_over_lets_out_no_answer_behind_its_log() {
    let (mut bench, last) = primary();
    bench.on(impulse());
    while bench.turn() == Next::Again {}
    assert_eq!(bench.on(query(1, 0)), []);
    assert_eq!(bench.on(MemberInput::Shutdown), [Command::Close]);
    let wanted = bench.on(durable(last + 1));
    assert!(!wanted.iter().any(|command| matches!(command, Command::AnswerQuery(_))), "{wanted:?}");
    assert_eq!(bench.seen.looks, 0, "a log that is closed is not asked");
}

#[test]
fn a_standby_answers_with_how_far_it_is_and_waits_for_a_record_that_is_asked_for() {
    let mut bench = Bench::standby();
    assert_eq!(bench.on(query(1, 0)), [saw(1, 0, 1)]);
    assert_eq!(bench.on(query(2, 3)), []);
    let epoch = bench.epoch_record(crate::bench::ENGINE);
    assert_eq!(bench.read(vec![epoch]), [Command::Read]);
    bench.pass(WAIT / 2);
    let record = bench.impulse_record();
    assert_eq!(bench.read(vec![record]), [saw(2, 1, 3), Command::Read]);
    assert_eq!(bench.seen.looks, 0, "what it knows is durable");
    // One that waits for too long is told so, and one that still waits when the replica takes over is answered then.
    assert_eq!(bench.on(query(3, 9)), []);
    assert_eq!(bench.turn(), Next::After(Some(WAIT)));
    bench.pass(WAIT);
    bench.turn();
    let commands = bench.commands();
    assert_eq!(failure(&commands), "this replica is at lsn 3 and has not come to lsn 9 within 100ms");
}

#[test]
fn a_replica_that_has_not_caught_up_answers_once_it_has() {
    let mut bench = Bench::begin(crate::bench::settings());
    bench.commands();
    bench.on(query(1, 0));
    bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
    bench.on(MemberInput::Opened(0));
    let records = bench.log.clone();
    let epoch = bench.epoch_record(crate::bench::ENGINE);
    bench.on(MemberInput::Read { records, durable: Lsn(2), published: Lsn(0) });
    assert_eq!(bench.on(MemberInput::Made(Nothing::default())), [Command::Read]);
    assert_eq!(bench.on(query(2, 0)), [], "it may have answered at a later record before it was started anew");
    let wanted = bench.read(vec![epoch]);
    assert!(wanted.contains(&saw(2, 0, 2)), "{wanted:?}");
    assert!(!wanted.contains(&saw(1, 0, 2)), "what was asked before there was a replica is asked again");
}

#[test]
fn an_instance_that_stands_says_so() {
    let mut bench = Bench::standby();
    let epoch = bench.epoch_record(crate::bench::ENGINE);
    bench.read(vec![epoch]);
    let record = bench.poison_record();
    bench.read(vec![record]);
    let commands = bench.on(query(1, 0));
    assert_eq!(failure(&commands), "the instance has halted at lsn 3: it is poison");
}

#[test]
fn that_there_is_no_such_session_says_only_who_still_reigns() {
    let unknown = || {
        let (connection, session, ticket) = (ConnectionId(3), SessionId([5; 16]), Ticket(1));
        MemberInput::Traffic(Traffic::SessionConfirmed { connection, session, ticket, confirmed: Seq(1) })
    };
    let (mut bench, _) = primary();
    let said = bench.on(unknown());
    let wanted = SessionRefusal::Ended;
    let is_refused = |command: &Command| matches!(command, Command::Out(Output::SessionRefused { refusal, .. }) if *refusal == wanted);
    assert!(said.iter().any(is_refused), "{said:?}");
    assert_eq!(bench.seen.looks, 1);
    // A later reign may have opened it.
    bench.seen.fence = Err(Epoch(2));
    let said = bench.on(unknown());
    assert!(!said.iter().any(is_refused) && said.contains(&Command::Abandon), "{said:?}");
}
