//! Wishes: prepared by everybody, carried out by whoever is primary, and answered once that is durable.

use std::time::Duration;

use ambrosia_core::{
    ConnectionId, Epoch, Fault, Limits, Lsn, MethodId, RecordKind, ReplicaIndex, Traffic, Upgrade,
    member::{
        Change, CheckpointEvent, Command, Ending, MemberInput, Notice, Other, OtherRole, Verdict, Wish, WishOutcome,
    },
};
use bytes::Bytes;

use crate::{
    OTHER,
    bench::{Bench, CANNOT_BE_CAPTURED, IS_LOST, Nothing, REFUSES, TAKES_ALL, WAITS, WAITS_ONCE, genesis},
    durable, others,
};

const SECOND: Duration = Duration::from_secs(1);

fn wish(attempt: u64, behaviour: u8) -> Wish {
    let upgrade = Upgrade {
        attempt,
        from: genesis().module,
        to: [behaviour; 32],
        limits: Limits { fuel: 4, memory_bytes: 5 },
        handover_fuel: 6,
        end_waiting: false,
    };
    Wish { change: Change::Upgrade(upgrade), wait: 30 * SECOND, hold: false, is_cancelled: false }
}

/// The upgrade that is wished for.
fn upgrade(wish: &Wish) -> Upgrade {
    match wish.change {
        Change::Upgrade(upgrade) => upgrade,
        Change::Skip { .. } => panic!("an upgrade is wished for"),
    }
}

/// Turns until nothing is left to be done. Every wish that is claimed is the claimer's.
fn turned(bench: &mut Bench) -> Vec<Command> {
    let mut commands = Vec::new();
    loop {
        let mut news = bench.turned();
        if news.is_empty() {
            return commands;
        }
        let claim = news.iter().position(|command| matches!(command, Command::ClaimWish { .. }));
        let claim = claim.map(|at| news.remove(at));
        commands.extend(news);
        if let Some(Command::ClaimWish { attempt, epoch }) = claim {
            commands.extend(bench.on(MemberInput::Claimed { attempt, epoch, is_claimed: true }));
        }
    }
}

fn wished(wish: &Wish) -> MemberInput<Nothing> {
    MemberInput::Wish(Some(wish.clone()))
}

fn prepared(attempt: u64) -> MemberInput<Nothing> {
    MemberInput::Prepared { attempt, result: Ok(()) }
}

fn settled(attempt: u64, outcome: WishOutcome) -> Command {
    settled_in(1, attempt, outcome)
}

fn settled_in(epoch: u64, attempt: u64, outcome: WishOutcome) -> Command {
    Command::SettleWish { attempt, epoch: Epoch(epoch), outcome }
}

/// Who follows, with the module of that wish at hand.
fn standby(ready: u64) -> Other {
    Other { replica: OTHER, role: OtherRole::Standby, applied: Lsn(2), ready, heartbeat_age: Duration::ZERO }
}

/// A primary with a wish whose module is at hand, and which has looked at the others.
fn primary_with(wish: &Wish, running: &[Other]) -> (Bench, Vec<Command>) {
    let mut bench = Bench::primary();
    let attempt = wish.attempt();
    assert_eq!(bench.on(wished(wish)), [Command::Prepare { attempt, module: upgrade(wish).to }]);
    assert_eq!(turned(&mut bench), [], "nothing is tried before the module is at hand");
    assert_eq!(bench.on(prepared(attempt)), [Command::Ready(attempt)]);
    assert_eq!(turned(&mut bench), [Command::Look]);
    bench.on(others(running, 1));
    let commands = turned(&mut bench);
    (bench, commands)
}

fn kinds(bench: &Bench) -> Vec<RecordKind> {
    bench.seen.appended.iter().map(|record| record.header().kind).collect()
}

