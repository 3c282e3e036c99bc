//! The guests that a simulation can run.

use ambrosia_core::{Delivered, Fault, Genesis, Guest, World};
#[cfg(feature = "wasm")]
use ambrosia_engine::Module;

use crate::model::Model;

/// A guest that shows the model to the checks: the model itself, or one that is compared with it at every delivery.
pub trait SimGuest: Guest {
    /// The model.
    fn model(&self) -> &Model;
}

impl SimGuest for Model {
    fn model(&self) -> &Model {
        self
    }
}

impl Guest for Box<dyn SimGuest> {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        (**self).deliver(runs, world, delivered)
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
    |_| Box::new(Model::default())
}

/// Makes each guest a twin: the model, and an instance of `module`, which is the model as a component.
///
/// Call it, and run what it makes, on a thread with at least [`ambrosia_engine::THREAD_STACK_BYTES_MIN`] of stack.
#[cfg(feature = "wasm")]
pub fn twins(module: Module) -> impl Fn(&Genesis) -> Box<dyn SimGuest> + Send + Sync {
    move |genesis| {
        let component = module.instantiate(genesis).expect("the model as a component starts");
        Box::new(Twin::new(Model::default(), component))
    }
}

impl<G: Guest> Guest for Twin<G> {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        let (mut other_world, mut other_delivered) = (world.clone(), Delivered::default());
        let result = self.model.deliver(runs, world, delivered);
        let other_result = self.other.deliver(runs, &mut other_world, &mut other_delivered);
        assert_eq!(result.is_err(), other_result.is_err(), "both guests fail or none: {result:?}, {other_result:?}");
        if result.is_ok() {
            assert_eq!(delivered.effects, other_delivered.effects, "both guests bring about the same");
            assert_eq!(delivered.prints, other_delivered.prints, "both guests print the same");
            assert_eq!(*world, other_world, "both guests leave the same world");
        }
        result
    }
}

impl<G: Guest> SimGuest for Twin<G> {
    fn model(&self) -> &Model {
        &self.model
    }
}
