//! Where a whole store in etcd is.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_shared_log::{EngineStore, HostId};
use ambrosia_storage::{EnginePlace, IoError, OpenError, Store};
use uuid::Uuid;

use crate::{engine::EtcdEngine, error::PlaceError, place::EtcdPlace};

/// Where a store in etcd is, and the directory in which this machine keeps what it would have to make or download again.
#[derive(Clone)]
pub struct EtcdStore {
    url: OsString,
    file: Option<PathBuf>,
    place: EtcdPlace,
    caches: PathBuf,
}

impl EtcdStore {
    /// Reads a URL. Each store has a directory of its own in `caches`.
    ///
    /// # Errors
    /// As [`EtcdPlace::read`].
    pub fn read(url: &str, caches: PathBuf) -> Result<EtcdStore, PlaceError> {
        Ok(EtcdStore { url: url.into(), file: None, place: EtcdPlace::read(url)?, caches })
    }

    /// The same, whose URL was read from that file.
    pub fn of_file(self, file: PathBuf) -> EtcdStore {
        EtcdStore { file: Some(file), ..self }
    }

    /// Where its keys are.
    pub fn place(&self) -> &EtcdPlace {
        &self.place
    }
}

impl EnginePlace for EtcdStore {
    fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        let unusable = |error: crate::EtcdError| OpenError::Engine(error.to_string());
        let engine = EtcdEngine::open(self.place.clone()).map_err(unusable)?;
        let cache = self.caches.join(engine.store().to_string());
        let made = fs::create_dir_all(&cache);
        let shown = cache.display().to_string();
        made.map_err(|source| IoError { action: "create the directory", place: shown, source })?;
        let me = HostId(Uuid::new_v4().into_bytes());
        let begun = EngineStore::begin(Arc::new(engine), me, cache);
        let place = self.to_string();
        Ok(Arc::new(begun.map_err(|source| IoError { action: "begin the threads for", place, source })?))
    }

    fn url(&self) -> &OsStr {
        &self.url
    }

    fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

/// Without a password.
impl fmt::Display for EtcdStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "etcd://{}", self.place)
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
