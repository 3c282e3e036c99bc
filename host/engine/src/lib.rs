//! The guest engine: wasm components run as deterministic [`Guest`](ambrosia_core::Guest)s.
//!
//! [`Engine`] compiles a component to a [`Module`]; a module lists its [`Method`]s and makes [`WasmGuest`]s. All of
//! it is synchronous and belongs on a plain thread with at least [`THREAD_STACK_BYTES_MIN`] of stack.
//!
//! **Architecture Invariant:** nothing here reads a clock, a random source, the environment, the network or, but for
//! the cache of compiled modules, a file. What a guest learns comes from its messages and its
//! [`World`](ambrosia_core::World).

mod cache;
mod config;
mod cpu;
mod deserialize;
mod engine;
mod error;
mod fault;
mod guest;
mod host_interface;
mod memory;
mod method;
mod module;
mod offers;
mod prints;
mod refusal;
mod requirements;
mod state;
mod wasi;

pub use config::THREAD_STACK_BYTES_MIN;
pub use engine::Engine;
pub use error::{EngineError, ModuleError};
pub use guest::WasmGuest;
pub use method::Method;
pub use module::Module;
