//! How far a link has come with its peer: told by the task of the link, read by the driver.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_client::Unreached;
use ambrosia_core::{InstanceName, Lsn};
use ambrosia_storage::{InstanceError, Instances, RecordedOutcome, Store};

/// A peer that can't be reached for this long, while something waits for it, is told of; and looked at again as often.
pub(crate) const HINDRANCE_PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no connection with the primary of an instance.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Hindrance {
    /// There is no such instance.
    #[error("no instance of that name is registered; is the name right? What was sent waits until there is one")]
    NotRegistered,
    /// It has come to its end.
    #[error("the instance finished with exit code {code} and takes no more messages")]
    Finished {
        /// Its exit code.
        code: i32,
    },
    /// It stands still since its guest failed.
    #[error("the instance halted at lsn {lsn}; `ambrosia-host status` tells why")]
    Halted {
        /// The record at which it did.
        lsn: Lsn,
    },
    /// Nobody runs it.
    #[error("the instance has no primary: start one with `ambrosia-host run --instance {name}`")]
    NoPrimary {
        /// Its name.
        name: InstanceName,
    },
    /// Its registration can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// Somebody is said to run it.
    #[error(transparent)]
    Unreached(#[from] Unreached),
}

impl Hindrance {
    /// Why an instance has no primary.
    pub fn without_primary(store: &dyn Store, name: &InstanceName) -> Hindrance {
        match store.instance(name).map(|entry| entry.outcome) {
            Ok(Some(RecordedOutcome::Finished { code, .. })) => Hindrance::Finished { code },
            Ok(Some(RecordedOutcome::Halted { lsn, .. })) => Hindrance::Halted { lsn },
            Ok(None) => Hindrance::NoPrimary { name: name.clone() },
            Err(InstanceError::Unknown { .. }) => Hindrance::NotRegistered,
            Err(error) => Hindrance::Unreadable(error.to_string()),
        }
    }

    /// One or two words for it, on which scripts may depend.
    pub fn state(&self) -> &'static str {
        match self {
            Hindrance::NotRegistered => "not registered",
            Hindrance::Finished { .. } => "finished",
            Hindrance::Halted { .. } => "halted",
            Hindrance::NoPrimary { .. } => NO_PRIMARY,
            Hindrance::Unreadable(_) => "unreadable",
            Hindrance::Unreached(Unreached::Address { .. } | Unreached::Name { .. }) => "unreachable",
            Hindrance::Unreached(Unreached::Silent { .. }) => "silent",
            Hindrance::Unreached(Unreached::Refused { .. }) => "refused",
            Hindrance::Unreached(Unreached::Tls { .. }) => "no tls",
        }
    }
}

/// The word for an instance that nobody runs.
pub(crate) const NO_PRIMARY: &str = "no primary";

/// The contact with one peer. Clones are the same.
#[derive(Clone)]
pub(crate) struct Contact(Arc<Mutex<Inner>>);

struct Inner {
    state: Reach,
    since: Instant,
    /// When the driver was last asked to look whether anything waits.
    asked: Option<Instant>,
    /// The cause that the operator was told last, until the peer is reached.
    told: Option<&'static str>,
}

enum Reach {
    Connecting,
    Connected,
    Hindered(Hindrance),
}

/// A contact as it is now.
pub(crate) struct Standing {
    /// "connected", "connecting", or what [`Hindrance::state`] says.
    pub(crate) state: &'static str,
    /// For a person; empty if all is well.
    pub(crate) reason: String,
    /// Since when it is connected, or not.
    pub(crate) since: Instant,
}

