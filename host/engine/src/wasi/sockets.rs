//! `wasi:sockets`: present, and denied.
//!
//! The libraries of some languages import all of it and seldom use it. Whoever asks for a socket or an address is told that it
//! may not have one (`access-denied`), which its library knows how to tell; so no socket is ever made, and what can be done
//! with one can't be called. The `network`, which is asked for first, is a handle with nothing behind it.
//!
//! All of it is linked by hand: the bindings of `wasmtime-wasi` would have the host think of addresses.
//!
//! **Architecture Invariant:** no socket of the host can be reached, and no name is looked up.

use wasmtime_wasi::p2::bindings::sync::io::{
    error::Error as IoError,
    poll::Pollable,
    streams::{InputStream, OutputStream},
};

use crate::{
    handles::HandleKind,
    offers::{Interface, Offers},
    refusal::Refusal,
};

/// The oldest version: what is offered serves all later 0.2.
const VERSION: &str = "0.2.0";

/// What a library is told that asks for one.
const DENIED: &str = "access-denied";

// None but the first is ever made.
struct Network;
struct ResolveAddressStream;
struct TcpSocket;
struct UdpSocket;
struct IncomingDatagramStream;
struct OutgoingDatagramStream;

const OF_A_TCP_SOCKET: &[&str] = &[
    "[method]tcp-socket.start-bind",
    "[method]tcp-socket.finish-bind",
    "[method]tcp-socket.start-connect",
    "[method]tcp-socket.finish-connect",
    "[method]tcp-socket.start-listen",
    "[method]tcp-socket.finish-listen",
    "[method]tcp-socket.accept",
    "[method]tcp-socket.local-address",
    "[method]tcp-socket.remote-address",
    "[method]tcp-socket.is-listening",
    "[method]tcp-socket.address-family",
    "[method]tcp-socket.set-listen-backlog-size",
    "[method]tcp-socket.keep-alive-enabled",
    "[method]tcp-socket.set-keep-alive-enabled",
    "[method]tcp-socket.keep-alive-idle-time",
    "[method]tcp-socket.set-keep-alive-idle-time",
    "[method]tcp-socket.keep-alive-interval",
    "[method]tcp-socket.set-keep-alive-interval",
    "[method]tcp-socket.keep-alive-count",
    "[method]tcp-socket.set-keep-alive-count",
    "[method]tcp-socket.hop-limit",
    "[method]tcp-socket.set-hop-limit",
    "[method]tcp-socket.receive-buffer-size",
    "[method]tcp-socket.set-receive-buffer-size",
    "[method]tcp-socket.send-buffer-size",
    "[method]tcp-socket.set-send-buffer-size",
    "[method]tcp-socket.subscribe",
    "[method]tcp-socket.shutdown",
];

const OF_A_UDP_SOCKET: &[&str] = &[
    "[method]udp-socket.start-bind",
    "[method]udp-socket.finish-bind",
    "[method]udp-socket.stream",
    "[method]udp-socket.local-address",
    "[method]udp-socket.remote-address",
    "[method]udp-socket.address-family",
    "[method]udp-socket.unicast-hop-limit",
    "[method]udp-socket.set-unicast-hop-limit",
    "[method]udp-socket.receive-buffer-size",
    "[method]udp-socket.set-receive-buffer-size",
    "[method]udp-socket.send-buffer-size",
    "[method]udp-socket.set-send-buffer-size",
    "[method]udp-socket.subscribe",
    "[method]incoming-datagram-stream.receive",
    "[method]incoming-datagram-stream.subscribe",
    "[method]outgoing-datagram-stream.check-send",
    "[method]outgoing-datagram-stream.send",
    "[method]outgoing-datagram-stream.subscribe",
];

const OF_AN_ADDRESS_STREAM: &[&str] =
    &["[method]resolve-address-stream.resolve-next-address", "[method]resolve-address-stream.subscribe"];

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut network = interface(offers, "network")?;
    network.refused_functions(&["network-error-code"], &Refusal::Network)?;

    let mut instance_network = interface(offers, "instance-network")?;
    instance_network.function("instance-network", |state, (): ()| Ok((state.open::<Network>(HandleKind::Network),)))?;
    instance_network.denies("instance-network");

    let mut lookup = interface(offers, "ip-name-lookup")?;
    lookup.denied_function("resolve-addresses", DENIED)?;
    lookup.refused_functions(OF_AN_ADDRESS_STREAM, &Refusal::Network)?;

    interface(offers, "tcp")?.refused_functions(OF_A_TCP_SOCKET, &Refusal::Network)?;
    interface(offers, "tcp-create-socket")?.denied_function("create-tcp-socket", DENIED)?;
    interface(offers, "udp")?.refused_functions(OF_A_UDP_SOCKET, &Refusal::Network)?;
    interface(offers, "udp-create-socket")?.denied_function("create-udp-socket", DENIED)
}

/// An interface with all resources that any of them uses.
fn interface<'a>(offers: &'a mut Offers, name: &str) -> Result<Interface<'a>, wasmtime::Error> {
    let mut interface = offers.interface(&format!("wasi:sockets/{name}@{VERSION}"))?;
    interface.resource::<IoError>("error", |_, _| {})?;
    interface.resource::<Pollable>("pollable", |state, rep| state.handles.close(rep))?;
    interface.resource::<InputStream>("input-stream", |state, rep| state.handles.close(rep))?;
    interface.resource::<OutputStream>("output-stream", |state, rep| state.handles.close(rep))?;
    interface.resource::<Network>("network", |state, rep| state.handles.close(rep))?;
    interface.resource::<ResolveAddressStream>("resolve-address-stream", |_, _| {})?;
    interface.resource::<TcpSocket>("tcp-socket", |_, _| {})?;
    interface.resource::<UdpSocket>("udp-socket", |_, _| {})?;
    interface.resource::<IncomingDatagramStream>("incoming-datagram-stream", |_, _| {})?;
    interface.resource::<OutgoingDatagramStream>("outgoing-datagram-stream", |_, _| {})?;
    Ok(interface)
}
