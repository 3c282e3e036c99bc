//! Inquiries: what has become of a request, by its id.
//!
//! **Architecture Invariant:** nothing replicated can change here, and only a primary knows: a standby may not have heard of a
//! request that was answered long ago.

use core::time::Duration;

use crate::{Answer, ConnectionId, Guest, Lsn, Replica, RequestId};

/// Somebody wants to know what has become of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inquiry {
    /// Who asks.
    pub connection: ConnectionId,
    /// What that calls the inquiry.
    pub number: u64,
    /// The request.
    pub request: RequestId,
    /// For how long its result may be waited for.
    pub wait: Duration,
}

/// What has become of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestStatus {
    /// Nothing is known of it: it was never asked, or it is forgotten by now.
    Unknown,
    /// It is durable, and has no result yet.
    UnderWay {
        /// The record that holds it.
        accepted: Lsn,
    },
    /// It has a result.
    Answered {
        /// The record that holds it.
        accepted: Lsn,
        /// The record that brought the result about.
        lsn: Lsn,
        /// The result.
        answer: Answer,
    },
}

/// What an inquiry has come to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InquiryAnswer {
    /// Who has asked.
    pub connection: ConnectionId,
    /// What that calls the inquiry.
    pub number: u64,
    /// What has become of the request.
    pub status: RequestStatus,
    /// The last record of the state that was asked: all that the answer tells of is in it or before.
    pub at: Lsn,
}

impl<G: Guest> Replica<G> {
    /// What has become of a request, as of the last record applied.
    pub fn status_of(&self, request: &RequestId) -> RequestStatus {
        match self.state().requests.get(request) {
            None => RequestStatus::Unknown,
            Some(known) => match known.answer {
                None => RequestStatus::UnderWay { accepted: known.accepted },
                Some((lsn, answer)) => RequestStatus::Answered { accepted: known.accepted, lsn, answer },
            },
        }
    }
}
