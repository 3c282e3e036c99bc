//! An upgrade: a guest gives its state to an instance of another module, and goes on as that.
//!
//! What it was is captured first, for the old code's `save` may change its memory, and the new code may not take over. Then
//! the guest is made again from the capture, byte for byte. Of a component whose memory can't be captured the instance itself
//! is kept; if its `save` traps, there is no way back.
//!
//! **Architecture Invariant:** what a guest does in an upgrade depends on the upgrade, the guest and the world alone, so that
//! it is the same on every replica; that there is no such module, or no memory for it, is no outcome.

use std::mem;

use ambrosia_core::{
    Capture, Delivered, Fault, Genesis, HandoverError, Limits, MemoryCapture, PAGE_BYTES, Timestamp, Upgrade, World,
    limits,
};
use wasmtime::Trap;

use crate::{
    capture::SAVE,
    error::CaptureError,
    fault,
    guest::{WasmGuest, append},
    handover_interface::{self, LoadParameters, LoadResults, Means, Refusal, SaveResults, Saved, Waiting},
    module::Module,
    restore::{Image, LOAD, MemoryImage},
};

/// Where a guest finds the module of an upgrade.
pub trait ModuleSource: Send + Sync {
    /// The module with that SHA-256, compiled.
    ///
    /// # Errors
    /// Why there is none, and what to do about it.
    fn module(&self, hash: [u8; 32]) -> Result<Module, String>;
}

/// The state of an application, as its own code gives it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SavedState {
    /// The version of the state.
    pub version: u32,
    /// The state; of a guest of the SDK MessagePack, structs as maps with field names.
    pub state: Vec<u8>,
    /// The handlers that have begun and not ended, in that order.
    pub waiting: Vec<WaitingHandler>,
}

/// A handler that has begun and not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WaitingHandler {
    /// The name of the method or hook, or what else it is.
    pub handler: String,
    /// What it awaits, in words.
    pub awaits: String,
    /// Since when.
    pub since: Timestamp,
}

/// What it took to hand a state over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HandedOver {
    /// Bytes of what was saved.
    pub state_bytes: u64,
    /// Fuel that the old code took to save it.
    pub save_fuel: u64,
    /// Fuel that the new code took to load it.
    pub load_fuel: u64,
    /// Bytes of linear memory that the old code had behind that, which is the most that it ever had.
    pub old_memory_bytes: u64,
    /// The same of the new code.
    pub new_memory_bytes: u64,
}

/// What a guest was before an upgrade.
pub(crate) enum Before {
    /// Its module, what an instance of it is made from, and what it was captured as.
    Captured { module: Module, genesis: Genesis, capture: Capture },
    /// The guest itself.
    Itself(Box<WasmGuest>),
    /// The same but for the limits.
    Limits(Limits),
}

/// What goes over.
enum State {
    Saved(Saved),
    /// By the functions for checkpoints.
    Checkpoint(Vec<u8>),
}

impl State {
    fn bytes(&self) -> u64 {
        match self {
            State::Saved(saved) => (saved.state.len() + saved.runtime.len()) as u64,
            State::Checkpoint(state) => state.len() as u64,
        }
    }
}

impl WasmGuest {
    /// See [`Guest::upgrade`](ambrosia_core::Guest::upgrade).
    pub(crate) fn hand_over(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        if self.poisoned {
            return Err(HandoverError::Lost(fault::poisoned()));
        }
        self.before = None;
        self.view = None;
        self.forget_base();
        if upgrade.to == upgrade.from {
            return self.change_limits(upgrade.limits);
        }
        let (module, means) = self.module_of(upgrade)?;
        let genesis = Genesis { limits: upgrade.limits, ..self.genesis.clone() };
        let mut new = module.instantiate(&genesis).map_err(|error| refused(error.to_string()))?;
        let capture = self.capture_before()?;
        match self.take_over(&mut new, means, upgrade, world, delivered) {
            Ok(()) => {
                new.source = self.source.take();
                let old = mem::replace(self, new);
                self.before = Some(match capture {
                    Some(capture) => Before::Captured { module: old.module, genesis: old.genesis, capture },
                    None => Before::Itself(Box::new(old)),
                });
                Ok(())
            }
            Err(error) => self.put_back(capture, error),
        }
    }

