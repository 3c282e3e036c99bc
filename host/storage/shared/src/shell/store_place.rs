//! Where a whole store on an engine is.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_core::HostAddress;
use ambrosia_storage::{EnginePlace, IoError, OpenError, Store};

use super::{Depot, EngineStore};
use crate::engine::{Engine, HostId};

/// Where an engine is, as a URL says it.
pub trait EngineUrl: Clone + Send + Sync {
    /// What can be wrong with a URL.
    type Fault;

    /// Reads a URL.
    ///
    /// # Errors
    /// If it is none of such an engine.
    fn read(url: &str) -> Result<Self, Self::Fault>;

    /// As a URL without secrets.
    fn shown(&self) -> String;

    /// The hosts through which it is reached, if it is not reached itself.
    fn hosts(&self) -> &[HostAddress] {
        &[]
    }

    /// Connects. Blocks.
    ///
    /// # Errors
    /// If there is no store, or it can't be used.
    fn connect(&self) -> Result<Connected, OpenError>;
}

/// An engine that was connected with.
pub struct Connected {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Where large contents lie, if that is beside it.
    pub depot: Option<Arc<dyn Depot>>,
    /// Names the store on it, whichever way it is reached; the name of a directory.
    pub store: String,
    /// A host that none was before.
    pub me: HostId,
}

/// Where a store on an engine is, and the directory in which this machine keeps what it would have to make or download again.
#[derive(Clone)]
pub struct EngineStorePlace<P> {
    url: OsString,
    file: Option<PathBuf>,
    place: P,
    caches: PathBuf,
}

impl<P: EngineUrl> EngineStorePlace<P> {
    /// Reads a URL. Each store has a directory of its own in `caches`.
    ///
    /// # Errors
    /// As [`EngineUrl::read`].
    pub fn read(url: &str, caches: PathBuf) -> Result<EngineStorePlace<P>, P::Fault> {
        Ok(EngineStorePlace { url: url.into(), file: None, place: P::read(url)?, caches })
    }

    /// The same, whose URL was read from that file.
    pub fn of_file(self, file: PathBuf) -> EngineStorePlace<P> {
        EngineStorePlace { file: Some(file), ..self }
    }

    /// The same, reached as that place says.
    #[must_use]
    pub fn at(self, place: P) -> EngineStorePlace<P> {
        EngineStorePlace { place, ..self }
    }

    /// Where the engine is.
    pub fn place(&self) -> &P {
        &self.place
    }
}

impl<P: EngineUrl> EnginePlace for EngineStorePlace<P> {
    fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        let Connected { engine, depot, store, me } = self.place.connect()?;
        let cache = self.caches.join(&store);
        let made = fs::create_dir_all(&cache);
        let shown = cache.display().to_string();
        made.map_err(|source| IoError { action: "create the directory", place: shown, source })?;
        let begun = EngineStore::begin_with(engine, depot, me, cache);
        let place = self.to_string();
        let begun = begun.map_err(|source| IoError { action: "begin the threads for", place, source })?;
        Ok(Arc::new(begun.relayed_as(store)))
    }

    fn url(&self) -> &OsStr {
        &self.url
    }

    fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    fn hosts(&self) -> &[HostAddress] {
        self.place.hosts()
    }
}

impl<P: EngineUrl> fmt::Display for EngineStorePlace<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.place.shown())
    }
}

impl<P: EngineUrl> fmt::Debug for EngineStorePlace<P> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
