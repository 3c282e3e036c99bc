//! Whether a replica may take over from another version of the engine: what one version has shown, the next must not deny.
//!
//! A replica follows a reign of another engine as any other. It is not known then that both do the same with the same messages:
//! one may count fuel otherwise, or have another limit. The digest records tell: a replica that was equal to the log behind
//! messages that it has handled itself is believed.
//!
//! **Architecture Invariant:** it says who may take over, and never who may write.

use core::time::Duration;

use crate::Lsn;

/// A replica that waits for a comparison asks for one that often.
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// What is known of how this engine and that of the reign agree.
pub(super) struct Agreement {
    own: [u8; 32],
    /// The engine of the reign.
    reign: [u8; 32],
    /// The first record handled here, in a reign of another engine, since this replica was last known to be what the log
    /// says.
    untested: Option<Lsn>,
    /// Whether they were equal behind such a record.
    is_believed: bool,
    /// The reign before was of another engine, whose replicas are to see whether they agree.
    is_to_show: bool,
    asked: Option<Duration>,
}

/// What a record did to a replica.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Did {
    /// Nothing that depends on the engine.
    Nothing,
    /// Its guest has handled it.
    Handled,
    /// It found the replica to be what the log says.
    Equal,
}

/// What a record has shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// The reign that begins is another engine's.
    OtherEngine,
    /// For the first time: they agree.
    Agrees,
}

impl Agreement {
    /// Of a replica that begins in a reign of that engine, being what the log says.
    pub(super) fn begin(own: [u8; 32], reign: Option<[u8; 32]>) -> Agreement {
        let reign = reign.unwrap_or(own);
        Agreement { own, reign, untested: None, is_believed: false, is_to_show: false, asked: None }
    }

    /// The engine of the reign.
    pub(super) fn reign(&self) -> [u8; 32] {
        self.reign
    }

    /// Whether the reign is of another engine.
    pub(super) fn is_foreign(&self) -> bool {
        self.reign != self.own
    }

    /// A reign of that engine begins.
    pub(super) fn on_reign(&mut self, engine: [u8; 32]) -> Option<Shown> {
        let before = std::mem::replace(&mut self.reign, engine);
        if !self.is_foreign() {
            self.is_to_show |= before != engine;
            return None;
        }
        self.is_to_show = false;
        if before == engine {
            return None;
        }
        // What it has handled of an earlier one is not to be told apart.
        self.is_believed = false;
        Some(Shown::OtherEngine)
    }

    /// A record of the reign was applied, behind the one that begins it.
    pub(super) fn on_record(&mut self, lsn: Lsn, did: Did) -> Option<Shown> {
        if !self.is_foreign() {
            // Whoever has taken over and writes was believed, and this engine does what that one does.
            self.untested = None;
            return None;
        }
        match did {
            Did::Nothing => None,
            Did::Handled => {
                self.untested = self.untested.or(Some(lsn));
                None
            }
            Did::Equal => {
                let is_news = self.untested.take().is_some() && !std::mem::replace(&mut self.is_believed, true);
                is_news.then_some(Shown::Agrees)
            }
        }
    }

    /// The first record of which it is not known whether it has done here what was seen; `None` if it may take over.
    pub(super) fn doubt(&self) -> Option<Lsn> {
        self.untested.filter(|_| !self.is_believed)
    }

    /// Whether a comparison is to be asked for now.
    pub(super) fn asks(&mut self, now: Duration) -> bool {
        let is_due = self.wake_after(now) == Some(Duration::ZERO);
        if is_due {
            self.asked = Some(now);
        }
        is_due
    }

    /// How long until it is; `None` if none is wanted.
    pub(super) fn wake_after(&self, now: Duration) -> Option<Duration> {
        self.doubt()?;
        Some(self.asked.map_or(Duration::ZERO, |asked| ASK_INTERVAL.saturating_sub(now.saturating_sub(asked))))
    }

