//! Finds the primary by asking hosts at known addresses: each knows who it is, if it does not host it itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ambrosia_core::InstanceName;
use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    ClientError,
    greeting::{Greeting, ask_host},
    whereabouts::{Primary, Whereabouts},
};

/// A host that is well answers long before that.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// The hosts are not asked more often than this.
const ASK_INTERVAL_MIN: Duration = Duration::from_millis(20);

/// Hosts that are asked who is primary of an instance. They are asked when it is not known, or does not answer, and not
/// otherwise.
pub struct Addresses {
    primaries: watch::Receiver<Option<Primary>>,
    look: Arc<Notify>,
    asking: JoinHandle<()>,
}

impl Addresses {
    /// Asks the hosts at `addresses` for the primary of `name`. Must be called within a tokio runtime.
    pub fn new(name: InstanceName, addresses: Vec<SocketAddr>) -> Addresses {
        let look = Arc::new(Notify::new());
        let (news, primaries) = watch::channel(None);
        let asking = tokio::spawn(keep_asking(name, addresses, Arc::clone(&look), news));
        Addresses { primaries, look, asking }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        self.asking.abort();
    }
}

impl Whereabouts for Addresses {
    fn primaries(&self) -> watch::Receiver<Option<Primary>> {
        self.primaries.clone()
    }

    fn look_again(&self) {
        self.look.notify_one();
    }

    /// A host says so only while it runs, so nobody is sure.
    fn check_alive(&self) -> Result<(), ClientError> {
        Ok(())
    }
}

async fn keep_asking(
    name: InstanceName,
    addresses: Vec<SocketAddr>,
    look: Arc<Notify>,
    news: watch::Sender<Option<Primary>>,
) {
    loop {
        ask_all(&name, &addresses, &news).await;
        sleep(ASK_INTERVAL_MIN).await;
        look.notified().await;
    }
}

/// Asks all at once, and tells what one says before the slowest has answered: a host that is stopped never does. Ends with
/// the first news, so that whoever is told can try.
async fn ask_all(name: &InstanceName, addresses: &[SocketAddr], news: &watch::Sender<Option<Primary>>) {
    let mut asked = JoinSet::new();
    for address in addresses.iter().copied() {
        let name = name.clone();
        asked.spawn(async move { timeout(ANSWER_WAIT_MAX, ask(&name, address)).await.ok().flatten() });
    }
    while let Some(answered) = asked.join_next().await {
        let Ok(Some(primary)) = answered else { continue };
        // Who is behind may still name the one before.
        let is_news = news.send_if_modified(|known| {
            let is_news = known.is_none_or(|known| known.epoch < primary.epoch);
            if is_news {
                *known = Some(primary);
            }
            is_news
        });
        if is_news {
            return;
        }
    }
}

/// The primary, as far as that host knows.
async fn ask(name: &InstanceName, address: SocketAddr) -> Option<Primary> {
    match ask_host(name, address).await {
        Ok(Greeting::Welcome { epoch, .. }) => Some(Primary { epoch, address }),
        Ok(Greeting::Elsewhere(primary)) => primary,
        Err(error) => {
            tracing::debug!(%address, %error, "a host does not say who is primary");
            None
        }
    }
}
