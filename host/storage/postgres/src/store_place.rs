//! Where a whole store in PostgreSQL is.

use std::sync::Arc;

use ambrosia_shared_log::{Connected, EngineStorePlace, EngineUrl, HostId};
use ambrosia_storage::OpenError;
use uuid::Uuid;

use crate::{engine::PostgresEngine, error::PlaceError, place::PostgresPlace};

/// Where a store in PostgreSQL is.
pub type PostgresStore = EngineStorePlace<PostgresPlace>;

impl EngineUrl for PostgresPlace {
    type Fault = PlaceError;

    fn read(url: &str) -> Result<PostgresPlace, PlaceError> {
        PostgresPlace::read(url)
    }

    fn shown(&self) -> String {
        format!("postgres://{self:?}")
    }

    fn connect(&self) -> Result<Connected, OpenError> {
        let engine = PostgresEngine::open(self.clone()).map_err(|error| OpenError::Engine(error.to_string()))?;
        let (store, me) = (engine.store().to_string(), HostId(Uuid::new_v4().into_bytes()));
        Ok(Connected { depot: engine.depot(), engine: Arc::new(engine), store, me })
    }
}
