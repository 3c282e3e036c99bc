//! A compiled component, ready to be instantiated.
//!
//! **Architecture Invariant:** a module has no state; each instance of it has its own store.

use ambrosia_core::{Genesis, InstanceName, InstanceUuid, Limits, limits};
use wasmtime::{
    Store,
    component::{Instance, InstancePre},
};

use crate::{
    error::ModuleError,
    fault,
    guest::WasmGuest,
    method::{self, DESCRIBE, DescribeResults, Method},
    state::GuestState,
};

/// A compiled and checked component. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    linked: InstancePre<GuestState>,
}

impl Module {
    pub(crate) fn new(linked: InstancePre<GuestState>) -> Module {
        Module { linked }
    }

    /// Lists the methods, in the order of the component. Asks the component itself, in an instance that is thrown
    /// away.
    ///
    /// # Errors
    /// [`ModuleError::Instantiate`] and [`ModuleError::Describe`] if the component traps,
    /// [`ModuleError::DuplicateMethod`] and [`ModuleError::WrongMethodId`] if the list can't be.
    pub fn methods(&self) -> Result<Vec<Method>, ModuleError> {
        let genesis = scratch_genesis();
        let (mut store, instance) = self.start(&genesis)?;
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
        let (store, instance) = self.start(genesis)?;
        Ok(WasmGuest::new(store, &instance, genesis.limits))
    }

    fn start(&self, genesis: &Genesis) -> Result<(Store<GuestState>, Instance), ModuleError> {
        let mut store = Store::new(self.linked.engine(), GuestState::new(genesis));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits::EFFECTS_BYTES_MAX);
        store.set_fuel(genesis.limits.fuel).expect("the configuration counts fuel");
        let instance = self
            .linked
            .instantiate(&mut store)
            .map_err(|error| ModuleError::Instantiate(fault::before_delivery(error, &mut store, &genesis.limits)))?;
        store.data_mut().memory.started();
        store.data_mut().prints.begin(&mut Vec::new());
        Ok((store, instance))
    }
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