    /// Whether the reign that begins is to let replicas of the engine before see whether they agree.
    pub(super) fn takes_turn_to_show(&mut self) -> bool {
        std::mem::take(&mut self.is_to_show)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: [u8; 32] = [1; 32];
    const OTHER: [u8; 32] = [2; 32];
    const THIRD: [u8; 32] = [3; 32];

    #[test]
    fn whoever_follows_its_own_engine_has_no_doubt() {
        let mut agreement = Agreement::begin(OWN, None);
        assert_eq!(agreement.on_reign(OWN), None);
        agreement.on_record(Lsn(3), Did::Handled);
        assert_eq!((agreement.doubt(), agreement.on_record(Lsn(20), Did::Equal)), (None, None));
        assert!(!agreement.takes_turn_to_show());
    }

    #[test]
    fn another_engine_is_believed_once_it_was_equal_behind_what_it_has_handled() {
        let mut agreement = Agreement::begin(OWN, None);
        assert_eq!(agreement.on_reign(OTHER), Some(Shown::OtherEngine));
        assert_eq!(agreement.on_record(Lsn(20), Did::Equal), None, "nothing was handled");
        assert_eq!(agreement.doubt(), None, "and so nothing is in doubt");
        agreement.on_record(Lsn(3), Did::Handled);
        agreement.on_record(Lsn(4), Did::Handled);
        assert_eq!(agreement.doubt(), Some(Lsn(3)));
        assert_eq!(agreement.on_record(Lsn(20), Did::Equal), Some(Shown::Agrees));
        agreement.on_record(Lsn(6), Did::Handled);
        assert_eq!((agreement.doubt(), agreement.on_record(Lsn(20), Did::Equal)), (None, None), "it was told");
        assert_eq!(agreement.on_reign(OTHER), None, "the same engine");
        agreement.on_record(Lsn(9), Did::Handled);
        assert_eq!(agreement.doubt(), None);
        assert_eq!(agreement.on_reign(THIRD), Some(Shown::OtherEngine));
        agreement.on_record(Lsn(11), Did::Handled);
        assert_eq!(agreement.doubt(), Some(Lsn(9)), "that one is another, and nothing stands behind record 9");
    }

    #[test]
    fn a_replica_of_a_checkpoint_is_what_the_log_says_until_it_handles_something() {
        let mut agreement = Agreement::begin(OWN, Some(OTHER));
        assert_eq!((agreement.doubt(), agreement.reign()), (None, OTHER));
        agreement.on_record(Lsn(7), Did::Handled);
        assert_eq!(agreement.doubt(), Some(Lsn(7)));
    }

    #[test]
    fn whoever_reigns_behind_another_engine_shows_it_once() {
        let mut agreement = Agreement::begin(OWN, Some(OTHER));
        agreement.on_record(Lsn(7), Did::Handled);
        assert_eq!(agreement.on_reign(OWN), None);
        assert_eq!(agreement.doubt(), Some(Lsn(7)), "a reign that was begun by mistake shows nothing");
        agreement.on_record(Lsn(9), Did::Nothing);
        assert_eq!(agreement.doubt(), None, "whoever writes was believed");
        assert!(agreement.takes_turn_to_show());
        assert!(!agreement.takes_turn_to_show());
    }

    #[test]
    fn a_comparison_is_asked_for_at_once_and_then_now_and_then() {
        let mut agreement = Agreement::begin(OWN, Some(OTHER));
        let now = Duration::from_secs(100);
        assert!(!agreement.asks(now), "nothing is in doubt");
        agreement.on_record(Lsn(7), Did::Handled);
        assert!(agreement.asks(now));
        assert!(!agreement.asks(now));
        assert_eq!(agreement.wake_after(now), Some(ASK_INTERVAL));
        assert!(agreement.asks(now + ASK_INTERVAL));
        agreement.on_record(Lsn(20), Did::Equal);
        assert_eq!(agreement.wake_after(now), None);
    }
}