    /// See [`Guest::undo_upgrade`](ambrosia_core::Guest::undo_upgrade).
    pub(crate) fn become_before(&mut self) -> Result<(), Fault> {
        self.view = None;
        match self.before.take() {
            None => Ok(()),
            Some(Before::Limits(limits)) => {
                self.set_limits(limits);
                Ok(())
            }
            Some(Before::Itself(old)) => {
                let source = self.source.take();
                *self = *old;
                self.source = source;
                Ok(())
            }
            Some(Before::Captured { module, genesis, capture }) => self.become_captured(&module, &genesis, capture),
        }
    }

    /// What it took to hand over to this guest, if it was made by an upgrade to another module.
    pub fn handed_over(&self) -> Option<HandedOver> {
        self.handed_over
    }

    /// What the code of the guest would hand over in an upgrade, with that much fuel. `None` if it hands over nothing by
    /// `interface upgrade`. It takes the guest, whose memory changes by that: for one that was restored to be looked at.
    ///
    /// # Errors
    /// If its code can't save.
    pub fn into_state(mut self, world: &World, fuel: u64) -> Result<Option<SavedState>, Fault> {
        if self.poisoned {
            return Err(fault::poisoned());
        }
        if !self.module.has_interface() {
            return Ok(None);
        }
        match self.save_for(Means::Interface, fuel, world) {
            Ok(State::Saved(Saved { version, state, waiting, .. })) => {
                let waiting = waiting.into_iter().map(|Waiting { handler, awaits, since }| WaitingHandler {
                    handler,
                    awaits,
                    since: Timestamp(since),
                });
                Ok(Some(SavedState { version, state, waiting: waiting.collect() }))
            }
            Ok(State::Checkpoint(_)) => unreachable!("it was asked for by the interface"),
            Err(HandoverError::Refused(fault) | HandoverError::Lost(fault)) => Err(fault),
            Err(HandoverError::Waits(reason)) => Err(Fault::because(reason)),
        }
    }

    /// The module that `upgrade` asks for, and by what the state goes over to it.
    fn module_of(&self, upgrade: &Upgrade) -> Result<(Module, Means), HandoverError> {
        let source = self.source.as_ref().ok_or_else(|| refused("the guest knows of no other modules"))?;
        let module = source.module(upgrade.to).map_err(refused)?;
        let means = self.module.means_to(&module).map_err(refused)?;
        Ok((module, means))
    }

    /// All that the guest is, if it can be captured.
    fn capture_before(&mut self) -> Result<Option<Capture>, HandoverError> {
        if self.verdict.is_err() {
            return Ok(None);
        }
        let capture = self.capture_all();
        self.forget_base();
        match capture {
            Ok(capture) => Ok(Some(capture)),
            Err(CaptureError::NotNow(why)) => Err(HandoverError::Waits(why.to_string())),
            Err(error) => Err(refused(error.to_string())),
        }
    }

    /// Lets the old code save and `new` load.
    fn take_over(
        &mut self,
        new: &mut WasmGuest,
        means: Means,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        let fuel = upgrade.handover_fuel;
        let state = self.save_for(means, fuel, world)?;
        let mut handed_over = HandedOver {
            state_bytes: state.bytes(),
            save_fuel: fuel - self.store.get_fuel().expect("the configuration counts fuel"),
            load_fuel: 0,
            old_memory_bytes: self.memory_bytes(),
            new_memory_bytes: 0,
        };
        // What the new code does to the world counts if it takes over.
        let mut changed = world.clone();
        let (printed, brought_about) = (delivered.prints.len(), delivered.effects.len());
        let loaded = match state {
            State::Saved(saved) => new.load(saved, upgrade.end_waiting, fuel, &mut changed, delivered),
            State::Checkpoint(state) => new.load_checkpoint(&state, fuel),
        };
        match loaded {
            Ok(()) => {
                *world = changed;
                handed_over.load_fuel = fuel - new.store.get_fuel().expect("the configuration counts fuel");
                handed_over.new_memory_bytes = new.memory_bytes();
                new.handed_over = Some(handed_over);
                new.store.set_fuel(new.limits.fuel).expect("the configuration counts fuel");
                Ok(())
            }
            Err(error) => {
                delivered.prints.truncate(printed);
                delivered.effects.truncate(brought_about);
                Err(error)
            }
        }
    }

