//! An instance that stands at a record which its guest can't handle: it goes on if that is mended, and else it stands.

use std::time::Duration;

use ambrosia_core::{
    ConnectionId, Epoch, Fault, InstanceName, InstanceUuid, Limits, Lsn, Mend, Outcome, Output, Record, RecordKind,
    Refusal, Remedy, Skip, Traffic, Upgrade,
    member::{Change, Command, Ending, MemberInput, Notice, Wish, WishOutcome},
};

use crate::{
    bench::{Bench, ENGINE, FAILS_AGAIN, Nothing, TAKES_ALL, genesis},
    durable,
    inquiries::inquiry,
};

const SECOND: Duration = Duration::from_secs(1);
/// The record that is poison.
const VOID: Lsn = Lsn(3);

fn fault() -> Fault {
    Fault::because("it is poison")
}

fn wish(change: Change) -> Wish {
    Wish { change, wait: 30 * SECOND, hold: false, is_cancelled: false }
}

fn upgrade(behaviour: u8) -> Upgrade {
    let limits = Limits { fuel: 4, memory_bytes: 5 };
    Upgrade { attempt: 1, from: genesis().module, to: [behaviour; 32], limits, handover_fuel: 6, end_waiting: false }
}

fn skipping(lsn: Lsn) -> Wish {
    wish(Change::Skip { lsn, skip: Skip { attempt: 1, messages: vec![1] } })
}

fn mending(is_mended: bool, wish: Option<&Wish>) -> MemberInput<Nothing> {
    MemberInput::Mending { is_mended, wish: wish.cloned() }
}

fn settled(epoch: u64, outcome: WishOutcome) -> Command {
    Command::SettleWish { attempt: 1, epoch: Epoch(epoch), outcome }
}

/// What a member does that stands for good.
fn stands() -> [Command; 2] {
    let outcome = Outcome::Halted { fault: fault(), lsn: VOID };
    [Command::WriteDown(outcome), Command::End(Ending::Halted { fault: fault(), lsn: VOID })]
}

/// A standby whose guest has failed at a record of the first reign.
fn failed() -> Bench {
    let mut bench = Bench::standby();
    let records = vec![bench.epoch_record(ENGINE), bench.poison_record()];
    let link = records[1].header().link();
    assert_eq!(bench.read(records), [Command::LookForMend { lsn: VOID, link }], "it goes no further");
    bench
}

/// The same, begun anew: it has left the record out, and has applied all that the log has.
fn left_out(wish: Option<&Wish>, is_mended: bool) -> (Bench, Vec<Command>) {
    let mut bench = failed();
    let mut commands = bench.on(mending(is_mended, wish));
    assert_eq!(commands.remove(0), Command::Tell(Notice::ToBeMended(VOID)));
    assert_eq!(commands[commands.len() - 2..], [Command::Abandon, Command::ListCheckpoints], "{commands:?}");
    bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
    bench.on(MemberInput::Opened(0));
    let records = bench.log.clone();
    bench.read(records);
    commands.extend(bench.on(MemberInput::Made(Nothing::default())));
    commands.extend(bench.read(Vec::new()));
    (bench, commands)
}

/// It begins the second reign.
fn take_over(bench: &mut Bench) -> Vec<Command> {
    assert_eq!(bench.on(MemberInput::Vacant { over: Epoch(1), is_stuck: false }), [Command::Acquire(Epoch(1))]);
    let record = bench.epoch_record(ENGINE);
    let wall = bench.surroundings.wall;
    bench.on(MemberInput::Acquired { epoch: Epoch(2), records: vec![record], wall })
}

/// It reigns and claims the wish.
fn claim(bench: &mut Bench) -> Vec<Command> {
    assert_eq!(bench.turned(), [Command::ClaimWish { attempt: 1, epoch: Epoch(2) }]);
    let mut commands = bench.on(MemberInput::Claimed { attempt: 1, epoch: Epoch(2), is_claimed: true });
    commands.extend(bench.turned());
    commands
}

fn kinds(records: &[Record]) -> Vec<RecordKind> {
    records.iter().map(|record| record.header().kind).collect()
}

fn announces(command: &Command) -> bool {
    matches!(command, Command::Announce(_))
}

#[test]
fn without_a_mend_or_a_wish_for_one_an_instance_stands() {
    let mut bench = failed();
    assert_eq!(bench.on(mending(false, None)), stands());
}

