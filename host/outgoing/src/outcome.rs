//! What a guest is told: the map of `wit/LAYOUT.md`.

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// What has come of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Attempts that were made by this primary. Those of one before it are not known.
    pub tries: u32,
    /// The answer, or why there is none.
    pub result: Result<Answer, Failure>,
}

/// What the server has answered, whatever its status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Names in lower case, and values. What is not UTF-8 in a value is read as Latin-1.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// For people. No secret is in it.
    pub error: String,
}

/// What a guest can do something different about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureKind {
    /// It was never tried: not granted, too large, or no request.
    Refused,
    /// All attempts have failed.
    Failed,
    /// So have all, and the last one took too long.
    Timeout,
    /// It was to be done once, and may have been done.
    Unknown,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Answer { status: u16, headers: &'a [(String, String)], body: AsBin<'a>, tries: u32 },
    Failure { error: &'a str, kind: FailureKind, tries: u32 },
}

struct AsBin<'a>(&'a [u8]);

impl Serialize for AsBin<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Outcome {
    /// It was never tried.
    pub fn refused(error: impl Into<String>) -> Outcome {
        Outcome::failure(FailureKind::Refused, 0, error.into())
    }

    pub(crate) fn failure(kind: FailureKind, tries: u32, error: String) -> Outcome {
        Outcome { tries, result: Err(Failure { kind, error }) }
    }

    /// As the guest gets it.
    pub fn encode(&self) -> Bytes {
        let tries = self.tries;
        let written = match &self.result {
            Ok(Answer { status, headers, body }) => {
                Written::Answer { status: *status, headers, body: AsBin(body), tries }
            }
            Err(Failure { kind, error }) => Written::Failure { error, kind: *kind, tries },
        };
        rmp_serde::to_vec_named(&written).expect("texts, numbers and bytes can be written to memory").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_as_it_is_written_down() {
        let answer = Answer {
            status: 201,
            headers: vec![("x-a".to_owned(), "1".to_owned())],
            body: Bytes::from_static(&[9, 8]),
        };
        let outcome = Outcome { tries: 2, result: Ok(answer) };
        let golden = b"\x84\xa6status\xcc\xc9\xa7headers\x91\x92\xa3x-a\xa11\xa4body\xc4\x02\x09\x08\xa5tries\x02";
        assert_eq!(outcome.encode(), &golden[..]);
    }

    #[test]
    fn a_failure_is_written_as_it_is_written_down() {
        let kinds = [
            (FailureKind::Refused, &b"\xa7refused"[..]),
            (FailureKind::Failed, b"\xa6failed"),
            (FailureKind::Timeout, b"\xa7timeout"),
            (FailureKind::Unknown, b"\xa7unknown"),
        ];
        for (kind, text) in kinds {
            let golden = [b"\x83\xa5error\xa2no\xa4kind", text, b"\xa5tries\x07"].concat();
            assert_eq!(Outcome::failure(kind, 7, "no".to_owned()).encode(), golden);
        }
    }
}
