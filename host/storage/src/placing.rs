//! What operators want of places, as the registry has it: hosts that are to hand over all that they have, and instances that are to
//! end everywhere.
//!
//! ```text
//! draining/{uuid of a life of a host}      retiring/{uuid of an instance}      "1"
//! ```
//! A wish is of one life: a host that is started again takes part again, and so does an instance that is registered anew.
//!
//! **Architecture Invariant:** it is a wish, and what hosts do about it is theirs.

use std::collections::BTreeSet;

use ambrosia_core::InstanceUuid;

use crate::{HostUuid, PutError, RegistryError, Store};

const DRAINING: &str = "draining/";
const RETIRING: &str = "retiring/";

/// How the value begins that says that a wish stands.
const VALUE: &[u8] = b"1";

/// What is wanted of places. Every store has it.
pub trait Placing: Store {
    /// Has a host hand over all that it has, and take nothing.
    fn drain(&self, host: HostUuid) -> Result<(), RegistryError> {
        put(self, &format!("{DRAINING}{host}"))
    }

    /// Has it take part again. Whether it was to drain.
    fn end_drain(&self, host: HostUuid) -> Result<bool, RegistryError> {
        remove(self, &format!("{DRAINING}{host}"))
    }

    /// The hosts that drain, also those that are gone.
    fn draining(&self) -> Result<BTreeSet<HostUuid>, RegistryError> {
        Ok(wishes(self, DRAINING)?.into_iter().map(HostUuid).collect())
    }

    /// Has hosts end the replicas of an instance, and begin none.
    fn retire(&self, instance: InstanceUuid) -> Result<(), RegistryError> {
        put(self, &format!("{RETIRING}{instance}"))
    }

    /// Has them serve it again. Whether it was to end.
    fn end_retirement(&self, instance: InstanceUuid) -> Result<bool, RegistryError> {
        remove(self, &format!("{RETIRING}{instance}"))
    }

    /// The instances that are to end.
    fn retiring(&self) -> Result<BTreeSet<InstanceUuid>, RegistryError> {
        Ok(wishes(self, RETIRING)?.into_iter().map(InstanceUuid).collect())
    }
}

impl<S: Store + ?Sized> Placing for S {}

fn put<S: Store + ?Sized>(store: &S, key: &str) -> Result<(), RegistryError> {
    match store.registry().put_if(key, None, VALUE) {
        // It stands already.
        Ok(_) | Err(PutError::Conflict { .. }) => Ok(()),
        Err(PutError::Registry(error)) => Err(error),
    }
}

fn remove<S: Store + ?Sized>(store: &S, key: &str) -> Result<bool, RegistryError> {
    loop {
        let Some((revision, _)) = store.registry().get(key)? else { return Ok(false) };
        match store.registry().delete_if(key, revision) {
            Ok(()) => return Ok(true),
            Err(PutError::Conflict { .. }) => {}
            Err(PutError::Registry(error)) => return Err(error),
        }
    }
}

fn wishes<S: Store + ?Sized>(store: &S, prefix: &str) -> Result<BTreeSet<[u8; 16]>, RegistryError> {
    let keys = store.registry().keys(prefix)?;
    let uuids = keys.iter().filter_map(|key| uuid::Uuid::parse_str(key.strip_prefix(prefix)?).ok());
    Ok(uuids.map(uuid::Uuid::into_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    #[test]
    fn a_wish_stands_until_it_is_taken_back() {
        let store = MemoryStore::default();
        let (one, other) = (HostUuid([1; 16]), HostUuid([2; 16]));
        [one, other, one].iter().for_each(|host| store.drain(*host).expect("works"));
        assert_eq!(store.draining().expect("works"), [one, other].into());
        assert!(store.end_drain(one).expect("works"));
        assert!(!store.end_drain(one).expect("works"), "it does not stand any more");
        assert_eq!(store.draining().expect("works"), [other].into());
        let instance = InstanceUuid([3; 16]);
        store.retire(instance).expect("works");
        assert_eq!(store.retiring().expect("works"), [instance].into());
        assert!(store.end_retirement(instance).expect("works"));
        assert!(store.retiring().expect("works").is_empty());
    }
}
