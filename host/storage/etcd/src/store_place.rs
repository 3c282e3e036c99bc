//! Where a whole store in etcd is.

use std::sync::Arc;

use ambrosia_shared_log::{Connected, EngineStorePlace, EngineUrl, HostId};
use ambrosia_storage::OpenError;
use uuid::Uuid;

use crate::{engine::EtcdEngine, error::PlaceError, place::EtcdPlace};

/// Where a store in etcd is.
pub type EtcdStore = EngineStorePlace<EtcdPlace>;

impl EngineUrl for EtcdPlace {
    type Fault = PlaceError;

    fn read(url: &str) -> Result<EtcdPlace, PlaceError> {
        EtcdPlace::read(url)
    }

    fn shown(&self) -> String {
        format!("etcd://{self}")
    }

    fn connect(&self) -> Result<Connected, OpenError> {
        let engine = EtcdEngine::open(self.clone()).map_err(|error| OpenError::Engine(error.to_string()))?;
        let (store, me) = (engine.store().to_string(), HostId(Uuid::new_v4().into_bytes()));
        Ok(Connected { depot: Some(engine.depot()), engine: Arc::new(engine), store, me })
    }
}
