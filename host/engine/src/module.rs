//! A compiled component, ready to be instantiated.
//!
//! **Architecture Invariant:** a module has no state; each instance of it has its own store.

use std::sync::Arc;

use ambrosia_core::{Genesis, InstanceName, InstanceUuid, Limits, limits};
use wasmtime::{
    Store,
    component::{Component, Instance, InstancePre},
};

use crate::{
    error::ModuleError,
    fault,
    guest::WasmGuest,
    layout::Layout,
    mapping::Mapping,
    memories,
    method::{self, DESCRIBE, DescribeResults, Method},
    state::GuestState,
    tracking::Tracker,
    verdict::{Finding, Verdict},
};

/// A compiled and checked component. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    linked: InstancePre<GuestState>,
    verdict: Arc<Verdict>,
    tracker: Tracker,
}

impl Module {
    pub(crate) fn new(linked: InstancePre<GuestState>, verdict: Verdict, tracker: Tracker) -> Module {
        Module { linked, verdict: Arc::new(verdict), tracker }
    }

    /// Whether memories and registers are all of a guest's state, so that it can be captured without its help.
    ///
    /// # Errors
    /// Where the component could hide state. It runs all the same, and is captured if it exports `save` and `load`.
    pub fn captures(&self) -> Result<(), &[Finding]> {
        self.verdict.as_ref().as_ref().map(|_| ()).map_err(Vec::as_slice)
    }

    pub(crate) fn component(&self) -> &Component {
        self.linked.component()
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.verdict.as_ref().as_ref().expect("only asked of what can be captured")
    }

    pub(crate) fn verdict(&self) -> Arc<Verdict> {
        self.verdict.clone()
    }

    pub(crate) fn tracker(&self) -> Tracker {
        self.tracker.clone()
    }

    /// Lists the methods, in the order of the component. Asks the component itself, in an instance that is thrown
    /// away.
    ///
    /// # Errors
    /// [`ModuleError::Instantiate`] and [`ModuleError::Describe`] if the component traps,
    /// [`ModuleError::DuplicateMethod`] and [`ModuleError::WrongMethodId`] if the list can't be.
    pub fn methods(&self) -> Result<Vec<Method>, ModuleError> {
        let genesis = scratch_genesis();
        let Started { mut store, instance, .. } = self.start(&genesis)?;
        let describe = instance
            .get_typed_func::<(), DescribeResults>(&mut store, DESCRIBE)
            .expect("the export was checked when the module was loaded");
        let (records,) = describe
            .call(&mut store, ())
            .map_err(|error| ModuleError::Describe(fault::before_delivery(error, &mut store, &genesis.limits)))?;
        method::checked(records)
    }

    /// Makes an instance at the beginning of its life. The same genesis gives the same instance on every replica.
    ///
    /// # Errors
    /// [`ModuleError::Instantiate`] if the component's initialisers trap or it starts with more memory than its
    /// limit.
    pub fn instantiate(&self, genesis: &Genesis) -> Result<WasmGuest, ModuleError> {
        Ok(WasmGuest::new(self, self.start(genesis)?, genesis.limits))
    }

    fn start(&self, genesis: &Genesis) -> Result<Started, ModuleError> {
        let mut store = Store::new(self.linked.engine(), GuestState::new(genesis));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits::EFFECTS_BYTES_MAX);
        store.set_fuel(genesis.limits.fuel).expect("the configuration counts fuel");
        let (instance, mappings) = memories::gather(|| self.linked.instantiate(&mut store));
        let instance = instance
            .map_err(|error| ModuleError::Instantiate(fault::before_delivery(error, &mut store, &genesis.limits)))?;
        store.data_mut().memory.started();
        store.data_mut().prints.begin(&mut Vec::new());
        Ok(Started { store, instance, mappings })
    }
}

/// A component that has just been instantiated.
pub(crate) struct Started {
    pub(crate) store: Store<GuestState>,
    pub(crate) instance: Instance,
    /// Its memories in the order in which they were made.
    pub(crate) mappings: Vec<Arc<Mapping>>,
}

/// Who the instance is that only lists its methods.
fn scratch_genesis() -> Genesis {
    Genesis {
        uuid: InstanceUuid([0; 16]),
        module: [0; 32],
        seed: 0,
        limits: Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT },
        name: InstanceName::new("describe").expect("letters only"),
    }
}
