//! What holds of every depot, in a directory and in an object store of the test's own; and what becomes of an object store that fails. Where
//! there is none they are skipped, and say so.

mod conformance;
mod failures;
mod gate;
mod grounds;
