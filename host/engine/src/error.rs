//! What can go wrong before a guest runs.
//!
//! **Architecture Invariant:** one variant for each thing that somebody can do differently; what goes wrong in a
//! delivery is a [`Fault`] instead.

use ambrosia_core::{Fault, MethodId};
use ambrosia_methods::{RouteError, TypeError};

use crate::verdict::{self, Finding};

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The CPU or the operating system is not supported.
    #[error("guests can't be compiled or run on this machine (on x86-64 it takes SSE 4.2 and POPCNT): {0:#}")]
    Unsupported(wasmtime::Error),
    /// A mistake in the interfaces that this program offers.
    #[error("the host's interfaces don't fit together, which is a mistake in Ambrosia: {0:#}")]
    Interfaces(wasmtime::Error),
    /// The way to find changes that was asked for does not work here.
    #[error("the kernel can't tell which pages of a guest were written, which takes Linux 6.7 and userfaultfd: {0}")]
    Tracking(std::io::Error),
}

/// Why a component can't be an immortal.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The bytes are not wasm at all.
    #[error("this is not WebAssembly: build the guest with `cargo build --release --target wasm32-wasip2`")]
    NotAComponent,
    /// A core module.
    #[error("this is a core WebAssembly module and not a component: build the guest for the target wasm32-wasip2")]
    CoreModule,
    /// A core module for WASI 0.1.
    #[error(
        "this is a core WebAssembly module for WASI 0.1 and not a component: build the guest for the target \
         wasm32-wasip2, or make a component of it with `wasm-tools component new MODULE --adapt \
         wasi_snapshot_preview1.reactor.wasm`"
    )]
    CoreModuleOfWasi1,
    /// A component for WASI 0.3, or one that uses the async part of the component model.
    #[error(
        "the component is built for WASI 0.3 ({sign}), and this host offers 0.2: build it for that, in Rust for the target \
         wasm32-wasip2, in JavaScript with `componentize-qjs --sync`, in Python without async exports"
    )]
    Wasi3 {
        /// What shows it.
        sign: String,
    },
    /// A component without the exports of an immortal.
    #[error(
        "this component is not an immortal, for it does not export {}: use #[ambrosia::immortal], or export the \
         world ambrosia:runtime/immortal (wit/immortal.wit)",
        listed(.0)
    )]
    NoExport(Vec<String>),
    /// An export of an immortal with another type.
    #[error(
        "the component's export `{name}` is not that of the world ambrosia:runtime/immortal (wit/immortal.wit): {why}"
    )]
    WrongExport {
        /// Name of the export.
        name: &'static str,
        /// How the types differ.
        why: String,
    },
    /// All the imports that the host does not offer.
    #[error(
        "the component imports what an immortal can't have: {}. What comes from outside can't be replayed \
         from a log: leave out the dependency that uses it, and send messages or impulses instead",
        listed(.0)
    )]
    MissingImports(Vec<String>),
    /// An import whose functions have another type than those of the host.
    #[error("the component's imports don't fit this host, build it with another version of the SDK: {0}")]
    WrongImport(String),
    /// A component made for another version of the interface between host and guest.
    #[error(
        "the component was built for {imported}, and this host offers the versions {}: use the SDK and the host of one \
         release",
        offered.join(" and ")
    )]
    WrongVersion {
        /// What the component imports.
        imported: String,
        /// What the host offers.
        offered: &'static [&'static str],
    },
    /// A type that can't be read.
    #[error("{whose} has a type that can't be read ({error}): write it as wit/TYPES.md says")]
    WrongType {
        /// Of which argument or result.
        whose: String,
        /// What is wrong with it.
        error: TypeError,
    },
    /// Components in components beyond what can be compiled in bounded time.
    #[error("the component has other components in it, and {what}: compose it of fewer, or of each once")]
    Nesting {
        /// What is too much.
        what: String,
    },
    /// Damaged, or uses features of wasm that are switched off.
    #[error("the component can't be compiled; it is damaged, or uses a feature of wasm that is switched off: {0}")]
    Compile(String),
    /// The component trapped or ran into a limit while it was initialised.
    #[error("the component can't be started: {0}")]
    Instantiate(Fault),
    /// This process may not have the address space that a memory of the component takes.
    #[error("{0}")]
    AddressSpace(String),
    /// The component trapped while it listed its methods.
    #[error("the component can't list its methods: {0}")]
    Describe(Fault),
    /// Two methods with one id.
    #[error("the methods `{first}` and `{second}` have the same id {id}: rename one of them")]
    DuplicateMethod {
        /// The id of both.
        id: MethodId,
        /// The method listed first.
        first: String,
        /// The method listed later.
        second: String,
    },
    /// Schedules that can't be kept.
    #[error("the schedules of the component can't be kept: {0}")]
    WrongSchedule(String),
    /// A route for no method.
    #[error("the component's route {route} is for a method with the id {id}, and there is none")]
    UnknownRoute {
        /// The route.
        route: String,
        /// The id.
        id: MethodId,
    },
    /// A route at which its method can't be asked, or that can't be told from another one.
    #[error("the component can't be asked over HTTP as it says: {0}")]
    WrongRoute(#[from] RouteError),
    /// A method whose id is not the hash of its name.
    #[error("the method `{name}` has the id {found}, and it should be {expected}, the FNV-1a hash of its name")]
    WrongMethodId {
        /// Name of the method.
        name: String,
        /// What the component says.
        found: MethodId,
        /// What the name gives.
        expected: MethodId,
    },
}

