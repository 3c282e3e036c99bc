//! The model and the model as a component, compared at every delivery, captured and restored together.
//!
//! **Architecture Invariant:** the component is captured and restored by the engine alone, as the product does it.

use ambrosia_core::{Capture, Delivered, Fault, Genesis, Guest, World};
use ambrosia_engine::{Image, MemoryImage, Module, WasmGuest};
use ambrosia_storage::{LoadedCheckpoint, LoadedMemory};

use crate::{
    guest::{Alone, SimGuest, deliver_to_both},
    model::Model,
};

/// Both of them. The memory of the model comes first in a checkpoint, and its registers before those of the component,
/// with the component's digest between them.
///
/// Its own digest is that of the model, which the checks replay alone.
pub(crate) struct WithComponent {
    model: Alone,
    component: WasmGuest,
    module: Module,
    genesis: Genesis,
}

impl WithComponent {
    /// Both fresh.
    pub(crate) fn new(module: Module, genesis: &Genesis) -> Self {
        let component = module.instantiate(genesis).expect("the model as a component starts");
        WithComponent { model: Alone::default(), component, module, genesis: genesis.clone() }
    }
}

impl Guest for WithComponent {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        deliver_to_both(&mut self.model, &mut self.component, runs, world, delivered)
    }

    fn query(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.model.query(runs, world, delivered)
    }

    fn makes_promises(&self) -> bool {
        self.model.makes_promises() && self.component.makes_promises()
    }

    fn digest(&mut self) -> u64 {
        self.model.digest()
    }

    fn cannot_capture(&self) -> Option<String> {
        self.model.cannot_capture()
    }
}

impl SimGuest for WithComponent {
    fn model(&self) -> &Model {
        self.model.model()
    }

    fn forbid_captures(&mut self) {
        self.model.forbid_captures();
    }

    fn capture(&mut self, whole: bool) -> Capture {
        let of_model = self.model.capture(whole);
        let of_component = if whole { self.component.capture_all() } else { self.component.capture_changes() };
        let of_component = of_component.expect("the model as a component can be captured");
        let mut registers = (of_model.registers.len() as u32).to_le_bytes().to_vec();
        registers.extend(of_model.registers);
        registers.extend(self.component.digest().to_le_bytes());
        registers.extend(of_component.registers);
        Capture { registers, memories: of_model.memories.into_iter().chain(of_component.memories).collect() }
    }

    fn restore(&mut self, checkpoint: &LoadedCheckpoint) {
        let (length, registers) = checkpoint.registers.split_first_chunk::<4>().expect("it begins with a length");
        let (of_model, of_component) = registers.split_at(u32::from_le_bytes(*length) as usize);
        let (digest, of_component) = of_component.split_first_chunk::<8>().expect("it goes on with a digest");
        let (memory, memories) = checkpoint.memories.split_first().expect("the model has a memory");
        self.model.restore_from(of_model, memory);
        let memories = memories.iter().map(image).collect();
        let image = Image { registers: of_component.to_vec(), memories };
        self.component = self.module.restore(&self.genesis, image).expect("the component can be restored");
        let digest = u64::from_le_bytes(*digest);
        assert_eq!(self.component.digest(), digest, "the component restored is the one captured");
    }
}

fn image(memory: &LoadedMemory) -> MemoryImage {
    assert!(memory.mapped.is_none(), "no file of a simulated machine can be mapped");
    MemoryImage { bytes: memory.bytes, hashes: memory.hashes.clone(), mapped: None, pages: memory.pages.clone() }
}
