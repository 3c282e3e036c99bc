//! Small and large values by name, which an engine keeps beside its logs: who is registered, modules, checkpoints, who runs.
//!
//! A change names the revision at which the key is to stand, and who makes it: asked again after an answer that was lost, it
//! succeeds again. A revision is never used twice.
//!
//! *Notes* are what nobody decides by, such as how far a replica is. They need not be durable.
//!
//! **Architecture Invariant:** a value is bytes here; whoever puts them knows what they mean.

use std::collections::BTreeMap;

use ambrosia_storage::{LogId, Revision};
use bytes::Bytes;

use crate::engine::{Claim, Session};

/// A list ends behind so many keys …
pub const LIST_KEYS_MAX: usize = 1000;

/// … or behind the value with which it has so many bytes.
pub const LIST_BYTES_MAX: usize = 4 << 20;

/// Keys that have to do with each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Space {
    /// Small values, whose changes are counted.
    Registry,
    /// All else, such as parts of modules.
    Store,
}

/// What is asked of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeysRequest {
    /// Read a key.
    Get {
        /// Where it is.
        space: Space,
        /// Its name.
        key: String,
    },
    /// Read the keys that begin so, in the order of their bytes; not all of them, if they are many or large.
    List {
        /// Where they are.
        space: Space,
        /// What they begin with.
        prefix: String,
        /// Only those behind this one.
        after: Option<String>,
        /// With their values, or with empty ones.
        values: bool,
    },
    /// Put a value.
    Put(Put),
    /// Delete a key, on the condition that it stands at `expected`.
    Delete {
        /// Where it is.
        space: Space,
        /// Its name.
        key: String,
        /// Of its last change.
        expected: Revision,
    },
    /// Read how many changes there were in [`Space::Registry`].
    Changes,
    /// Put notes, or remove those that have no value.
    Note {
        /// By their names.
        notes: Vec<(String, Option<Bytes>)>,
    },
    /// Read the notes whose names begin so, in order.
    Notes {
        /// What they begin with.
        prefix: String,
    },
}

/// A value to be put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// Where the key is.
    pub space: Space,
    /// Its name.
    pub key: String,
    /// At which revision it has to stand, if this same claim has not put it already; `None` if there must be no such key.
    pub expected: Option<Revision>,
    /// The value.
    pub value: Bytes,
    /// Another one for each put that there ever is.
    pub claim: Claim,
    /// A log that has to be there.
    pub beside: Option<LogId>,
}

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyEntry {
    /// Its name.
    pub key: String,
    /// Of its last change.
    pub revision: Revision,
    /// The value.
    pub value: Bytes,
}

/// What is answered about keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeysAnswer {
    /// The key, if there is one.
    Got {
        /// Where that was read.
        session: Session,
        /// With its value.
        entry: Option<KeyEntry>,
    },
    /// Keys in order.
    Listed {
        /// Where that was read.
        session: Session,
        /// The keys.
        entries: Vec<KeyEntry>,
        /// Whether there are no more.
        is_all: bool,
    },
    /// At which revision it stands now.
    Put(Result<Revision, PutRefused>),
    /// Deleted; or at which revision it stands.
    Deleted(Result<(), Option<Revision>>),
    /// How many changes there were. It need not be durable.
    Changes(u64),
    /// The notes are put.
    Noted,
    /// Notes in order.
    Notes(Vec<(String, Bytes)>),
}

/// A value was not put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutRefused {
    /// The key stands elsewhere.
    Stands(Option<Revision>),
    /// There is no such log.
    NoLog,
}

/// The keys and notes of an engine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct KeyRows {
    entries: BTreeMap<(Space, String), (Revision, Claim, Bytes)>,
    revisions: u64,
    changes: u64,
    notes: BTreeMap<String, Bytes>,
}

