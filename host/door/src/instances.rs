//! Which instances can be reached.

use std::sync::Arc;

use ambrosia_client::{Client, SharedClient};
use ambrosia_core::{InstanceName, Lsn, RequestId};
use ambrosia_methods::{Methods, RouteError, RouteTable};

use crate::{
    access::{Access, Deed},
    figures::Family,
};

/// Knows the instances of a store.
pub trait Instances: Send + Sync + 'static {
    /// An instance as it was looked up before, if nothing has changed since. Does not wait for anything.
    fn known(&self, name: &InstanceName) -> Option<Arc<Instance>>;

    /// Looks an instance up. May wait for a disk.
    ///
    /// # Errors
    /// If there is none of that name, or it can't be found out.
    fn look_up(&self, name: &InstanceName) -> Result<Arc<Instance>, NoInstance>;

    /// The way to the primary of an instance that was looked up. Does not wait for anything.
    fn client(&self, name: &InstanceName) -> Arc<SharedClient>;

    /// A client that asks any replica of an instance that was looked up. Does not wait for anything.
    fn client_of_replicas(&self, name: &InstanceName) -> Client;

    /// What whoever has that token may do with that instance, or with any if none is named, by the tokens as they were read before; `None` if
    /// these may have changed since. Does not wait for anything.
    fn access(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access>;

    /// The same, whether they have changed since or not; `None` if they were never read.
    fn access_as_read(&self, token: Option<&str>, deed: Deed, name: Option<&InstanceName>) -> Option<Access>;

    /// Reads the tokens. May wait for a disk.
    ///
    /// # Errors
    /// If they can't be read.
    fn read_tokens(&self) -> Result<(), NoInstance>;

    /// A request id for whoever gives none.
    fn fresh_request_id(&self) -> RequestId;

    /// What is counted and measured of instances and of the replicas here. May wait for a disk, and a second for the replicas.
    ///
    /// # Errors
    /// If it can't be found out.
    fn figures(&self) -> Result<Vec<Family>, NoInstance> {
        Ok(Vec::new())
    }

    /// The names of all instances. May wait for a disk.
    ///
    /// # Errors
    /// If it can't be found out.
    fn list(&self) -> Result<Vec<InstanceName>, NoInstance>;
}

/// An instance as the store has it.
pub struct Instance {
    methods: Methods,
    routes: RouteTable,
    ended: Option<Ended>,
}

impl Instance {
    /// One with what its module describes, and how it has come to its end if it does not answer and nobody wishes for what may mend that.
    ///
    /// # Errors
    /// If the routes of its methods can't be.
    pub fn new(methods: Methods, ended: Option<Ended>) -> Result<Instance, RouteError> {
        Ok(Instance { routes: RouteTable::new(methods.as_slice())?, methods, ended })
    }

    pub(crate) fn methods(&self) -> &Methods {
        &self.methods
    }

    pub(crate) fn routes(&self) -> &RouteTable {
        &self.routes
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }
}

/// How an instance has come to an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It exited.
    Finished {
        /// Exit code.
        code: i32,
        /// The record that made it exit.
        lsn: Lsn,
    },
    /// It stands at a record that it can't handle.
    Halted {
        /// The record.
        lsn: Lsn,
        /// What happened.
        reason: String,
    },
}

/// Why an instance is not there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoInstance {
    /// No such instance is registered.
    Unknown,
    /// It can't be found out; the text says why.
    Unreadable(String),
}
