//! Upgrades: judged first and written after, the same on every replica, and without a trace when they fail.

use ambrosia_core::{
    Fault, HandoverError, Input, Limits, Lsn, MessageKind, Output, PeerIndex, RecordKind, Timestamp, Upgrade,
};

use crate::bench::{Bench, EXITS, Hand, IS_AT_FAULT, IS_LOST, REFUSES, TAKES_ALL, WAITS};

/// An upgrade of a fresh instance to a module that does so when it takes over.
pub(crate) fn to(behaviour: u8) -> Upgrade {
    Upgrade {
        attempt: 1,
        from: [2; 32],
        to: [behaviour; 32],
        limits: Limits { fuel: 40, memory_bytes: 50 },
        handover_fuel: 1000,
        end_waiting: false,
    }
}

/// Sends to a friend.
fn chat(_: PeerIndex, message: &ambrosia_core::Message<'_>, hand: &mut Hand<'_>) {
    if message.kind == MessageKind::Impulse {
        let friend = hand.attach("friend");
        hand.effect(friend, MessageKind::Fork, 0, message.arguments);
        hand.effect(PeerIndex::OUTSIDE, MessageKind::Waiting, 0, &5_u64.to_le_bytes());
    }
}

fn chatted() -> Bench {
    let mut bench = Bench::new(chat);
    bench.impulse(b"one");
    bench
}

#[test]
fn what_an_upgrade_changes_every_replica_and_checkpoint_has_from_its_record_on() {
    let mut bench = chatted();
    assert_eq!(bench.replica.waiting_handlers(), Some(5), "as the guest has told");
    let (digest, before) = (bench.replica.digest(), bench.records.len());
    let outputs = bench.upgrade(to(TAKES_ALL));
    let after = Lsn(bench.records.len() as u64);
    assert_eq!(bench.records.len(), before + 1);
    assert_eq!(bench.records[before].header().kind, RecordKind::Upgrade);
    assert!(outputs.contains(&Output::Upgraded { upgrade: to(TAKES_ALL), after }), "{outputs:?}");
    let connects = |output: &Output| matches!(output, Output::Connect { name, .. } if name.as_str() == "fresh");
    assert!(outputs.iter().any(connects), "what the new code sends goes out: {outputs:?}");
    let replica = &bench.replica;
    assert_eq!((replica.module(), replica.limits()), ([TAKES_ALL; 32], to(TAKES_ALL).limits));
    assert_eq!((replica.attempt(), replica.upgraded_at()), (1, after));
    assert_eq!((replica.waiting_handlers(), replica.wake_at()), (Some(2), Some(Timestamp(9000))));
    assert_ne!(replica.digest(), digest);
    // As a replay, and as a checkpoint, has it.
    bench.take_over();
    assert_eq!(bench.replica.module(), [TAKES_ALL; 32]);
    let resumed = bench.resumed(&bench.replica.checkpoint().to_vec());
    assert_eq!((resumed.module(), resumed.limits()), ([TAKES_ALL; 32], to(TAKES_ALL).limits));
    bench.impulse(b"two");
    bench.take_over();
}

#[test]
fn an_upgrade_that_fails_leaves_no_trace() {
    for (behaviour, reason) in [
        (REFUSES, "it does not fit"),
        (IS_AT_FAULT, "the guest sent to peer 99, which it never attached"),
        (EXITS, "the new code exits while it takes over the state"),
    ] {
        let mut bench = chatted();
        let before = (bench.replica.checkpoint().to_vec(), bench.heard().to_vec(), bench.records.len());
        let outputs = bench.upgrade(to(behaviour));
        let fault = Fault::because(reason);
        assert_eq!(outputs, [Output::UpgradeRefused { attempt: 1, fault, is_lost: false }]);
        let after = (bench.replica.checkpoint().to_vec(), bench.heard().to_vec(), bench.records.len());
        assert!(before == after, "{reason}: the instance is what it was");
        bench.impulse(b"two");
        bench.take_over();
    }
}

#[test]
fn an_upgrade_that_waits_for_handlers_leaves_no_trace_and_may_be_tried_again() {
    let mut bench = chatted();
    let before = (bench.replica.checkpoint().to_vec(), bench.records.len());
    let report = "transfer awaits withdraw".to_owned();
    assert_eq!(bench.upgrade(to(WAITS)), [Output::UpgradeWaits { attempt: 1, report }]);
    assert!(before == (bench.replica.checkpoint().to_vec(), bench.records.len()));
    bench.upgrade(to(TAKES_ALL));
    assert_eq!(bench.replica.module(), [TAKES_ALL; 32]);
}

