//! What the methods of a module are called, take and give: their table, and the types in it.
//!
//! **Architecture Invariant:** nothing here runs a module, reads a file or knows a value; engine, host and client agree on
//! methods by this crate alone.

mod method;
mod parse;
mod table;
mod types;

pub use method::{Argument, Method, MethodKind};
pub use parse::TypeError;
pub use table::{Methods, UnknownMethod};
pub use types::{Case, Field, Type};
