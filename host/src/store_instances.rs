//! The instances of a store, for those who ask over HTTP.
//!
//! **Architecture Invariant:** what was looked up is used until the registry has changed, and not longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_client::{Client, SharedClient};
use ambrosia_core::{InstanceName, RequestId, Timestamp};
use ambrosia_door::{Access, Deed, Ended, Family, Instance, Instances as InstancesOutside, NoInstance};
use ambrosia_storage::{
    FoundToken, InstanceEntry, InstanceError, Instances, RecordedOutcome, Store, Subscription, Token, TokenError,
    Tokens,
};
use tokio::runtime::Handle;

use crate::{
    clock::{Clock, SystemClock},
    entropy::fresh_request_id,
    look,
    modules::Modules,
    neighbours::Neighbours,
    peers::PeerDirectory,
    store_whereabouts::StoreWhereabouts,
};

/// Who is not told of changes of the registry looks again after this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// The tokens of the store, and as of which change and which moment they were read.
type ReadTokens = (Vec<Token>, (u64, Instant));

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
    /// As they were read, and how many changes there had been before, and when that was.
    tokens: Mutex<Option<ReadTokens>>,
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
    /// The instances of `store`; clients of them live on `runtime`, and `neighbours` in this process.
    ///
    /// # Errors
    /// If the system has no more threads.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        modules: Arc<Modules>,
        directory: Arc<PeerDirectory>,
        neighbours: Option<Arc<Neighbours>>,
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
            neighbours,
            runtime,
            known: Mutex::default(),
            clients: Mutex::default(),
            tokens: Mutex::default(),
            changes,
            registry,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what was read then counts still.
    fn is_fresh(&self, (changes, when): (u64, Instant)) -> bool {
        let is_told = self.registry.is_some() || when.elapsed() < LOOK_INTERVAL;
        is_told && self.changes.load(Ordering::SeqCst) == changes
    }

    fn lock_tokens(&self) -> MutexGuard<'_, Option<ReadTokens>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What somebody may do by these tokens.
fn access(tokens: &[Token], hash: Option<[u8; 32]>, deed: Deed, name: Option<&InstanceName>, now: Timestamp) -> Access {
    let deed = match deed {
        Deed::Send => ambrosia_storage::Deed::Send,
        Deed::Query => ambrosia_storage::Deed::Query,
        Deed::Read => ambrosia_storage::Deed::Read,
    };
    if tokens.is_empty() {
        return Access::Open;
    }
    match tokens.iter().find(|token| Some(token.hash) == hash) {
        None => Access::Unknown,
        Some(token) if token.has_ended(now) => Access::Ended,
        Some(token) if token.allows(deed, name) => Access::Granted,
        Some(_) => Access::Denied,
    }
}

/// In the place of a token that can't be read, so that a store with that one alone is not open.
fn unusable(name: String) -> Result<Token, NoInstance> {
    let name = InstanceName::new(name).map_err(|error| NoInstance::Unreadable(error.to_string()))?;
    let (deeds, instances, made) = (BTreeSet::new(), Some(BTreeSet::new()), Timestamp(0));
    Ok(Token { name, hash: [0; 32], deeds, instances, made, until: Some(Timestamp(0)) })
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
        self.is_fresh(*at).then(|| Arc::clone(instance))
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
        let is_fresh = matches!(*self.lock_tokens(), Some((_, at)) if self.is_fresh(at));
        if is_fresh { self.access_as_read(token, deed, name) } else { None }
    }

    fn access_as_read(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access> {
        let hash = token.map(Token::hash_of);
        let tokens = self.lock_tokens();
        let (tokens, _) = tokens.as_ref()?;
        if tokens.is_empty() {
            return Some(Access::Open); // and the time does not matter
        }
        Some(access(tokens, hash, deed, name, SystemClock::check().ok()?.now()))
    }

    fn read_tokens(&self) -> Result<(), NoInstance> {
        let at = (self.changes.load(Ordering::SeqCst), Instant::now());
        let unreadable = |error: TokenError| NoInstance::Unreadable(error.to_string());
        let mut tokens = Vec::new();
        for FoundToken { name, token } in self.store.tokens().map_err(unreadable)? {
            match token {
                Ok(token) => tokens.push(token),
                Err(TokenError::Damaged(_)) => {
                    tracing::warn!(
                        "the token {name} can't be read, so it allows nothing: revoke it and make another one"
                    );
                    tokens.push(unusable(name)?);
                }
                Err(error) => return Err(unreadable(error)),
            }
        }
        *self.lock_tokens() = Some((tokens, at));
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_what_it_is_for_while_it_lasts() {
        let name = |text: &str| InstanceName::new(text).expect("plain");
        let token = Token {
            name: name("shop"),
            hash: Token::hash_of("secret"),
            deeds: [ambrosia_storage::Deed::Send].into(),
            instances: Some([name("orders")].into()),
            made: Timestamp(0),
            until: Some(Timestamp(9)),
        };
        let hash = |text: &str| Some(Token::hash_of(text));
        let (orders, bank) = (name("orders"), name("bank"));
        let ask = |hash, deed, name, now| access(std::slice::from_ref(&token), hash, deed, Some(name), Timestamp(now));
        assert_eq!(ask(hash("secret"), Deed::Send, &orders, 8), Access::Granted);
        assert_eq!(ask(hash("secret"), Deed::Send, &bank, 8), Access::Denied);
        assert_eq!(ask(hash("secret"), Deed::Query, &orders, 8), Access::Denied);
        assert_eq!(ask(hash("secret"), Deed::Send, &orders, 9), Access::Ended);
        assert_eq!(ask(hash("Secret"), Deed::Send, &orders, 8), Access::Unknown);
        assert_eq!(ask(None, Deed::Send, &orders, 8), Access::Unknown);
        assert_eq!(access(&[], None, Deed::Send, Some(&orders), Timestamp(8)), Access::Open);
        let broken = [unusable("broken".to_owned()).expect("a name")];
        assert_eq!(access(&broken, None, Deed::Send, Some(&orders), Timestamp(8)), Access::Unknown);
    }
}
