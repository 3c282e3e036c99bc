//! `ambrosia:runtime/host`: answered from the world (`wit/immortal.wit`).
//!
//! **Architecture Invariant:** a function here does nothing but read or change the [`World`](ambrosia_core::World).

use ambrosia_core::{InstanceName, PeerIndex, Timestamp};
use wasmtime::component::{ComponentType, Lower};

use crate::{
    offers::{Interface, Offers},
    refusal::Refusal,
    state::GuestState,
    wasi::random_bytes,
};

/// Package of the interfaces between host and guest.
pub(crate) const PACKAGE: &str = "ambrosia:runtime/";

/// The versions of that package that this host offers.
pub(crate) const VERSIONS: [&str; 2] = ["0.1.0", "0.2.0"];

const HOST_1: &str = "ambrosia:runtime/host@0.1.0";
const HOST_2: &str = "ambrosia:runtime/host@0.2.0";

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Record `time` of version 0.2.0.
#[derive(ComponentType, Lower)]
#[component(record)]
struct Time {
    seconds: u64,
    nanoseconds: u32,
}

/// Offers the interface in each version.
pub(crate) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut host = offers.interface(HOST_1)?;
    add_what_is_in_both(&mut host)?;
    host.function("now", |state, (): ()| Ok((state.world.time.0,)))?;
    let mut host = offers.interface(HOST_2)?;
    add_what_is_in_both(&mut host)?;
    host.function("now", |state, (): ()| Ok((time(state.world.time),)))?;
    host.function("random-bytes", |state, (count,): (u32,)| Ok((random_bytes(state, count.into())?,)))
}

fn add_what_is_in_both(host: &mut Interface<'_>) -> Result<(), wasmtime::Error> {
    host.function("instance-name", |state, (): ()| Ok((state.world.name.as_str().to_owned(),)))?;
    host.function("attach", |state, (name,): (String,)| Ok((attach(state, name)?.0,)))?;
    host.function("peer-name", |state, (peer,): (u32,)| Ok((peer_name(state, PeerIndex(peer)),)))?;
    host.function("random", |state, (): ()| Ok((state.random()?.next_u64(),)))
}

fn time(Timestamp(nanos): Timestamp) -> Time {
    Time { seconds: nanos / NANOS_PER_SECOND, nanoseconds: (nanos % NANOS_PER_SECOND) as u32 }
}

fn attach(state: &mut GuestState, name: String) -> Result<PeerIndex, Refusal> {
    if !state.delivering {
        return Err(Refusal::AttachTooEarly(name));
    }
    // Names may come from callers, who must not be able to end the instance: what can't be attached is no peer.
    let name = InstanceName::new(name).ok();
    if state.querying
        && let Some(name) = &name
        && state.world.peers.index(name).is_none()
    {
        return Err(Refusal::AttachInQuery(name.as_str().to_owned()));
    }
    let peer = name.and_then(|name| state.world.peers.attach(&name));
    Ok(peer.unwrap_or(PeerIndex::OUTSIDE))
}

fn peer_name(state: &GuestState, peer: PeerIndex) -> String {
    state.world.peers.name(peer).map(|name| name.as_str().to_owned()).unwrap_or_default()
}