    /// What the old code gives. What it prints is dropped, and what it does to the world too.
    fn save_for(&mut self, means: Means, fuel: u64, world: &World) -> Result<State, HandoverError> {
        self.store.set_fuel(fuel).expect("the configuration counts fuel");
        let stand_in = mem::replace(&mut self.store.data_mut().world, world.clone());
        let saved = match means {
            Means::Interface => handover_interface::function::<(), SaveResults>(&mut self.store, &self.instance, SAVE)
                .and_then(|save| save.call(&mut self.store, ()))
                .map(|(saved,)| State::Saved(saved)),
            Means::Checkpoints => self
                .instance
                .get_typed_func::<(), (Vec<u8>,)>(&mut self.store, SAVE)
                .and_then(|save| save.call(&mut self.store, ()))
                .map(|(state,)| State::Checkpoint(state)),
        };
        self.store.data_mut().world = stand_in;
        let state = saved.map_err(|error| {
            self.poisoned = true;
            refused_by("the module that runs can't give its state away", self.fault_of(&error, fuel))
        })?;
        self.store.data_mut().prints.end(&mut Vec::new());
        Ok(state)
    }

    fn load(
        &mut self,
        saved: Saved,
        end_waiting: bool,
        fuel: u64,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        let printed_before = delivered.prints.len();
        self.store.set_fuel(fuel).expect("the configuration counts fuel");
        self.store.data_mut().begin_delivery(world, delivered);
        let load = handover_interface::function::<LoadParameters, LoadResults>(&mut self.store, &self.instance, LOAD);
        let answer = load.and_then(|load| load.call(&mut self.store, (saved, end_waiting)));
        self.store.data_mut().end_delivery(world, delivered);
        match answer {
            Ok((Ok(effects),)) => {
                append(&mut delivered.effects, effects);
                Ok(())
            }
            Ok((Err(Refusal::Waits(why)),)) => Err(HandoverError::Waits(why)),
            Ok((Err(Refusal::Unreadable(why)),)) => Err(refused(format!("the new module can't take the state: {why}"))),
            Err(error) => {
                let mut fault =
                    fault::of(&error, &delivered.prints[printed_before..], &self.limits, &self.store.data().source);
                name_limit(&mut fault, &error, fuel);
                Err(refused_by("the new module can't take the state", fault))
            }
        }
    }

    fn load_checkpoint(&mut self, state: &[u8], fuel: u64) -> Result<(), HandoverError> {
        self.store.set_fuel(fuel).expect("the configuration counts fuel");
        let load = self.instance.get_typed_func::<(&[u8],), ()>(&mut self.store, LOAD);
        let loaded = load.and_then(|load| load.call(&mut self.store, (state,)));
        loaded.map_err(|error| refused_by("the new module can't take the state", self.fault_of(&error, fuel)))?;
        self.store.data_mut().prints.begin(&mut Vec::new());
        Ok(())
    }

    /// The fault of a function that ran beside deliveries.
    fn fault_of(&mut self, error: &wasmtime::Error, fuel: u64) -> Fault {
        let mut printed = Vec::new();
        self.store.data_mut().prints.end(&mut printed);
        let mut fault = fault::of(error, &printed, &self.limits, &self.store.data().source);
        name_limit(&mut fault, error, fuel);
        fault
    }

    /// Makes the guest again what it was when it was captured, since it has not been handed over.
    fn put_back(&mut self, capture: Option<Capture>, error: HandoverError) -> Result<(), HandoverError> {
        match (capture, error) {
            (Some(capture), error) => {
                let (module, genesis) = (self.module.clone(), self.genesis.clone());
                self.become_captured(&module, &genesis, capture).map_err(HandoverError::Lost)?;
                Err(error)
            }
            // Its `save` has ended it.
            (None, HandoverError::Refused(fault)) if self.poisoned => Err(HandoverError::Lost(fault)),
            (None, error) => {
                self.store.set_fuel(self.limits.fuel).expect("the configuration counts fuel");
                Err(error)
            }
        }
    }

