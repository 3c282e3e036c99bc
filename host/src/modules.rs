//! The modules of a store by their hashes: compiled, and what they describe.
//!
//! **Architecture Invariant:** a module is asked for by its hash, which whoever asks has from the state of a replica or
//! from the log at some lsn; there is no "module of the instance" here. An engine is started for the first module that has
//! to be compiled or run, and not before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use ambrosia_engine::{Engine, EngineError, Module, ModuleSource};
use ambrosia_methods::Methods;
use ambrosia_storage::{BlobHash, Store};

use crate::{
    methods::{write_down, written_down},
    run::RunError,
};

/// One module; whoever asks first compiles it, and others who want that one wait.
type Compiled = Arc<Mutex<Option<Module>>>;

/// The modules of a store that somebody has asked for.
pub struct Modules {
    store: Arc<dyn Store>,
    /// Whether what was compiled and described is kept in the store for others.
    keeps: bool,
    engine: Mutex<Option<Engine>>,
    compiled: Mutex<BTreeMap<[u8; 32], Compiled>>,
    described: Mutex<BTreeMap<[u8; 32], Methods>>,
}

impl Modules {
    /// The modules of `store`. Nothing is read yet.
    pub fn new(store: Arc<dyn Store>) -> Modules {
        Modules {
            store,
            keeps: true,
            engine: Mutex::new(None),
            compiled: Mutex::new(BTreeMap::new()),
            described: Mutex::new(BTreeMap::new()),
        }
    }

    /// The same, by an engine that is there.
    pub fn on(engine: Engine, store: Arc<dyn Store>) -> Modules {
        Modules { engine: Mutex::new(Some(engine)), ..Modules::new(store) }
    }

    /// The same for whoever only looks: nothing is kept in the store.
    pub fn looking(store: Arc<dyn Store>) -> Modules {
        Modules { keeps: false, ..Modules::new(store) }
    }

    /// The engine that all modules are compiled by.
    ///
    /// # Errors
    /// If this machine can't run guests.
    pub fn engine(&self) -> Result<Engine, EngineError> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = &*engine {
            return Ok(engine.clone());
        }
        Ok(engine.insert(Engine::new()?).clone())
    }

    /// A module, ready to be instantiated: compiled, or from the cache of compiled ones. Whoever asks for another one
    /// meanwhile does not wait.
    ///
    /// # Errors
    /// If the store does not have it, or it can't be run here.
    pub fn module(&self, hash: [u8; 32]) -> Result<Module, RunError> {
        let place = Arc::clone(self.compiled.lock().unwrap_or_else(PoisonError::into_inner).entry(hash).or_default());
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = &*place {
            return Ok(module.clone());
        }
        let engine = self.engine()?;
        let bytes = self.component(hash)?;
        let module = match self.store.cache() {
            Some(cache) if self.keeps => engine.load_cached(&bytes, cache)?,
            Some(cache) => engine.load_known(&bytes, cache)?,
            None => engine.load(&bytes)?,
        };
        Ok(place.insert(module).clone())
    }

    /// The bytes of a module, as it was registered.
    ///
    /// # Errors
    /// If the store does not have it, or it can't be read.
    pub fn component(&self, hash: [u8; 32]) -> Result<Vec<u8>, RunError> {
        Ok(self.store.blobs().get(BlobHash(hash))?)
    }

    /// What a module describes, as it was written down beside it.
    ///
    /// A store of an earlier version, or a damaged file, has nothing: then the module is loaded to describe itself, and
    /// that is written down for the next one who asks, if the store can be written.
    ///
    /// # Errors
    /// As [`Modules::module`], and if what is written down can't be read.
    pub fn methods(&self, hash: [u8; 32]) -> Result<Methods, RunError> {
        let mut described = self.described.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(methods) = described.get(&hash) {
            return Ok(methods.clone());
        }
        let methods = match written_down(&*self.store, hash)? {
            Some(methods) => methods,
            None => self.describe(hash)?,
        };
        described.insert(hash, methods.clone());
        Ok(methods)
    }

    fn describe(&self, hash: [u8; 32]) -> Result<Methods, RunError> {
        tracing::debug!(module = %BlobHash(hash), "what the module describes is not written down, so it is loaded");
        let methods = Methods::new(self.module(hash)?.methods()?);
        if !self.keeps {
            return Ok(methods);
        }
        if let Err(error) = write_down(&methods, &*self.store, hash) {
            tracing::warn!(%error, "the methods of the module can't be written down; `send` and `log` load it for them");
        }
        Ok(methods)
    }
}

impl ModuleSource for Modules {
    fn module(&self, hash: [u8; 32]) -> Result<Module, String> {
        let module = Modules::module(self, hash);
        module.map_err(|error| format!("the module {} can't be run here: {error}", BlobHash(hash)))
    }
}

/// The methods of the module that handles what comes in now: a request or a line is looked up in these.
pub(crate) struct CurrentMethods(RwLock<Methods>);

impl CurrentMethods {
    pub(crate) fn new(methods: Methods) -> CurrentMethods {
        CurrentMethods(RwLock::new(methods))
    }

    pub(crate) fn get(&self) -> Methods {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The replica runs a module with these methods from here on.
    pub(crate) fn set(&self, methods: Methods) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = methods;
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::Method;
    use ambrosia_storage::StorePlace;

    use super::*;

    #[test]
    fn what_is_written_down_outlives_the_module_and_takes_no_engine() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = StorePlace::from(directory.path()).create_or_open().expect("a new store");
        let hash = BlobHash::of(b"a module that is gone").0;
        let method = Method::without_types("add".to_owned(), vec!["n".to_owned()], true);
        write_down(&Methods::new(vec![method.clone()]), &*store, hash).expect("the store can be written");
        let modules = Modules::new(store);
        let methods = modules.methods(hash).expect("they are written down");
        assert_eq!(methods.find("add"), Ok(&method));
        assert!(modules.engine.lock().expect("not poisoned").is_none(), "an engine was started to read a file");
        let error = modules.methods([7; 32]).expect_err("nothing is known of it");
        assert!(matches!(error, RunError::Blob(_)), "{error}");
    }
}