#[test]
fn a_wish_is_carried_out_and_said_to_be_once_it_is_durable() {
    let wish = wish(1, TAKES_ALL);
    let (mut bench, _) = primary_with(&wish, &[]);
    let lsn = Lsn(4);
    assert_eq!(kinds(&bench)[1..3], [RecordKind::Upgrade, RecordKind::Digest], "replicas compare themselves behind it");
    let replica = bench.member.replica().expect("it was built");
    assert_eq!((replica.module(), replica.upgraded_at()), (upgrade(&wish).to, lsn));
    assert!(!turned(&mut bench).contains(&settled(1, WishOutcome::Done(lsn))), "it is not durable yet");
    let commands = bench.on(durable(1, 4));
    let told = Command::Tell(Notice::Upgraded { upgrade: upgrade(&wish), lsn });
    assert_eq!(commands, [told, settled(1, WishOutcome::Done(lsn))]);
    assert_eq!(bench.on(wished(&wish)), [], "it stands in the registry for a while");
}

#[test]
fn a_checkpoint_is_taken_behind_an_upgrade_and_it_rests_on_none_from_before() {
    let mut bench = Bench::primary();
    bench.on(MemberInput::CheckpointWanted(ConnectionId(9)));
    turned(&mut bench);
    bench.on(others(&[], 1));
    turned(&mut bench); // copied ahead
    bench.on(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: true }));
    let commands = turned(&mut bench);
    assert!(commands.contains(&Command::Capture { at: Lsn(4), parent: None }), "{commands:?}");
    bench.on(MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(()))));
    // It is being written when the upgrade happens, and counts after it.
    let wish = wish(1, TAKES_ALL);
    bench.on(wished(&wish));
    bench.on(prepared(1));
    bench.pass(SECOND);
    turned(&mut bench);
    bench.on(others(&[], 1));
    turned(&mut bench);
    assert_eq!(bench.member.replica().expect("it was built").module(), upgrade(&wish).to);
    bench.on(durable(1, 6));
    bench.on(MemberInput::Checkpoint(CheckpointEvent::Written(Ok(()))));
    bench.on(MemberInput::Checkpoint(CheckpointEvent::Published(Ok(()))));
    bench.on(MemberInput::Checkpoint(CheckpointEvent::Compacted(Ok(()))));
    bench.on(others(&[], 1));
    bench.on(MemberInput::Checkpoint(CheckpointEvent::Tidied(Ok(()))));
    // The one behind the upgrade.
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.extend(turned(&mut bench));
        if seen.contains(&Command::Look) {
            seen.extend(bench.on(others(&[], 1)));
        }
        if let Some(at) = seen.iter().position(|command| matches!(command, Command::CopyAhead { .. })) {
            assert_eq!(seen.remove(at), Command::CopyAhead { parent: None });
            seen.extend(bench.on(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: true })));
        }
    }
    let captures: Vec<_> = seen.iter().filter(|command| matches!(command, Command::Capture { .. })).collect();
    assert!(matches!(captures[..], [Command::Capture { parent: None, .. }]), "{seen:?}");
}

#[test]
fn standbys_are_given_time_to_get_the_module_and_then_left_behind() {
    let wish = wish(1, TAKES_ALL);
    let (mut bench, commands) = primary_with(&wish, &[standby(0)]);
    assert_eq!(commands, [], "one has not got it");
    bench.pass(SECOND);
    assert_eq!(turned(&mut bench), [Command::Look]);
    bench.on(others(&[standby(1)], 1));
    turned(&mut bench);
    assert_eq!(bench.member.replica().expect("it was built").module(), upgrade(&wish).to, "now it has");

    let (mut bench, _) = primary_with(&wish, &[standby(0)]);
    bench.pass(10 * SECOND);
    turned(&mut bench);
    let mut commands = bench.on(others(&[standby(0)], 1));
    commands.extend(turned(&mut bench));
    assert!(commands.contains(&Command::Tell(Notice::NotReady(vec![ReplicaIndex(1)]))), "{commands:?}");
    assert_eq!(bench.member.replica().expect("it was built").module(), upgrade(&wish).to);

    let gone = Other { heartbeat_age: 60 * SECOND, ..standby(0) };
    let (bench, _) = primary_with(&wish, &[gone]);
    assert_eq!(
        bench.member.replica().expect("it was built").module(),
        upgrade(&wish).to,
        "who is gone keeps nobody waiting"
    );
}

