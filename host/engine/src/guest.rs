//! A running component as the core's [`Guest`].
//!
//! **Architecture Invariant:** between two deliveries a guest is its wasm state and the handles that it has of the host's
//! streams, and nothing else: the world is with the core.

use std::sync::Arc;

use ambrosia_core::{Delivered, Fault, Genesis, Guest, HandoverError, Limits, Upgrade, World, limits};
use wasmtime::{
    Store,
    component::{Instance, TypedFunc},
};

use crate::{
    Captures,
    capture::Capturer,
    fault,
    handover::{Before, HandedOver, ModuleSource},
    mapping::Mapping,
    module::{Module, Started},
    state::GuestState,
    tracking::Tracker,
    verdict::Verdict,
    view::View,
};

/// Name of the export that takes runs and gives effects.
pub(crate) const DELIVER: &str = "deliver";
/// What it takes.
pub(crate) type DeliverParameters<'a> = (&'a [u8],);
/// What it returns.
pub(crate) type DeliverResults = (Vec<u8>,);

const _: () = assert!(limits::PRINTS_BYTES_MAX < limits::EFFECTS_BYTES_MAX);

/// One instance of a component. Call it on a thread with at least [`crate::THREAD_STACK_BYTES_MIN`] of stack.
pub struct WasmGuest {
    pub(crate) store: Store<GuestState>,
    pub(crate) instance: Instance,
    pub(crate) deliver: TypedFunc<DeliverParameters<'static>, DeliverResults>,
    pub(crate) module: Module,
    /// What an instance of a module is made from, with the limits that there are now.
    pub(crate) genesis: Genesis,
    pub(crate) limits: Limits,
    /// Where other modules are, for an upgrade.
    pub(crate) source: Option<Arc<dyn ModuleSource>>,
    /// What it was before an upgrade that may have to be undone.
    pub(crate) before: Option<Before>,
    /// What it took to make it of another one.
    pub(crate) handed_over: Option<HandedOver>,
    pub(crate) poisoned: bool,
    /// Its memories in the order of the layout.
    pub(crate) mappings: Vec<Arc<Mapping>>,
    pub(crate) verdict: Arc<Verdict>,
    cannot_capture: Option<String>,
    pub(crate) makes_promises: bool,
    pub(crate) tracker: Tracker,
    /// Once it was captured or compared.
    pub(crate) capturer: Option<Capturer>,
    /// Once it was asked a query.
    pub(crate) view: Option<View>,
}

impl WasmGuest {
    pub(crate) fn new(module: &Module, started: Started, genesis: &Genesis) -> WasmGuest {
        let Started { mut store, instance, mappings } = started;
        let deliver =
            instance.get_typed_func(&mut store, DELIVER).expect("the export was checked when the module was loaded");
        WasmGuest {
            deliver,
            instance,
            module: module.clone(),
            limits: genesis.limits,
            genesis: genesis.clone(),
            source: None,
            before: None,
            handed_over: None,
            poisoned: false,
            mappings,
            verdict: module.verdict(),
            cannot_capture: match module.capture_means() {
                Captures::Nothing(findings) => {
                    Some(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
                }
                Captures::Memory | Captures::Save(_) => None,
            },
            makes_promises: module.makes_promises(),
            tracker: module.tracker(),
            capturer: None,
            view: None,
            store,
        }
    }

    /// Lets its code be upgraded to modules that `source` has.
    #[must_use]
    pub fn with_source(mut self, source: Arc<dyn ModuleSource>) -> WasmGuest {
        self.set_source(source);
        self
    }

    /// The same for a guest that lives already.
    pub fn set_source(&mut self, source: Arc<dyn ModuleSource>) {
        self.source = Some(source);
    }

    /// As before a delivery.
    pub(crate) fn with_all_fuel(mut self) -> WasmGuest {
        self.store.set_fuel(self.limits.fuel).expect("the configuration counts fuel");
        self
    }

    /// Fuel that the last delivery took. If there was none yet: what the start of the component took, or 0 after a
    /// restore. The same on every replica that has delivered.
    pub fn fuel_used(&self) -> u64 {
        let left = self.store.get_fuel().expect("the configuration counts fuel");
        self.limits.fuel - left
    }

    /// Bytes of linear memory that the guest has now.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().memory.used()
    }
}

impl Guest for WasmGuest {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        if self.poisoned {
            return Err(fault::poisoned());
        }
        if let Some(view) = &mut self.view {
            view.fall_behind();
        }
        let printed_before = delivered.prints.len();
        self.store.set_fuel(self.limits.fuel).expect("the configuration counts fuel");
        self.store.data_mut().begin_delivery(world, delivered);
        let answer = self.deliver.call(&mut self.store, (runs,));
        self.store.data_mut().end_delivery(world, delivered);
        match answer {
            Ok((effects,)) => {
                append(&mut delivered.effects, effects);
                Ok(())
            }
            Err(error) => {
                self.poisoned = true;
                let printed = &delivered.prints[printed_before..];
                Err(fault::of(&error, printed, &self.limits, &self.store.data().source))
            }
        }
    }

    fn query(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.ask(runs, world, delivered)
    }

    fn digest(&mut self) -> u64 {
        WasmGuest::digest(self)
    }

    fn cannot_capture(&self) -> Option<String> {
        self.cannot_capture.clone()
    }

    fn makes_promises(&self) -> bool {
        self.makes_promises
    }

    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        self.hand_over(upgrade, world, delivered)
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        self.become_before()
    }

    fn keep_upgrade(&mut self) {
        self.before = None;
    }
}

/// A guest may be made on one thread and live on another.
const _: fn(WasmGuest) -> Box<dyn Send> = |guest| Box::new(guest);

/// Appends without copying where it can: a large answer is copied only once, out of the guest's memory.
pub(crate) fn append(effects: &mut Vec<u8>, answer: Vec<u8>) {
    if effects.is_empty() && answer.len() > effects.capacity() {
        *effects = answer;
    } else {
        effects.extend_from_slice(&answer);
    }
}
