//! Replicas that have applied the same records are equal, also one that replays the log and one that executed it live.

use std::collections::BTreeMap;

use ambrosia_core::InstanceUuid;

/// Digests of the replicated state and of all that the guest lived through.
pub(crate) type Digest = (u64, u64);

/// Digests after the record with that link, of whichever replica came there first.
#[derive(Default)]
pub(crate) struct Digests {
    first: BTreeMap<(InstanceUuid, u64), Digest>,
}

impl Digests {
    /// What a guest had lived through after the record with that link, if anybody has applied it.
    pub(crate) fn history(&self, uuid: InstanceUuid, link: u64) -> Option<u64> {
        self.first.get(&(uuid, link)).map(|(_, history)| *history)
    }

    pub(crate) fn on_applied(&mut self, uuid: InstanceUuid, link: u64, digest: Digest) {
        let first = self.first.entry((uuid, link)).or_insert(digest);
        assert_eq!(*first, digest, "replicas that applied the same records are equal");
    }
}
