//! `ambrosia:runtime/host`: answered from the world (`wit/immortal.wit`).
//!
//! **Architecture Invariant:** a function here does nothing but read or change the [`World`](ambrosia_core::World).

use ambrosia_core::{CallId, InstanceName, PeerIndex, Timestamp, promise_token};
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

/// By which a component makes promises.
const PROMISES: &str = "ambrosia:runtime/promises@0.2.0";

/// By which a component learns what the operator has set.
const CONFIGURATION: &str = "ambrosia:runtime/configuration@0.2.0";

/// The value of that name is the URL before the path of a promise.
const PUBLIC_URL: &str = "ambrosia.public-url";

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
    host.function("random-bytes", |state, (count,): (u32,)| Ok((random_bytes(state, count.into())?,)))?;
    let mut promises = offers.interface(PROMISES)?;
    promises.function("token", |state, (call_id,): (u64,)| Ok((token(state, CallId(call_id))?,)))?;
    let mut configuration = offers.interface(CONFIGURATION)?;
    configuration
        .function("get", |state, (name,): (String,)| Ok((configured(state, &name).map(|value| value.to_vec()),)))?;
    configuration.function("public-url", |state, (): ()| Ok((public_url(state),)))
}

/// Whether the component may make promises.
pub(crate) fn makes_promises(engine: &wasmtime::Engine, component: &wasmtime::component::Component) -> bool {
    component.component_type().imports(engine).any(|(name, _)| name == PROMISES)
}

fn token(state: &GuestState, promise: CallId) -> Result<String, Refusal> {
    let key = state.world.configuration.promise_key.as_ref().ok_or(Refusal::PromiseTooEarly)?;
    Ok(format!("{:032x}", u128::from_be_bytes(promise_token(key, promise))))
}

fn configured<'a>(state: &'a GuestState, name: &str) -> Option<&'a [u8]> {
    state.world.configuration.values.get(name).map(|value| &value[..])
}

/// A MessagePack string, or nothing.
fn public_url(state: &GuestState) -> String {
    let value = configured(state, PUBLIC_URL).unwrap_or_default();
    let text = match value {
        [length @ 0xa0..=0xbf, text @ ..] if text.len() == usize::from(length & 0x1f) => text,
        [0xd9, length, text @ ..] if text.len() == usize::from(*length) => text,
        [0xda, high, low, text @ ..] if text.len() == usize::from(u16::from_be_bytes([*high, *low])) => text,
        _ => return String::new(),
    };
    String::from_utf8_lossy(text).into_owned()
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
