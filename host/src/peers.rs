//! Follows who is primary of other instances of the store: one thread for all of them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_client::Primary;
use ambrosia_core::{Epoch, InstanceName};
use ambrosia_storage::{InstanceError, Instances, IoError, LogId, Members, Store, Subscription};
use ambrosia_wire::Security;
use tokio::sync::watch;

/// How often it is looked whether a primary is still there: its death is no change that is told. A store that does not see
/// processes would not know either, and a look at it may take a while: there only whoever has no primary is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Who is primary, of each instance that somebody asked for.
pub(crate) struct PeerDirectory {
    asked: Arc<Asked>,
    security: Security,
}

/// What the directory, and the store, ask of the thread.
#[derive(Default)]
struct Asked {
    state: Mutex<AskedState>,
    rung: Condvar,
}

#[derive(Default)]
struct AskedState {
    known: BTreeMap<InstanceName, watch::Receiver<Option<Primary>>>,
    /// Not seen by the thread yet.
    new: Vec<(InstanceName, News)>,
    /// Reigns that members of this process have begun, which the store shows to everybody in a while.
    begun: Vec<(InstanceName, Primary)>,
    /// Something was registered, deregistered or changed.
    is_registry_changed: bool,
    /// There is anything for the thread to look at.
    is_rung: bool,
    is_dropped: bool,
}

type News = watch::Sender<Option<Primary>>;

impl PeerDirectory {
    /// Starts the thread that follows whoever is asked for.
    pub(crate) fn new(store: Arc<dyn Store>, security: Security) -> std::io::Result<Self> {
        let asked = Arc::<Asked>::default();
        let there = Arc::downgrade(&asked);
        let on_change = move || {
            if let Some(asked) = there.upgrade() {
                asked.ring(|state| state.is_registry_changed = true);
            }
        };
        let registry = store.registry().subscribe(Box::new(on_change))?;
        let watcher = Watcher { store, registry, asked: Arc::clone(&asked), peers: Vec::new() };
        std::thread::Builder::new().name("peers".to_owned()).spawn(move || watcher.watch())?;
        Ok(PeerDirectory { asked, security })
    }

    /// How those who are found are connected to.
    pub(crate) fn security(&self) -> Security {
        self.security.clone()
    }

    /// Changes of the primary of `name`; `None` while it has none, or is not registered.
    pub(crate) fn follow(&self, name: &InstanceName) -> watch::Receiver<Option<Primary>> {
        let mut state = self.asked.lock();
        if let Some(known) = state.known.get(name) {
            return known.clone();
        }
        let (news, receiver) = watch::channel(None);
        state.known.insert(name.clone(), receiver.clone());
        drop(state);
        self.asked.ring(|state| state.new.push((name.clone(), news)));
        receiver
    }

    /// A member of this process has begun to answer as the primary of `name`.
    pub(crate) fn reigns_here(&self, name: &InstanceName, primary: Primary) {
        self.asked.ring(|state| state.begun.push((name.clone(), primary)));
    }
}

impl Drop for PeerDirectory {
    fn drop(&mut self) {
        self.asked.ring(|state| state.is_dropped = true);
    }
}

impl Asked {
    fn lock(&self) -> MutexGuard<'_, AskedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self, tell: impl FnOnce(&mut AskedState)) {
        let mut state = self.lock();
        tell(&mut state);
        state.is_rung = true;
        drop(state);
        self.rung.notify_one();
    }

    /// Waits until there is something to look at, or `time` is over.
    fn wait(&self, time: Duration) -> MutexGuard<'_, AskedState> {
        let waited = self.rung.wait_timeout_while(self.lock(), time, |state| !state.is_rung);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_rung = false;
        state
    }
}

/// The thread that follows.
struct Watcher {
    store: Arc<dyn Store>,
    /// `None` if this process may not know of changes.
    registry: Option<Subscription>,
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
    Found(Found),
}

/// Where an instance is.
struct Found {
    log: LogId,
    members: Arc<dyn Members>,
    /// There may be another primary.
    is_changed: Arc<AtomicBool>,
    /// The primary in this process that the store may not show yet.
    here: Option<Primary>,
    _subscription: Subscription,
}

