//! Where requests may go.

use ambrosia_outgoing::FailureKind;

use crate::{
    Asked, failure, perform, sender, status,
    stub::{Deed, Stub},
};

#[tokio::test]
async fn nothing_goes_where_no_grant_reaches() {
    let mut stub = Stub::start([Deed::status(200)]).await;
    for grants in [vec![], vec![stub.url("/v1/*")], vec!["https://127.0.0.1:*/*".to_owned()]] {
        let outcome = perform(&sender(&grants), Asked::new("GET", stub.url("/v2"))).await;
        let (kind, error) = failure(&outcome);
        assert_eq!((kind, outcome.tries), (FailureKind::Refused, 0));
        assert!(error.contains(&format!("--grant-http 'http://127.0.0.1:{}/*'", stub.port)), "{error}");
    }
    assert_eq!(stub.seen().len(), 0);
}

#[tokio::test]
async fn addresses_near_by_are_for_grants_that_name_them() {
    let mut stub = Stub::start([Deed::status(200)]).await;
    let any = ["http://*:*/*".to_owned()];
    // Each of these is this machine, also those that only the system's look-up reads as an address.
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0.0.0.0"] {
        let url = format!("http://{host}:{}/", stub.port);
        let (kind, error) = failure(&perform(&sender(&any), Asked::new("GET", url)).await);
        assert_eq!(kind, FailureKind::Refused, "{host}: {error}");
        assert!(error.contains("an address of this machine or its network"), "{error}");
    }
    assert_eq!(stub.seen().len(), 0);
    let named = [any[0].clone(), "http://localhost:*/*".to_owned()];
    let url = format!("http://localhost:{}/", stub.port);
    assert_eq!(status(&perform(&sender(&named), Asked::new("GET", url)).await), 200);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let mut stub =
        Stub::start([Deed::Drop("HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\n\r\n")]).await;
    let outcome = perform(&sender(&stub.grant()), Asked::new("GET", stub.url("/here"))).await;
    let answer = outcome.result.expect("it is an answer");
    assert!(answer.headers.contains(&("location".to_owned(), "/there".to_owned())), "{answer:?}");
    assert_eq!((answer.status, stub.seen().len()), (302, 1));
}

#[tokio::test]
async fn what_is_no_request_is_refused_with_its_reason() {
    let stub = Stub::start([Deed::status(200)]).await;
    let sender = sender(&stub.grant());
    let with_header = |name, value: &str| {
        let headers = vec![(name, value.to_owned())];
        Asked { headers, ..Asked::new("GET", stub.url("/")) }
    };
    let wrong = [
        (Asked::new("CONNECT", stub.url("/")), "no method"),
        (Asked::new("GE T", stub.url("/")), "no method"),
        (Asked::new("GET", "/there".to_owned()), "neither http:// nor https://"),
        (Asked::new("GET", "http://a@127.0.0.1/".to_owned()), "a user or a password"),
        (Asked::new("GET", stub.url("/../x")), "`..`"),
        (Asked::new("GET", stub.url("/{{secret:A:1}}")), "and nowhere else"),
        (with_header("a b", ""), "no name of a header"),
        (with_header("x", "a\r\nb: c"), "holds a line end"),
        (with_header("host", "b"), "set by the host alone"),
        (with_header("Transfer-Encoding", "chunked"), "set by the host alone"),
    ];
    for (asked, reason) in wrong {
        let (kind, error) = failure(&perform(&sender, asked).await);
        assert_eq!(kind, FailureKind::Refused);
        assert!(error.contains(reason), "{error}");
    }
    let (kind, error) = failure(&sender.perform(1, b"\xff", false).await.outcome);
    assert_eq!(kind, FailureKind::Refused);
    assert!(error.contains("can't be read"), "{error}");
}