#[test]
fn a_guest_that_is_lost_in_the_try_is_told_of() {
    let mut bench = chatted();
    let outputs = bench.upgrade(to(IS_LOST));
    assert_eq!(outputs, [Output::UpgradeRefused { attempt: 1, fault: Fault::because("it traps"), is_lost: true }]);
    assert!(bench.replica.guest().is_lost);
}

#[test]
fn an_upgrade_from_another_module_or_after_the_end_is_refused() {
    let mut bench = chatted();
    let foreign = Upgrade { from: [3; 32], ..to(TAKES_ALL) };
    let outputs = bench.upgrade(foreign);
    let fault = Fault::because("the upgrade is from another module than the one that runs");
    assert_eq!(outputs, [Output::UpgradeRefused { attempt: 1, fault, is_lost: false }]);
    let mut ended = Bench::new(|_, message, hand| {
        if message.kind == MessageKind::Impulse {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::Exit, 0, &3_i32.to_le_bytes());
        }
    });
    ended.impulse(b"");
    let fault = Fault::because("the instance has ended");
    assert_eq!(ended.upgrade(to(TAKES_ALL)), [Output::UpgradeRefused { attempt: 1, fault, is_lost: false }]);
}

/// Its own fault, since the primary has done it: it must not go on as if nothing were.
#[test]
fn a_replica_that_cannot_do_what_the_primary_has_done_says_so() {
    let mut bench = chatted();
    let before = bench.records.len();
    bench.upgrade(to(TAKES_ALL));
    let (standby_log, record) = (&bench.records[..before], bench.records[before].clone());
    let guest = crate::bench::Script::new(chat);
    let mut standby = ambrosia_core::Replica::new(&standby_log[0], Unable(guest)).expect("a genesis record");
    for record in &standby_log[1..] {
        standby.step(Input::Record(record.clone()), &mut Vec::new());
    }
    let mut outputs = Vec::new();
    standby.step(Input::Record(record.clone()), &mut outputs);
    let fault = Fault::because("the guest knows of no other code than its own");
    assert_eq!(outputs, [Output::UpgradeFailed { fault, at: record.lsn() }]);
}

/// Its code can't be replaced.
struct Unable(crate::bench::Script);

impl ambrosia_core::Guest for Unable {
    fn deliver(
        &mut self,
        runs: &[u8],
        world: &mut ambrosia_core::World,
        delivered: &mut ambrosia_core::Delivered,
    ) -> Result<(), Fault> {
        self.0.deliver(runs, world, delivered)
    }
}

#[test]
fn impulses_can_be_held_while_messages_and_timers_go_on() {
    let mut bench = Bench::new(|_, message, hand| {
        if message.arguments == b"set" {
            hand.effect(PeerIndex::OUTSIDE, MessageKind::SetTimer, 1, &120_u64.to_le_bytes());
        }
    });
    bench.impulse(b"set");
    let (connection, _) = bench.connect("friend", crate::bench::uuid(7), 1);
    let heard = bench.heard().len();
    bench.replica.hold_impulses(true);
    bench.impulse(b"held");
    assert_eq!(bench.heard().len(), heard, "it waits");
    bench.messages(connection, 1, &[b"of a friend"]);
    bench.now = Timestamp(130);
    bench.deliver();
    let kinds: Vec<_> = bench.heard()[heard..].iter().map(|heard| heard.1).collect();
    assert_eq!(kinds, [MessageKind::Timer, MessageKind::Fork]);
    bench.replica.hold_impulses(false);
    bench.deliver();
    assert_eq!(bench.heard().last().map(|heard| heard.3.as_slice()), Some(&b"held"[..]));
}

#[test]
fn errors_say_what_they_are_made_of() {
    let fault = Fault::because("it traps");
    assert_eq!(HandoverError::Refused(fault.clone()).to_string(), "it traps");
    assert_eq!(HandoverError::Lost(fault).to_string(), "it traps");
    assert_eq!(HandoverError::Waits("a waits".to_owned()).to_string(), "a waits");
}
