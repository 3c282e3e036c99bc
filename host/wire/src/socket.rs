//! Options of every socket, so that a network that was broken is used again as soon as it is well.
//!
//! What nobody answers TCP sends again after twice the time of the try before: without a bound, a network that was
//! away for a minute may not be tried for another one. And a side that only waits does not notice that the other has
//! given up.

#![allow(unsafe_code, reason = "these options exist only as setsockopt")]

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    os::fd::AsRawFd,
    time::Duration,
};

use ambrosia_core::HostAddress;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// The longest time between two tries to send the same bytes, in milliseconds; the kernel takes no less.
const RETRY_MILLIS_MAX: libc::c_int = 1000;
/// Linux 6.15; the `libc` crate does not know it yet.
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// A connection on which nothing comes for so long is asked whether it is there, so often, that many times.
const IDLE_SECONDS: libc::c_int = 5;
const PROBE_SECONDS: libc::c_int = 1;
const PROBES: libc::c_int = 10;

/// Of several addresses of a name each has this long to take a connection before the next one is tried.
const NEXT_AFTER: Duration = Duration::from_secs(1);

/// So many names are looked up at once by this process. A look-up that hangs occupies a thread of the runtime until the system gives it
/// up, and some of these are to be left for others.
const LOOKUPS_MAX: usize = 8;

static LOOKUPS: Semaphore = Semaphore::const_new(LOOKUPS_MAX);

/// A name is not known here, so nobody was asked anything.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the name {name} is not found: {reason}")]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// What the system says.
    pub reason: String,
}

/// Connects to a host. A name is looked up each time, and its addresses are tried in the order in which the system has them.
///
/// # Errors
/// As the system says, of a name with several addresses about the last of them; within it [`UnknownName`] if there is none of that name.
pub async fn connect(address: &HostAddress) -> io::Result<TcpStream> {
    let Some(name) = address.name() else {
        return connect_to(address.socket().expect("an address without a name is one of IP")).await;
    };
    let found = look_up(name, address.port()).await?;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, format!("the name {name} has no address"));
    for (number, socket) in found.iter().enumerate() {
        let is_last = number + 1 == found.len();
        let connected =
            if is_last { Ok(connect_to(*socket).await) } else { timeout(NEXT_AFTER, connect_to(*socket)).await };
        match connected {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = error,
            Err(_) => {}
        }
    }
    Err(failed)
}

/// The addresses of a name.
async fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let permit = LOOKUPS.acquire().await.expect("nobody closes it");
    let named = name.to_owned();
    let looked_up = tokio::task::spawn_blocking(move || {
        let found = (named.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Who asks may have gone; the thread is occupied until here.
        drop(permit);
        found
    });
    let found = looked_up.await.unwrap_or_else(|ended| Err(io::Error::other(ended)));
    let unknown = |error: io::Error| UnknownName { name: name.to_owned(), reason: error.to_string() };
    found.map_err(|error| io::Error::new(error.kind(), unknown(error)))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
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

/// Has the system end a connection whose other side takes nothing of what was written to it for so long. Those that a listener accepts
/// inherit that.
///
/// # Errors
/// As the system says.
pub fn let_go_after(socket: &impl AsRawFd, stands_still: Duration) -> io::Result<()> {
    let millis = libc::c_int::try_from(stands_still.as_millis()).unwrap_or(libc::c_int::MAX);
    set(socket, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, millis)
}

fn set(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value lives until the call returns, and has the length that is given.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
