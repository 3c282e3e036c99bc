//! Makes connections, to addresses that may be connected to and no others.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    sync::Semaphore,
};
use tower_service::Service;

use crate::address::is_public;

/// Looks names up and connects. What a name stands for is judged by the address that is connected to, so a name that stands
/// for another one a moment later gains nothing.
#[derive(Clone)]
pub(crate) struct Connector {
    /// Whether addresses of this machine and its network may be connected to.
    pub(crate) allows_near: bool,
    /// Look-ups that may begin.
    pub(crate) lookups: Arc<Semaphore>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the host {0} can't be found: {1}")]
    Lookup(String, io::Error),
    #[error("the host {0} has no address")]
    NoAddress(String),
    #[error(
        "the host {host} is at {address}, an address of this machine or its network, to which no grant with `*` reaches: \
         grant the host by its name"
    )]
    Near { host: String, address: IpAddr },
    #[error("{0} can't be connected to: {1}")]
    Connect(SocketAddr, io::Error),
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<TokioIo<TcpStream>, ConnectError> {
        let host = uri.host().unwrap_or_default().to_owned();
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match bare.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => self.look_up(bare, port).await?,
        };
        let mut last = ConnectError::NoAddress(host.clone());
        for address in addresses {
            if !self.allows_near && !is_public(address.ip()) {
                last = ConnectError::Near { host: host.clone(), address: address.ip() };
                continue;
            }
            let connected = TcpStream::connect(address).await;
            match connected.and_then(|socket| socket.set_nodelay(true).map(|()| socket)) {
                Ok(socket) => return Ok(TokioIo::new(socket)),
                Err(error) => last = ConnectError::Connect(address, error),
            }
        }
        Err(last)
    }

    async fn look_up(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        let _turn = self.lookups.acquire().await.expect("it is never closed");
        let failed = |error| ConnectError::Lookup(host.to_owned(), error);
        Ok(lookup_host((host, port)).await.map_err(failed)?.collect())
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}
