//! What becomes of wishes for another module, in any store.

use std::{sync::mpsc::channel, time::Duration};

use ambrosia_core::{Epoch, InstanceName, InstanceUuid, Limits, Lsn, Timestamp};

use super::{
    reign::{LIMIT, MODULE},
    store::{name, registered},
};
use crate::{
    Answered, BlobHash, Cancelled, InstanceError, Instances, RecordedOutcome, Registered, StandingWish, Store, Waiting,
    Wanted, WantedLimits, WantedSkip, WishAnswer, WishError, Wished,
};

const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

fn wanted() -> Wanted {
    let waiting = Waiting { hold: true, end: false };
    Wanted { limits: WantedLimits::default(), handover_fuel: 5, wait: Duration::from_secs(30), waiting }
}

/// The module that is noted as the one that runs.
fn current(store: &dyn Store) -> BlobHash {
    BlobHash(store.instance(&name()).expect("works").upgrades.current)
}

fn wish(store: &dyn Store, module: &[u8]) -> StandingWish {
    match store.wish(&name(), current(store), module, &wanted(), NOW).expect("no other one stands") {
        Wished::New(wish) => wish,
        Wished::Same(wish) => panic!("it stood before: {wish:?}"),
    }
}

pub fn a_wish_stands_until_it_is_settled(store: &dyn Store) {
    registered(store);
    let (old, new) = (BlobHash::of(MODULE), BlobHash::of(b"new"));
    let wish = wish(store, b"new");
    assert_eq!(
        wish,
        StandingWish {
            attempt: 1,
            from: old.0,
            to: new.0,
            skip: None,
            wanted: wanted(),
            made: NOW,
            claimed_by: None,
            is_cancelled: false
        }
    );
    let entry = store.instance(&name()).expect("works");
    assert_eq!((entry.upgrades.wanted, entry.upgrades.current), (Some(wish), old.0));
    assert_eq!(store.blobs().get(new).expect("it is kept"), b"new");
    assert!(store.claim_wish(&name(), 1, Epoch(1)).expect("works"));
    store.settle_wish(&name(), 1, Epoch(1), &WishAnswer::Done { lsn: Lsn(9) }).expect("works");
    let entry = store.instance(&name()).expect("works");
    let answered = Answered { attempt: 1, to: new.0, answer: WishAnswer::Done { lsn: Lsn(9) }, skip: None };
    assert_eq!((entry.upgrades.wanted, entry.upgrades.answered), (None, Some(answered)));
    assert_eq!((entry.module, entry.upgrades.current), (old.0, new.0));
    // Whoever deploys by registering is told what runs.
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    let again = |module: &[u8]| store.register(&name(), module, 1, InstanceUuid([3; 16]), limits, NOW);
    assert_eq!(again(b"new").expect("it has this module"), Registered::Same);
    assert!(matches!(again(MODULE), Err(InstanceError::OtherModule { .. })));
}

pub fn of_two_operators_one_has_a_wish(store: &dyn Store) {
    registered(store);
    let modules = [b"one".as_slice(), b"two"];
    let made: Vec<_> = std::thread::scope(|scope| {
        let operators =
            modules.map(|module| scope.spawn(move || store.wish(&name(), current(store), module, &wanted(), NOW)));
        operators.map(|operator| operator.join().expect("no panic")).into()
    });
    let refused: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
    assert!(matches!(refused[..], [WishError::AnotherStands { .. }]), "{made:?}");
    let standing = store.instance(&name()).expect("works").upgrades.wanted.expect("one stands");
    assert!(refused[0].to_string().contains(&BlobHash(standing.to).to_string()), "{}", refused[0]);
    // The same wish once more is no other one; one for the same module with other limits is.
    let module = modules.into_iter().find(|module| BlobHash::of(module).0 == standing.to).expect("one of them");
    assert_eq!(store.wish(&name(), current(store), module, &wanted(), NOW).expect("it stands"), Wished::Same(standing));
    let more = Wanted { limits: WantedLimits { fuel: Some(1 << 40), memory_bytes: None }, ..wanted() };
    assert!(matches!(store.wish(&name(), current(store), module, &more, NOW), Err(WishError::AnotherStands { .. })));
}

pub fn a_wish_that_is_taken_back_stands_no_more(store: &dyn Store) {
    registered(store);
    assert_eq!(store.cancel_wish(&name()).expect("works"), Cancelled::NoWish);
    let first = wish(store, b"one");
    assert_eq!(store.cancel_wish(&name()).expect("works"), Cancelled::Done(first));
    let upgrades = store.instance(&name()).expect("works").upgrades;
    assert_eq!(upgrades.wanted, None);
    assert_eq!(upgrades.answered.map(|answered| answered.answer), Some(WishAnswer::Cancelled));
    assert_eq!(wish(store, b"two").attempt, 2);
    assert!(store.claim_wish(&name(), 2, Epoch(1)).expect("works"));
    assert!(matches!(store.cancel_wish(&name()).expect("works"), Cancelled::Told(_)));
    assert!(store.instance(&name()).expect("works").upgrades.wanted.expect("it stands").is_cancelled);
}