#[test]
fn a_mend_that_is_wished_is_made_before_anybody_is_heard_and_said_once_it_is_durable() {
    for (wish, remedy) in [
        (wish(Change::Upgrade(upgrade(TAKES_ALL))), Remedy::Upgrade(upgrade(TAKES_ALL))),
        (skipping(VOID), Remedy::Skip(Skip { attempt: 1, messages: vec![1] })),
    ] {
        let (mut bench, commands) = left_out(Some(&wish), false);
        assert!(commands.contains(&Command::Watch), "it is ready to take over: {commands:?}");
        let commands = take_over(&mut bench);
        assert!(!commands.iter().any(announces), "{commands:?}");
        let connection = ConnectionId(4);
        let (name, uuid) = (InstanceName::new("peer").expect("plain"), InstanceUuid([5; 16]));
        let traffic = Traffic::PeerConnected { connection, name, uuid, epoch: Epoch(1) };
        let refused = Command::Out(Output::Refuse { connection, reason: Refusal::Ended });
        assert_eq!(bench.on(MemberInput::Traffic(traffic)), [refused]);
        if matches!(remedy, Remedy::Upgrade(_)) {
            assert_eq!(bench.turned(), [], "the module is not at hand");
            bench.on(MemberInput::Prepared { attempt: 1, result: Ok(()) });
        }
        claim(&mut bench);
        assert_eq!(kinds(&bench.seen.appended)[..2], [RecordKind::Mend, RecordKind::Digest]);
        let mend = Mend { lsn: VOID, link: bench.log[2].header().link(), remedy };
        assert_eq!(Mend::of(&bench.seen.appended[0]), Ok(Some(mend.clone())));
        let commands = bench.on(durable(2, 5));
        let told = Command::Tell(Notice::Mended { mend, lsn: Lsn(5) });
        assert_eq!(commands, [told, settled(2, WishOutcome::Done(Lsn(5))), Command::Announce(Epoch(2))]);
        bench.turned();
        assert!(kinds(&bench.seen.appended).contains(&RecordKind::Deliver), "the guest is told that it reigns");
    }
}

#[test]
fn a_reign_that_ends_is_not_announced_when_its_mend_becomes_durable() {
    let (mut bench, _) = left_out(Some(&skipping(VOID)), false);
    take_over(&mut bench);
    claim(&mut bench);
    assert!(bench.on(MemberInput::Shutdown).contains(&Command::Close));
    let commands = bench.on(durable(2, 5));
    assert!(!commands.iter().any(announces), "{commands:?}");
    assert!(commands.contains(&settled(2, WishOutcome::Done(Lsn(5)))), "{commands:?}");
}

#[test]
fn a_reign_that_is_over_in_the_step_in_which_its_mend_becomes_durable_is_not_announced() {
    let (mut bench, _) = left_out(Some(&skipping(VOID)), false);
    take_over(&mut bench);
    claim(&mut bench);
    bench.on(inquiry(1, "r", Duration::ZERO));
    bench.seen.fence = Err(Epoch(3));
    let last = bench.member.replica().expect("it has one").applied();
    let commands = bench.on(durable(2, last.0));
    assert!(commands.contains(&Command::Abandon), "a look at the fence has shown the next reign: {commands:?}");
    assert!(!commands.iter().any(announces), "{commands:?}");
}

#[test]
fn what_does_not_help_is_refused_and_the_instance_stands_as_before() {
    for (wish, reason) in [
        (wish(Change::Upgrade(upgrade(FAILS_AGAIN))), "it is poison"),
        (skipping(Lsn(2)), "the instance stands at lsn 3, and messages of lsn 2 were to be skipped"),
    ] {
        let (mut bench, _) = left_out(Some(&wish), false);
        take_over(&mut bench);
        if matches!(wish.change, Change::Upgrade(_)) {
            bench.on(MemberInput::Prepared { attempt: 1, result: Ok(()) });
        }
        let mut commands = claim(&mut bench);
        commands.extend(bench.turned());
        assert!(commands.contains(&settled(2, WishOutcome::Refused(reason.to_owned()))), "{commands:?}");
        assert_eq!(kinds(&bench.seen.appended), [], "nothing is in the log");
        assert_eq!(commands[commands.len() - 2..], [stands()[0].clone(), Command::Close]);
        assert_eq!(bench.on(MemberInput::Closed), stands()[1..]);
    }
}

#[test]
fn a_wish_that_is_taken_back_leaves_the_instance_where_it_stands() {
    let (mut bench, _) = left_out(Some(&skipping(VOID)), false);
    bench.on(MemberInput::Wish(None));
    take_over(&mut bench);
    assert_eq!(bench.turned(), [stands()[0].clone(), Command::Close]);
}

