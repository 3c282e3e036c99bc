//! The engine: compiles components under the deterministic configuration.
//!
//! **Architecture Invariant:** an engine holds no guest and nothing that one could change, so all instances of a
//! process share one.

use std::{path::Path, sync::Arc};

use wasmtime::component::Component;

use crate::{
    cache, config,
    error::{EngineError, ModuleError},
    host_interface,
    module::Module,
    offers::Offers,
    requirements, wasi,
};

/// The smallest component: compiling it shows if this machine can run any.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Compiles components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    offers: Arc<Offers>,
    hash: [u8; 32],
}

impl Engine {
    /// Makes the engine. One is enough for a process.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] if this machine can't run what is compiled.
    pub fn new() -> Result<Engine, EngineError> {
        let config = config::deterministic().map_err(EngineError::Unsupported)?;
        let wasmtime = wasmtime::Engine::new(&config).map_err(EngineError::Unsupported)?;
        Component::from_binary(&wasmtime, EMPTY_COMPONENT).map_err(EngineError::Unsupported)?;
        let mut offers = Offers::new(&wasmtime);
        host_interface::add_to(&mut offers).map_err(EngineError::Interfaces)?;
        wasi::add_to(&mut offers).map_err(EngineError::Interfaces)?;
        let hash = config::hash(&wasmtime);
        Ok(Engine { wasmtime, offers: Arc::new(offers), hash })
    }

    /// SHA-256 over the version of wasmtime, the settings that a guest could notice, and the target. Replicas that
    /// differ in it may not share a log.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Compiles a component and checks that it can be an immortal. Takes 100 ms and more: call it off the hot path.
    ///
    /// # Errors
    /// Any [`ModuleError`] but those of running it.
    pub fn load(&self, component: &[u8]) -> Result<Module, ModuleError> {
        self.checked(self.compile(component)?)
    }

    /// As [`Self::load`], and keeps the compiled form in `cache_dir`, which takes a millisecond to load the next time.
    ///
    /// The cache is a help and no more: a file that is damaged or of another engine is replaced, and one that can't
    /// be written is a warning. Whoever can write to `cache_dir` can run code as this process.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_cached(&self, component: &[u8], cache_dir: &Path) -> Result<Module, ModuleError> {
        let file = cache::CacheFile::of(cache_dir, component, &self.hash);
        if let Some(cached) = file.load(&self.wasmtime) {
            return self.checked(cached);
        }
        let compiled = self.compile(component)?;
        file.store(&compiled);
        self.checked(compiled)
    }

    fn compile(&self, component: &[u8]) -> Result<Component, ModuleError> {
        requirements::check_kind(component)?;
        Component::from_binary(&self.wasmtime, component).map_err(|error| ModuleError::Compile(format!("{error:#}")))
    }

    fn checked(&self, component: Component) -> Result<Module, ModuleError> {
        requirements::check(&component, &self.offers)?;
        let linked = self.offers.linker().instantiate_pre(&component);
        Ok(Module::new(linked.map_err(|error| ModuleError::WrongImport(format!("{error:#}")))?))
    }
}
