//! Where a whole store in PostgreSQL is.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use ambrosia_shared_log::{EngineStore, HostId};
use ambrosia_storage::{EnginePlace, IoError, OpenError, Store};
use uuid::Uuid;

use crate::{engine::PostgresEngine, error::PlaceError, place::PostgresPlace};

/// Where a store in PostgreSQL is, and the directory in which this machine keeps what it would have to make or download again.
#[derive(Clone)]
pub struct PostgresStore {
    url: OsString,
    file: Option<PathBuf>,
    place: PostgresPlace,
    caches: PathBuf,
}

impl PostgresStore {
    /// Reads a URL. Each store has a directory of its own in `caches`.
    ///
    /// # Errors
    /// As [`PostgresPlace::read`].
    pub fn read(url: &str, caches: PathBuf) -> Result<PostgresStore, PlaceError> {
        Ok(PostgresStore { url: url.into(), file: None, place: PostgresPlace::read(url)?, caches })
    }

    /// The same, whose URL was read from that file.
    pub fn of_file(self, file: PathBuf) -> PostgresStore {
        PostgresStore { file: Some(file), ..self }
    }

    /// Where its tables are.
    pub fn place(&self) -> &PostgresPlace {
        &self.place
    }
}

impl EnginePlace for PostgresStore {
    fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        let unusable = |error: crate::PostgresError| OpenError::Engine(error.to_string());
        let engine = PostgresEngine::open(self.place.clone()).map_err(unusable)?;
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
impl fmt::Display for PostgresStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "postgres://{:?}", self.place)
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}