#[test]
fn what_is_refused_is_said_and_nothing_of_it_is_in_the_log() {
    let (mut bench, commands) = primary_with(&wish(1, REFUSES), &[]);
    let fault = Fault::because("it does not fit");
    let told = Command::Tell(Notice::UpgradeRefused { attempt: 1, fault });
    assert_eq!(commands, [told, settled(1, WishOutcome::Refused("it does not fit".to_owned()))]);
    assert_eq!(kinds(&bench), [RecordKind::Deliver]);
    assert_eq!(bench.on(wished(&wish(1, REFUSES))), [], "it is not tried again");
    // The next wish is another one.
    let next = wish(2, TAKES_ALL);
    assert_eq!(bench.on(wished(&next)), [Command::Prepare { attempt: 2, module: upgrade(&next).to }]);
    bench.on(prepared(2));
    turned(&mut bench);
    assert_eq!(bench.member.replica().expect("it was built").module(), upgrade(&next).to);
}

#[test]
fn a_module_that_cannot_be_had_or_another_one_to_begin_with_is_a_refusal() {
    let mut bench = Bench::primary();
    bench.on(wished(&wish(1, TAKES_ALL)));
    bench.on(MemberInput::Prepared { attempt: 1, result: Err("the module is damaged".to_owned()) });
    let refused = settled(1, WishOutcome::Refused("the module is damaged".to_owned()));
    assert_eq!(turned(&mut bench), [refused]);
    let other = Upgrade { from: [9; 32], ..upgrade(&wish(2, TAKES_ALL)) };
    let foreign = Wish { change: Change::Upgrade(other), ..wish(2, TAKES_ALL) };
    bench.on(wished(&foreign));
    let commands = turned(&mut bench);
    assert!(matches!(&commands[..], [Command::SettleWish { attempt: 2, outcome: WishOutcome::Refused(_), .. }]));
    assert_eq!(kinds(&bench), [RecordKind::Deliver]);
}

#[test]
fn who_waits_for_handlers_tries_again_and_gives_up_in_the_end() {
    let (mut bench, commands) = primary_with(&wish(1, WAITS_ONCE), &[]);
    let report = "a waits".to_owned();
    assert_eq!(commands, [Command::Tell(Notice::UpgradeWaits { attempt: 1, report: report.clone() })]);
    assert_eq!(turned(&mut bench), [], "not at once");
    bench.pass(SECOND);
    turned(&mut bench);
    assert_eq!(bench.member.replica().expect("it was built").module(), [WAITS_ONCE; 32]);

    let (mut bench, _) = primary_with(&wish(1, WAITS), &[]);
    for _ in 0..29 {
        bench.pass(SECOND);
        assert_eq!(turned(&mut bench), [], "it is told once");
    }
    bench.pass(SECOND);
    assert_eq!(turned(&mut bench), [settled(1, WishOutcome::GivenUp(report))]);
    assert_eq!(kinds(&bench), [RecordKind::Deliver]);
}

#[test]
fn a_wish_that_is_taken_back_is_not_carried_out() {
    let (mut bench, _) = primary_with(&wish(1, WAITS_ONCE), &[]);
    bench.on(MemberInput::Wish(None));
    bench.pass(2 * SECOND);
    assert_eq!(turned(&mut bench), []);
    assert_eq!(bench.member.replica().expect("it was built").module(), genesis().module);
    assert_eq!(bench.on(prepared(1)), [], "of a wish that stands no more");
}

