//! Asks both banks from the thread of the round.

use ambrosia_core::RequestId;
use ambrosia_host::{Answered, Client, decode_value, encode_arguments, fresh_request_id};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    report::Report,
    world::{INSTANCES, World},
};
use crate::{PATIENCE, client};

/// A client of each bank.
pub(crate) struct Asker {
    runtime: Runtime,
    clients: [Client; 2],
}

impl Asker {
    pub(crate) fn new(world: &World) -> anyhow::Result<Asker> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let store = world.cluster.store();
        let clients = runtime.block_on(async { INSTANCES.map(|instance| client(&store, instance)) });
        Ok(Asker { runtime, clients })
    }

    /// Asks the bank `at`; returns the answer as it was encoded. Sockets are made where the clients of `world` are.
    pub(crate) fn ask(
        &mut self,
        world: &World,
        at: usize,
        id: &RequestId,
        method: &str,
        arguments: &Value,
    ) -> anyhow::Result<Vec<u8>> {
        self.ask_encoded(world, at, id, method, &encode_arguments(&arguments.to_string(), true)?)
    }

    /// The same with arguments as they are sent.
    pub(crate) fn ask_encoded(
        &mut self,
        world: &World,
        at: usize,
        id: &RequestId,
        method: &str,
        arguments: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let asking = self.clients[at].send(id, method, arguments, true, PATIENCE);
        let answered = match world.network.of_clients() {
            None => self.runtime.block_on(asking),
            Some(network) => network.within(|| self.runtime.block_on(asking))?,
        };
        match answered.with_context(|| format!("ask {} for {method}", INSTANCES[at]))? {
            Answered::Value(value) => Ok(value.to_vec()),
            Answered::Accepted => bail!("{method} was accepted only"),
        }
    }

    /// What the bank `at` says of itself.
    pub(crate) fn report(&mut self, world: &World, at: usize) -> anyhow::Result<Report> {
        let bytes = self.ask(world, at, &fresh_request_id(), "report", &json!([]))?;
        Report::read(&decode_value(&bytes))
    }
}
