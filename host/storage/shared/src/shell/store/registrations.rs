//! Who registers or removes instances just now.
//!
//! A key is the lock. Whoever has it for longer than [`REGISTRATION_TIME`] without renewing it is taken for dead, and may not be: so
//! nothing depends on it but that two do not disturb each other. An entry is put only while its log is there.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ambrosia_storage::{HeldRegistrations, IoError, Revision};

use super::desk::Desk;
use crate::{
    keys::{PutRefused, Space},
    limits::{ANSWER_TIME, REGISTRATION_TIME, RENEW_INTERVAL},
};

const KEY: &str = "lock/registrations";

/// Nobody waits longer for others: a copy may take as long as it will. It is more than who holds them without a sign has.
const WAITING_TIME: Duration = Duration::from_secs(40);
const _: () = assert!(WAITING_TIME.as_secs() > REGISTRATION_TIME.as_secs());

/// Between two looks at whether it is free.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// Held until dropped.
pub(super) struct Registrations {
    desk: Arc<Desk>,
    revision: Revision,
    /// When it was put there.
    since: Instant,
}

pub(super) fn hold(desk: &Arc<Desk>) -> Result<Registrations, IoError> {
    hold_from(desk, REGISTRATION_TIME, WAITING_TIME)
}

/// Takes whoever has them for dead after `patience` without a sign, and waits no longer for others than `time`.
fn hold_from(desk: &Arc<Desk>, patience: Duration, time: Duration) -> Result<Registrations, IoError> {
    let began = Instant::now();
    let mut seen: Option<(Revision, Instant)> = None;
    loop {
        if began.elapsed() > time {
            let reason = format!(
                "somebody registers, copies or deregisters instances for more than {time:?}: try it again when that is done"
            );
            let source = io::Error::new(io::ErrorKind::TimedOut, reason);
            return Err(IoError { action: "hold registrations of", place: desk.place(), source });
        }
        match desk.put(Space::Store, KEY, None, Vec::new(), None)? {
            Ok(revision) => return Ok(Registrations { desk: Arc::clone(desk), revision, since: Instant::now() }),
            Err(PutRefused::Stands(Some(held))) => match seen {
                Some((revision, since)) if revision == held && since.elapsed() >= patience => {
                    // Whoever has it by now may be somebody else.
                    let _free = desk.delete(Space::Store, KEY, held)?;
                }
                Some((revision, _)) if revision == held => thread::park_timeout(LOOK_INTERVAL),
                _ => seen = Some((held, Instant::now())),
            },
            // It was given back meanwhile.
            Err(PutRefused::Stands(None) | PutRefused::NoLog) => {}
        }
    }
}

pub(super) fn are_held(desk: &Desk) -> Result<bool, IoError> {
    Ok(desk.get(Space::Store, KEY)?.is_some())
}

impl HeldRegistrations for Registrations {
    fn renew(&mut self) -> Result<bool, IoError> {
        if self.since.elapsed() < RENEW_INTERVAL {
            return Ok(true);
        }
        let since = Instant::now();
        let renewed = self.desk.put(Space::Store, KEY, Some(self.revision), Vec::new(), None)?;
        if let Ok(revision) = renewed {
            (self.revision, self.since) = (revision, since);
        }
        Ok(renewed.is_ok())
    }
}

impl Drop for Registrations {
    fn drop(&mut self) {
        // If that can't be done, the next one waits until it is taken for dead.
        let _left = self.desk.delete_within(Space::Store, KEY, self.revision, ANSWER_TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostId, MemoryEngine};

    #[test]
    fn who_holds_registrations_for_too_long_is_taken_for_dead_and_takes_nothing_from_the_next_one() {
        let desk = Arc::new(Desk::new(Arc::new(MemoryEngine::default()), HostId([1; 16])));
        let frozen = hold(&desk).expect("nobody holds them");
        let next = hold_from(&desk, Duration::from_millis(100), WAITING_TIME).expect("works");
        drop(frozen);
        assert!(are_held(&desk).expect("works"), "by the next one");
        drop(next);
        assert!(!are_held(&desk).expect("works"));
    }

    #[test]
    fn who_renews_what_he_holds_keeps_it_and_is_told_when_it_was_taken() {
        let desk = Arc::new(Desk::new(Arc::new(MemoryEngine::default()), HostId([1; 16])));
        let mut slow = hold(&desk).expect("nobody holds them");
        let long_ago = |held: &mut Registrations| held.since = held.since.checked_sub(RENEW_INTERVAL).expect("it runs");
        let before = slow.revision;
        assert!(slow.renew().expect("works") && slow.revision == before, "that was a moment ago");
        long_ago(&mut slow);
        assert!(slow.renew().expect("works") && slow.revision > before, "whoever waits begins anew");
        let next = hold_from(&desk, Duration::ZERO, WAITING_TIME).expect("works");
        long_ago(&mut slow);
        assert!(!slow.renew().expect("works"));
        drop(slow);
        assert!(are_held(&desk).expect("works"), "by the next one");
        drop(next);
    }

    #[test]
    fn who_waits_for_somebody_who_goes_on_and_on_is_told() {
        let desk = Arc::new(Desk::new(Arc::new(MemoryEngine::default()), HostId([1; 16])));
        let _held = hold(&desk).expect("nobody holds them");
        let error = hold_from(&desk, REGISTRATION_TIME, Duration::from_millis(100)).err().expect("they are held");
        assert!(error.to_string().contains("try it again"), "{error}");
    }
}
