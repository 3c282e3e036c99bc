//! The connections of this process to other hosts: one for each host, whoever here talks to whoever there.
//!
//! **Architecture Invariant:** a connection that was lost is made again once for all who use it. It ends with the last of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ambrosia_core::HostAddress;
use ambrosia_wire::{Connection, ConnectionError, STREAMS_MAX, Security, Trunk, TrunkHandle};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// Another host has this long to take a connection and to answer.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// First pause before the same host or primary is tried again; it doubles up to the longest.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(5);
pub(crate) const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// After a connection that held this long, the first pause is the shortest again.
pub(crate) const HELD_MIN: Duration = Duration::from_secs(1);

/// A host that spoke an earlier version of the protocol is not asked for this long whether it does so still.
const EARLIER_PAUSE: Duration = Duration::from_secs(10);

/// So many use one connection; the others have another one. What they have closed and the other side not yet counts as well,
/// and has as much room.
const USERS_MAX: usize = STREAMS_MAX / 2;

/// The connections to other hosts.
pub(crate) struct Trunks {
    runtime: Handle,
    security: Security,
    at: Mutex<BTreeMap<HostAddress, Vec<Weak<Kept>>>>,
}

/// A connection that is kept as long as somebody uses it.
struct Kept {
    reach: watch::Receiver<Reach>,
    look_again: Arc<Notify>,
    was_reached: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How far a connection has come.
#[derive(Clone)]
enum Reach {
    Connecting,
    Open(TrunkHandle),
    Earlier,
    /// It failed, or has ended. Each time has a number.
    Failed(u64, Arc<ConnectionError>),
}

/// The right to use the connection to a host. Dropped by the last who has it, the connection ends.
pub(crate) struct Lease {
    kept: Arc<Kept>,
    reach: watch::Receiver<Reach>,
    /// The last failure that was told.
    told: u64,
}

/// How a host is reached.
pub(crate) enum Way {
    /// By a stream of this connection.
    Trunk(TrunkHandle),
    /// By a connection for each stream: the host speaks an earlier version of the protocol.
    Alone,
    /// Not now, and why.
    Failed(Arc<ConnectionError>),
}

impl Trunks {
    pub(crate) fn new(runtime: Handle, security: Security) -> Trunks {
        Trunks { runtime, security, at: Mutex::default() }
    }

    /// How hosts are connected to.
    pub(crate) fn security(&self) -> &Security {
        &self.security
    }

    /// The connection to the host at `address`, which is made if nobody uses one.
    pub(crate) fn lease(&self, address: &HostAddress) -> Lease {
        let mut at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        at.retain(|_, there| {
            there.retain(|kept| kept.strong_count() > 0);
            !there.is_empty()
        });
        let there = at.entry(address.clone()).or_default();
        let has_room = |kept: &Weak<Kept>| kept.upgrade().filter(|kept| Arc::strong_count(kept) <= USERS_MAX);
        let kept = there.iter().find_map(has_room).unwrap_or_else(|| {
            let (news, reach) = watch::channel(Reach::Connecting);
            let look_again = Arc::new(Notify::new());
            let was_reached = Arc::new(AtomicBool::new(false));
            let keeping = Keeping {
                address: address.clone(),
                security: self.security.clone(),
                news,
                look_again: Arc::clone(&look_again),
                was_reached: Arc::clone(&was_reached),
            };
            let task = self.runtime.spawn(keeping.keep());
            let kept = Arc::new(Kept { reach, look_again, was_reached, task });
            there.push(Arc::downgrade(&kept));
            kept
        });
        Lease { reach: kept.reach.clone(), kept, told: 0 }
    }
}

impl Lease {
    /// Waits until it is known how the host is reached, or that it is not: each failure is told once.
    pub(crate) async fn way(&mut self) -> Way {
        loop {
            let reach = self.reach.borrow_and_update().clone();
            match reach {
                Reach::Open(trunk) if !trunk.has_ended() => return Way::Trunk(trunk),
                Reach::Earlier => return Way::Alone,
                Reach::Failed(number, error) if number > self.told => {
                    self.told = number;
                    return Way::Failed(error);
                }
                Reach::Open(_) | Reach::Connecting | Reach::Failed(..) => {}
            }
            if self.reach.changed().await.is_err() {
                // The runtime ends.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Whether the host was reached since somebody leases the connection without a gap.
    pub(crate) fn was_reached(&self) -> bool {
        self.kept.was_reached.load(Ordering::SeqCst)
    }

    /// A connection of one stream to a host of an earlier version has ended: it may be another version by now.
    pub(crate) fn look_again(&self) {
        self.kept.look_again.notify_one();
    }
}

/// Whoever keeps a connection with a host.
struct Keeping {
    address: HostAddress,
    security: Security,
    news: watch::Sender<Reach>,
    look_again: Arc<Notify>,
    was_reached: Arc<AtomicBool>,
}

impl Keeping {
    /// Connects, and connects again, until the task is aborted.
    async fn keep(self) {
        let Keeping { address, security, news, look_again, was_reached } = self;
        let mut backoff = BACKOFF_MIN;
        for number in 1.. {
            let began = Instant::now();
            let ended = match timeout(HANDSHAKE_TIMEOUT, connect(&address, &security)).await {
                Ok(Ok(Some((handle, trunk)))) => {
                    was_reached.store(true, Ordering::SeqCst);
                    news.send_replace(Reach::Open(handle));
                    tracing::debug!(%address, "connected with a host");
                    trunk.serve(|_, _| None).await
                }
                Ok(Ok(None)) => {
                    tracing::debug!(%address, "the host speaks an earlier version of the protocol: a connection for each stream");
                    news.send_replace(Reach::Earlier);
                    sleep(EARLIER_PAUSE).await;
                    look_again.notified().await;
                    continue;
                }
                Ok(Err(error)) => error,
                Err(_) => ConnectionError::HandshakeTimeout,
            };
            match &ended {
                ConnectionError::Refused(_) | ConnectionError::Stream(_) | ConnectionError::Tls(_) => {
                    tracing::warn!(%address, "the connection with a host ended: {ended}");
                }
                ended => tracing::debug!(%address, "the connection with a host ended: {ended}"),
            }
            news.send_replace(Reach::Failed(number, Arc::new(ended)));
            backoff = if began.elapsed() >= HELD_MIN { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
            sleep(backoff).await;
        }
    }
}

async fn connect(address: &HostAddress, security: &Security) -> Result<Option<(TrunkHandle, Trunk)>, ConnectionError> {
    let (_handle, connection) = Connection::new(security.connect(address).await?)?;
    Trunk::greet(connection).await
}