/// An instance that was down is to deliver nothing to the old code.
#[test]
fn a_wish_that_is_there_when_a_reign_begins_comes_before_every_delivery() {
    let mut bench = Bench::standby();
    let wish = wish(1, TAKES_ALL);
    assert_eq!(bench.on(wished(&wish)), [Command::Prepare { attempt: 1, module: upgrade(&wish).to }]);
    bench.on(MemberInput::Vacant { over: Epoch(0), is_stuck: false });
    let record = bench.epoch_record(crate::bench::ENGINE);
    let wall = bench.surroundings.wall;
    bench.on(MemberInput::Acquired { epoch: Epoch(1), records: vec![record], wall });
    let impulse =
        Traffic::Impulse { method: MethodId(1), arguments: Bytes::new(), request: None, from: None, trace: None };
    bench.on(MemberInput::Traffic(impulse));
    turned(&mut bench);
    assert_eq!(kinds(&bench), [], "the module is not at hand");
    assert_eq!(bench.on(prepared(1)), [Command::Ready(1)]);
    turned(&mut bench);
    assert_eq!(kinds(&bench)[..3], [RecordKind::Upgrade, RecordKind::Digest, RecordKind::Deliver]);
}

#[test]
fn what_an_earlier_primary_has_done_and_could_not_say_the_next_one_says() {
    let mut bench = Bench::standby();
    let wish = wish(1, TAKES_ALL);
    bench.on(wished(&wish));
    assert_eq!(bench.on(prepared(1)), [Command::Ready(1)], "a standby has it at hand, too");
    let first = bench.epoch_record(crate::bench::ENGINE);
    let record = bench.upgrade_record(&upgrade(&wish));
    let commands = bench.read(vec![first, record]);
    let told = Command::Tell(Notice::Upgraded { upgrade: upgrade(&wish), lsn: Lsn(3) });
    assert_eq!(commands, [told, Command::Read]);
    bench.on(MemberInput::Vacant { over: Epoch(1), is_stuck: false });
    let record = bench.epoch_record(crate::bench::ENGINE);
    let wall = bench.surroundings.wall;
    bench.on(MemberInput::Acquired { epoch: Epoch(2), records: vec![record], wall });
    assert_eq!(turned(&mut bench), [settled_in(2, 1, WishOutcome::Done(Lsn(3)))]);
    assert!(!kinds(&bench).contains(&RecordKind::Upgrade), "it is not done twice");
}

#[test]
fn a_standby_that_cannot_do_what_the_primary_has_done_ends() {
    let mut bench = Bench::standby();
    let first = bench.epoch_record(crate::bench::ENGINE);
    let upgrade = bench.upgrade_record(&upgrade(&wish(1, REFUSES)));
    let commands = bench.read(vec![first, upgrade]);
    let fault = Fault::because("it does not fit");
    assert_eq!(commands, [Command::End(Ending::UpgradeFailed { fault, lsn: Lsn(3) })]);
}

#[test]
fn a_guest_that_is_lost_in_the_try_is_built_anew_from_the_log() {
    let (mut bench, commands) = primary_with(&wish(1, IS_LOST), &[]);
    let refused = settled(1, WishOutcome::Refused("it traps".to_owned()));
    assert_eq!(commands[1..], [refused, Command::Close], "{commands:?}");
    assert_eq!(bench.on(MemberInput::Closed), [Command::Abandon, Command::ListCheckpoints]);
}

#[test]
fn whether_there_are_checkpoints_is_a_matter_of_the_module_that_runs() {
    let (mut bench, _) = primary_with(&wish(1, CANNOT_BE_CAPTURED), &[]);
    bench.on(durable(1, 5));
    assert_eq!(turned(&mut bench), [], "no checkpoint is asked for behind this upgrade");
    let connection = ConnectionId(3);
    let verdict = Verdict::Refused("the guest can't be captured: it hides something".to_owned());
    let refused = [Command::Answer { connection, verdict }];
    assert_eq!(bench.on(MemberInput::CheckpointWanted(connection)), refused);
    let digests = |bench: &Bench| kinds(bench).iter().filter(|kind| **kind == RecordKind::Digest).count();
    let before = digests(&bench);
    // Whoever asks may be a standby of another engine, which has to compare itself.
    let (arguments, request) = (Bytes::new(), None);
    let impulse = Traffic::Impulse { method: MethodId(1), arguments, request, from: None, trace: None };
    bench.on(MemberInput::Traffic(impulse));
    turned(&mut bench);
    for _ in 0..2 {
        assert_eq!(bench.on(MemberInput::CheckpointWanted(connection)).last(), refused.last());
        turned(&mut bench);
        assert_eq!(digests(&bench), before + 1, "one, and none where there is nothing new");
    }
}

