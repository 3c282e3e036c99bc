//! A client in the test's own process, for many requests one after the other.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, RequestId};
use ambrosia_host::{
    Addresses, Answered, Client, ClientError, client_of, decode_value, encode_arguments, fresh_request_id,
};
use ambrosia_storage::Store;
use ambrosia_tests::{Cluster, PATIENCE};
use serde_json::Value;
use tokio::runtime::Runtime;

/// A client of one instance that lives as long as the test.
pub(crate) struct Session {
    runtime: Runtime,
    client: Client,
}

impl Session {
    pub(crate) fn new(cluster: &Cluster, instance: &str) -> Session {
        Session::of(|| cluster.client(instance))
    }

    /// A client of an instance in that store.
    pub(crate) fn on(store: Arc<dyn Store>, instance: &str) -> Session {
        let name = InstanceName::new(instance).expect("a plain name");
        Session::of(|| client_of(store, name).expect("the instance is registered"))
    }

    fn of(client: impl FnOnce() -> Client) -> Session {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let client = runtime.block_on(async { client() });
        Session { runtime, client }
    }

    /// A client that knows no store, but where some replicas of the instance answer, or did.
    pub(crate) fn of_addresses(instance: &str, addresses: &[SocketAddr]) -> Session {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let name = InstanceName::new(instance).expect("a plain name");
        let addresses = addresses.iter().map(|address| (*address).into()).collect();
        let client = runtime.block_on(async { Client::new(name.clone(), Addresses::new(name, addresses)) });
        Session { runtime, client }
    }

    /// Calls a method that must answer.
    pub(crate) fn call(&mut self, method: &str, arguments: Value) -> Value {
        self.try_call(&fresh_request_id(), method, &arguments, PATIENCE).expect(method)
    }

    /// Calls a method without arguments again and again until its result is as wanted; returns that.
    pub(crate) fn call_until(&mut self, method: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let result = self.call(method, Value::Array(Vec::new()));
            if wanted(&result) {
                return result;
            }
            assert!(Instant::now() < deadline, "{method} did not become as wanted, and is {result}");
        }
    }

    /// Calls a method under a request id of the test's choice.
    pub(crate) fn call_as(&mut self, id: &str, method: &str, arguments: Value) -> Value {
        let id = RequestId::new(id).expect("a short id");
        self.try_call(&id, method, &arguments, PATIENCE).expect(method)
    }

    pub(crate) fn try_call(
        &mut self,
        id: &RequestId,
        method: &str,
        arguments: &Value,
        limit: Duration,
    ) -> Result<Value, ClientError> {
        let bytes = encode_arguments(&arguments.to_string(), true).expect("the arguments are an array");
        let bytes = self.send(id, method, &bytes, limit)?;
        Ok(decode_value(&bytes))
    }

    /// Calls a method that takes and returns raw bytes.
    pub(crate) fn call_raw(&mut self, method: &str, bytes: &[u8]) -> Vec<u8> {
        self.send(&fresh_request_id(), method, bytes, PATIENCE).expect(method)
    }

    /// Calls a method with arguments that are encoded already; the error is its text.
    pub(crate) fn call_bytes(&mut self, method: &str, arguments: &[u8]) -> Result<Value, String> {
        let sent = self.send(&fresh_request_id(), method, arguments, PATIENCE);
        sent.map(|bytes| decode_value(&bytes)).map_err(|error| error.to_string())
    }

    fn send(&mut self, id: &RequestId, method: &str, bytes: &[u8], limit: Duration) -> Result<Vec<u8>, ClientError> {
        match self.runtime.block_on(self.client.send(id, method, bytes, true, limit))? {
            Answered::Value(value) => Ok(value.to_vec()),
            Answered::Accepted => panic!("it was asked to wait for the result"),
        }
    }
}
