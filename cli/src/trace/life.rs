//! One instance whose log is read.

use std::{collections::HashMap, sync::Arc};

use ambrosia_core::{InstanceName, InstanceUuid, Lsn, PeerIndex};
use ambrosia_host::travel::Traveller;
use ambrosia_storage::{Instances, Store};

use super::index::Index;
use crate::debug::{ShownMoment, Viewer};

/// An instance, a replica of it that goes to any record, and where its messages are.
pub(super) struct Life {
    pub(super) uuid: InstanceUuid,
    pub(super) traveller: Traveller,
    viewer: Viewer,
    pub(super) index: Index,
    /// All that it has met.
    pub(super) peers: HashMap<String, PeerIndex>,
}

impl Life {
    /// Reads the log of the instance from its first record to its last.
    pub(super) fn read(store: &Arc<dyn Store>, instance: &InstanceName) -> anyhow::Result<Life> {
        let entry = store.instance(instance)?;
        let log = store.log(entry.log())?;
        let mut traveller = Traveller::new(store, instance)?;
        let (first, last) = traveller.range();
        let mut index = Index::default();
        let mut tail = log.tail(log.first()?.max(first))?;
        'log: loop {
            let records = tail.read()?;
            if records.is_empty() {
                break;
            }
            for record in &records {
                if record.lsn() > last {
                    break 'log;
                }
                index.push(record)?;
            }
        }
        // Names of peers are never taken back, so those at the end are all.
        traveller.seek(last)?;
        let replica = traveller.replica();
        let peers = (1..).map(PeerIndex).map_while(|peer| Some((replica.peer_name(peer)?.to_string(), peer))).collect();
        let uuid = replica.genesis().uuid;
        let viewer = Viewer::new(Arc::clone(store), &traveller);
        Ok(Life { uuid, traveller, viewer, index, peers })
    }

    /// What happened at a record.
    pub(super) fn at(&mut self, lsn: Lsn) -> anyhow::Result<ShownMoment> {
        self.traveller.seek(lsn)?;
        self.viewer.moment(&self.traveller)
    }
}
