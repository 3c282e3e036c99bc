//! The engine: compiles components under the deterministic configuration.
//!
//! **Architecture Invariant:** an engine holds no guest and nothing that one could change, so all instances of a
//! process share one.

use std::{path::Path, sync::Arc};

use wasmtime::{Config, component::Component};

use crate::{
    address_space::spare_address_space,
    cache, config,
    error::{EngineError, ModuleError},
    host_interface,
    module::Module,
    nesting::Nesting,
    offers::Offers,
    requirements, rewriter,
    source::Source,
    tracking::{Tracker, Tracking},
    verdict::{Finding, Verdict},
    wasi,
};

/// The smallest component: compiling it shows if this machine can run any.
const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Compiles components. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    offers: Arc<Offers>,
    hash: [u8; 32],
    tracker: Tracker,
}

impl Engine {
    /// Makes the engine. One is enough for a process.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] if this machine can't run what is compiled.
    pub fn new() -> Result<Engine, EngineError> {
        Engine::of(config::deterministic(), Tracker::best())
    }

    /// An engine for whoever looks at a guest with a debugger of the machine, such as gdb: its code is not optimised, and comes
    /// with debug information. The guest does the same as by [`Self::new`], and is captured and restored by both alike, on a
    /// thread with [`NATIVE_THREAD_STACK_BYTES_MIN`](crate::NATIVE_THREAD_STACK_BYTES_MIN) of stack. The hash is another: a
    /// replica that has a place in a log is none of its guests.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn native() -> Result<Engine, EngineError> {
        Engine::of(config::native(), Tracker::best())
    }

    /// An engine that differs from [`Self::new`] in its hash and its speed, as that of another version of this program may. The
    /// guest does the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn unoptimised() -> Result<Engine, EngineError> {
        Engine::of(config::unoptimised(), Tracker::best())
    }

    /// As [`Self::new`], and changes of guests are found in that way, which else is the better one that works.
    ///
    /// # Errors
    /// [`EngineError::Tracking`] if it does not work on this machine, and as [`Self::new`].
    pub fn with_tracking(tracking: Tracking) -> Result<Engine, EngineError> {
        Engine::of(config::deterministic(), Tracker::of(tracking).map_err(EngineError::Tracking)?)
    }

    fn of(config: Result<Config, wasmtime::Error>, tracker: Tracker) -> Result<Engine, EngineError> {
        spare_address_space();
        let config = config.map_err(EngineError::Unsupported)?;
        let wasmtime = wasmtime::Engine::new(&config).map_err(EngineError::Unsupported)?;
        Component::from_binary(&wasmtime, EMPTY_COMPONENT).map_err(EngineError::Unsupported)?;
        let mut offers = Offers::new(&wasmtime);
        host_interface::add_to(&mut offers).map_err(EngineError::Interfaces)?;
        wasi::add_to(&mut offers).map_err(EngineError::Interfaces)?;
        let hash = config::hash(&wasmtime);
        Ok(Engine { wasmtime, offers: Arc::new(offers), hash, tracker })
    }

    /// How changes of guests are found.
    pub fn tracking(&self) -> Tracking {
        self.tracker.tracking()
    }

    /// SHA-256 over the version of wasmtime, the settings that a guest could notice, and the target. A replica that
    /// differs in it from the primary takes over once it has seen that it agrees.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// Compiles a component and checks that it can be an immortal. Takes 100 ms and more: call it off the hot path.
    ///
    /// # Errors
    /// Any [`ModuleError`] but those of running it.
    pub fn load(&self, component: &[u8]) -> Result<Module, ModuleError> {
        let (compiled, verdict) = self.compile(component)?;
        self.checked(component, compiled, verdict)
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
        if let Some((cached, verdict)) = file.load(&self.wasmtime) {
            return self.checked(component, cached, verdict);
        }
        let (compiled, verdict) = self.compile(component)?;
        file.store(&compiled, &verdict);
        self.checked(component, compiled, verdict)
    }

    /// As [`Self::load`], from what is kept in `cache_dir` if that is there; nothing is put there.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_known(&self, component: &[u8], cache_dir: &Path) -> Result<Module, ModuleError> {
        match cache::CacheFile::of(cache_dir, component, &self.hash).load(&self.wasmtime) {
            Some((cached, verdict)) => self.checked(component, cached, verdict),
            None => self.load(component),
        }
    }

    /// Keeps the compiled form of a component in `cache_dir`, for [`Self::load_cached`], unless it is there. One that can't be
    /// written is a warning.
    pub fn keep(&self, component: &[u8], module: &Module, cache_dir: &Path) {
        let file = cache::CacheFile::of(cache_dir, component, &self.hash);
        if !file.is_there() {
            file.store(module.component(), &module.verdict());
        }
    }

    /// The functions that a component imports and that are there but of no use: they deny what they are asked for. Each
    /// interface comes with its functions, in the order of the component. Nothing is compiled.
    pub fn denied(&self, component: &[u8]) -> Vec<(String, Vec<String>)> {
        requirements::denied(component, &self.offers)
    }

    /// Compiles the component with accessors to its state, or as it is.
    fn compile(&self, component: &[u8]) -> Result<(Component, Verdict), ModuleError> {
        requirements::check_kind(component)?;
        let nesting = Nesting::of(component)?;
        requirements::check_names(component, &self.offers)?;
        let (rewritten, verdict) = rewriter::rewrite(component, &nesting);
        let compile = |bytes: &[u8]| Component::from_binary(&self.wasmtime, bytes);
        let as_it_is = || compile(component).map_err(|error| ModuleError::Compile(format!("{error:#}")));
        let Some(rewritten) = rewritten else { return Ok((as_it_is()?, verdict)) };
        match compile(&rewritten) {
            Ok(compiled) => Ok((compiled, verdict)),
            // The component is at fault, most likely, and it is its own bytes that the error should speak of.
            Err(error) => {
                let compiled = as_it_is()?;
                tracing::warn!("a component can't be compiled with accessors to its state: {error:#}");
                Ok((compiled, Err(vec![Finding::new(format!("accessors can't be added to the component: {error:#}"))])))
            }
        }
    }

    fn checked(&self, component: &[u8], compiled: Component, verdict: Verdict) -> Result<Module, ModuleError> {
        requirements::check_exports(&compiled)?;
        let linked = self.offers.linker().instantiate_pre(&compiled);
        let linked = linked.map_err(|error| ModuleError::WrongImport(format!("{error:#}")))?;
        let source = Source::new(component, &verdict);
        Ok(Module::new(linked, source, verdict, self.tracker.clone()))
    }
}
