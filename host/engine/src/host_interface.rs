//! `ambrosia:runtime/host`: answered from the world (`wit/immortal.wit`).
//!
//! **Architecture Invariant:** a function here does nothing but read or change the [`World`](ambrosia_core::World).

use ambrosia_core::{InstanceName, PeerIndex};

use crate::{offers::Offers, refusal::Refusal, state::GuestState};

/// Package of the interfaces between host and guest.
pub(crate) const PACKAGE: &str = "ambrosia:runtime/";

/// Its interface that has functions, with the version that this host offers.
pub(crate) const HOST: &str = "ambrosia:runtime/host@0.1.0";

/// Offers the interface.
pub(crate) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut host = offers.interface(HOST)?;
    host.function("instance-name", |state, (): ()| Ok((state.world.name.as_str().to_owned(),)))?;
    host.function("attach", |state, (name,): (String,)| Ok((attach(state, name)?.0,)))?;
    host.function("peer-name", |state, (peer,): (u32,)| Ok((peer_name(state, PeerIndex(peer)),)))?;
    host.function("now", |state, (): ()| Ok((state.world.time.0,)))?;
    host.function("random", |state, (): ()| Ok((state.world.random.next_u64(),)))
}

fn attach(state: &mut GuestState, name: String) -> Result<PeerIndex, Refusal> {
    if !state.delivering {
        return Err(Refusal::AttachTooEarly(name));
    }
    // Names may come from callers, who must not be able to end the instance: what can't be attached is no peer.
    let peer = InstanceName::new(name).ok().and_then(|name| state.world.peers.attach(&name));
    Ok(peer.unwrap_or(PeerIndex::OUTSIDE))
}

fn peer_name(state: &GuestState, peer: PeerIndex) -> String {
    state.world.peers.name(peer).map(|name| name.as_str().to_owned()).unwrap_or_default()
}
