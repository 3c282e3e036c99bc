//! Follows who is primary of other instances of the store: one thread for all of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_client::Primary;
use ambrosia_core::{InstanceName, InstanceUuid};
use ambrosia_storage::{AnyChange, Bell, FileStore, InstanceError, Roster};
use tokio::sync::watch;

/// How often it is looked whether a primary is still there: its death is no change that one could wait for.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Who is primary, of each instance that somebody asked for.
pub(crate) struct PeerDirectory {
    asked: Arc<Asked>,
}

/// What the directory asks of its thread.
#[derive(Default)]
struct Asked {
    state: Mutex<AskedState>,
    bell: Bell,
}

#[derive(Default)]
struct AskedState {
    known: BTreeMap<InstanceName, watch::Receiver<Option<Primary>>>,
    /// Not seen by the thread yet.
    new: Vec<(InstanceName, News)>,
    is_dropped: bool,
}

type News = watch::Sender<Option<Primary>>;

impl PeerDirectory {
    /// Starts the thread that follows whoever is asked for.
    pub(crate) fn new(store: Arc<FileStore>) -> std::io::Result<Self> {
        let asked = Arc::<Asked>::default();
        let watcher = Watcher { store, asked: Arc::clone(&asked), peers: Vec::new() };
        std::thread::Builder::new().name("peers".to_owned()).spawn(move || watcher.watch())?;
        Ok(PeerDirectory { asked })
    }

    /// Changes of the primary of `name`; `None` while it has none, or is not registered.
    pub(crate) fn follow(&self, name: &InstanceName) -> watch::Receiver<Option<Primary>> {
        let mut state = self.asked.lock();
        if let Some(known) = state.known.get(name) {
            return known.clone();
        }
        let (news, receiver) = watch::channel(None);
        state.known.insert(name.clone(), receiver.clone());
        state.new.push((name.clone(), news));
        drop(state);
        self.asked.bell.ring();
        receiver
    }
}

impl Drop for PeerDirectory {
    fn drop(&mut self) {
        self.asked.lock().is_dropped = true;
        self.asked.bell.ring();
    }
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, AskedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that follows.
struct Watcher {
    store: Arc<FileStore>,
    asked: Arc<Asked>,
    peers: Vec<Peer>,
}

/// An instance that is followed.
struct Peer {
    name: InstanceName,
    news: News,
    place: Place,
}

/// Where the news of a peer are.
enum Place {
    /// It is to be looked for.
    Unknown,
    /// There is none until the registry changes.
    NotRegistered,
    /// It was not to be found out; it is tried again.
    Failed,
    /// Here, with the count of changes that was seen.
    Found { uuid: InstanceUuid, roster: Roster, seen: u64 },
}

impl Watcher {
    /// Reports every change until the directory is dropped. An instance may be registered later, or anew.
    fn watch(mut self) {
        let mut registry = self.store.registry_changes();
        let mut looked = Instant::now();
        loop {
            let rings = self.asked.bell.rings();
            if !self.take_asked() {
                return;
            }
            // Read before what it counts, so that no change is missed.
            let changes = self.store.registry_changes();
            let is_due = looked.elapsed() >= LOOK_INTERVAL;
            for peer in &mut self.peers {
                // Who may not know of changes looks every time.
                peer.look(&self.store, changes != registry || (changes.is_none() && is_due), is_due);
            }
            registry = changes;
            if is_due {
                looked = Instant::now();
            }
            let mut any = AnyChange::default();
            any.of_bell(&self.asked.bell, rings);
            any.of_registry(&self.store, registry);
            for peer in &self.peers {
                if let Place::Found { roster, seen, .. } = &peer.place {
                    any.of_leadership(roster, *seen);
                }
            }
            any.wait(LOOK_INTERVAL.saturating_sub(looked.elapsed()));
        }
    }

    /// Takes up who was asked for since. False if nobody asks any more.
    fn take_asked(&mut self) -> bool {
        let mut state = self.asked.lock();
        let new = std::mem::take(&mut state.new);
        self.peers.extend(new.into_iter().map(|(name, news)| Peer { name, news, place: Place::Unknown }));
        !state.is_dropped
    }
}

impl Peer {
    fn look(&mut self, store: &FileStore, registry_changed: bool, is_due: bool) {
        match &self.place {
            Place::Unknown => self.find(store),
            Place::NotRegistered if registry_changed => self.find(store),
            Place::Failed if registry_changed || is_due => self.find(store),
            Place::Found { .. } if registry_changed => self.find(store),
            _ => {}
        }
        let Place::Found { roster, seen, .. } = &mut self.place else {
            self.news.send_if_modified(|known| known.take().is_some());
            return;
        };
        let changes = roster.leadership_changes();
        if changes == *seen && !is_due {
            return;
        }
        match roster.primary() {
            Ok(primary) => {
                let primary = primary.map(|info| Primary { epoch: info.epoch, address: info.address });
                *seen = changes;
                self.news.send_if_modified(|known| std::mem::replace(known, primary) != primary);
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    fn find(&mut self, store: &FileStore) {
        let found = store.instance(&self.name).and_then(|entry| {
            let known = matches!(&self.place, Place::Found { uuid, .. } if *uuid == entry.uuid);
            // No count is this one, so that it is looked at once.
            let place = |roster| Place::Found { uuid: entry.uuid, roster, seen: u64::MAX };
            Ok(if known { None } else { Some(place(store.roster(&self.name)?)) })
        });
        match found {
            Ok(None) => {}
            Ok(Some(place)) => self.place = place,
            Err(InstanceError::Unknown { .. }) => self.place = Place::NotRegistered,
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &InstanceError) {
        tracing::debug!(name = %self.name, %error, "the primary of an instance can't be followed yet");
        self.place = Place::Failed;
    }
}
