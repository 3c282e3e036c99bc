//! What the methods of a module are called, take and give: their table, the types in it, at which
//! paths they are asked over HTTP, and in what two modules differ.
//!
//! **Architecture Invariant:** nothing here runs a module, reads a file or knows a value; engine, host and client agree on
//! methods by this crate alone.

mod difference;
mod method;
mod mounts;
mod parse;
mod route;
mod route_table;
mod schedule;
mod state_type;
mod table;
mod types;

pub use difference::{Change, StateDifference, StateVersion, methods_difference, state_difference};
pub use method::{Argument, Method, MethodKind};
pub use mounts::{MOUNTS_MAX, Mount, MountError, Mounts, Prefix, PrefixError};
pub use parse::TypeError;
pub use route::{
    OWN_SEGMENTS, PATH_BYTES_MAX, PathError, ROUTES_MAX, Route, RouteError, RoutePath, SEGMENTS_MAX, Segment, Verb,
};
pub use route_table::{FoundRoute, RouteTable};
pub use schedule::{Missed, Schedule};
pub use state_type::StateType;
pub use table::{Methods, UnknownMethod};
pub use types::{Case, Field, Type};
