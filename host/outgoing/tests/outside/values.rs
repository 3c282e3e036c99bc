//! Bodies, headers and secrets, both ways.

use std::path::PathBuf;

use ambrosia_outgoing::{ANSWER_BODY_BYTES_MAX, FailureKind, Roots, Secret, SecretSource};

use crate::{
    Asked, failure, perform, sender, sender_with, status,
    stub::{Deed, Stub, header},
};

/// `shop` + `KEY`, hashed by FNV-1a 64.
const PLACEHOLDER: &str = "{{secret:KEY:925b5d3c1d2a1720}}";
const VALUE: &str = "sk live/1234567";

fn with_secret(grant: &str, path: PathBuf) -> ambrosia_outgoing::Sender {
    let name = "KEY".parse().expect("it is a name");
    let secrets = [Secret { name, source: SecretSource::File(path) }].into_iter().collect();
    sender_with(&[grant.to_owned()], secrets, Roots::System)
}

#[tokio::test]
async fn a_secret_goes_out_and_does_not_come_back() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("key");
    std::fs::write(&path, format!("{VALUE}\n")).expect("there is room");
    let mut stub = Stub::start([Deed::Echo]).await;
    let sender = with_secret(&format!("{} secrets=KEY", stub.url("/*")), path);
    let asked = Asked {
        headers: vec![("Authorization", format!("Bearer {PLACEHOLDER}")), ("content-length", "9999".to_owned())],
        body: format!("<{PLACEHOLDER}>"),
        ..Asked::new("POST", stub.url(&format!("/pay?key={PLACEHOLDER}&z")))
    };
    let answer = perform(&sender, asked).await.result.expect("it is answered");
    let request = stub.seen().remove(0);
    assert!(request.starts_with("POST /pay?key=sk%20live%2F1234567&z HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "authorization"), format!("Bearer {VALUE}"));
    assert!(request.ends_with(&format!("\r\n\r\n<{VALUE}>")), "{request}");
    let body = String::from_utf8(answer.body.to_vec()).expect("it is text");
    assert!(!body.contains(VALUE) && body.contains(&format!("<{PLACEHOLDER}>")), "{body}");
    assert!(answer.headers.contains(&("x-echo".to_owned(), format!("Bearer {PLACEHOLDER}"))), "{:?}", answer.headers);
    assert!(!format!("{sender:?}").contains(VALUE));
}

#[tokio::test]
async fn a_secret_goes_nowhere_else_and_one_that_is_not_there_is_waited_for() {
    let directory = tempfile::tempdir().expect("there is room");
    let path = directory.path().join("key");
    let mut stub = Stub::start([Deed::status(200)]).await;
    let asked =
        |stub: &Stub| Asked { tries: Some(2), body: PLACEHOLDER.to_owned(), ..Asked::new("POST", stub.url("/")) };
    let sender = with_secret(&format!("{} secrets=KEY", stub.url("/*")), path.clone());
    let outcome = perform(&sender, asked(&stub)).await;
    let (kind, error) = failure(&outcome);
    assert_eq!((kind, outcome.tries), (FailureKind::Failed, 2));
    assert!(error.contains("the secret KEY can't be read"), "{error}");
    std::fs::write(&path, VALUE).expect("there is room");
    assert_eq!(status(&perform(&sender, asked(&stub)).await), 200);
    assert_eq!(stub.seen().len(), 1);
    let sender = with_secret(&stub.url("/*"), path);
    let (kind, error) = failure(&perform(&sender, asked(&stub)).await);
    assert_eq!((kind, stub.seen().len()), (FailureKind::Refused, 0));
    assert!(error.contains("KEY may not go there") && !error.contains(VALUE), "{error}");
}

#[tokio::test]
async fn an_answer_has_a_bound() {
    let answer = |length: usize| {
        Deed::Answer(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length)))
    };
    let mut stub = Stub::start([answer(ANSWER_BODY_BYTES_MAX), answer(ANSWER_BODY_BYTES_MAX + 1)]).await;
    let sender = sender(&stub.grant());
    let (first, second) = (Asked::new("GET", stub.url("/")), Asked::new("GET", stub.url("/")));
    let body = perform(&sender, first).await.result.expect("it is answered").body;
    assert_eq!(body.len(), ANSWER_BODY_BYTES_MAX);
    let outcome = perform(&sender, second).await;
    let (kind, error) = failure(&outcome);
    assert_eq!((kind, outcome.tries, stub.seen().len()), (FailureKind::Failed, 1, 2));
    assert!(error.contains("status 200 and more than 16 MiB"), "{error}");
}

#[tokio::test]
async fn an_answer_in_chunks_is_put_together() {
    let chunks = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-b: \u{e9}\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let stub = Stub::start([Deed::Answer(chunks.to_owned())]).await;
    let answer =
        perform(&sender(&stub.grant()), Asked::new("GET", stub.url("/"))).await.result.expect("it is answered");
    assert_eq!(answer.body, "abcde");
    assert!(answer.headers.contains(&("x-b".to_owned(), "\u{e9}".to_owned())));
}