impl Contact {
    pub(crate) fn new(now: Instant) -> Contact {
        Contact(Arc::new(Mutex::new(Inner { state: Reach::Connecting, since: now, asked: None, told: None })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer welcomes the stream.
    pub(crate) fn connected(&self, now: Instant) {
        let mut inner = self.inner();
        (inner.state, inner.since, inner.asked) = (Reach::Connected, now, None);
    }

    /// A connection has ended, for no reason that would last.
    pub(crate) fn connecting(&self, now: Instant) {
        let mut inner = self.inner();
        if matches!(inner.state, Reach::Connected) {
            (inner.state, inner.since) = (Reach::Connecting, now);
        }
    }

    /// Something keeps the peer from being reached. True if that is so for [`HINDRANCE_PATIENCE`] by now, and the driver
    /// is to see whether anything waits for the peer: it asks for [`Contact::to_tell`] then.
    pub(crate) fn hindered(&self, hindrance: Hindrance, now: Instant) -> bool {
        let mut inner = self.inner();
        if matches!(inner.state, Reach::Connected) {
            inner.since = now;
        }
        let new = inner.told != Some(hindrance.state());
        inner.state = Reach::Hindered(hindrance);
        let patient =
            |since: Option<Instant>| since.is_none_or(|since| now.duration_since(since) >= HINDRANCE_PATIENCE);
        let ask = new && patient(Some(inner.since)) && patient(inner.asked);
        if ask {
            inner.asked = Some(now);
        }
        ask
    }

    /// What the operator is to be told, once a cause.
    pub(crate) fn to_tell(&self) -> Option<Hindrance> {
        let mut inner = self.inner();
        let Reach::Hindered(hindrance) = &inner.state else { return None };
        let hindrance = hindrance.clone();
        (inner.told.replace(hindrance.state()) != Some(hindrance.state())).then_some(hindrance)
    }

    /// Whether the operator was told of a hindrance, which is over. Asked once.
    pub(crate) fn take_told(&self) -> bool {
        self.inner().told.take().is_some()
    }

    pub(crate) fn standing(&self) -> Standing {
        let inner = self.inner();
        let (state, reason) = match &inner.state {
            Reach::Connecting => ("connecting", String::new()),
            Reach::Connected => ("connected", String::new()),
            Reach::Hindered(hindrance) => (hindrance.state(), hindrance.to_string()),
        };
        Standing { state, reason, since: inner.since }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halted(lsn: u64) -> Hindrance {
        Hindrance::Halted { lsn: Lsn(lsn) }
    }

    #[test]
    fn a_hindrance_is_told_when_it_lasts_and_once_a_cause() {
        let begin = Instant::now();
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        let contact = Contact::new(begin);
        assert!(!contact.hindered(Hindrance::NotRegistered, at(4)), "it may pass");
        assert!(contact.hindered(Hindrance::NotRegistered, at(5)));
        assert!(!contact.hindered(Hindrance::NotRegistered, at(6)), "nothing waited, so not at once again");
        assert!(contact.hindered(Hindrance::NotRegistered, at(10)));
        assert_eq!(contact.to_tell(), Some(Hindrance::NotRegistered));
        assert_eq!(contact.to_tell(), None);
        assert!(!contact.hindered(Hindrance::NotRegistered, at(100)), "it was told");
        assert!(contact.hindered(halted(7), at(101)), "another cause");
        assert_eq!(contact.to_tell(), Some(halted(7)));
        assert_eq!(contact.standing().state, "halted");
        contact.connected(at(102));
        assert!(contact.take_told());
        assert!(!contact.take_told());
        assert_eq!((contact.standing().state, contact.standing().since), ("connected", at(102)));
        assert_eq!(contact.to_tell(), None, "nothing hinders");
        assert!(!contact.hindered(halted(7), at(200)), "it had been reached until now");
        assert!(contact.hindered(halted(7), at(205)), "the same cause again is told again");
    }

    #[test]
    fn a_connection_that_ends_is_made_again_and_a_hindrance_stays_until_then() {
        let begin = Instant::now();
        let later = begin + Duration::from_secs(9);
        let contact = Contact::new(begin);
        contact.connected(begin);
        contact.connecting(later);
        assert_eq!((contact.standing().state, contact.standing().since), ("connecting", later));
        contact.hindered(halted(1), later);
        contact.connecting(later);
        assert_eq!(contact.standing().state, "halted");
    }
}
