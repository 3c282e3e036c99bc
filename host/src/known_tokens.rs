//! The tokens of a store, as they were read.
//!
//! **Architecture Invariant:** what was read is used until the registry has changed, and not longer; a token that can't be read
//! allows nothing.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ambrosia_core::{InstanceName, Timestamp};
use ambrosia_door::{Access, Deed, NoInstance};
use ambrosia_storage::{FoundToken, Store, Token, TokenError, Tokens};

use crate::{
    as_of::AsOf,
    clock::{Clock, SystemClock},
};

/// The tokens of a store.
pub(crate) struct KnownTokens {
    store: Arc<dyn Store>,
    read: Mutex<Option<(Vec<Token>, AsOf)>>,
}

impl KnownTokens {
    /// None is read yet.
    pub(crate) fn new(store: Arc<dyn Store>) -> KnownTokens {
        KnownTokens { store, read: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Vec<Token>, AsOf)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What whoever has that token may do with that instance, or with any if none is named; `None` if the tokens may have changed since
    /// they were read.
    pub(crate) fn access(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access> {
        if self.are_fresh() { self.access_as_read(token, deed, name) } else { None }
    }

    /// Whether they can't have changed since they were read.
    pub(crate) fn are_fresh(&self) -> bool {
        matches!(*self.lock(), Some((_, at)) if at.is_fresh(&*self.store))
    }

    /// What whoever has that token may see of the store as a whole, as they were read: all of it, if they may do everything with every instance.
    pub(crate) fn access_to_store(&self, token: &str) -> Option<Access> {
        let tokens = self.lock();
        let (tokens, _) = tokens.as_ref()?;
        let hash = Some(Token::hash_of(token));
        let allows =
            |token: &Token| token.instances.is_none() && token.deeds.len() == ambrosia_storage::Deed::ALL.len();
        Some(access(tokens, hash, allows, SystemClock::check().ok()?.now()))
    }

    /// The same, whether they have changed since or not; `None` if they were never read.
    pub(crate) fn access_as_read(
        &self,
        token: Option<&str>,
        deed: Deed,
        name: Option<&InstanceName>,
    ) -> Option<Access> {
        let hash = token.map(Token::hash_of);
        let tokens = self.lock();
        let (tokens, _) = tokens.as_ref()?;
        if tokens.is_empty() {
            return Some(Access::Open); // and the time does not matter
        }
        Some(access(tokens, hash, |token| token.allows(of_store(deed), name), SystemClock::check().ok()?.now()))
    }

    /// Reads them. May wait for a disk.
    ///
    /// # Errors
    /// If they can't be read.
    pub(crate) fn read(&self) -> Result<(), NoInstance> {
        let at = AsOf::now(&*self.store);
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
        *self.lock() = Some((tokens, at));
        Ok(())
    }
}

/// The same deed, as tokens have it.
pub(crate) fn of_store(deed: Deed) -> ambrosia_storage::Deed {
    match deed {
        Deed::Send => ambrosia_storage::Deed::Send,
        Deed::Query => ambrosia_storage::Deed::Query,
        Deed::Read => ambrosia_storage::Deed::Read,
    }
}

/// What somebody may do by these tokens.
fn access(tokens: &[Token], hash: Option<[u8; 32]>, allows: impl Fn(&Token) -> bool, now: Timestamp) -> Access {
    if tokens.is_empty() {
        return Access::Open;
    }
    match tokens.iter().find(|token| Some(token.hash) == hash) {
        None => Access::Unknown,
        Some(token) if token.has_ended(now) => Access::Ended,
        Some(token) if allows(token) => Access::Granted,
        Some(_) => Access::Denied,
    }
}

/// In the place of a token that can't be read, so that a store with that one alone is not open.
fn unusable(name: String) -> Result<Token, NoInstance> {
    let name = InstanceName::new(name).map_err(|error| NoInstance::Unreadable(error.to_string()))?;
    let (deeds, instances, made) = (BTreeSet::new(), Some(BTreeSet::new()), Timestamp(0));
    Ok(Token { name, hash: [0; 32], deeds, instances, made, until: Some(Timestamp(0)) })
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
        let ask = |hash, deed, name: &InstanceName, now| {
            let allows = |token: &Token| token.allows(of_store(deed), Some(name));
            access(std::slice::from_ref(&token), hash, allows, Timestamp(now))
        };
        assert_eq!(ask(hash("secret"), Deed::Send, &orders, 8), Access::Granted);
        assert_eq!(ask(hash("secret"), Deed::Send, &bank, 8), Access::Denied);
        assert_eq!(ask(hash("secret"), Deed::Query, &orders, 8), Access::Denied);
        assert_eq!(ask(hash("secret"), Deed::Send, &orders, 9), Access::Ended);
        assert_eq!(ask(hash("Secret"), Deed::Send, &orders, 8), Access::Unknown);
        assert_eq!(ask(None, Deed::Send, &orders, 8), Access::Unknown);
        assert_eq!(access(&[], None, |_| false, Timestamp(8)), Access::Open);
        let broken = [unusable("broken".to_owned()).expect("a name")];
        assert_eq!(access(&broken, None, |_| true, Timestamp(8)), Access::Unknown);
    }

    /// By whoever makes or revokes it, which may be another process.
    #[test]
    fn a_token_counts_from_the_moment_at_which_it_is_made_or_revoked() {
        let directory = tempfile::tempdir().expect("there is room");
        let open = || -> Arc<dyn Store> { Arc::new(FileStore::create_or_open(directory.path()).expect("a store")) };
        let (ours, theirs) = (open(), open());
        let tokens = KnownTokens::new(ours);
        let ask = || {
            let known = tokens.access(Some("secret"), Deed::Read, None);
            known.unwrap_or_else(|| {
                tokens.read().expect("it can be read");
                tokens.access_as_read(Some("secret"), Deed::Read, None).expect("it was just read")
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
