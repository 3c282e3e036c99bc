//! The scenarios of Microsoft's AMBROSIA, under their names: docs/conformance.md says which of its tests is where, and
//! which are not.

mod active_active;
mod basic;
mod calls;
mod checkpoints;
mod conformance;
mod kill_restart;
mod messages;
mod migration;
mod options;
mod oracle;
mod scenario;
mod workload;
