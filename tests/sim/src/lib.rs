//! A simulation of whole clusters: instances, their replicas, clients, the network, machines with their disks, and
//! time, in one thread and all of it drawn from one seed.
//!
//! What runs in it is the product's own: the core, and the log on files with its takeover, fence, segments,
//! checkpoints and recovery, on machines that are simulated ([`ambrosia_storage::Machine`]). What a replica decides in its
//! whole life is the product's own too ([`ambrosia_core::member::Member`]): a process here only hands it what happens, and
//! carries out what it wants.
//!
//! # The fault model
//!
//! A *process* may die at any step, and at any operation of its disk, before or after it. It may be paused at the same
//! places for any time, with everything else going on: a primary that was deposed meanwhile goes on unaware, a
//! candidate that was overtaken goes on with its takeover. All processes of an instance may die at once. A process
//! that comes back has nothing but what its machine has. It may also end in good order.
//!
//! A *machine* may lose its power. Of what was not synced, any sectors of any writes are lost, the last one may be
//! torn, and names of files that were not synced go back in order. The memory that its processes shared comes back as
//! it was, empty, or in part.
//!
//! A *disk* may fail a sync: any part of what was to be synced is on it, the rest stays in memory, looks clean, and is
//! never written. It may refuse writes, and it may be slow. A bit of a log may change at rest, or a sector turn to zeros,
//! wherever something else in the log shows that it was durable, or any bit of a checkpoint, if more than one is to be kept; an operator restores
//! it some time later. There is one such damage at a time in what belongs to an instance.
//!
//! A *connection* may break at any moment, and each end notices in its own time, before or after the next connection
//! is up. What was on the way is lost or still arrives first. While it holds, it keeps the order and loses nothing;
//! frames are cut anywhere between messages, may come twice, overlapping, and once in a while one is lost. Packets of
//! different connections overtake each other. Two instances may be unable to reach each other for a while. Who is
//! primary may be old news.
//!
//! A *standby* may take a primary that is well for dead, and it may lag far behind. What it still needs of the log may be
//! removed if the others have not heard of it for a while. Several replicas may take checkpoints, and remove old ones, at
//! the same time, and each may die or stand still in the middle of it. A *clock* differs from the others
//! by up to 200 ms when a reign begins, and jumps by hours within it. An *output* may take nothing for a while, and the
//! guest of a process may be one that can't be captured. A *client* asks again whenever it likes, whoever it takes for the primary,
//! answered or not; one with a session dies, and another one opens that while packets of the first are still on their way, and overtake
//! each other. An *instance* may be registered anew under its name: the processes of its old life are gone and its
//! log with them, while packets of the old life are still on their way.
//!
//! An *operator* may wish for other code at any moment, take that back, or wish the same again; other code may refuse, trap, bring about
//! what is at fault, exit, wait for calls, or be lost. Who sees to a wish may die between any two steps; a module may be
//! missing, and the registry may not take what is written.
//!
//! Then the storm is over, and everything must come right by itself.
//!
//! Not modelled: disks that lie about a sync, damage to what nothing in the log vouches for (the very last record,
//! once the power is gone too), two lives of one name that run at once, peers and guests that lie, the host's own
//! sockets, threads and files beside the log. Pauses in the middle of operations end in the reverse order of their
//! beginnings, and a process that would wait for a lock of one that is paused so is killed instead.

mod agenda;
mod calendar;
mod checkpointing;
mod checks;
#[cfg(feature = "wasm")]
mod component;
mod counts;
mod damage;
mod dice;
mod engine;
mod following;
mod guest;
mod ids;
mod life;
mod machine;
mod mending;
mod network;
mod options;
mod panics;
mod process;
mod promises;
mod queries;
mod reigning;
mod run;
mod sessions;
mod shell;
mod shrink;
mod sim;
mod start;
mod storm;
mod traffic;
mod wishes;

use ambrosia_sim_model as model;

pub use counts::Counts;
pub use engine::{EngineFault, EngineOptions, EngineReport, run_engine};
#[cfg(feature = "wasm")]
pub use guest::twins;
pub use guest::{SimGuest, Twin, models};
pub use model::Model;
pub use options::{CheckpointOptions, FaultKind, Options};
pub use run::{Failure, Report, run};
pub use shrink::shrink;
pub use sim::MakeGuest;
