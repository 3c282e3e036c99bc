//! A module that an operator gives an instance: read, checked and compiled, before anything is changed.
//!
//! **Architecture Invariant:** everything that can be wrong with a module is found here, and not when it runs first.

use std::path::Path;

use ambrosia_engine::{Captures, Engine, Module};
use ambrosia_host::{Diagnostics, Methods, check_schedules, write_down};
use ambrosia_storage::{BlobHash, Store};
use anyhow::Context;

/// Functions of one interface that are shown by name.
const SHOWN_MAX: usize = 3;

/// A module that can be run here.
pub(crate) struct CheckedModule {
    engine: Engine,
    /// The component.
    pub(crate) bytes: Vec<u8>,
    /// The same, compiled.
    pub(crate) compiled: Module,
    /// Interfaces whose functions it imports and is denied.
    pub(crate) denied: Vec<(String, Vec<String>)>,
}

impl CheckedModule {
    /// Compiles it. What is in the cache of `store` is taken from there, and nothing is written.
    ///
    /// # Errors
    /// If it can't be run here.
    pub(crate) fn check(bytes: Vec<u8>, store: Option<&dyn Store>) -> anyhow::Result<CheckedModule> {
        let engine = Engine::new()?;
        let denied = engine.denied(&bytes);
        let compiled = match store.and_then(Store::cache) {
            Some(cache) => engine.load_known(&bytes, cache)?,
            None => engine.load(&bytes)?,
        };
        Ok(CheckedModule { engine, bytes, compiled, denied })
    }

    /// Its name among the modules of a store.
    pub(crate) fn hash(&self) -> BlobHash {
        BlobHash::of(&self.bytes)
    }

    /// What it describes when it may use so much memory.
    ///
    /// # Errors
    /// If it does not describe itself, or its schedules can't be kept.
    pub(crate) fn methods(&self, memory_bytes: u64) -> anyhow::Result<Methods> {
        let methods = Methods::new(self.compiled.methods_within(memory_bytes)?);
        check_schedules(&methods)?;
        Ok(methods)
    }

    /// Keeps what was compiled, so that the first run begins at once.
    pub(crate) fn keep_compiled(&self, store: &dyn Store) {
        if let Some(cache) = store.cache() {
            self.engine.keep(&self.bytes, &self.compiled, cache);
        }
    }

    /// Keeps what it describes, so that nobody has to load it for that.
    pub(crate) fn keep_methods(&self, methods: &Methods, store: &dyn Store) {
        if let Err(error) = write_down(methods, store, self.hash().0) {
            Diagnostics::say(format_args!(
                "ambrosia-host: the methods of the module can't be written down ({error}); `send` loads it for them"
            ));
        }
    }

    /// An error that names what is denied to it, if anything is.
    pub(crate) fn refuse_denied(&self) -> anyhow::Result<()> {
        if self.denied.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.denied.iter().map(|(interface, functions)| listed(interface, functions)).collect();
        anyhow::bail!("it imports what is denied to an immortal: {}", names.join("; "))
    }

    /// Says now what would otherwise be noticed when the guest asks for a file or a socket.
    pub(crate) fn say_what_is_denied(&self) {
        if self.denied.is_empty() {
            return;
        }
        Diagnostics::say(format_args!(
            "ambrosia-host: the module imports files or sockets, and an immortal has none; it runs, and is denied what it asks for:"
        ));
        for (interface, functions) in &self.denied {
            match functions.len() {
                ..=SHOWN_MAX => Diagnostics::say(format_args!("  {}", listed(interface, functions))),
                count => Diagnostics::say(format_args!("  {interface} ({count} functions)")),
            }
        }
    }

    /// Says now what would otherwise be noticed when a recovery takes long.
    pub(crate) fn say_how_captured(&self) {
        let (findings, means) = match self.compiled.capture_means() {
            Captures::Memory => return,
            Captures::Save(findings) => (findings, "checkpoints are taken by its own `save` and `load`"),
            Captures::Nothing(findings) => (findings, "every recovery will be a replay of the whole log"),
        };
        Diagnostics::say(format_args!(
            "ambrosia-host: the memory of this module can't be captured from outside, so {means}:"
        ));
        for finding in findings {
            Diagnostics::say(format_args!("  {finding}"));
        }
    }
}

fn listed(interface: &str, functions: &[String]) -> String {
    let functions: Vec<_> = functions.iter().map(|name| name.trim_start_matches("[method]")).collect();
    format!("{interface} ({})", functions.join(", "))
}

/// The bytes of a module in a file.
///
/// # Errors
/// If it can't be read.
pub(crate) fn read_module(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("can't read the module {}", file.display()))
}
