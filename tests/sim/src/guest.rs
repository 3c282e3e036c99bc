//! The guests that a simulation can run.

use ambrosia_core::{
    Capture, Delivered, Fault, Genesis, Guest, HandoverError, MemoryCapture, PAGE_BYTES, Upgrade, World, is_zero,
    page_hash,
};
#[cfg(feature = "wasm")]
use ambrosia_engine::Module;
use ambrosia_storage::{LoadedCheckpoint, LoadedMemory};

use crate::model::{Code, Image, Model};

/// A guest that shows the model to the checks: the model itself, or one that is compared with it at every delivery.
pub trait SimGuest: Guest {
    /// The model.
    fn model(&self) -> &Model;

    /// Makes it, which is fresh, one of that code.
    fn set_code(&mut self, code: Code) {
        assert_eq!(code, Code::default(), "this guest knows of no other code than its own");
    }

    /// It is not to be captured in this run.
    fn forbid_captures(&mut self) {}

    /// What it is, all of it or what has changed since it was captured or restored last.
    ///
    /// # Panics
    /// If it can't be captured.
    fn capture(&mut self, _whole: bool) -> Capture {
        panic!("this guest can't be captured yet");
    }

    /// Makes it what it was when it was captured. It must be fresh.
    ///
    /// # Panics
    /// If it can't be captured.
    fn restore(&mut self, _checkpoint: &LoadedCheckpoint) {
        panic!("this guest can't be captured yet");
    }
}

/// Delivers to the model and to another guest, which must bring about the same.
pub(crate) fn deliver_to_both(
    model: &mut impl Guest,
    other: &mut impl Guest,
    runs: &[u8],
    world: &mut World,
    delivered: &mut Delivered,
) -> Result<(), Fault> {
    let (mut other_world, mut other_delivered) = (world.clone(), delivered.clone());
    let result = model.deliver(runs, world, delivered);
    let other_result = other.deliver(runs, &mut other_world, &mut other_delivered);
    assert_eq!(result.is_err(), other_result.is_err(), "both guests fail or none: {result:?}, {other_result:?}");
    if result.is_ok() {
        assert_eq!(delivered.effects, other_delivered.effects, "both guests bring about the same");
        assert_eq!(delivered.prints, other_delivered.prints, "both guests print the same");
        assert_eq!(*world, other_world, "both guests leave the same world");
    }
    result
}

/// The model alone.
#[derive(Default)]
pub(crate) struct Alone {
    model: Model,
    /// What its memory was when it was captured or restored last.
    before: Vec<u8>,
    is_forbidden: bool,
}

impl Guest for Alone {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.model.deliver(runs, world, delivered)
    }

    fn query(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.model.query(runs, world, delivered)
    }

    fn makes_promises(&self) -> bool {
        self.model.makes_promises()
    }

    fn digest(&mut self) -> u64 {
        self.model.digest()
    }

    /// As with an engine, changes are counted anew behind a try.
    fn upgrade(
        &mut self,
        upgrade: &Upgrade,
        world: &mut World,
        delivered: &mut Delivered,
    ) -> Result<(), HandoverError> {
        let result = self.model.upgrade(upgrade, world, delivered);
        if !matches!(result, Err(HandoverError::Lost(_))) {
            self.before = self.model.image().memory;
        }
        result
    }

    fn undo_upgrade(&mut self) -> Result<(), Fault> {
        self.model.undo_upgrade()?;
        self.before = self.model.image().memory;
        Ok(())
    }

    fn keep_upgrade(&mut self) {
        self.model.keep_upgrade();
    }

    fn cannot_capture(&self) -> Option<String> {
        self.is_forbidden.then(|| "no checkpoints are taken in this run".to_owned())
    }
}

impl SimGuest for Alone {
    fn model(&self) -> &Model {
        &self.model
    }

    fn set_code(&mut self, code: Code) {
        self.model.code = code;
    }

    fn forbid_captures(&mut self) {
        self.is_forbidden = true;
    }

    fn capture(&mut self, whole: bool) -> Capture {
        let Image { registers, memory } = self.model.image();
        let before = if whole { &[][..] } else { &self.before };
        let mut pages = MemoryCapture { bytes: memory.len() as u64, ..MemoryCapture::default() };
        for (number, page) in memory.chunks_exact(PAGE_BYTES).enumerate() {
            let at = number * PAGE_BYTES;
            let same = before.get(at..at + PAGE_BYTES).map_or_else(|| is_zero(page), |before| before == page);
            if !same {
                pages.push(number as u32, page_hash(page), page);
            }
        }
        self.before = memory;
        Capture { registers, memories: vec![pages] }
    }

    fn restore(&mut self, checkpoint: &LoadedCheckpoint) {
        let [memory] = &checkpoint.memories[..] else { panic!("the model has one memory") };
        self.restore_from(&checkpoint.registers, memory);
    }
}

impl Alone {
    pub(crate) fn restore_from(&mut self, registers: &[u8], memory: &LoadedMemory) {
        assert!(memory.mapped.is_none(), "no file of a simulated machine can be mapped");
        let mut bytes = vec![0; memory.bytes as usize];
        for (page, hash, contents) in memory.pages.iter() {
            assert_eq!((hash, hash), (memory.hashes[page as usize], page_hash(contents)), "a page has its hash");
            bytes[page as usize * PAGE_BYTES..][..PAGE_BYTES].copy_from_slice(contents);
        }
        let image = Image { registers: registers.to_vec(), memory: bytes };
        let restored = Model::from_image(&image);
        assert_eq!(restored.code, self.model.code, "a capture is put back into the code that it was made of");
        self.model = restored;
        self.before = image.memory;
    }
}

/// A second guest beside the model, which must bring about the same from the same deliveries.
pub struct Twin<G> {
    model: Model,
    other: G,
}

impl<G: Guest> Twin<G> {
    /// Both must be fresh.
    pub fn new(model: Model, other: G) -> Self {
        Twin { model, other }
    }
}

/// Makes each guest the model alone.
pub fn models() -> impl Fn(&Genesis) -> Box<dyn SimGuest> + Send + Sync {
    |_| Box::new(Alone::default())
}

/// Makes each guest a twin: the model, and an instance of `module`, which is the model as a component.
///
/// Call it, and run what it makes, on a thread with at least [`ambrosia_engine::THREAD_STACK_BYTES_MIN`] of stack.
#[cfg(feature = "wasm")]
pub fn twins(module: Module) -> impl Fn(&Genesis) -> Box<dyn SimGuest> + Send + Sync {
    move |genesis| Box::new(crate::component::WithComponent::new(module.clone(), genesis))
}

impl<G: Guest> Guest for Twin<G> {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        deliver_to_both(&mut self.model, &mut self.other, runs, world, delivered)
    }

    fn query(&mut self, runs: &[u8], world: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.model.query(runs, world, delivered)
    }

    fn makes_promises(&self) -> bool {
        self.model.makes_promises()
    }

    fn digest(&mut self) -> u64 {
        self.model.digest()
    }

    fn cannot_capture(&self) -> Option<String> {
        Some("this guest can't be captured yet".to_owned())
    }
}

impl<G: Guest> SimGuest for Twin<G> {
    fn model(&self) -> &Model {
        &self.model
    }
}
