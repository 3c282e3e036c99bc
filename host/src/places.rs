//! Takes places for replicas, and gives them up, in a host that was told none: one thread.
//!
//! Every host looks by itself which instances are meant for it ([`ambrosia_storage::rank`]), and takes a place that is free of each of
//! them. It takes one by entering: there is nothing else that could say something else. What it gives up it hands over before.
//!
//! **Architecture Invariant:** it says who should run, and never who may write. A place that was taken by mistake is a standby more.

mod claims;
mod leaving;
mod placer;
mod turns;

use std::{
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use ambrosia_core::{HostAddress, InstanceName};
use ambrosia_storage::{HostName, HostPresence, Store};

use self::placer::{Placer, Told};
use crate::{host::Ready, modules::Modules, run::RunError};

/// How a host takes and gives up places.
#[derive(Clone, Debug)]
pub struct PlacingOptions {
    /// Its name among the hosts of the store; by default the address at which others reach it.
    pub name: Option<HostName>,
    /// Who has gone silent keeps what is meant for it for so long.
    pub grace: Duration,
    /// What is not meant for this host any more it gives up after so long.
    pub move_after: Duration,
}

/// As the command line has them.
impl Default for PlacingOptions {
    fn default() -> Self {
        PlacingOptions { name: None, grace: Duration::from_secs(10), move_after: Duration::from_secs(60) }
    }
}

/// What the thread wants of its host.
pub(crate) enum Deed {
    /// It has taken a place, and the replica is to live.
    Claimed(Box<Ready>),
    /// The replica of that instance is to end in order.
    Leave(InstanceName),
}

/// The thread. Dropped, it has ended.
pub(crate) struct Places {
    presence: Arc<dyn HostPresence>,
    told: Sender<Told>,
    thread: Option<JoinHandle<()>>,
}

/// What it needs of its host.
pub(crate) struct Surroundings {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) modules: Arc<Modules>,
    pub(crate) address: HostAddress,
    pub(crate) process_memory_bytes: Option<u64>,
}

impl Places {
    /// Says that this process is a host, and begins to take places; `act` carries out what is to be done.
    ///
    /// # Errors
    /// If there is a host of that name, or the system has no more threads.
    pub(crate) fn begin(
        surroundings: Surroundings,
        options: PlacingOptions,
        act: impl Fn(Deed) + Send + 'static,
    ) -> Result<Places, RunError> {
        let by_address = || HostName::new(&surroundings.address.to_string()).map_err(RunError::HostName);
        let me = options.name.clone().map_or_else(by_address, Ok)?;
        let presence: Arc<dyn HostPresence> = surroundings.store.hosts().join(&me, &surroundings.address)?.into();
        tracing::info!(host = %me, uuid = %presence.uuid(), "this host takes the places that are meant for it");
        let (told, inbox) = channel();
        let there = told.clone();
        let on_change = move || drop(there.send(Told::Changed));
        let registry = surroundings.store.registry().subscribe(Box::new(on_change)).map_err(RunError::Thread)?;
        let placer = Placer::new(me, Arc::clone(&presence), registry, surroundings, &options, Box::new(act));
        let work = move || placer.work(&inbox);
        let thread = std::thread::Builder::new().name("places".to_owned()).spawn(work).map_err(RunError::Thread)?;
        Ok(Places { presence, told, thread: Some(thread) })
    }

    /// By which others see that this host is alive.
    pub(crate) fn presence(&self) -> Arc<dyn HostPresence> {
        Arc::clone(&self.presence)
    }

    /// A replica has ended, and its place is free.
    pub(crate) fn on_end(&self, name: InstanceName, is_well: bool) {
        self.tell(Told::Ended { name, is_well });
    }

    /// Nothing is taken any more.
    pub(crate) fn end(&self) {
        self.tell(Told::Over);
    }

    fn tell(&self, told: Told) {
        // If it has failed, that is told when it is waited for.
        let _gone = self.told.send(told);
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.end();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that takes places failed; this is a defect of ambrosia-host");
        }
    }
}