impl Watcher {
    /// Reports every change until the directory is dropped. An instance may be registered later, or anew.
    fn watch(mut self) {
        let mut looked = Instant::now();
        loop {
            let mut state = self.asked.wait(LOOK_INTERVAL.saturating_sub(looked.elapsed()));
            if state.is_dropped {
                return;
            }
            let new = std::mem::take(&mut state.new);
            let begun = std::mem::take(&mut state.begun);
            let is_registry_changed = std::mem::take(&mut state.is_registry_changed);
            drop(state);
            self.peers.extend(new.into_iter().map(|(name, news)| Peer { name, news, place: Place::Unknown }));
            let is_due = looked.elapsed() >= LOOK_INTERVAL;
            for peer in &mut self.peers {
                // Who may not know of changes looks every time.
                peer.look(&self.store, &self.asked, is_registry_changed || (self.registry.is_none() && is_due), is_due);
            }
            for (name, primary) in begun {
                if let Some(peer) = self.peers.iter_mut().find(|peer| peer.name == name) {
                    peer.reigns_here(primary);
                }
            }
            if is_due {
                looked = Instant::now();
            }
        }
    }
}

impl Peer {
    fn look(&mut self, store: &Arc<dyn Store>, asked: &Arc<Asked>, is_registry_changed: bool, is_due: bool) {
        match &self.place {
            Place::Unknown => self.find(store, asked),
            Place::NotRegistered if is_registry_changed => self.find(store, asked),
            Place::Failed if is_registry_changed || is_due => self.find(store, asked),
            Place::Found(_) if is_registry_changed => self.find(store, asked),
            _ => {}
        }
        let Place::Found(found) = &mut self.place else {
            self.news.send_if_modified(|known| known.take().is_some());
            return;
        };
        let is_due = is_due && (store.sees_processes() || self.news.borrow().is_none());
        if !found.is_changed.swap(false, Ordering::SeqCst) && !is_due {
            return;
        }
        match found.members.primary_seen() {
            Ok(seen) => {
                let seen = seen.map(|info| Primary { epoch: info.epoch, address: info.address });
                let epoch = seen.as_ref().map_or(Epoch(0), |seen| seen.epoch);
                found.here.take_if(|here| here.epoch <= epoch);
                let primary = found.here.clone().or(seen);
                self.news.send_if_modified(|known| {
                    *known != primary && {
                        *known = primary;
                        true
                    }
                });
            }
            Err(error) => self.fail(&error.into()),
        }
    }

    /// The next look at the store may not show it yet.
    fn reigns_here(&mut self, primary: Primary) {
        let Place::Found(found) = &mut self.place else { return };
        let is_news = self.news.borrow().as_ref().is_none_or(|known| known.epoch < primary.epoch);
        if is_news {
            found.here = Some(primary.clone());
            self.news.send_replace(Some(primary));
        }
    }

    fn find(&mut self, store: &Arc<dyn Store>, asked: &Arc<Asked>) {
        match store.log_of(&self.name) {
            Ok(log) if matches!(&self.place, Place::Found(found) if found.log == log) => {}
            Ok(log) => match found(store, asked, log) {
                Ok(place) => self.place = place,
                Err(error) => self.fail(&error),
            },
            Err(InstanceError::Unknown { .. }) => self.place = Place::NotRegistered,
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &InstanceError) {
        tracing::debug!(name = %self.name, %error, "the primary of an instance can't be followed yet");
        self.place = Place::Failed;
    }
}

/// Follows the primary of a log from now on. It is looked at once.
fn found(store: &Arc<dyn Store>, asked: &Arc<Asked>, log: LogId) -> Result<Place, InstanceError> {
    let members = store.members(log)?;
    let is_changed = Arc::new(AtomicBool::new(true));
    let (there, flag) = (Arc::downgrade(asked), Arc::clone(&is_changed));
    let on_change = move || {
        flag.store(true, Ordering::SeqCst);
        if let Some(asked) = there.upgrade() {
            asked.ring(|_| {});
        }
    };
    let subscription = members.subscribe(Box::new(on_change)).map_err(|source| IoError {
        action: "start the thread that follows the primary of",
        place: store.place_of(log),
        source,
    })?;
    Ok(Place::Found(Found { log, members, is_changed, here: None, _subscription: subscription }))
}
