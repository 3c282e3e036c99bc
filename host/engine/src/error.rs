//! What can go wrong before a guest runs.
//!
//! **Architecture Invariant:** one variant for each thing that somebody can do differently; what goes wrong in a
//! delivery is a [`Fault`] instead.

use ambrosia_core::{Fault, MethodId};

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The CPU or the operating system is not supported.
    #[error("guests can't be compiled or run on this machine (on x86-64 it takes SSE 4.2 and POPCNT): {0:#}")]
    Unsupported(wasmtime::Error),
    /// A mistake in the interfaces that this program offers.
    #[error("the host's interfaces don't fit together, which is a mistake in Ambrosia: {0:#}")]
    Interfaces(wasmtime::Error),
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
        "the component imports what an immortal can't have: {}. Files, sockets and HTTP can't be replayed from a \
         log: leave out the dependency that uses them, and send messages or impulses instead",
        listed(.0)
    )]
    MissingImports(Vec<String>),
    /// An import whose functions have another type than those of the host.
    #[error("the component's imports don't fit this host, build it with another version of the SDK: {0}")]
    WrongImport(String),
    /// A component made for another version of the interface between host and guest.
    #[error(
        "the component was built for {imported}, and this host offers {offered}: use the SDK and the host of one \
         release"
    )]
    WrongVersion {
        /// What the component imports.
        imported: String,
        /// What the host offers.
        offered: &'static str,
    },
    /// Damaged, or uses features of wasm that are switched off.
    #[error("the component can't be compiled; it is damaged, or uses a feature of wasm that is switched off: {0}")]
    Compile(String),
    /// The component trapped or ran into a limit while it was initialised.
    #[error("the component can't be started: {0}")]
    Instantiate(Fault),
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

fn listed(names: &[String]) -> String {
    names.join(", ")
}