#[test]
fn impulses_wait_for_an_upgrade_that_waits_if_that_is_wished() {
    let held = Wish { hold: true, ..wish(1, WAITS) };
    let (mut bench, _) = primary_with(&held, &[]);
    let impulse =
        || Traffic::Impulse { method: MethodId(1), arguments: Bytes::new(), request: None, from: None, trace: None };
    bench.on(MemberInput::Traffic(impulse()));
    turned(&mut bench);
    assert_eq!(kinds(&bench), [RecordKind::Deliver], "it waits");
    bench.pass(31 * SECOND);
    turned(&mut bench);
    while bench.turn() == ambrosia_core::member::Next::Again {}
    assert_eq!(kinds(&bench), [RecordKind::Deliver, RecordKind::Deliver], "until the upgrade is given up");
}

/// One that was deposed and does not know it must neither do anything nor say anything of the wish.
#[test]
fn a_wish_that_another_primary_sees_to_is_left_to_it() {
    let mut bench = Bench::primary();
    let wish = wish(1, REFUSES);
    bench.on(wished(&wish));
    bench.on(prepared(1));
    assert_eq!(bench.turned(), [Command::Look]);
    bench.on(others(&[], 1));
    assert_eq!(bench.turned(), [Command::ClaimWish { attempt: 1, epoch: Epoch(1) }]);
    assert_eq!(bench.turned(), [], "it is claimed once");
    bench.on(MemberInput::Claimed { attempt: 1, epoch: Epoch(1), is_claimed: false });
    assert_eq!(bench.turned(), []);
    bench.pass(SECOND);
    assert_eq!(bench.turned(), [Command::Look]);
    bench.on(others(&[], 1));
    let claims = bench.turned();
    assert_eq!(claims, [Command::ClaimWish { attempt: 1, epoch: Epoch(1) }], "the other one may be gone");
}

/// The answer may not have been heard: a later reign had claimed the wish, and is gone.
#[test]
fn a_wish_that_still_stands_in_a_later_reign_is_seen_to_again() {
    let (mut bench, _) = primary_with(&wish(1, REFUSES), &[]);
    bench.on(MemberInput::Fenced { by: Epoch(2) });
    let commands = bench.follow_anew();
    assert!(!commands.iter().any(|command| matches!(command, Command::Prepare { .. })), "it is at hand");
    bench.on(MemberInput::Vacant { over: Epoch(1), is_stuck: false });
    let record = bench.epoch_record(crate::bench::ENGINE);
    let wall = bench.surroundings.wall;
    bench.on(MemberInput::Acquired { epoch: Epoch(2), records: vec![record], wall });
    let refused = settled_in(2, 1, WishOutcome::Refused("it does not fit".to_owned()));
    assert!(turned(&mut bench).contains(&refused));
}

#[test]
fn a_wish_that_is_taken_back_after_it_was_claimed_is_answered() {
    let waiting = wish(1, WAITS);
    let (mut bench, _) = primary_with(&waiting, &[]);
    bench.on(wished(&Wish { is_cancelled: true, ..waiting }));
    assert_eq!(turned(&mut bench), [settled(1, WishOutcome::GivenUp("it was taken back".to_owned()))]);
    let done = wish(2, TAKES_ALL);
    let (mut bench, _) = primary_with(&done, &[]);
    bench.on(wished(&Wish { is_cancelled: true, ..done }));
    assert!(bench.on(durable(1, 4)).contains(&settled(2, WishOutcome::Done(Lsn(4)))), "it was too late");
}
