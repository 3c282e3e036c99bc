//! What is tried again, and what comes of it.

use std::time::Duration;

use ambrosia_outgoing::{ATTEMPTS_PER_HOST_MAX, FailureKind, traceparent_of};

use crate::{
    Asked, UUID, failure, perform, sender, status,
    stub::{Deed, Stub, header},
};

#[tokio::test]
async fn each_attempt_has_the_same_key_until_one_is_answered_well() {
    let mut stub = Stub::start([Deed::status(503), Deed::Drop(""), Deed::status(429), Deed::status(201)]).await;
    let asked = Asked { idempotent: true, body: "pay".to_owned(), ..Asked::new("POST", stub.url("/pay")) };
    let outcome = perform(&sender(&stub.grant()), asked).await;
    assert_eq!((status(&outcome), outcome.tries), (201, 4));
    let seen = stub.seen();
    assert_eq!(seen.len(), 4);
    for request in seen {
        assert!(request.starts_with("POST /pay HTTP/1.1\r\n") && request.ends_with("\r\n\r\npay"), "{request}");
        assert_eq!(header(&request, "idempotency-key"), format!("{UUID}-5"));
        assert_eq!(header(&request, "traceparent"), traceparent_of(&format!("{UUID}-5")));
        assert_eq!(header(&request, "host"), format!("127.0.0.1:{}", stub.port));
    }
}

