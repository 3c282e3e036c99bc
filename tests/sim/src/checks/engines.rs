//! Whoever takes over from another version of the engine has been seen to agree with it.

use std::collections::BTreeMap;

use ambrosia_core::{Epoch, InstanceUuid, Lsn, RecordHeader, RecordKind};

/// The engines of the reigns that were begun.
#[derive(Default)]
pub(crate) struct Engines(BTreeMap<(InstanceUuid, Epoch), [u8; 32]>);

impl Engines {
    pub(crate) fn on_acquired(&mut self, uuid: InstanceUuid, epoch: Epoch, engine: [u8; 32]) {
        assert_eq!(self.0.insert((uuid, epoch), engine), None, "a reign is one replica's");
    }

    /// The engine of that reign; `None` for what is before the first.
    pub(crate) fn of(&self, uuid: InstanceUuid, epoch: Epoch) -> Option<[u8; 32]> {
        self.0.get(&(uuid, epoch)).copied()
    }
}

/// What a replica has done of reigns of another engine, in one incarnation.
#[derive(Default)]
pub(crate) struct Compared {
    /// The engine that was reigning last, if it was another one.
    other: Option<[u8; 32]>,
    /// What its guest has handled of such reigns that no digest record stands behind.
    unseen: Option<Lsn>,
    /// A digest record of that engine stands behind something that its guest has handled.
    is_seen: bool,
}

impl Compared {
    /// A record was applied, of a reign of that engine.
    pub(crate) fn on_applied(&mut self, header: &RecordHeader, engine: Option<[u8; 32]>, own: [u8; 32]) {
        if header.kind == RecordKind::Epoch {
            return; // a reign that is given up at once shows nothing
        }
        let other = engine.filter(|engine| *engine != own);
        let Some(other) = other else {
            *self = Compared::default();
            return;
        };
        if self.other.replace(other) != Some(other) {
            self.is_seen = false;
        }
        match header.kind {
            RecordKind::Deliver | RecordKind::Upgrade | RecordKind::Mend => {
                self.unseen = self.unseen.or(Some(header.lsn));
            }
            RecordKind::Digest => self.is_seen |= self.unseen.take().is_some(),
            _ => {}
        }
    }

    /// The replica reigns.
    pub(crate) fn on_reign(&mut self, who: &dyn std::fmt::Display) {
        let Compared { other, unseen, is_seen } = std::mem::take(self);
        assert!(
            other.is_none() || unseen.is_none() || is_seen,
            "{who} became primary behind another engine, and nothing says that it did the same from {unseen:?} on"
        );
    }
}
