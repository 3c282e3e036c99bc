//! How an instance is reached: by the store, or by hosts alone if these are given.

use std::{sync::Arc, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_host::{Addresses, Client, Methods, Modules, client_of};
use ambrosia_storage::{Instances, StorePlace};
use anyhow::Context;

/// A client of the instance.
pub(crate) async fn reach(store: StorePlace, name: &InstanceName, at: &[String]) -> anyhow::Result<Client> {
    if at.is_empty() { Ok(client_of(store.open()?, name.clone())?) } else { by_hosts(name, at).await }
}

/// The same, and what its methods are, for which hosts are waited for as long as `limit`.
pub(crate) async fn reach_methods(
    store: StorePlace,
    name: &InstanceName,
    at: &[String],
    limit: Duration,
) -> anyhow::Result<(Client, Methods)> {
    if at.is_empty() {
        let store = store.open()?;
        let entry = store.instance(name)?;
        let methods = Modules::new(Arc::clone(&store)).methods(entry.upgrades.current)?;
        return Ok((client_of(store, name.clone())?, methods));
    }
    let mut client = by_hosts(name, at).await?;
    let methods = client.methods(limit).await?;
    Ok((client, methods))
}

async fn by_hosts(name: &InstanceName, at: &[String]) -> anyhow::Result<Client> {
    let addresses = Addresses::resolve(at).await.context("--at")?;
    Ok(Client::new(name.clone(), Addresses::new(name.clone(), addresses)))
}
