//! Notices that the store was replaced or removed under a running replica.

use ambrosia_storage::Presence;

use crate::{event::Event, mailbox::Mailbox};

/// Sees whether the store is still the one that was opened, and says once if it is not.
#[derive(Default)]
pub(crate) struct StoreWatch {
    is_lost: bool,
    is_unseen: bool,
}

impl StoreWatch {
    /// To be called with each heartbeat.
    pub(crate) fn look(&mut self, presence: &dyn Presence, mailbox: &Mailbox<Event>) {
        if self.is_lost {
            return;
        }
        match presence.lost_store() {
            Ok(None) => self.is_unseen = false,
            Ok(Some(place)) => {
                self.is_lost = true;
                mailbox.push(Event::StoreLost(place));
            }
            // It says nothing of the file that is open, so the replica goes on.
            Err(error) if !self.is_unseen => {
                self.is_unseen = true;
                tracing::error!(%error, "can't check whether the store was replaced");
            }
            Err(_) => {}
        }
    }
}
