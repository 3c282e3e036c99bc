//! HTTP into instances: a request becomes an impulse, and its answer the response (`docs/http.md`).
//!
//! **Architecture Invariant:** it links neither engine nor storage. Which instances there are tell [`Instances`], and where their
//! primaries are a client knows. What is not answered in time, too large or never finished ends; nothing here is without a bound.

mod accepting;
mod access;
mod arguments;
mod asked;
mod body;
mod calls;
mod catalogue;
mod content;
mod door;
mod events;
mod feed;
mod figures;
mod instances;
mod limits;
mod mcp;
mod metrics;
mod neighbours;
mod openapi;
mod problem;
mod promises;
mod query_string;
mod request_id;
mod results;
mod routes;
mod schema;
mod together;
mod trace_parent;
mod wish;

pub use access::{Access, Deed};
#[doc(hidden)]
pub use arguments::{read_body, read_query};
pub use door::{Door, DoorOptions};
pub use figures::{Family, Figure};
pub use instances::{Ended, Instance, Instances, NoInstance};
