//! Requests to a server of the test that does what servers do.

mod near;
mod stub;
mod transport;
mod tries;
mod values;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use ambrosia_outgoing::{
    Failure, FailureKind, Grants, Outcome, Outside, Roots, Secrets, Sender, SenderOptions, Surroundings,
};
use serde::Serialize;

/// A request as a guest writes it.
#[derive(Serialize, Default)]
struct Asked {
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    timeout_ms: Option<u64>,
    tries: Option<u32>,
    backoff_ms: u64,
    once: bool,
    idempotent: bool,
}

impl Asked {
    fn new(method: &'static str, url: String) -> Asked {
        Asked { method, url, backoff_ms: 1, ..Asked::default() }
    }

    fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("it can be written")
    }
}

const UUID: &str = "6d9f2a0e-0000-4000-8000-000000000001";

fn surroundings() -> Surroundings {
    Surroundings { random: || 7, now: || SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) }
}

fn sender_with(grants: &[String], secrets: Secrets, roots: Roots) -> Sender {
    let grants = Grants(grants.iter().map(|grant| grant.parse().expect("it is a grant")).collect());
    let options = SenderOptions { instance: "shop".to_owned(), uuid: UUID.to_owned(), grants, secrets };
    Sender::new(options, Arc::new(Outside::new(surroundings(), roots)))
}

fn sender(grants: &[String]) -> Sender {
    sender_with(grants, Secrets::default(), Roots::System)
}

/// What comes of a request number 5.
async fn perform(sender: &Sender, asked: Asked) -> Outcome {
    sender.perform(5, &asked.encode(), false).await.outcome
}

/// The status of an answer.
#[track_caller]
fn status(outcome: &Outcome) -> u16 {
    outcome.result.as_ref().unwrap_or_else(|failure| panic!("there is no answer: {failure:?}")).status
}

/// Kind and text of a failure.
#[track_caller]
fn failure(outcome: &Outcome) -> (FailureKind, String) {
    let Failure { kind, error } = outcome.result.clone().expect_err("it has failed");
    (kind, error)
}