/// Why a guest was not captured.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// Its component could hide state, and does not export `save` and `load`.
    #[error(
        "the state of this component can't be captured: {}. Build it without that, or export `save` and `load`",
        verdict::listed(.0)
    )]
    Refused(Vec<Finding>),
    /// It can be captured after another delivery.
    #[error("checkpoint skipped: {0}; the host tries again after the next deliveries")]
    NotNow(NotNow),
    /// Changes since when?
    #[error("there is nothing since which changes could be counted: capture all first")]
    NoBase,
    /// It had a fault.
    #[error("the guest had a fault and can't be captured: make a new instance from the log")]
    Poisoned,
    /// Its own `save` failed. The guest is poisoned by it, though it had no fault in a delivery.
    #[error("the guest's `save` failed, and the guest can't go on: make a new instance from the log: {0}")]
    Save(Fault),
}

/// What a guest holds that keeps it from being captured just now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotNow {
    /// A handle of that kind, which nothing that the component imports opens.
    #[error("the guest holds {0}, which can't be opened again")]
    Unknown(&'static str),
    /// More handles than a capture holds.
    #[error("the guest's table of handles has {places} places, and {max} is the limit of a checkpoint")]
    TooMany {
        /// Places that the table has.
        places: usize,
        /// The limit.
        max: usize,
    },
}

/// Why there is no guest from an image.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Its component could hide state, and does not export `save` and `load`.
    #[error("the state of this component can't be put back: {}", verdict::listed(.0))]
    Refused(Vec<Finding>),
    /// The registers are damaged, or of another component or version.
    #[error("the registers don't fit the component: {0}")]
    Registers(&'static str),
    /// A memory is damaged, or of another component.
    #[error("memory {0} does not fit the component: {1}")]
    Memory(u32, &'static str),
    /// The component does not start.
    #[error("{0}")]
    Start(ModuleError),
    /// Its own `load` failed.
    #[error("the component can't load its state: {0}")]
    Load(Fault),
    /// The host has not the means.
    #[error("the memory of the guest can't be mapped: {0}")]
    Host(#[from] std::io::Error),
    /// A mistake in what was added to the component.
    #[error("the state can't be put back, which is a mistake in Ambrosia: {0:#}")]
    Accessor(#[from] wasmtime::Error),
}

fn listed(names: &[String]) -> String {
    names.join(", ")
}
