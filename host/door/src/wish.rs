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
}

impl Wish {
    pub(crate) fn of(headers: &HeaderMap) -> Wish {
        let mut wish = Wish { wait: ANSWER_WAIT };
        let values = headers.get_all(PREFER).into_iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(|value| value.split(',')) {
            let said = preference.split(';').next().unwrap_or_default();
            let (name, value) = said.split_once('=').unwrap_or((said, ""));
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if name == "wait"
                && let Ok(seconds) = value.parse()
            {
                wish.wait = Duration::from_secs(seconds).min(ANSWER_WAIT_MAX);
            }
        }
        wish
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(values: &[&str]) -> u64 {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, value.parse().expect("a value"));
        }
        Wish::of(&headers).wait.as_secs()
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
