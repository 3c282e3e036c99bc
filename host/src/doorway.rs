//! HTTP to all instances of a store: in a process that runs replicas, or in one that runs none and so outlives each of them.
//!
//! **Architecture Invariant:** it answers for whoever is primary, and never is one.

use std::{net::SocketAddr, sync::Arc};

use ambrosia_door::{Door, DoorOptions};
use ambrosia_methods::Mounts;
use ambrosia_storage::Store;
use ambrosia_wire::Security;
use tokio::{net::TcpListener, runtime::Runtime};

use crate::{
    modules::Modules,
    neighbours::Neighbours,
    peers::PeerDirectory,
    resources,
    run::{RunError, check_door, check_mounts},
    store_instances::StoreInstances,
};

/// HTTP, in a process that runs no replica.
pub struct Doorway {
    runtime: Runtime,
    door: Door,
}

impl Doorway {
    /// Takes HTTP at that address from now on, by TLS if connections to hosts are; without TLS a loopback one, port 0 for a free one; routes of instances are where `mounts` say, beside their names.
    ///
    /// # Errors
    /// If the address can't be listened on, the system has no more threads, or an instance that has a mount is not registered.
    pub fn open(
        store: Arc<dyn Store>,
        address: SocketAddr,
        mounts: Mounts,
        security: Security,
    ) -> Result<Doorway, RunError> {
        check_door(&*store, address, &security)?;
        check_mounts(&*store, &mounts)?;
        let mut building = tokio::runtime::Builder::new_multi_thread();
        let runtime = building.worker_threads(2).enable_all().thread_name("network").build();
        let runtime = runtime.map_err(RunError::Thread)?;
        let modules = Arc::new(Modules::new(Arc::clone(&store)));
        let directory = Arc::new(PeerDirectory::new(Arc::clone(&store), security).map_err(RunError::Thread)?);
        let door = open_door(&runtime, store, modules, directory, None, address, mounts)?;
        Ok(Doorway { runtime, door })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.door.address()
    }

    /// Takes nothing in any more, and waits until what is under way is answered.
    pub fn close(self) {
        self.runtime.block_on(self.door.close());
        self.runtime.shutdown_background();
    }
}

/// Takes HTTP at that address from now on, for all instances of `store`. Members of this process are `neighbours`.
pub(crate) fn open_door(
    runtime: &Runtime,
    store: Arc<dyn Store>,
    modules: Arc<Modules>,
    directory: Arc<PeerDirectory>,
    neighbours: Option<Arc<Neighbours>>,
    address: SocketAddr,
    mounts: Mounts,
) -> Result<Door, RunError> {
    resources::raise_for_connections();
    let failed = |error| RunError::Http { address, error };
    let security = directory.security();
    let instances = StoreInstances::new(store, modules, directory, neighbours, runtime.handle().clone());
    let _within = runtime.enter();
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
    let is_tls = security.is_tls();
    let mut options = DoorOptions::default();
    options.mounts = mounts;
    options.security = security;
    let door = Door::serve(listener, Arc::new(instances), options).map_err(failed)?;
    tracing::info!("HTTP at {}://{}/", if is_tls { "https" } else { "http" }, door.address());
    Ok(door)
}