impl KeyRows {
    /// Does what is asked. What is read is read in `session`.
    pub(crate) fn execute(
        &mut self,
        request: &KeysRequest,
        session: Session,
        has_log: impl Fn(LogId) -> bool,
    ) -> KeysAnswer {
        match request {
            KeysRequest::Get { space, key } => {
                let found = self.entries.get_key_value(&(*space, key.clone()));
                KeysAnswer::Got { session, entry: found.map(|(key, value)| entry(key, value, true)) }
            }
            KeysRequest::List { space, prefix, after, values } => {
                let from =
                    after.as_ref().map_or_else(|| prefix.clone(), |after| format!("{after}\0")).max(prefix.clone());
                let mut found = self.entries.range((*space, from)..);
                let mut found = std::iter::from_fn(|| {
                    found.next().filter(|((of, key), _)| of == space && key.starts_with(&**prefix))
                });
                let (mut entries, mut bytes) = (Vec::new(), 0);
                while entries.len() < LIST_KEYS_MAX && bytes < LIST_BYTES_MAX {
                    let Some((key, value)) = found.next() else { break };
                    let entry = entry(key, value, *values);
                    bytes += entry.value.len();
                    entries.push(entry);
                }
                KeysAnswer::Listed { session, entries, is_all: found.next().is_none() }
            }
            KeysRequest::Put(put) => KeysAnswer::Put(self.put(put, has_log)),
            KeysRequest::Delete { space, key, expected } => KeysAnswer::Deleted(self.delete(*space, key, *expected)),
            KeysRequest::Changes => KeysAnswer::Changes(self.changes),
            KeysRequest::Note { notes } => {
                for (name, value) in notes {
                    match value {
                        Some(value) => drop(self.notes.insert(name.clone(), value.clone())),
                        None => drop(self.notes.remove(name)),
                    }
                }
                KeysAnswer::Noted
            }
            KeysRequest::Notes { prefix } => {
                let found = self.notes.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&**prefix));
                KeysAnswer::Notes(found.map(|(name, value)| (name.clone(), value.clone())).collect())
            }
        }
    }

    fn put(&mut self, put: &Put, has_log: impl Fn(LogId) -> bool) -> Result<Revision, PutRefused> {
        let place = (put.space, put.key.clone());
        let stands = self.entries.get(&place);
        if let Some((revision, _, _)) = stands.filter(|(_, claim, _)| *claim == put.claim) {
            return Ok(*revision);
        }
        let stands = stands.map(|(revision, _, _)| *revision);
        if stands != put.expected {
            return Err(PutRefused::Stands(stands));
        }
        if !put.beside.is_none_or(has_log) {
            return Err(PutRefused::NoLog);
        }
        self.revisions += 1;
        self.changes += u64::from(put.space == Space::Registry);
        let revision = Revision(self.revisions);
        self.entries.insert(place, (revision, put.claim, put.value.clone()));
        Ok(revision)
    }

    fn delete(&mut self, space: Space, key: &str, expected: Revision) -> Result<(), Option<Revision>> {
        let place = (space, key.to_owned());
        let stands = self.entries.get(&place).map(|(revision, _, _)| *revision);
        if stands != Some(expected) {
            return Err(stands);
        }
        self.changes += u64::from(space == Space::Registry);
        self.entries.remove(&place);
        Ok(())
    }
}

fn entry((_, key): &(Space, String), (revision, _, value): &(Revision, Claim, Bytes), with_value: bool) -> KeyEntry {
    let value = if with_value { value.clone() } else { Bytes::new() };
    KeyEntry { key: key.clone(), revision: *revision, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(rows: &mut KeyRows, after: Option<&str>, values: bool) -> (Vec<String>, bool) {
        let request =
            KeysRequest::List { space: Space::Store, prefix: "a/".to_owned(), after: after.map(str::to_owned), values };
        match rows.execute(&request, Session(1), |_| true) {
            KeysAnswer::Listed { entries, is_all, .. } => {
                (entries.into_iter().map(|entry| entry.key).collect(), is_all)
            }
            other => panic!("{other:?}"),
        }
    }

    fn put(rows: &mut KeyRows, space: Space, key: &str, attempt: u64, bytes: usize) -> Result<Revision, PutRefused> {
        let (key, value) = (key.to_owned(), vec![0; bytes].into());
        let claim = Claim { attempt, ..Claim::default() };
        rows.put(&Put { space, key, expected: None, value, claim, beside: None }, |_| true)
    }

    #[test]
    fn a_list_goes_on_behind_the_last_key_and_ends_with_the_prefix() {
        let mut rows = KeyRows::default();
        for (n, key) in ["a/1", "a/2", "a/3", "b", "a"].iter().enumerate() {
            put(&mut rows, Space::Store, key, n as u64, LIST_BYTES_MAX / 2).expect("it is new");
        }
        put(&mut rows, Space::Registry, "a/4", 9, 0).expect("it is new");
        assert_eq!(list(&mut rows, None, true), (vec!["a/1".to_owned(), "a/2".to_owned()], false));
        assert_eq!(list(&mut rows, Some("a/2"), true), (vec!["a/3".to_owned()], true));
        assert_eq!(list(&mut rows, None, false).0.len(), 3);
        assert_eq!(rows.changes, 1, "of the registry alone");
    }

    #[test]
    fn a_put_that_is_asked_again_succeeds_again_and_one_of_another_does_not() {
        let mut rows = KeyRows::default();
        let first = put(&mut rows, Space::Store, "a", 1, 0);
        assert_eq!(put(&mut rows, Space::Store, "a", 1, 0), first);
        assert_eq!(put(&mut rows, Space::Store, "a", 2, 0), Err(PutRefused::Stands(first.ok())));
    }
}
