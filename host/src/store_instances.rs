//! The instances of a store, for those who ask over HTTP.
//!
//! **Architecture Invariant:** what was looked up is used until the registry has changed, and not longer.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_client::SharedClient;
use ambrosia_core::{InstanceName, RequestId};
use ambrosia_door::{Ended, Instance, Instances as InstancesOutside, NoInstance};
use ambrosia_storage::{InstanceEntry, InstanceError, Instances, RecordedOutcome, Store, Subscription};
use tokio::runtime::Handle;

use crate::{entropy::fresh_request_id, modules::Modules, peers::PeerDirectory, store_whereabouts::StoreWhereabouts};

/// Who is not told of changes of the registry looks again after this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The instances of a store.
pub struct StoreInstances {
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
    directory: Arc<PeerDirectory>,
    runtime: Handle,
    known: Mutex<BTreeMap<InstanceName, Known>>,
    /// Of those that somebody has asked.
    clients: Mutex<BTreeMap<InstanceName, Arc<SharedClient>>>,
    /// Counts changes of the registry.
    changes: Arc<AtomicU64>,
    /// `None` if this process may not know of changes.
    registry: Option<Subscription>,
}

struct Known {
    instance: Arc<Instance>,
    /// How many changes there had been before it was looked up, and when that was.
    at: (u64, Instant),
}

impl StoreInstances {
    /// The instances of `store`; clients of them live on `runtime`.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        modules: Arc<Modules>,
        directory: Arc<PeerDirectory>,
        runtime: Handle,
    ) -> std::io::Result<StoreInstances> {
        let changes = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&changes);
        let count = move || {
            counted.fetch_add(1, Ordering::SeqCst);
        };
        let registry = store.registry().subscribe(Box::new(count))?;
        Ok(StoreInstances {
            store,
            modules,
            directory,
            runtime,
            known: Mutex::default(),
            clients: Mutex::default(),
            changes,
            registry,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(&self, entry: InstanceEntry) -> Result<Instance, NoInstance> {
        let methods = self.modules.methods(entry.upgrades.current);
        let methods = methods.map_err(|error| NoInstance::Unreadable(error.to_string()))?;
        let ended = match entry.outcome {
            // Somebody wishes for what may mend it.
            Some(RecordedOutcome::Halted { .. }) if entry.upgrades.wanted.is_some() => None,
            Some(RecordedOutcome::Halted { lsn, reason, .. }) => Some(Ended::Halted { lsn, reason }),
            Some(RecordedOutcome::Finished { code, lsn }) => Some(Ended::Finished { code, lsn }),
            None => None,
        };
        Ok(Instance { methods, ended })
    }
}

fn no_instance(error: InstanceError) -> NoInstance {
    match error {
        InstanceError::Unknown { .. } => NoInstance::Unknown,
        error => NoInstance::Unreadable(error.to_string()),
    }
}

impl InstancesOutside for StoreInstances {
    fn known(&self, name: &InstanceName) -> Option<Arc<Instance>> {
        let known = self.lock();
        let Known { instance, at: (changes, when) } = known.get(name)?;
        let is_told = self.registry.is_some() || when.elapsed() < LOOK_INTERVAL;
        (is_told && self.changes.load(Ordering::SeqCst) == *changes).then(|| Arc::clone(instance))
    }

    fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, NoInstance> {
        let at = (self.changes.load(Ordering::SeqCst), Instant::now());
        let entry = match self.store.instance(name) {
            Ok(entry) => entry,
            Err(error) => {
                self.lock().remove(name);
                self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                return Err(no_instance(error));
            }
        };
        let instance = Arc::new(self.instance(entry)?);
        self.lock().insert(name.clone(), Known { instance: Arc::clone(&instance), at });
        Ok(instance)
    }

    fn client(&self, name: &InstanceName) -> Arc<SharedClient> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(name) {
            return Arc::clone(client);
        }
        let (directory, store) = (Arc::clone(&self.directory), Arc::clone(&self.store));
        let whereabouts = StoreWhereabouts::told_by(directory, store, name.clone());
        let _within = self.runtime.enter();
        let client = Arc::new(SharedClient::new(name.clone(), whereabouts));
        clients.insert(name.clone(), Arc::clone(&client));
        client
    }

    fn fresh_request_id(&self) -> RequestId {
        fresh_request_id()
    }

    fn list(&self) -> Result<Vec<InstanceName>, NoInstance> {
        let entries = self.store.instances().map_err(no_instance)?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }
}
