//! Torture on several machines: network namespaces with a database, its synchronous standby, three hosts that divide the replicas of some
//! instances, and clients that call them all.
//!
//! A *round* has a seed. Faults drawn from it hit hosts, databases and cables under load; whoever can serve must soon serve again, and
//! at the end all that clients were told must be one history. See [`play_apart`].
//!
//! **Architecture Invariant:** a plan is drawn before its round begins and depends on the seed alone.

mod callers;
mod gaps;
mod history;
mod network;
mod plan;
mod round;
mod site;

pub use gaps::Gaps;
pub use network::{Machine, Machines};
pub use round::{Files, HeldApart, machines_impossible, play_apart};
