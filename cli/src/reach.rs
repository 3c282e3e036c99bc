//! How an instance is reached: by the store, or by hosts alone if these are given.

use std::{sync::Arc, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_host::{Addresses, Client, ClientError, Methods, Modules, Security, StoreWhereabouts};
use ambrosia_storage::{Instances, Store, StorePlace};
use anyhow::Context;

/// A client of the instance.
pub(crate) async fn reach(
    store: StorePlace,
    name: &InstanceName,
    at: &[String],
    security: Security,
) -> anyhow::Result<Client> {
    if at.is_empty() { Ok(by_store(store.open()?, name, security)?) } else { by_hosts(name, at, security).await }
}

/// A client of the instance in that store.
pub(crate) fn by_store(store: Arc<dyn Store>, name: &InstanceName, security: Security) -> Result<Client, ClientError> {
    Ok(Client::new(name.clone(), StoreWhereabouts::secured(store, name.clone(), security)?))
}

/// The same, and what its methods are, for which hosts are waited for as long as `limit`.
pub(crate) async fn reach_methods(
    store: StorePlace,
    name: &InstanceName,
    at: &[String],
    limit: Duration,
    security: Security,
) -> anyhow::Result<(Client, Methods)> {
    if at.is_empty() {
        let store = store.open()?;
        let entry = store.instance(name)?;
        let methods = Modules::new(Arc::clone(&store)).methods(entry.upgrades.current)?;
        return Ok((by_store(store, name, security)?, methods));
    }
    let mut client = by_hosts(name, at, security).await?;
    let methods = client.methods(limit).await?;
    Ok((client, methods))
}

async fn by_hosts(name: &InstanceName, at: &[String], security: Security) -> anyhow::Result<Client> {
    let addresses = Addresses::resolve(at, &security).await.context("--at")?;
    Ok(Client::new(name.clone(), Addresses::secured(name.clone(), addresses, security)))
}
