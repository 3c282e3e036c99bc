//! A simulation of hosts that share the logs of an engine: several machines, each with a committer, and one engine of several
//! nodes that does all that an engine may do.
//!
//! What runs in it is the product's own: `ambrosia-shared-log`, whose decisions are all in its `Committer`, and its `Rows` as what
//! a node keeps.
//!
//! # The fault model
//!
//! The *engine* has a node in office, which does requests one after the other and shows what it did at once. What it did is
//! *replicated* in that order a little later, or after a long while, and only then answered. A wait for that may be cut
//! short: the answer is then that nobody knows. A *failover* keeps what was replicated, and of the rest as much of the beginning as it
//! happens to have; the rest vanishes. The node that was in office may live on without knowing: whoever is connected
//! with it goes on reading what it shows and never gets a write answered; others may even find it anew. The whole engine may stand still,
//! or refuse connections, for a while. It takes smaller groups than it says. An operator may restore an *older state* of it.
//!
//! A *request* may be lost, be done twice, arrive seconds late, behind others that came after it, or after its deadline; an
//! answer may be lost or late. Connections are cut at any moment. The engine's client may never answer at all.
//!
//! A *host* may die at any step and come back with nothing but a checkpoint, be frozen for any time and go on unaware, hand over in
//! order, or take a writer that is well for dead. What a replica has not read yet may be trimmed.
//!
//! Then the storm is over, and everything must come right by itself; after an older state was restored, whoever has seen the newer
//! one must have said so, and everything comes right once an operator has had all begin anew.
//!
//! Not modelled: an engine that loses what it has replicated, but for the older state that is restored; one that keeps a promise of
//! durability that it gave to a node out of office; rows that change by themselves.

mod counts;
mod faults;
mod host;
mod office;
mod options;
mod rest;
mod sim;
mod traffic;
mod witness;

pub use options::{EngineFault, EngineOptions};
pub use sim::{EngineReport, run_engine};
