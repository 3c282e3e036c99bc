//! The instances of a store, for those who ask over HTTP.
//!
//! **Architecture Invariant:** what was looked up is used until the registry has changed, and not longer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambrosia_client::{Client, SharedClient};
use ambrosia_core::{InstanceName, RequestId};
use ambrosia_door::{Access, Deed, Ended, Family, Instance, Instances as InstancesOutside, NoInstance};
use ambrosia_storage::{InstanceEntry, InstanceError, Instances, RecordedOutcome, Store};
use tokio::runtime::Handle;

use crate::{
    as_of::AsOf, entropy::fresh_request_id, known_tokens::KnownTokens, look, modules::Modules, neighbours::Neighbours,
    peers::PeerDirectory, store_whereabouts::StoreWhereabouts,
};

/// The instances of a store.
pub struct StoreInstances {
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
    directory: Arc<PeerDirectory>,
    /// Members of this process, if there are any.
    neighbours: Option<Arc<Neighbours>>,
    runtime: Handle,
    known: Mutex<BTreeMap<InstanceName, Known>>,
    /// Of those that somebody has asked.
    clients: Mutex<BTreeMap<InstanceName, Arc<SharedClient>>>,
    tokens: KnownTokens,
}

struct Known {
    instance: Arc<Instance>,
    at: AsOf,
}

impl StoreInstances {
    /// The instances of `store`; clients of them live on `runtime`, and `neighbours` in this process.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        modules: Arc<Modules>,
        directory: Arc<PeerDirectory>,
        neighbours: Option<Arc<Neighbours>>,
        runtime: Handle,
    ) -> StoreInstances {
        let (known, clients, tokens) = (Mutex::default(), Mutex::default(), KnownTokens::new(Arc::clone(&store)));
        StoreInstances { store, modules, directory, neighbours, runtime, known, clients, tokens }
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
        Instance::new(methods, ended).map_err(|error| NoInstance::Unreadable(error.to_string()))
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
        let Known { instance, at } = known.get(name)?;
        at.is_fresh(&*self.store).then(|| Arc::clone(instance))
    }

    fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, NoInstance> {
        let at = AsOf::now(&*self.store);
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
        let whereabouts = StoreWhereabouts::told_by(directory, store, name.clone()).beside(self.neighbours.clone());
        let _within = self.runtime.enter();
        let client = Arc::new(SharedClient::new(name.clone(), whereabouts));
        clients.insert(name.clone(), Arc::clone(&client));
        client
    }

    fn client_of_replicas(&self, name: &InstanceName) -> Client {
        let (directory, store) = (Arc::clone(&self.directory), Arc::clone(&self.store));
        Client::new(name.clone(), StoreWhereabouts::told_by(directory, store, name.clone()))
    }

    fn access(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access> {
        self.tokens.access(token, deed, name)
    }

    fn access_as_read(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access> {
        self.tokens.access_as_read(token, deed, name)
    }

    fn read_tokens(&self) -> Result<(), NoInstance> {
        self.tokens.read()
    }

    fn fresh_request_id(&self) -> RequestId {
        fresh_request_id()
    }

    fn figures(&self) -> Result<Vec<Family>, NoInstance> {
        // A process without replicas watches all instances, and others theirs.
        let (names, mut families) = match &self.neighbours {
            Some(neighbours) => neighbours.figures(),
            None => (self.list()?, Vec::new()),
        };
        families.extend(look::replicas(&self.store, &names));
        Ok(families)
    }

    fn list(&self) -> Result<Vec<InstanceName>, NoInstance> {
        let entries = self.store.instances().map_err(no_instance)?;
        Ok(entries.into_iter().map(|entry| entry.name).collect())
    }
}
