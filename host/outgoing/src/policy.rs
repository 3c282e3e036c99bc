//! Whether a request is tried again, and when.
//!
//! **Architecture Invariant:** it knows no clock and no randomness; both are arguments.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;

use crate::{
    limits::{BACKOFF_MAX, RETRY_AFTER_MAX},
    request::Request,
};

/// How an attempt has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// The server has answered.
    Answered { status: u16, retry_after: Option<Duration> },
    /// The server has answered, with more than can be taken.
    TooLarge,
    /// There was no connection, so nothing can have been done.
    NotSent,
    /// There was one, and no answer came by it.
    Broken,
}

/// What is done then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// It is tried again after this time.
    Again(Duration),
    /// That is what has come of it.
    Done,
    /// It may have been done, and that may not happen twice.
    Unknown,
}

/// Decides after the attempt number `tries`. `random` is any number, drawn anew each time.
pub(crate) fn next(request: &Request, tries: u32, ended: &Ended, random: u64) -> Next {
    let may_be_repeated = match ended {
        Ended::NotSent => true,
        Ended::Broken if request.once => return Next::Unknown,
        Ended::Broken => request.may_be_repeated(),
        Ended::Answered { status, .. } => request.may_be_repeated() && passes(*status),
        Ended::TooLarge => false,
    };
    if !may_be_repeated || tries >= request.tries {
        return Next::Done;
    }
    let pause = pause(request.backoff, tries, random);
    match ended {
        Ended::Answered { retry_after: Some(asked), .. } => Next::Again(pause.max((*asked).min(RETRY_AFTER_MAX))),
        _ => Next::Again(pause),
    }
}

/// Whether another attempt may get another answer.
fn passes(status: u16) -> bool {
    match StatusCode::from_u16(status) {
        Ok(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) => true,
        Ok(StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED) => false,
        Ok(status) => status.is_server_error(),
        Err(_) => false,
    }
}

/// It doubles with each attempt, and is shortened by up to a half, so that many that failed together don't come again together.
fn pause(first: Duration, tries: u32, random: u64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(tries.saturating_sub(1)).unwrap_or(u32::MAX)).min(BACKOFF_MAX);
    let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
    doubled.mul_f64(1.0 - share / 2.0)
}

/// How long a server wants to be left alone: a number of seconds, or a date.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    match value.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(value).ok().map(|date| date.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request(method: &str) -> Request {
        Request {
            method: method.to_owned(),
            url: String::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(1),
            tries: 3,
            backoff: Duration::from_millis(100),
            once: false,
            idempotent: false,
        }
    }

    fn answered(status: u16) -> Ended {
        Ended::Answered { status, retry_after: None }
    }

    fn is_again(request: &Request, ended: &Ended) -> bool {
        matches!(next(request, 1, ended, 0), Next::Again(_))
    }

    #[test]
    fn what_may_be_repeated_is_tried_again_where_another_answer_may_come() {
        let (get, post) = (request("GET"), request("POST"));
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert!(is_again(&get, &answered(status)), "{status}");
            assert_eq!(next(&post, 1, &answered(status), 0), Next::Done, "{status}");
            assert!(is_again(&Request { idempotent: true, ..post.clone() }, &answered(status)), "{status}");
            assert_eq!(next(&Request { once: true, ..get.clone() }, 1, &answered(status), 0), Next::Done);
        }
        for status in [200, 204, 301, 302, 400, 401, 404, 409, 501, 505] {
            assert_eq!(next(&get, 1, &answered(status), 0), Next::Done, "{status}");
        }
        assert_eq!(next(&get, 1, &Ended::TooLarge, 0), Next::Done);
    }

    #[test]
    fn a_post_is_tried_again_only_if_it_was_never_sent() {
        let post = request("POST");
        assert!(is_again(&post, &Ended::NotSent));
        assert_eq!(next(&post, 1, &Ended::Broken, 0), Next::Done);
        assert!(is_again(&request("PUT"), &Ended::Broken));
    }

    #[test]
    fn what_is_done_once_is_unknown_when_its_connection_breaks() {
        for method in ["GET", "POST"] {
            let once = Request { once: true, idempotent: true, ..request(method) };
            assert_eq!(next(&once, 1, &Ended::Broken, 0), Next::Unknown);
            assert!(is_again(&once, &Ended::NotSent));
        }
    }

    #[test]
    fn there_are_no_more_attempts_than_were_asked_for() {
        assert!(matches!(next(&request("GET"), 2, &answered(503), 0), Next::Again(_)));
        assert_eq!(next(&request("GET"), 3, &answered(503), 0), Next::Done);
        assert_eq!(next(&request("GET"), 3, &Ended::NotSent, 0), Next::Done);
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_differ_by_half_at_most() {
        let first = Duration::from_millis(100);
        assert_eq!(pause(first, 1, 0), first);
        assert_eq!(pause(first, 4, 0), first * 8);
        assert_eq!(pause(first, 1000, 0), BACKOFF_MAX);
        assert_eq!(pause(Duration::ZERO, 1000, 0), Duration::ZERO);
        for random in [1, 1 << 62, u64::MAX] {
            let paused = pause(first, 1, random);
            assert!(paused <= first && paused >= first / 2, "{paused:?}");
        }
    }

    #[test]
    fn the_server_may_ask_for_more_time() {
        let asked = |retry_after| {
            let ended = Ended::Answered { status: 429, retry_after: Some(retry_after) };
            next(&request("GET"), 1, &ended, 0)
        };
        assert_eq!(asked(Duration::from_secs(7)), Next::Again(Duration::from_secs(7)));
        assert_eq!(asked(Duration::ZERO), Next::Again(Duration::from_millis(100)));
        assert_eq!(asked(Duration::MAX), Next::Again(RETRY_AFTER_MAX));
    }

    #[test]
    fn a_time_to_wait_is_a_number_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(retry_after(" 120 ", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:20 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
