//! What holds of every depot, in a directory and in an object store of the test's own; what becomes of an object store that fails; and whole stores
//! on an engine in memory, whose modules and checkpoints lie there. Where there is none they are skipped, and say so.

mod conformance;
mod failures;
mod gate;
mod grounds;
mod stores;