pub fn what_settles_an_attempt_leaves_another_one_alone(store: &dyn Store) {
    registered(store);
    wish(store, b"one");
    store.cancel_wish(&name()).expect("works");
    wish(store, b"two");
    let entry = || store.registry().get("instances/checked").expect("works");
    assert!(store.claim_wish(&name(), 2, Epoch(1)).expect("works"));
    assert!(store.claim_wish(&name(), 2, Epoch(3)).expect("works"));
    let before = entry();
    assert!(store.claim_wish(&name(), 2, Epoch(3)).expect("works"), "it has it");
    assert!(!store.claim_wish(&name(), 2, Epoch(2)).expect("works"), "a later reign has it");
    assert!(!store.claim_wish(&name(), 1, Epoch(9)).expect("works"), "it stands no more");
    for (attempt, epoch) in [(1, 3), (2, 1), (3, 3)] {
        store.settle_wish(&name(), attempt, Epoch(epoch), &WishAnswer::Done { lsn: Lsn(9) }).expect("it is no error");
    }
    assert_eq!(entry(), before);
    let given_up = WishAnswer::GivenUp { report: "add waits".to_owned() };
    store.settle_wish(&name(), 2, Epoch(3), &given_up).expect("works");
    let upgrades = store.instance(&name()).expect("works").upgrades;
    assert_eq!((upgrades.wanted, upgrades.current), (None, BlobHash::of(MODULE).0));
    store.note_module(&name(), BlobHash::of(b"one").0, 7).expect("works");
    assert_eq!(store.instance(&name()).expect("works").upgrades.current, BlobHash::of(b"one").0);
    let noted = entry();
    store.note_module(&name(), BlobHash::of(b"one").0, 7).expect("works");
    assert_eq!(entry(), noted, "what is noted is not written again");
    assert_eq!(wish(store, b"two").attempt, 8, "no number is given out that the log has");
}

/// Has the wish that stands carried out, as a primary does.
fn fulfil(store: &dyn Store, attempt: u64) {
    assert!(store.claim_wish(&name(), attempt, Epoch(1)).expect("works"));
    store.settle_wish(&name(), attempt, Epoch(1), &WishAnswer::Done { lsn: Lsn(9) }).expect("works");
}

pub fn an_instance_that_has_finished_takes_no_wish(store: &dyn Store) {
    let nobody = store.wish(&name(), BlobHash::of(MODULE), b"new", &wanted(), NOW).expect_err("there is none");
    assert!(matches!(nobody, WishError::Instance(InstanceError::Unknown { .. })), "{nobody}");
    registered(store);
    store.set_outcome(&name(), RecordedOutcome::Finished { code: 3, lsn: Lsn(17) }).expect("works");
    let finished = store.wish(&name(), BlobHash::of(MODULE), b"new", &wanted(), NOW).expect_err("it has ended");
    assert!(matches!(finished, WishError::Finished { code: 3, .. }), "{finished}");
    assert!(store.blobs().get(BlobHash::of(b"new")).is_err(), "nothing of what was refused is kept");
    let finished = store.wish_skip(&name(), &skip(17, 0), NOW).expect_err("it has ended");
    assert!(matches!(finished, WishError::Finished { code: 3, .. }), "{finished}");
}

fn skip(lsn: u64, message: u32) -> WantedSkip {
    WantedSkip { lsn: Lsn(lsn), messages: vec![message] }
}

fn halt(store: &dyn Store, lsn: u64) {
    let (reason, backtrace) = ("it panicked".to_owned(), String::new());
    store.set_outcome(&name(), RecordedOutcome::Halted { lsn: Lsn(lsn), reason, backtrace }).expect("works");
}

fn stands_at(store: &dyn Store) -> Option<Lsn> {
    match store.instance(&name()).expect("works").outcome {
        Some(RecordedOutcome::Halted { lsn, .. }) => Some(lsn),
        Some(RecordedOutcome::Finished { .. }) => panic!("it has not finished"),
        None => None,
    }
}

pub fn an_instance_that_has_halted_goes_on_once_its_wish_is_done(store: &dyn Store) {
    registered(store);
    halt(store, 17);
    wish(store, b"new");
    assert_eq!(stands_at(store), Some(Lsn(17)), "a wish changes nothing by itself");
    assert!(store.claim_wish(&name(), 1, Epoch(1)).expect("works"));
    let refused = WishAnswer::Refused { report: "it does not help".to_owned() };
    store.settle_wish(&name(), 1, Epoch(1), &refused).expect("works");
    assert_eq!(stands_at(store), Some(Lsn(17)));
    wish(store, b"new");
    assert!(store.claim_wish(&name(), 2, Epoch(2)).expect("works"));
    store.settle_wish(&name(), 2, Epoch(1), &WishAnswer::Done { lsn: Lsn(20) }).expect("it is no error");
    assert_eq!(stands_at(store), Some(Lsn(17)), "who has not claimed it says nothing");
    store.settle_wish(&name(), 2, Epoch(2), &WishAnswer::Done { lsn: Lsn(20) }).expect("works");
    assert_eq!((stands_at(store), current(store)), (None, BlobHash::of(b"new")));
    halt(store, 17);
    assert_eq!(stands_at(store), None, "who is late undoes nothing");
    halt(store, 21);
    assert_eq!(stands_at(store), Some(Lsn(21)));
}

