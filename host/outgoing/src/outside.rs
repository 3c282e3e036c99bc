//! What all instances of a process share on their way out.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use crate::limits::{ATTEMPTS_MAX, ATTEMPTS_PER_HOST_MAX, LARGE_ANSWERS_MAX, LOOKUPS_MAX};

/// The clock and the randomness of the machine.
#[derive(Clone, Copy)]
pub struct Surroundings {
    /// Any number, another one each time.
    pub random: fn() -> u64,
    /// The wall clock.
    pub now: fn() -> SystemTime,
}

/// The way out of a process: how much may be under way, and whom TLS believes.
pub struct Outside {
    pub(crate) surroundings: Surroundings,
    pub(crate) lookups: Arc<Semaphore>,
    attempts: Arc<Semaphore>,
    large_answers: Arc<Semaphore>,
    /// Those of host names to which anything is under way.
    hosts: Mutex<BTreeMap<String, Arc<Semaphore>>>,
    roots: Roots,
    tls: OnceCell<Arc<ClientConfig>>,
}

/// Whom TLS believes.
#[derive(Clone, Debug)]
pub enum Roots {
    /// Whom the system believes. `SSL_CERT_FILE` and `SSL_CERT_DIR` name other places.
    System,
    /// These certificates alone, each in DER.
    Given(Vec<Vec<u8>>),
}

/// Nobody is believed.
#[derive(Debug, thiserror::Error)]
#[error(
    "no root certificate of the system can be read{0}: install them (the package `ca-certificates`), or name a file of them by \
     SSL_CERT_FILE"
)]
pub(crate) struct NoRoots(String);

impl fmt::Debug for Outside {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Outside").field("attempts", &self.attempts).finish_non_exhaustive()
    }
}

/// The right to one attempt. It is kept until what came of it is at its place.
#[derive(Debug)]
pub struct Turn {
    _host: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
    large: Option<OwnedSemaphorePermit>,
}

impl Outside {
    /// The way out of this process.
    pub fn new(surroundings: Surroundings, roots: Roots) -> Outside {
        Outside {
            surroundings,
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            attempts: Arc::new(Semaphore::new(ATTEMPTS_MAX)),
            large_answers: Arc::new(Semaphore::new(LARGE_ANSWERS_MAX)),
            hosts: Mutex::default(),
            roots,
            tls: OnceCell::new(),
        }
    }

    fn hosts(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Semaphore>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to one attempt. The host's turn comes first, so that one which hangs takes no more than its share.
    pub(crate) async fn turn(&self, host: &str) -> Turn {
        let of_host = {
            let mut hosts = self.hosts();
            // Whoever waits or is under way holds one beside the map's.
            hosts.retain(|_, semaphore| Arc::strong_count(semaphore) > 1);
            let fresh = || Arc::new(Semaphore::new(ATTEMPTS_PER_HOST_MAX));
            Arc::clone(hosts.entry(host.to_owned()).or_insert_with(fresh))
        };
        let host = of_host.acquire_owned().await.expect("it is never closed");
        let all = Arc::clone(&self.attempts).acquire_owned().await.expect("it is never closed");
        Turn { _host: host, _all: all, large: None }
    }

    /// Waits until a large answer may be in memory.
    pub(crate) async fn large(&self, turn: &mut Turn) {
        if turn.large.is_none() {
            turn.large = Some(Arc::clone(&self.large_answers).acquire_owned().await.expect("it is never closed"));
        }
    }

    /// How TLS is done. What the system believes is read once it can be read.
    pub(crate) async fn tls(&self) -> Result<Arc<ClientConfig>, NoRoots> {
        let roots = self.roots.clone();
        let read = || async {
            let read = tokio::task::spawn_blocking(move || read_roots(roots)).await;
            Ok(configuration(read.expect("reading certificates does not panic")?))
        };
        self.tls.get_or_try_init(read).await.cloned()
    }
}

/// TLS that believes nobody: for connections without any.
pub(crate) fn no_tls() -> Arc<ClientConfig> {
    configuration(RootCertStore::empty())
}

fn configuration(roots: RootCertStore) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has the ciphers of both versions");
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

fn read_roots(roots: Roots) -> Result<RootCertStore, NoRoots> {
    let (certificates, errors) = match roots {
        Roots::System => {
            let read = rustls_native_certs::load_native_certs();
            (read.certs, read.errors)
        }
        Roots::Given(certificates) => (certificates.into_iter().map(Into::into).collect(), Vec::new()),
    };
    let mut store = RootCertStore::empty();
    let (added, ignored) = store.add_parsable_certificates(certificates);
    tracing::debug!(added, ignored, "root certificates");
    if added == 0 {
        let reasons: String = errors.iter().map(|error| format!(", {error}")).collect();
        return Err(NoRoots(reasons));
    }
    Ok(store)
}