#[test]
fn a_late_replica_follows_a_mend_that_is_in_the_log_and_says_nothing_of_a_halt() {
    let mut bench = failed();
    bench.epoch_record(ENGINE);
    let mend = Mend {
        lsn: VOID,
        link: bench.log[2].header().link(),
        remedy: Remedy::Skip(Skip { attempt: 1, messages: vec![1] }),
    };
    bench.mend_record(&mend);
    let mut commands = bench.on(mending(true, None));
    bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
    bench.on(MemberInput::Opened(0));
    let records = bench.log.clone();
    bench.read(records);
    commands.extend(bench.on(MemberInput::Made(Nothing::default())));
    assert!(commands.contains(&Command::Tell(Notice::Mended { mend, lsn: Lsn(5) })), "{commands:?}");
    assert!(!commands.iter().any(|command| matches!(command, Command::WriteDown(_))), "{commands:?}");
    assert_eq!(bench.member.replica().map(|replica| (replica.void(), replica.applied())), Some((None, Lsn(5))));
}

/// Another one has mended it meanwhile, by something else than what was wished.
#[test]
fn what_the_log_says_counts_and_not_what_was_wished() {
    let (mut bench, _) = left_out(Some(&wish(Change::Upgrade(upgrade(TAKES_ALL)))), false);
    let epoch = bench.epoch_record(ENGINE);
    let remedy = Remedy::Skip(Skip { attempt: 2, messages: vec![1] });
    let mend = bench.mend_record(&Mend { lsn: VOID, link: bench.log[2].header().link(), remedy });
    bench.read(vec![epoch, mend]);
    let replica = bench.member.replica().expect("it goes on");
    assert_eq!((replica.module(), replica.attempt(), replica.void()), (genesis().module, 2, None));
}

#[test]
fn what_an_earlier_primary_has_mended_and_could_not_say_the_next_one_says() {
    let mut bench = failed();
    bench.epoch_record(ENGINE);
    let remedy = Remedy::Skip(Skip { attempt: 1, messages: vec![1] });
    bench.mend_record(&Mend { lsn: VOID, link: bench.log[2].header().link(), remedy });
    bench.on(mending(true, Some(&skipping(VOID))));
    bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
    bench.on(MemberInput::Opened(0));
    let records = bench.log.clone();
    bench.read(records);
    bench.on(MemberInput::Made(Nothing::default()));
    bench.read(Vec::new());
    bench.on(MemberInput::Vacant { over: Epoch(2), is_stuck: false });
    let record = bench.epoch_record(ENGINE);
    let wall = bench.surroundings.wall;
    let commands = bench.on(MemberInput::Acquired { epoch: Epoch(3), records: vec![record], wall });
    assert!(commands.iter().any(announces), "there is nothing to be mended: {commands:?}");
    assert_eq!(bench.turned(), [Command::ClaimWish { attempt: 1, epoch: Epoch(3) }]);
    let mut commands = bench.on(MemberInput::Claimed { attempt: 1, epoch: Epoch(3), is_claimed: true });
    commands.extend(bench.turned());
    assert!(commands.contains(&settled(3, WishOutcome::Done(Lsn(5)))), "{commands:?}");
}

#[test]
fn what_no_program_writes_behind_a_record_that_was_left_out_is_told() {
    let (mut bench, _) = left_out(Some(&skipping(VOID)), false);
    let record = bench.poison_record();
    let commands = bench.read(vec![record]);
    assert!(matches!(&commands[..], [Command::End(Ending::BadRecord { lsn: Lsn(4), .. })]), "{commands:?}");
}

#[test]
fn messages_of_an_instance_that_goes_on_are_not_skipped() {
    let mut bench = Bench::primary();
    bench.on(MemberInput::Wish(Some(skipping(VOID))));
    assert_eq!(bench.turned(), [Command::ClaimWish { attempt: 1, epoch: Epoch(1) }]);
    let mut commands = bench.on(MemberInput::Claimed { attempt: 1, epoch: Epoch(1), is_claimed: true });
    commands.extend(bench.turned());
    let reason = "the instance does not stand at lsn 3: it goes on".to_owned();
    assert!(commands.contains(&settled(1, WishOutcome::Refused(reason))), "{commands:?}");
}

#[test]
fn what_has_become_of_a_request_is_not_told_before_the_record_is_mended_that_may_hold_it() {
    let (mut bench, _) = left_out(Some(&skipping(VOID)), false);
    take_over(&mut bench);
    let is_told = |commands: &[Command]| commands.iter().any(|command| matches!(command, Command::AnswerInquiry(_)));
    assert!(!is_told(&bench.on(inquiry(1, "r", Duration::ZERO))));
    assert!(!is_told(&claim(&mut bench)));
    let last = bench.member.replica().expect("it has one").applied();
    let mut commands = bench.on(durable(2, last.0));
    commands.extend(bench.turned());
    assert!(is_told(&commands), "{commands:?}");
}
