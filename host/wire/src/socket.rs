//! Options of every socket, so that a network that was broken is used again as soon as it is well.
//!
//! What nobody answers TCP sends again after twice the time of the try before: without a bound, a network that was
//! away for a minute may not be tried for another one. And a side that only waits does not notice that the other has
//! given up.

#![allow(unsafe_code, reason = "these options exist only as setsockopt")]

use std::{io, net::SocketAddr, os::fd::AsRawFd};

use tokio::net::{TcpSocket, TcpStream};

/// The longest time between two tries to send the same bytes, in milliseconds; the kernel takes no less.
const RETRY_MILLIS_MAX: libc::c_int = 1000;
/// Linux 6.15; the `libc` crate does not know it yet.
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// A connection on which nothing comes for so long is asked whether it is there, so often, that many times.
const IDLE_SECONDS: libc::c_int = 5;
const PROBE_SECONDS: libc::c_int = 1;
const PROBES: libc::c_int = 10;

/// Connects to a host.
///
/// # Errors
/// As the system says.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    prepare(&socket)?;
    socket.connect(address).await
}

/// Sets the options of a socket. Those that a listener accepts inherit them.
///
/// # Errors
/// As the system says.
pub fn prepare(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, IDLE_SECONDS)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, PROBE_SECONDS)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, PROBES)?;
    match set(socket, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, RETRY_MILLIS_MAX) {
        // An older kernel: a broken network is then found well later.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(()),
        set => set,
    }
}

fn set(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value lives until the call returns, and has the length that is given.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
