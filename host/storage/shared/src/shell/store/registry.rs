//! The registry: small values whose changes are counted.

use std::{io, sync::Arc};

use ambrosia_storage::{
    Callback, LogId, PutError, Registry, RegistryEntry, RegistryError, Revision, Subscription, check_key,
};

use super::{clerk::Clerk, desk::Desk};
use crate::keys::{PutRefused, Space};

pub(super) struct EngineRegistry {
    pub(super) desk: Arc<Desk>,
    pub(super) clerk: Arc<Clerk>,
}

impl EngineRegistry {
    fn put(
        &self,
        key: &str,
        expected: Option<Revision>,
        value: &[u8],
        beside: Option<LogId>,
    ) -> Result<Revision, PutError> {
        check_key(key).map_err(RegistryError::from)?;
        let put = self.desk.put(Space::Registry, key, expected, value.to_vec(), beside)?;
        self.clerk.see_changes()?;
        put.map_err(|refused| {
            let current = match refused {
                PutRefused::Stands(current) => current,
                PutRefused::NoLog => None,
            };
            PutError::Conflict { key: key.to_owned(), current }
        })
    }
}

impl Registry for EngineRegistry {
    fn get(&self, key: &str) -> Result<Option<(Revision, Vec<u8>)>, RegistryError> {
        check_key(key)?;
        let entry = self.desk.get(Space::Registry, key)?;
        Ok(entry.map(|entry| (entry.revision, entry.value.to_vec())))
    }

    fn put_if(&self, key: &str, expected: Option<Revision>, value: &[u8]) -> Result<Revision, PutError> {
        self.put(key, expected, value, None)
    }

    fn put_new_beside(&self, key: &str, value: &[u8], log: LogId) -> Result<Revision, PutError> {
        self.put(key, None, value, Some(log))
    }

    fn delete_if(&self, key: &str, expected: Revision) -> Result<(), PutError> {
        check_key(key).map_err(RegistryError::from)?;
        let deleted = self.desk.delete(Space::Registry, key, expected)?;
        self.clerk.see_changes()?;
        deleted.map_err(|current| PutError::Conflict { key: key.to_owned(), current })
    }

    fn list(&self, prefix: &str) -> Result<Vec<RegistryEntry>, RegistryError> {
        let entries = self.desk.list(Space::Registry, prefix, true)?.into_iter();
        let entry = |entry: crate::keys::KeyEntry| RegistryEntry {
            key: entry.key,
            revision: entry.revision,
            value: entry.value.to_vec(),
        };
        Ok(entries.map(entry).collect())
    }

    fn keys(&self, prefix: &str) -> Result<Vec<String>, RegistryError> {
        let entries = self.desk.list(Space::Registry, prefix, false)?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    fn unchecked_value(&self, key: &str) -> Result<Option<Vec<u8>>, RegistryError> {
        Ok(self.get(key)?.map(|(_, value)| value))
    }

    fn remove_damaged(&self, key: &str) -> Result<(), RegistryError> {
        while let Some((revision, _)) = self.get(key)? {
            match self.delete_if(key, revision) {
                Ok(()) => break,
                Err(PutError::Conflict { .. }) => {}
                Err(PutError::Registry(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn changes(&self) -> Option<u64> {
        self.clerk.changes()
    }

    fn subscribe(&self, call: Callback) -> io::Result<Option<Subscription>> {
        Ok(Some(self.clerk.subscribe(call)))
    }
}
