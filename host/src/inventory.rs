//! Which replicas a host runs, for somebody who looks at it while its store can't be read: what the host knows by itself.
//!
//! **Architecture Invariant:** nothing is read from the store for it, and no driver is waited for: whatever stands still, this is answered.

use std::sync::{Arc, atomic::Ordering};

use ambrosia_core::Epoch;
use ambrosia_wire::{Caller, Connection, ConnectionError, Control, Frame};

use crate::{
    bearer::{Bearer, NEITHER},
    known_tokens::KnownTokens,
    listener::Reception,
    relaying::{NO_OPERATOR, refuse},
};

/// Answers somebody who wants to know which replicas there are here, if they may read the store.
pub(crate) async fn tell(
    mut connection: Connection,
    (caller, token): (Caller, Option<String>),
    tokens: &Arc<KnownTokens>,
    here: Vec<Arc<Reception>>,
) -> ConnectionError {
    if let Err(reason) = admit(caller, token, tokens) {
        return refuse(&mut connection, caller, reason).await;
    }
    let told: Vec<_> = here.iter().map(|reception| replica(reception)).chain([Control::ReplicasEnd]).collect();
    let told: Vec<_> = told.into_iter().map(Frame::Control).collect();
    connection.write_frames(&told).await.err().unwrap_or(ConnectionError::Closed)
}

/// Whether somebody may look: whoever may read the store, by the tokens as they were read last; and on this machine everybody, who may ask each
/// replica, too.
fn admit(caller: Caller, token: Option<String>, tokens: &Arc<KnownTokens>) -> Result<(), String> {
    match caller {
        Caller::Neighbour | Caller::Host | Caller::Operator => Ok(()),
        Caller::Client => Err(NO_OPERATOR.to_owned()),
        Caller::Stranger => Bearer::of_store(Arc::clone(tokens), token.ok_or(NEITHER)?).as_read(),
    }
}

fn replica(reception: &Reception) -> Control {
    let epoch = Some(reception.vitals.reign.load(Ordering::Acquire)).filter(|epoch| *epoch > 0);
    let (stalled_ms, reason) = epoch.map(|epoch| reception.stall.told(Epoch(epoch))).unwrap_or_default();
    Control::Replica { name: reception.name.to_string(), replica: reception.replica.0, epoch, stalled_ms, reason }
}