pub fn messages_are_skipped_only_where_an_instance_stands(store: &dyn Store) {
    registered(store);
    let running = store.wish_skip(&name(), &skip(17, 0), NOW).expect_err("it runs");
    assert!(matches!(running, WishError::NotHalted(_)), "{running}");
    halt(store, 17);
    let elsewhere = store.wish_skip(&name(), &skip(16, 0), NOW).expect_err("it stands at 17");
    assert!(elsewhere.to_string().contains("stands at lsn 17, not at lsn 16"), "{elsewhere}");
    let made = match store.wish_skip(&name(), &skip(17, 4), NOW).expect("none stands") {
        Wished::New(wish) => wish,
        Wished::Same(wish) => panic!("it stood before: {wish:?}"),
    };
    assert_eq!((made.attempt, made.from, made.to), (1, BlobHash::of(MODULE).0, BlobHash::of(MODULE).0));
    assert_eq!(made.skip, Some(skip(17, 4)));
    assert_eq!(store.wish_skip(&name(), &skip(17, 4), NOW).expect("it stands"), Wished::Same(made));
    let other = store.wish_skip(&name(), &skip(17, 3), NOW).expect_err("another one stands");
    assert!(
        other.to_string().contains("another skip of instance checked is under way, of message 4 of lsn 17 "),
        "{other}"
    );
    let other = store.wish(&name(), current(store), b"new", &wanted(), NOW).expect_err("another one stands");
    assert!(other.to_string().contains("`ambrosia-host skip --instance checked --cancel`"), "{other}");
    fulfil(store, 1);
    let entry = store.instance(&name()).expect("works");
    assert_eq!(
        (entry.outcome, entry.upgrades.current),
        (
            Some(RecordedOutcome::Halted { lsn: Lsn(17), reason: "it panicked".to_owned(), backtrace: String::new() }),
            BlobHash::of(MODULE).0
        ),
        "it was done at record 9, before that"
    );
    assert_eq!(entry.upgrades.answered.and_then(|answered| answered.skip), Some(skip(17, 4)));
}

pub fn what_a_primary_has_applied_an_instance_does_not_stand_at(store: &dyn Store) {
    registered(store);
    halt(store, 17);
    store.note_reign(&name(), BlobHash::of(MODULE).0, 0, Lsn(16)).expect("works");
    assert_eq!(stands_at(store), Some(Lsn(17)));
    store.note_reign(&name(), BlobHash::of(MODULE).0, 0, Lsn(18)).expect("works");
    assert_eq!(stands_at(store), None);
    let noted = store.registry().get("instances/checked").expect("works");
    store.note_reign(&name(), BlobHash::of(MODULE).0, 0, Lsn(18)).expect("works");
    halt(store, 17);
    assert_eq!(store.registry().get("instances/checked").expect("works"), noted, "nothing is written for nothing");
}

pub fn modules_stay_until_the_last_instance_that_had_them_is_deregistered(store: &dyn Store) {
    registered(store);
    let twin = InstanceName::new("twin").expect("plain");
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&twin, b"two", 1, InstanceUuid([9; 16]), limits, NOW).expect("works");
    wish(store, b"two");
    fulfil(store, 1);
    wish(store, b"three");
    store.cancel_wish(&name()).expect("works");
    store.deregister(&twin).expect("nothing runs");
    let is_kept = |module: &[u8]| store.blobs().get(BlobHash::of(module)).is_ok();
    assert_eq!([MODULE, b"two", b"three"].map(is_kept), [true; 3], "a replay from the beginning needs the first ones");
    store.register(&twin, b"three", 1, InstanceUuid([10; 16]), limits, NOW).expect("works");
    store.deregister(&name()).expect("nothing runs");
    assert_eq!([MODULE, b"two", b"three"].map(is_kept), [false, false, true]);
}

pub fn a_wish_is_told_to_those_who_have_subscribed(store: &dyn Store) {
    registered(store);
    let (sender, calls) = channel();
    // Nobody listens once the check is over.
    let call = move || {
        let _nobody = sender.send(());
    };
    let _subscription = store.registry().subscribe(Box::new(call)).expect("there are threads").expect("it is ours");
    wish(store, b"new");
    calls.recv_timeout(LIMIT).expect("it is told");
    fulfil(store, 1);
    while store.instance(&name()).expect("works").upgrades.wanted.is_some() {
        calls.recv_timeout(LIMIT).expect("its answer is told");
    }
}
