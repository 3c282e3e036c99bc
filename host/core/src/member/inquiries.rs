//! Inquiries that wait for the result of a request.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::{Inquiry, RequestId};

/// Inquiries that may wait at a time.
const WAITING_MAX: usize = 4096;

/// Those that wait, each until some time.
#[derive(Default)]
pub(super) struct Inquiries {
    waiting: BTreeMap<RequestId, Vec<(Duration, Inquiry)>>,
    count: usize,
}

impl Inquiries {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds one, unless there are as many as may be.
    pub(super) fn add(&mut self, until: Duration, inquiry: Inquiry) -> Result<(), Inquiry> {
        if self.count >= WAITING_MAX {
            return Err(inquiry);
        }
        self.count += 1;
        self.waiting.entry(inquiry.request.clone()).or_default().push((until, inquiry));
        Ok(())
    }

    /// Takes those that ask for that request.
    pub(super) fn take(&mut self, request: &RequestId) -> Vec<Inquiry> {
        let taken = self.waiting.remove(request).unwrap_or_default();
        self.count -= taken.len();
        taken.into_iter().map(|(_, inquiry)| inquiry).collect()
    }

    /// Takes those that wait for longer than until `now`.
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Inquiry> {
        let mut due = Vec::new();
        self.waiting.retain(|_, waiting| {
            due.extend(waiting.extract_if(.., |(until, _)| *until <= now).map(|(_, inquiry)| inquiry));
            !waiting.is_empty()
        });
        self.count -= due.len();
        due
    }

    /// Takes all, with the time until which each may wait.
    pub(super) fn take_all(&mut self) -> Vec<(Duration, Inquiry)> {
        self.count = 0;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// The first time at which one has waited for long enough.
    pub(super) fn first_due(&self) -> Option<Duration> {
        self.waiting.values().flatten().map(|(until, _)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ConnectionId;

    fn inquiry(number: u64, request: &str) -> Inquiry {
        let request = RequestId::new(request).expect("short");
        Inquiry { connection: ConnectionId(1), number, request, wait: Duration::ZERO }
    }

    fn numbers(inquiries: &[Inquiry]) -> Vec<u64> {
        inquiries.iter().map(|inquiry| inquiry.number).collect()
    }

    #[test]
    fn each_is_taken_once_and_they_are_bounded() {
        let at = Duration::from_secs;
        let mut inquiries = Inquiries::default();
        for (number, request, until) in [(1, "a", 5), (2, "a", 2), (3, "b", 2)] {
            assert_eq!(inquiries.add(at(until), inquiry(number, request)), Ok(()));
        }
        assert_eq!(inquiries.first_due(), Some(at(2)));
        assert_eq!(numbers(&inquiries.take_due(at(1))), [0_u64; 0]);
        assert_eq!(numbers(&inquiries.take_due(at(2))), [2, 3]);
        assert_eq!(numbers(&inquiries.take(&RequestId::new("a").expect("short"))), [1]);
        assert!(inquiries.is_empty() && inquiries.first_due().is_none());
        for number in 0..WAITING_MAX as u64 {
            assert_eq!(inquiries.add(at(9), inquiry(number, "c")), Ok(()));
        }
        assert_eq!(inquiries.add(at(9), inquiry(7, "d")), Err(inquiry(7, "d")));
        assert_eq!(inquiries.take_all().len(), WAITING_MAX);
        assert_eq!(inquiries.add(at(9), inquiry(7, "d")), Ok(()));
    }
}
