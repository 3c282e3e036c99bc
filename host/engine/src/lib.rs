//! The guest engine: wasm components run as deterministic [`Guest`](ambrosia_core::Guest)s.
//!
//! [`Engine`] compiles a component to a [`Module`]; a module lists its [`Method`](ambrosia_methods::Method)s and makes [`WasmGuest`]s. All of
//! it is synchronous and belongs on a plain thread with at least [`THREAD_STACK_BYTES_MIN`] of stack.
//!
//! Between two deliveries a guest can be captured, compared by its digest, and made again from an [`Image`].
//!
//! **Architecture Invariant:** nothing here reads a clock, a random source, the environment or the network, and of files
//! only the cache of compiled modules and what an [`Image`] brings. What a guest learns comes from its messages and its
//! [`World`](ambrosia_core::World).

mod accessor;
mod accessor_module;
mod address_space;
mod ahead;
mod backtrace;
mod cache;
mod capture;
mod captures;
mod config;
mod cpu;
mod deserialize;
mod engine;
mod error;
mod fault;
mod faults;
mod guest;
mod handle_types;
mod handles;
mod handover;
mod handover_interface;
mod host_interface;
mod layout;
mod lonely;
mod mapping;
mod memories;
mod memory;
mod method;
mod module;
mod nesting;
mod offers;
mod outline;
mod page_set;
mod parts;
mod prints;
mod private_pages;
mod refusal;
mod registers;
mod requirements;
mod restore;
mod rewriter;
mod routing;
mod scheduling;
mod source;
mod state;
mod state_type;
mod survey;
mod threads;
mod tracking;
mod userfault;
mod verdict;
mod view;
mod wasi;
mod watched;

pub use address_space::spare_address_space;
pub use captures::Captures;
pub use config::{NATIVE_THREAD_STACK_BYTES_MIN, THREAD_STACK_BYTES_MIN};
pub use engine::Engine;
pub use error::{CaptureError, EngineError, ModuleError, NotNow, RestoreError};
pub use guest::WasmGuest;
pub use handover::{HandedOver, ModuleSource, SavedState, WaitingHandler};
pub use module::Module;
pub use restore::{Image, MappedFile, MemoryImage};
pub use tracking::Tracking;
pub use verdict::Finding;
