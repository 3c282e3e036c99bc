//! The guest that simulations run. It is one source for two forms: plain Rust beside the simulator, and a wasm
//! component (`tests/sim/guest`), which must do the same.
//!
//! **Architecture Invariant:** whether it is native or a component it can't tell: all that it learns comes from its
//! messages and its [`Surroundings`].

mod code;
mod memory;
mod model;
mod surroundings;
mod upgrade;

pub use code::{Behaviour, Code};
pub use memory::Image;
pub use model::{
    Arguments, CONFIGURED, Callback, EXIT, EXIT_CODE, MONEY, Model, POISON, POISONED, TICK, WORK, outcome_of, poison,
};
pub use surroundings::Surroundings;
