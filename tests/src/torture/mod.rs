//! Torture of the real program: real processes and files, a workload whose totals are known, and every fault that a
//! machine can have, drawn from a seed.
//!
//! A *round* has a kind of fault and a seed. It starts two banks with several replicas each and six clients, lets the
//! drawn faults happen under load, and checks at the end that nothing acknowledged is lost, nothing was done twice, the
//! order was kept, every replica has the same state, the log reads whole, `status` is true, and the service came back
//! in time. See [`play`].
//!
//! **Architecture Invariant:** a plan is drawn before its round begins and depends on kind and seed alone.

mod asker;
mod checks;
mod disk;
mod draw;
mod fault;
mod faults;
mod interrupt;
mod leftovers;
mod machines;
mod meter;
mod namespace;
mod network;
mod plan;
mod proxy;
mod report;
mod round;
mod stage;
mod tool;
mod workload;
mod world;

pub use interrupt::Interrupt;
pub use leftovers::{prefix, remove_leftovers};
pub use machines::{
    CLIENTS, Clocking, Databases, Disks, Draft, EngineKind, Files, Gaps, HOSTS, HeldApart, Machine, Machines, Papers,
    Setting, Site, at, client_apart, machines_impossible, play_apart,
};
pub use plan::{Extent, Kind};
pub use round::{Held, Violation, play};
pub use stage::Tally;
