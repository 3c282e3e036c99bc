//! The listener of HTTP, and what all its requests share.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use ambrosia_methods::Mounts;
use ambrosia_wire::{Security, socket};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    accepting::accept_all,
    body::Room,
    feed::Feeds,
    instances::{Instances, NoInstance},
    limits::{
        BODY_WAIT, CLOSING_WAIT, CONNECTIONS_MAX, HEADER_WAIT, LARGE_BODIES_BYTES, LINGER, LISTENERS_MAX, READING_WAIT,
        REQUESTS_MAX, STRANGERS_BYTES, STRANGERS_LOOKS_MAX, STRANGERS_MAX,
    },
    metrics::Counts,
    routes::routes,
    together::Together,
};

/// How a door is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DoorOptions {
    /// A connection ends when the header of its first request, or of the next one, has not come within this.
    pub header_wait: Duration,
    /// A request is refused whose body has not come within this.
    pub body_wait: Duration,
    /// A connection ends whose client has taken nothing of its answers for this long.
    pub reading_wait: Duration,
    /// When the door closes, requests that are under way have this long.
    pub closing_wait: Duration,
    /// Where routes of instances are, beside their names.
    pub mounts: Mounts,
    /// Whether it takes HTTP by TLS.
    pub security: Security,
}

impl Default for DoorOptions {
    fn default() -> Self {
        DoorOptions {
            header_wait: HEADER_WAIT,
            body_wait: BODY_WAIT,
            reading_wait: READING_WAIT,
            closing_wait: CLOSING_WAIT,
            mounts: Mounts::default(),
            security: Security::Plain,
        }
    }
}

/// A listener of HTTP that is open.
pub struct Door {
    address: SocketAddr,
    options: DoorOptions,
    open: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

/// What bounds the requests of some.
pub(crate) struct Crowd {
    pub(crate) requests: Semaphore,
    pub(crate) room: Room,
}

impl Crowd {
    fn new(requests: usize, bytes: usize, body_wait: Duration) -> Crowd {
        Crowd { requests: Semaphore::new(requests), room: Room::new(bytes, body_wait) }
    }
}

/// What all requests share.
pub(crate) struct House {
    pub(crate) instances: Arc<dyn Instances>,
    pub(crate) known: Crowd,
    /// Those who need no token, and have shown none: they take nothing from the others.
    pub(crate) strangers: Crowd,
    /// Looks that are had for strangers, who may invent what they ask for.
    pub(crate) stranger_looks: Arc<Semaphore>,
    pub(crate) tokens_read: Together<Result<(), NoInstance>>,
    /// How many instances there are.
    pub(crate) counted: Together<Result<usize, NoInstance>>,
    pub(crate) feeds: Feeds,
    pub(crate) listeners: Arc<Semaphore>,
    pub(crate) counts: Counts,
    pub(crate) mounts: Mounts,
    /// Whether only programs of this machine can reach it. Where others can, nobody comes without a token.
    pub(crate) is_for_this_machine: bool,
    closing_wait: Duration,
    closing: watch::Receiver<bool>,
}

impl Door {
    /// Serves `instances` at `listener` from now on, as a task. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// As the system says.
    pub fn serve(listener: TcpListener, instances: Arc<dyn Instances>, options: DoorOptions) -> io::Result<Door> {
        let address = listener.local_addr()?;
        // Each connection has them by that.
        socket::prepare(&listener)?;
        socket::let_go_after(&listener, options.reading_wait)?;
        let (closing, is_closing) = watch::channel(false);
        let open = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let house = House {
            instances,
            known: Crowd::new(REQUESTS_MAX, LARGE_BODIES_BYTES, options.body_wait),
            strangers: Crowd::new(STRANGERS_MAX, STRANGERS_BYTES, options.body_wait),
            stranger_looks: Arc::new(Semaphore::new(STRANGERS_LOOKS_MAX)),
            tokens_read: Together::default(),
            counted: Together::default(),
            feeds: Feeds::default(),
            listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
            counts: Counts::default(),
            mounts: options.mounts.clone(),
            is_for_this_machine: address.ip().is_loopback(),
            closing_wait: options.closing_wait,
            closing: is_closing.clone(),
        };
        let accepting = accept_all(listener, routes(Arc::new(house)), options.clone(), Arc::clone(&open), is_closing);
        Ok(Door { address, options, open, closing, accepting: tokio::spawn(accepting) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets what is under way come to its end, for a few seconds at most, and ends all connections.
    pub async fn close(self) {
        self.closing.send_replace(true);
        // It ends by that; if it failed, there is nothing more to be done about it.
        let _ended = self.accepting.await;
        let all = u32::try_from(CONNECTIONS_MAX).expect("they are few");
        if timeout(self.options.closing_wait + LINGER, self.open.acquire_many(all)).await.is_err() {
            tracing::warn!("some HTTP connections did not end in time");
        }
    }
}

impl House {
    /// Comes when the door begins to close.
    pub(crate) async fn begins_to_close(&self) {
        let mut closing = self.closing.clone();
        // The door may be gone without having been closed; then so is its runtime.
        let _gone = closing.wait_for(|closing| *closing).await.is_err();
    }

    /// Comes when the door has been closing for so long that nobody is waited for any more.
    pub(crate) async fn has_closed(&self) {
        self.begins_to_close().await;
        sleep(self.closing_wait).await;
    }
}

#[cfg(test)]
mod tests;