    fn become_captured(&mut self, module: &Module, genesis: &Genesis, capture: Capture) -> Result<(), Fault> {
        let restored = module.restore(genesis, image_of(capture));
        let mut restored = restored.map_err(|error| {
            self.poisoned = true;
            Fault::because(format!("the guest can't be put back: {error}"))
        })?;
        restored.source = self.source.take();
        *self = restored;
        self.forget_base();
        Ok(())
    }

    /// The next capture is one of all: nobody keeps what the last one rests on.
    fn forget_base(&mut self) {
        if let Some(capturer) = &mut self.capturer {
            capturer.based = false;
        }
    }

    /// The same module goes on in the same memory.
    fn change_limits(&mut self, new: Limits) -> Result<(), HandoverError> {
        let bytes = self.memory_bytes();
        if bytes > new.memory_bytes {
            return Err(refused(format!(
                "the guest has {} MiB of memory already, and would be allowed {} MiB: allow it more",
                bytes.div_ceil(1 << 20),
                new.memory_bytes >> 20
            )));
        }
        let before = self.limits;
        let is_short = self.mappings.iter().any(|mapping| mapping.is_short_of(new.memory_bytes));
        if is_short {
            self.move_within(new)?;
        }
        self.set_limits(new);
        self.before = Some(Before::Limits(before));
        Ok(())
    }

    fn set_limits(&mut self, new: Limits) {
        self.limits = new;
        self.genesis.limits = new;
        self.store.data_mut().memory.set_limit(new.memory_bytes);
        self.store.set_fuel(new.fuel).expect("the configuration counts fuel");
    }

    /// A process with few addresses has reserved no more of them than the limit before: the guest is made again where there
    /// are enough.
    fn move_within(&mut self, new: Limits) -> Result<(), HandoverError> {
        let Some(capture) = self.capture_before()? else {
            return Err(refused(
                "this process has too few addresses for more memory, and a guest that can't be captured can't be moved to \
                 where there are more: raise the limit of address space (`ulimit -v`)",
            ));
        };
        let genesis = Genesis { limits: new, ..self.genesis.clone() };
        let module = self.module.clone();
        let moved = module.restore(&genesis, image_of(capture)).map_err(|error| refused(error.to_string()))?;
        let source = self.source.take();
        *self = moved;
        self.source = source;
        self.forget_base();
        Ok(())
    }
}

/// A capture of all as what a guest is made from.
fn image_of(Capture { registers, memories }: Capture) -> Image {
    Image { registers, memories: memories.into_iter().map(memory_image).collect() }
}

fn memory_image(pages: MemoryCapture) -> MemoryImage {
    let mut hashes = vec![0; (pages.bytes / PAGE_BYTES as u64) as usize];
    for (page, hash) in pages.pages.iter().cloned().flatten().zip(&pages.hashes) {
        hashes[page as usize] = *hash;
    }
    MemoryImage { bytes: pages.bytes, hashes, mapped: None, pages }
}

fn refused(reason: impl Into<String>) -> HandoverError {
    HandoverError::Refused(Fault::because(reason))
}

fn refused_by(what: &str, mut fault: Fault) -> HandoverError {
    fault.reason = format!("{what}: {}", fault.reason);
    HandoverError::Refused(fault)
}

/// A limit that was met is that of an upgrade.
fn name_limit(fault: &mut Fault, error: &wasmtime::Error, fuel: u64) {
    if error.downcast_ref() == Some(&Trap::OutOfFuel) {
        fault.reason = format!("it takes more fuel than the {fuel} that the upgrade gives it, or loops");
    }
    if error.root_cause().to_string().starts_with(fault::TOO_MUCH_COPIED) {
        fault.reason = format!("it has more than {} MiB, which is the limit", limits::EFFECTS_BYTES_MAX >> 20);
    }
}
