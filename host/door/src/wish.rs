//! What a client would rather have (`Prefer`, RFC 7240). What is not understood is passed over, as that says.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use crate::limits::{ANSWER_WAIT, ANSWER_WAIT_MAX};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// How a client wants to be answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    /// How long it waits for the answer: `wait=SECONDS`.
    pub(crate) wait: Duration,
    /// The same, if it says so.
    pub(crate) wait_if_given: Option<Duration>,
    /// It would rather be told that the request is durable than wait longer than that, or at all: `respond-async`.
    pub(crate) respond_async: bool,
}

impl Wish {
    pub(crate) fn of(headers: &HeaderMap) -> Wish {
        let mut wish = Wish { wait: ANSWER_WAIT, wait_if_given: None, respond_async: false };
        let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            let said = preference.split(';').next().unwrap_or_default();
            let (name, value) = said.split_once('=').unwrap_or((said, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if name == "wait"
                && let Ok(seconds) = value.parse()
            {
                wish.wait = Duration::from_secs(seconds).min(ANSWER_WAIT_MAX);
                wish.wait_if_given = Some(wish.wait);
            }
            wish.respond_async |= name == "respond-async";
        }
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(values: &[&str]) -> Wish {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().expect("a value"));
        }
        Wish::of(&headers)
    }

    fn wait(values: &[&str]) -> u64 {
        wish(values).wait.as_secs()
    }

    #[test]
    fn an_answer_that_is_not_waited_for_is_wished_for_by_name() {
        let seconds = |values: &[&str]| {
            let wish = wish(values);
            (wish.respond_async, wish.wait_if_given.map(|wait| wait.as_secs()))
        };
        assert_eq!(seconds(&[]), (false, None));
        assert_eq!(seconds(&["respond-async"]), (true, None));
        assert_eq!(seconds(&["Respond-Async, wait=10"]), (true, Some(10)));
        assert_eq!(seconds(&["wait=3", "respond-async; x=1"]), (true, Some(3)));
        assert_eq!(seconds(&["respond-asynchronously"]), (false, None));
    }

    #[test]
    fn the_wait_is_as_wished_within_bounds() {
        let ours = ANSWER_WAIT.as_secs();
        for (values, expected) in [
            (&[][..], ours),
            (&["wait=5"], 5),
            (&["handling=lenient, Wait = \"7\"; x"], 7),
            (&["return=minimal", "wait=0"], 0),
            (&["wait=1000000"], ANSWER_WAIT_MAX.as_secs()),
            (&["wait=soon"], ours),
            (&["wait"], ours),
        ] {
            assert_eq!(wait(values), expected, "{values:?}");
        }
    }
}
