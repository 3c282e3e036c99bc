//! Follows who is primary of other instances of the store.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ambrosia_core::InstanceName;
use ambrosia_storage::{FileStore, PrimaryInfo, Registry};
use tokio::sync::watch;

/// How long one wait for a change lasts before it is looked whether anybody still wants to know.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Who is primary, of each instance that somebody asked for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PeerDirectory {
    store: Arc<FileStore>,
    followed: Arc<Mutex<BTreeMap<InstanceName, watch::Receiver<Option<PrimaryInfo>>>>>,
}

impl PeerDirectory {
    pub(crate) fn new(store: Arc<FileStore>) -> Self {
        PeerDirectory { store, followed: Arc::default() }
    }

    /// Changes of the primary of `name`; `None` while it has none, or is not registered.
    pub(crate) fn follow(&self, name: &InstanceName) -> watch::Receiver<Option<PrimaryInfo>> {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = followed.get(name)
            && known.has_changed().is_ok()
        {
            return known.clone();
        }
        let (news, receiver) = watch::channel(None);
        followed.insert(name.clone(), receiver.clone());
        let (store, name) = (Arc::clone(&self.store), name.clone());
        std::thread::Builder::new()
            .name(format!("follow {name}"))
            .spawn(move || follow_primary(&store, &name, &news))
            .expect("the machine can start a thread");
        receiver
    }
}

/// Reports every change until nobody listens. The instance may be registered later, or anew.
fn follow_primary(store: &FileStore, name: &InstanceName, news: &watch::Sender<Option<PrimaryInfo>>) {
    let mut registry_seen = 0;
    while !news.is_closed() {
        if let Err(error) = follow_registered(store, name, news) {
            tracing::debug!(%name, %error, "the primary of an instance can't be followed yet");
            news.send_if_modified(|known| known.take().is_some());
        }
        match store.wait_for_change(registry_seen, WAIT_MAX) {
            Ok(seen) => registry_seen = seen,
            Err(error) => {
                tracing::error!(%name, %error, "the registry can't be watched");
                return;
            }
        }
    }
}

fn follow_registered(
    store: &FileStore,
    name: &InstanceName,
    news: &watch::Sender<Option<PrimaryInfo>>,
) -> Result<(), ambrosia_storage::InstanceError> {
    let uuid = store.instance(name)?.uuid;
    let roster = store.roster(name)?;
    let mut seen = 0;
    while !news.is_closed() {
        let primary = roster.primary().map_err(ambrosia_storage::InstanceError::from)?;
        news.send_if_modified(|known| std::mem::replace(known, primary) != primary);
        let before = seen;
        seen = roster.wait_for_leadership_change(seen, WAIT_MAX);
        if before == seen && store.instance(name)?.uuid != uuid {
            return Ok(()); // registered anew: another roster
        }
    }
    Ok(())
}
