//! A compiled component, ready to be instantiated.
//!
//! **Architecture Invariant:** a module has no state; each instance of it has its own store.

use std::sync::Arc;

use ambrosia_core::{Genesis, InstanceName, InstanceUuid, Limits, limits};
use ambrosia_methods::{Method, StateType};
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
    method::{self, DESCRIBE, DescribeResults1, DescribeResults2},
    routing, scheduling,
    source::Source,
    state::GuestState,
    state_type,
    tracking::Tracker,
    verdict::{Finding, Verdict},
};

/// Least memory in which a component is asked for its methods.
const DESCRIBE_MEMORY_BYTES_MIN: u64 = 16 << 20;

/// A compiled and checked component. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    linked: InstancePre<GuestState>,
    verdict: Arc<Verdict>,
    tracker: Tracker,
    source: Arc<Source>,
}

impl Module {
    pub(crate) fn new(linked: InstancePre<GuestState>, source: Source, verdict: Verdict, tracker: Tracker) -> Module {
        Module { linked, verdict: Arc::new(verdict), tracker, source: Arc::new(source) }
    }

    /// Whether memories and registers are all of a guest's state, so that it can be captured without its help.
    ///
    /// # Errors
    /// Where the component could hide state. It runs all the same, and is captured if it exports `save` and `load`.
    pub fn captures(&self) -> Result<(), &[Finding]> {
        self.verdict.as_ref().as_ref().map(|_| ()).map_err(Vec::as_slice)
    }

    /// Whether the component carries debug information (DWARF), by which lines of its source are known.
    pub fn has_debug_information(&self) -> bool {
        self.source.has_debug_information()
    }

    /// Whether the component may make promises.
    pub(crate) fn makes_promises(&self) -> bool {
        crate::host_interface::makes_promises(self.component().engine(), self.component())
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
    /// away. It has as much memory as there are addresses for.
    ///
    /// # Errors
    /// As [`Self::methods_within`].
    pub fn methods(&self) -> Result<Vec<Method>, ModuleError> {
        let mut memory_bytes = limits::MEMORY_BYTES_DEFAULT;
        let mut short = None;
        loop {
            match self.methods_within(memory_bytes) {
                Err(error @ ModuleError::AddressSpace(_)) if memory_bytes > DESCRIBE_MEMORY_BYTES_MIN => {
                    short = Some(error);
                    memory_bytes /= 2;
                }
                // With less memory than it asks for everything can go wrong.
                Err(error) => return Err(short.unwrap_or(error)),
                Ok(methods) => return Ok(methods),
            }
        }
    }

    /// As [`Self::methods`], in an instance whose limit of memory is that.
    ///
    /// # Errors
    /// [`ModuleError::Instantiate`] and [`ModuleError::Describe`] if the component traps, [`ModuleError::AddressSpace`] if
    /// this process has too little, [`ModuleError::DuplicateMethod`], [`ModuleError::WrongMethodId`],
    /// [`ModuleError::WrongSchedule`], [`ModuleError::UnknownRoute`] and [`ModuleError::WrongRoute`] if the list can't be.
    pub fn methods_within(&self, memory_bytes: u64) -> Result<Vec<Method>, ModuleError> {
        let genesis = scratch_genesis(memory_bytes);
        let Started { mut store, instance, .. } = self.start(&genesis)?;
        let failed =
            |error, store: &mut _| ModuleError::Describe(fault::before_delivery(error, store, &genesis.limits));
        if let Ok(describe) = instance.get_typed_func::<(), DescribeResults1>(&mut store, DESCRIBE) {
            let (records,) = describe.call(&mut store, ()).map_err(|error| failed(error, &mut store))?;
            return method::checked(records);
        }
        let describe = instance.get_typed_func::<(), DescribeResults2>(&mut store, DESCRIBE);
        let describe = describe.expect("the export was checked when the module was loaded");
        let (records,) = describe.call(&mut store, ()).map_err(|error| failed(error, &mut store))?;
        let mut methods = method::checked(records)?;
        let schedules = scheduling::ask(&mut store, &instance).map_err(|error| failed(error, &mut store))??;
        scheduling::note(&mut methods, schedules)?;
        let routes = routing::ask(&mut store, &instance).map_err(|error| failed(error, &mut store))??;
        routing::note(&mut methods, routes)?;
        Ok(methods)
    }

    /// What the module hands over in an upgrade, and takes. `None` if it does not say. Asks the component itself, in an instance
    /// that is thrown away.
    ///
    /// # Errors
    /// As [`Self::methods_within`].
    pub fn state_type_within(&self, memory_bytes: u64) -> Result<Option<StateType>, ModuleError> {
        let genesis = scratch_genesis(memory_bytes);
        let Started { mut store, instance, .. } = self.start(&genesis)?;
        let asked = state_type::ask(&mut store, &instance);
        asked.map_err(|error| ModuleError::Describe(fault::before_delivery(error, &mut store, &genesis.limits)))?
    }

    /// Makes an instance at the beginning of its life. The same genesis gives the same instance on every replica.
    ///
    /// # Errors
    /// [`ModuleError::Instantiate`] if the component's initialisers trap or it starts with more memory than its
    /// limit, [`ModuleError::AddressSpace`] if this process has too little.
    pub fn instantiate(&self, genesis: &Genesis) -> Result<WasmGuest, ModuleError> {
        Ok(WasmGuest::new(self, self.start(genesis)?, genesis))
    }

    fn start(&self, genesis: &Genesis) -> Result<Started, ModuleError> {
        let mut store = Store::new(self.linked.engine(), GuestState::new(genesis, self.source.clone()));
        store.limiter(|state| &mut state.memory);
        store.set_hostcall_fuel(limits::EFFECTS_BYTES_MAX);
        store.set_fuel(genesis.limits.fuel).expect("the configuration counts fuel");
        let (instance, mappings) =
            memories::gather(genesis.limits.memory_bytes, || self.linked.instantiate(&mut store));
        let instance = instance.map_err(|error| {
            let cause = error.root_cause().to_string();
            if cause.starts_with(memories::NO_SPACE) {
                return ModuleError::AddressSpace(cause);
            }
            ModuleError::Instantiate(fault::before_delivery(error, &mut store, &genesis.limits))
        })?;
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
fn scratch_genesis(memory_bytes: u64) -> Genesis {
    Genesis {
        uuid: InstanceUuid([0; 16]),
        module: [0; 32],
        seed: 0,
        limits: Limits { fuel: limits::FUEL_DEFAULT, memory_bytes },
        name: InstanceName::new("describe").expect("letters only"),
    }
}
