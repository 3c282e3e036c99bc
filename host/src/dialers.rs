//! The links that a primary keeps with its peers, and what waits for each of them.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use ambrosia_core::{ConnectionId, Epoch, InstanceName, PeerIndex, Timestamp};
use ambrosia_wire::Control;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::{
    connections::Connections,
    contact::{Contact, Standing},
    dialer::Dialer,
    driver::{Driver, Replica},
    record_times::RecordTimes,
};

/// The links of a reign. Dropped, they end.
#[derive(Default)]
pub(crate) struct Dialers {
    contacts: BTreeMap<PeerIndex, Contact>,
    tasks: Vec<JoinHandle<()>>,
}

impl Dialers {
    /// Keeps a connection with that peer from now on.
    pub(crate) fn connect(
        &mut self,
        driver: &Driver,
        replica: &Replica,
        epoch: Epoch,
        peer: PeerIndex,
        name: InstanceName,
    ) {
        let contact = Contact::new(Instant::now());
        assert!(self.contacts.insert(peer, contact.clone()).is_none(), "a primary connects to each peer once");
        let genesis = replica.genesis();
        let dialer = Dialer {
            store: Arc::clone(&driver.store),
            contact,
            from: genesis.name.clone(),
            from_uuid: genesis.uuid,
            epoch,
            peer,
            primaries: driver.directory.follow(&name),
            to: name,
            mailbox: Arc::clone(&driver.mailbox),
            trunks: Arc::clone(&driver.trunks),
        };
        self.tasks.push(driver.runtime.spawn(dialer.keep().instrument(driver.span.clone())));
    }

    /// A task that ends with the reign.
    pub(crate) fn push(&mut self, task: JoinHandle<()>) {
        self.tasks.push(task);
    }

    /// Tells the operator of a peer that can't be reached, if anything waits for it.
    pub(crate) fn on_hindered(&self, replica: &Replica, peer: PeerIndex) {
        let Some(contact) = self.contacts.get(&peer).filter(|_| replica.waits_for(peer)) else { return };
        if let Some(hindrance) = contact.to_tell()
            && let Some(name) = replica.peer_name(peer)
        {
            tracing::warn!(peer = %name, "what is sent to the peer waits: {hindrance}");
        }
    }

    pub(crate) fn on_reached(&self, replica: &Replica, peer: PeerIndex) {
        if self.contacts.get(&peer).is_some_and(Contact::take_told)
            && let Some(name) = replica.peer_name(peer)
        {
            tracing::info!(peer = %name, "the peer is reached, and gets what has waited for it");
        }
    }

    /// Tells whoever asks what waits for each peer. `now` is the time of the reign.
    pub(crate) fn report(
        &self,
        replica: &Replica,
        times: &RecordTimes,
        now: Timestamp,
        connections: &mut Connections,
        connection: ConnectionId,
    ) {
        let instant = Instant::now();
        for waits in replica.waits() {
            let Some(contact) = self.contacts.get(&waits.peer) else { continue };
            let Standing { state, reason, since } = contact.standing();
            let oldest = waits.oldest.and_then(|lsn| times.of(lsn));
            let millis = |ns: u64| ns / 1_000_000;
            connections.tell(
                connection,
                Control::Peer {
                    name: waits.name.to_string(),
                    state: state.to_owned(),
                    reason,
                    since_ms: instant.saturating_duration_since(since).as_millis() as u64,
                    messages: waits.messages,
                    bytes: waits.bytes as u64,
                    oldest_ms: oldest.map(|time| millis(now.0.saturating_sub(time.0))),
                    calls: waits.calls,
                    oldest_call: waits.oldest_call.map(|call| call.0),
                },
            );
        }
        connections.tell(connection, Control::PeersEnd);
    }
}

impl Drop for Dialers {
    fn drop(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
    }
}
