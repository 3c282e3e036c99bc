//! What becomes of an object store that fails, and what is said of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_shared_log::{Depot, DepotError};
use ambrosia_test_database::Objects;
use uuid::Uuid;

use crate::{
    gate::{Gate, Mode},
    grounds::{AsOfGoogle, Ground, at},
};

/// More than an errand takes in the worst case, and far less than for ever.
const PATIENCE: Duration = Duration::from_secs(100);

/// A depot behind a gate.
fn gated(objects: &Objects) -> (Gate, Arc<dyn Depot>) {
    let gate = Gate::before(objects.address());
    let depot = at(gate.address(), "s3://shop/p", "all").depot(Uuid::new_v4()).expect("it is one");
    depot.make().expect("it is open");
    (gate, depot)
}

fn said(done: Result<(), DepotError>) -> String {
    let error = done.expect_err("it can't be done");
    let said = error.to_string();
    assert!(said.contains("s3://shop/p/") && !said.contains("s3cret"), "{said}");
    assert!(matches!(error, DepotError::Away { .. }), "{said}");
    said
}

#[test]
fn a_server_that_is_gone_silent_or_overloaded_is_away_until_it_is_back() {
    let Some(objects) = Objects::begin() else { return };
    let (gate, depot) = gated(&objects);
    depot.put("a", &mut &b"a"[..]).expect("it is open");
    let overloaded =
        "503 Slow Down\n<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    for (mode, words) in [
        (Mode::Closed, ""),
        (Mode::Answers(overloaded), "SlowDown: Please reduce your request rate"),
        (Mode::Answers("500 Oh\nno"), "500"),
        (Mode::Silent, "no answer within"),
    ] {
        gate.set(mode.clone());
        let began = Instant::now();
        let put = said(depot.put("b", &mut &b"b"[..]));
        assert!(put.contains(words) && put.contains("b:"), "{mode:?}: {put}");
        assert!(gate.refused() > 1, "it is asked again");
        if mode != Mode::Silent {
            said(depot.get("a", &mut Vec::new()));
            said(depot.remove("a"));
            said(depot.list("").map(drop));
            said(depot.check());
        }
        assert!(began.elapsed() < PATIENCE, "{mode:?}: whoever waits gives up");
        gate.set(Mode::Open);
        depot.put("b", &mut &b"b"[..]).expect("it is open again");
        let mut out = Vec::new();
        depot.get("a", &mut out).expect("it is still there");
        assert_eq!(out, b"a");
    }
}

#[test]
fn an_upload_whose_connections_end_leaves_no_object_and_goes_well_when_it_is_tried_again() {
    let Some(objects) = Objects::begin() else { return };
    let (gate, depot) = gated(&objects);
    let large = vec![7; 20 << 20];
    gate.set(Mode::EndsBehind(3 << 20));
    said(depot.put("large", &mut &large[..]));
    gate.set(Mode::Open);
    assert_eq!(objects.count(), 1, "the mark alone");
    let missing = depot.get("large", &mut Vec::new()).expect_err("it never came to be");
    assert!(matches!(missing, DepotError::Missing { .. }), "{missing:?}");
    let seal = depot.put_sealed("large", &mut &large[..]).expect("it is open");
    depot.get_sealed("large", seal, &mut Vec::new()).expect("it is there");
}

fn unusable(error: DepotError) -> String {
    assert!(matches!(error, DepotError::Unusable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(!said.contains("s3cret"), "{said}");
    said
}

#[test]
fn who_may_not_write_or_shows_a_wrong_key_is_told_what_to_look_at() {
    let Some(objects) = Objects::begin() else { return };
    let store = Uuid::new_v4();
    let depot = |identity: &str| at(objects.address(), "s3://shop/p", identity).depot(store).expect("it is one");
    depot("all").make().expect("it may");
    depot("reader").check().expect("it may");
    let denied = unusable(depot("reader").put("a", &mut &b"a"[..]).expect_err("it may not"));
    assert!(denied.contains("AccessDenied") && denied.contains("AWS_ACCESS_KEY_ID"), "{denied}");
    let mut variables = Objects::variables_of("all", objects.address());
    variables[1].1 = "s3cret-of-nobody".to_owned();
    let place = at(objects.address(), "s3://shop/p", "all").with_variables(variables);
    let wrong = unusable(place.depot(store).expect("it is one").check().expect_err("it is wrong"));
    assert!(wrong.contains("SignatureDoesNotMatch") && wrong.contains("AWS_SECRET_ACCESS_KEY"), "{wrong}");
}

#[test]
fn a_bucket_that_there_is_not_is_named() {
    let Some(objects) = Objects::begin() else { return };
    let depot = at(objects.address(), "s3://nowhere", "all").depot(Uuid::new_v4()).expect("it is one");
    let words = [
        depot.check().expect_err("there is none"),
        depot.put("a", &mut &b"a"[..]).expect_err("there is none"),
        depot.put("a", &mut &vec![0; 20 << 20][..]).expect_err("there is none"),
    ];
    for said in words.map(unusable) {
        assert!(said.contains("no bucket nowhere") && said.contains("blobs="), "{said}");
    }
}

#[test]
fn another_machine_is_not_asked_in_clear_text() {
    let address = "192.0.2.7:9000".parse().expect("it is one");
    let refused = at(address, "s3://shop", "all").depot(Uuid::new_v4()).map(drop).expect_err("it is elsewhere");
    let said = unusable(refused);
    assert!(said.contains("192.0.2.7") && said.contains("https://"), "{said}");
}

#[test]
fn google_is_shown_the_token_of_the_environment_and_what_it_says_of_another_one_is_told() {
    let Some(google) = AsOfGoogle::begin() else { return };
    google.depot().put("a", &mut &b"a"[..]).expect("it has the token");
    let other = google.place_with("guessed").depot(Uuid::new_v4()).expect("it is one");
    let said = other.make().expect_err("it has not").to_string();
    assert!(said.contains("gs://open/some/prefix/") && !said.contains("guessed"), "{said}");
}