#[tokio::test]
async fn a_key_of_the_guest_stays_as_it_is() {
    let mut stub = Stub::start([Deed::status(200)]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = vec![
        ("Idempotency-Key", "mine".to_owned()),
        ("User-Agent", "me".to_owned()),
        ("traceparent", trace.to_owned()),
    ];
    perform(&sender(&stub.grant()), Asked { headers, ..Asked::new("GET", stub.url("/")) }).await;
    let request = stub.seen().remove(0);
    assert_eq!((header(&request, "idempotency-key"), header(&request, "user-agent")), ("mine", "me"));
    assert_eq!(header(&request, "traceparent"), trace);
}

#[tokio::test]
async fn the_last_answer_counts_when_there_are_no_more_attempts() {
    let mut stub = Stub::start([Deed::status(503)]).await;
    let outcome = perform(&sender(&stub.grant()), Asked { tries: Some(3), ..Asked::new("GET", stub.url("/")) }).await;
    assert_eq!((status(&outcome), outcome.tries, stub.seen().len()), (503, 3, 3));
}

#[tokio::test]
async fn a_post_that_broke_off_is_not_repeated_and_that_is_said() {
    let mut stub = Stub::start([Deed::Drop("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal")]).await;
    let outcome = perform(&sender(&stub.grant()), Asked::new("POST", stub.url("/pay?key=1"))).await;
    let (kind, error) = failure(&outcome);
    assert_eq!((kind, stub.seen().len()), (FailureKind::Failed, 1));
    assert!(
        error.contains("/pay was tried once: the answer broke off") && error.contains("may have been done"),
        "{error}"
    );
    assert!(!error.contains("key=1"), "a query may hold a secret: {error}");
}

#[tokio::test]
async fn what_is_done_once_is_unknown_if_it_broke_off_or_was_under_way_before() {
    let mut stub = Stub::start([Deed::Drop("")]).await;
    let sender = sender(&stub.grant());
    let once = || Asked { once: true, idempotent: true, ..Asked::new("POST", stub.url("/")) };
    let (outcome, bytes) = (perform(&sender, once()).await, once().encode());
    assert_eq!((failure(&outcome).0, outcome.tries), (FailureKind::Unknown, 1));
    let resumed = sender.perform(5, &bytes, true).await.outcome;
    assert_eq!((failure(&resumed).0, resumed.tries), (FailureKind::Unknown, 0));
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn what_was_under_way_before_is_done_again_with_the_same_key() {
    let mut stub = Stub::start([Deed::status(200)]).await;
    let asked = Asked::new("POST", stub.url("/")).encode();
    let outcome = sender(&stub.grant()).perform(7, &asked, true).await.outcome;
    assert_eq!(status(&outcome), 200);
    assert_eq!(header(&stub.seen()[0], "idempotency-key"), format!("{UUID}-7"));
}

#[tokio::test]
async fn a_server_that_hangs_times_out() {
    let mut stub = Stub::start([Deed::Hang]).await;
    let sender = sender(&stub.grant());
    let asked = |once| Asked { timeout_ms: Some(50), tries: Some(2), once, ..Asked::new("GET", stub.url("/")) };
    let (again, once) = (asked(false), asked(true));
    let outcome = perform(&sender, again).await;
    let (kind, error) = failure(&outcome);
    assert_eq!((kind, outcome.tries), (FailureKind::Timeout, 2));
    assert!(error.contains("there was no answer within 50ms"), "{error}");
    assert_eq!(failure(&perform(&sender, once).await).0, FailureKind::Unknown);
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn garbage_is_a_failure() {
    for garbage in ["\0\0\0\0", "HTTP/9.9 abc\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"] {
        let stub = Stub::start([Deed::Drop(garbage)]).await;
        let asked = Asked { tries: Some(2), ..Asked::new("GET", stub.url("/")) };
        let outcome = perform(&sender(&stub.grant()), asked).await;
        assert_eq!((failure(&outcome).0, outcome.tries), (FailureKind::Failed, 2), "{garbage}");
    }
    let many = "x: y\r\n".repeat(1000);
    let stub = Stub::start([Deed::Answer(format!("HTTP/1.1 200 OK\r\n{many}\r\n"))]).await;
    let outcome = perform(&sender(&stub.grant()), Asked { tries: Some(1), ..Asked::new("GET", stub.url("/")) }).await;
    assert_eq!(failure(&outcome).0, FailureKind::Failed);
}

#[tokio::test]
async fn a_post_to_nobody_is_tried_again_for_it_was_never_sent() {
    let stub = Stub::start([Deed::Hang]).await;
    let (grant, url) = (stub.grant(), stub.url("/"));
    drop(stub);
    let outcome = perform(&sender(&grant), Asked { tries: Some(3), once: true, ..Asked::new("POST", url) }).await;
    let (kind, error) = failure(&outcome);
    assert_eq!((kind, outcome.tries), (FailureKind::Failed, 3));
    assert!(error.contains("can't be connected to"), "{error}");
}

#[tokio::test]
async fn what_waits_for_its_next_attempt_is_shown_with_its_last_error() {
    let mut stub = Stub::start([Deed::status(503), Deed::Hang]).await;
    let sender = std::sync::Arc::new(sender(&stub.grant()));
    let asked = Asked { backoff_ms: 60_000, ..Asked::new("GET", stub.url("/a?secret=1")) }.encode();
    let there = std::sync::Arc::clone(&sender);
    let task = tokio::spawn(async move { there.perform(9, &asked, false).await });
    stub.requests.recv().await.expect("it comes");
    let pending = loop {
        match sender.pending() {
            pending if pending.iter().any(|pending| pending.next_try.is_some()) => break pending,
            _ => tokio::task::yield_now().await,
        }
    };
    assert_eq!(
        (pending[0].id, pending[0].tries, pending[0].what.as_str()),
        (9, 1, &*format!("GET {}", stub.url("/a")))
    );
    assert!(pending[0].next_try > Some(Duration::from_secs(10)), "{pending:?}");
    assert_eq!(pending[0].last_error.as_deref(), Some("the server answered with status 503"));
    task.abort();
    assert!(task.await.expect_err("it was aborted").is_cancelled());
    assert_eq!(sender.pending(), []);
}

#[tokio::test]
async fn one_host_takes_no_more_than_its_share() {
    let mut stub = Stub::start([Deed::Hang]).await;
    let mut other = Stub::start([Deed::status(200)]).await;
    let grants = ["http://127.0.0.1:*/*".to_owned(), "http://localhost:*/*".to_owned()];
    let sender = std::sync::Arc::new(sender(&grants));
    let mut tasks = tokio::task::JoinSet::new();
    for id in 0..ATTEMPTS_PER_HOST_MAX as u64 + 8 {
        let (asked, there) = (Asked::new("GET", stub.url("/")).encode(), std::sync::Arc::clone(&sender));
        tasks.spawn(async move { there.perform(id, &asked, false).await });
    }
    for _ in 0..ATTEMPTS_PER_HOST_MAX {
        stub.requests.recv().await.expect("so many come");
    }
    // Somebody else is not held up, and when that has an answer no more have come here.
    let url = format!("http://localhost:{}/", other.port);
    assert_eq!(status(&perform(&sender, Asked::new("GET", url)).await), 200);
    assert_eq!(other.seen().len(), 1);
    let waiting = sender.pending().iter().filter(|pending| pending.tries == 0).count();
    assert_eq!((waiting, stub.seen().len()), (8, 0));
}
