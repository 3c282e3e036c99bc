//! Torture on several machines: network namespaces with an engine (a database with its synchronous standby, or three members of etcd), three
//! hosts that divide the replicas of some instances, and clients that call them all.
//!
//! A *round* has a seed. Faults drawn from it hit hosts, the engine and cables under load; whoever can serve must soon serve again, and
//! at the end all that clients were told must be one history. See [`play_apart`].
//!
//! **Architecture Invariant:** a plan is drawn before its round begins and depends on the seed and the engine alone.

mod callers;
mod clocks;
mod databases;
mod gaps;
mod history;
mod members;
mod network;
mod plan;
mod round;
mod site;
mod slow_disk;

pub use callers::client_apart;
pub use databases::{Databases, Disks};
pub use gaps::Gaps;
pub use network::{Machine, Machines};
pub use plan::{Draft, EngineKind};
pub use round::{Files, HeldApart, machines_impossible, play_apart};
pub use site::{CLIENTS, Clocking, HOSTS, Papers, Setting, Site, at};
