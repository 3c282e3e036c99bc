use super::*;

/// {method: "POST", url: "https://a.b/c", headers: [["X-A", "1"]], body: bin [1, 2], timeout_ms: 1500, tries: 3, backoff_ms: 10, once:
/// false, idempotent: true, later: nil}
const GOLDEN: &[u8] =
    b"\x8a\xa6method\xa4POST\xa3url\xadhttps://a.b/c\xa7headers\x91\x92\xa3X-A\xa11\xa4body\xc4\x02\x01\x02\
\xaatimeout_ms\xcd\x05\xdc\xa5tries\x03\xaabackoff_ms\x0a\xa4once\xc2\xaaidempotent\xc3\xa5later\xc0";

#[test]
fn a_request_is_read_from_the_bytes_that_are_written_down() {
    let expected = Request {
        method: "POST".to_owned(),
        url: "https://a.b/c".to_owned(),
        headers: vec![("X-A".to_owned(), "1".to_owned())],
        body: Bytes::from_static(&[1, 2]),
        timeout: Duration::from_millis(1500),
        tries: 3,
        backoff: Duration::from_millis(10),
        once: false,
        idempotent: true,
    };
    assert_eq!(Request::decode(GOLDEN), Ok(expected));
}

#[test]
fn all_but_method_and_url_may_be_absent() {
    let request = Request::decode(b"\x82\xa6method\xa3GET\xa3url\xa1x").expect("it is whole");
    assert_eq!((request.timeout, request.tries, request.backoff), (TIMEOUT_DEFAULT, TRIES_DEFAULT, BACKOFF_DEFAULT));
    assert!(request.body.is_empty() && !request.once && !request.idempotent && request.may_be_repeated());
}

#[test]
fn a_body_may_be_a_text_or_an_array_or_nothing() {
    let body = |value: &[u8]| {
        let bytes = [b"\x83\xa6method\xa3GET\xa3url\xa1x\xa4body", value].concat();
        Request::decode(&bytes).map(|request| request.body)
    };
    assert_eq!(body(b"\xa2hi"), Ok(Bytes::from_static(b"hi")));
    assert_eq!(body(b"\x92\x01\xcc\xff"), Ok(Bytes::from_static(&[1, 255])));
    assert_eq!(body(b"\xc0"), Ok(Bytes::new()));
    assert!(matches!(body(b"\x91\xcd\x01\x00"), Err(RequestError::Malformed(_))));
    assert!(matches!(body(b"\x07"), Err(RequestError::Malformed(_))));
}

#[test]
fn each_prefix_and_each_flipped_byte_is_read_or_refused() {
    for length in 0..GOLDEN.len() {
        assert!(matches!(Request::decode(&GOLDEN[..length]), Err(RequestError::Malformed(_))), "{length}");
    }
    for at in 0..GOLDEN.len() {
        for value in 0..=u8::MAX {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] = value;
            let _read_or_refused = Request::decode(&bytes);
        }
    }
}

#[test]
fn what_is_too_large_is_refused_by_what_is_too_large() {
    #[derive(serde::Serialize)]
    struct Written {
        method: &'static str,
        url: String,
        headers: Vec<(String, String)>,
        body: String,
    }
    let decode = |url: usize, headers: usize, value: usize, body: usize| {
        let headers = vec![("a".to_owned(), "b".repeat(value)); headers];
        let written = Written { method: "GET", url: "u".repeat(url), headers, body: "c".repeat(body) };
        Request::decode(&rmp_serde::to_vec_named(&written).expect("it can be written")).map(|_| ())
    };
    assert_eq!(decode(URL_BYTES_MAX, HEADERS_MAX, 1, REQUEST_BODY_BYTES_MAX), Ok(()));
    assert_eq!(decode(URL_BYTES_MAX + 1, 0, 0, 0), Err(RequestError::Url(URL_BYTES_MAX + 1)));
    assert_eq!(decode(1, HEADERS_MAX + 1, 0, 0), Err(RequestError::Headers(HEADERS_MAX + 1)));
    assert_eq!(decode(1, 1, HEADER_BYTES_MAX, 0), Err(RequestError::HeaderBytes(HEADER_BYTES_MAX + 1)));
    assert_eq!(decode(1, 0, 0, REQUEST_BODY_BYTES_MAX + 1), Err(RequestError::Body(REQUEST_BODY_BYTES_MAX + 1)));
}

#[test]
fn times_and_tries_are_within_their_bounds() {
    let bytes = b"\x85\xa6method\xa3GET\xa3url\xa1x\xaatimeout_ms\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa5tries\x00\xaabackoff_ms\xcf\xff\xff\xff\xff\xff\xff\xff\xff";
    let request = Request::decode(bytes).expect("it is whole");
    assert_eq!((request.timeout, request.tries, request.backoff), (TIMEOUT_MAX, 1, BACKOFF_MAX));
}

#[test]
fn what_is_to_be_done_once_is_never_repeated() {
    let mut request = Request::decode(GOLDEN).expect("it is whole");
    assert!(request.may_be_repeated(), "the guest says so");
    request.once = true;
    assert!(!request.may_be_repeated());
    (request.once, request.idempotent) = (false, false);
    assert!(!request.may_be_repeated(), "POST");
    request.method = "DELETE".to_owned();
    assert!(request.may_be_repeated());
}
