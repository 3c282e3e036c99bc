//! The instances of a store, for those who ask over HTTP.
//!
//! **Architecture Invariant:** what was looked up is used until the registry has changed, and not longer.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use ambrosia_client::{Client, SharedClient};
use ambrosia_core::{InstanceName, RequestId, Timestamp};
use ambrosia_door::{Access, Deed, Ended, Family, Instance, Instances as InstancesOutside, NoInstance};
use ambrosia_storage::{
    FoundToken, InstanceEntry, InstanceError, Instances, RecordedOutcome, Store, Token, TokenError, Tokens,
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

/// Who can't know of changes of the registry looks again after this.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What the registry was read as of: the number of its last change, if this process may know it, and when that was.
type AsOf = (Option<u64>, Instant);

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
    /// As they were read.
    tokens: Mutex<Option<(Vec<Token>, AsOf)>>,
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
        let (known, clients, tokens) = (Mutex::default(), Mutex::default(), Mutex::default());
        StoreInstances { store, modules, directory, neighbours, runtime, known, clients, tokens }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceName, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be taken before the registry is read.
    fn now(&self) -> AsOf {
        (self.store.registry().changes(), Instant::now())
    }

    /// Whether what was read then counts still. The count of changes is looked at itself: whoever waits to be told of them hears of a token
    /// that was revoked when its thread comes to it, and lets its bearer in until then.
    fn is_fresh(&self, (changes, when): AsOf) -> bool {
        (changes.is_some() || when.elapsed() < LOOK_INTERVAL) && self.store.registry().changes() == changes
    }

    fn lock_tokens(&self) -> MutexGuard<'_, Option<(Vec<Token>, AsOf)>> {
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
        let at = self.now();
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
        let at = self.now();
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
    use ambrosia_storage::FileStore;

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

    /// By whoever makes or revokes it, which may be another process.
    #[test]
    fn a_token_counts_from_the_moment_at_which_it_is_made_or_revoked() {
        let directory = tempfile::tempdir().expect("there is room");
        let open = || -> Arc<dyn Store> { Arc::new(FileStore::create_or_open(directory.path()).expect("a store")) };
        let (ours, theirs) = (open(), open());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("it begins");
        let modules = Arc::new(Modules::new(Arc::clone(&ours)));
        let peers =
            Arc::new(PeerDirectory::new(Arc::clone(&ours), ambrosia_wire::Security::Plain).expect("there are threads"));
        let instances = StoreInstances::new(ours, modules, peers, None, runtime.handle().clone());
        let ask = || {
            let known = instances.access(Some("secret"), Deed::Read, None);
            known.unwrap_or_else(|| {
                instances.read_tokens().expect("it can be read");
                instances.access_as_read(Some("secret"), Deed::Read, None).expect("it was just read")
            })
        };
        let token = |name: &str, text| Token {
            name: InstanceName::new(name).expect("plain"),
            hash: Token::hash_of(text),
            deeds: [ambrosia_storage::Deed::Read].into(),
            instances: None,
            made: Timestamp(0),
            until: None,
        };
        theirs.add_token(&token("other", "other")).expect("it is new");
        let ours = token("ours", "secret");
        for round in 0..200 {
            assert_eq!(ask(), Access::Unknown, "round {round}");
            theirs.add_token(&ours).expect("it is new");
            assert_eq!(ask(), Access::Granted, "round {round}");
            theirs.revoke_token(&ours.name).expect("it is there");
        }
    }
}
