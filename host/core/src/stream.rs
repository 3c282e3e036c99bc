//! The two streams between this instance and one peer.

use crate::{InstanceUuid, Seq, outbox::Outbox};

/// What this instance knows of one peer. It belongs to one life of the peer: see [`Stream::bind`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stream {
    /// The instance that the name stands for; unknown until the first contact.
    pub(crate) uuid: Option<InstanceUuid>,
    /// Last message of the peer that is in the log.
    pub(crate) received: Seq,
    /// Messages to the peer.
    pub(crate) outbox: Outbox,
}

impl Stream {
    /// The name stands for `uuid` from here on. If it stood for another instance, both streams start afresh; returns
    /// how many messages to the old one were dropped.
    pub(crate) fn bind(&mut self, uuid: InstanceUuid) -> u64 {
        let known = self.uuid.replace(uuid);
        if known.is_none_or(|known| known == uuid) {
            return 0;
        }
        self.received = Seq(0);
        self.outbox.restart()
    }
}
