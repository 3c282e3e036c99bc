//! Tests of this crate that need more than one of its parts.

mod chain;
mod checkpoints;
mod conformance_of_files;
mod conformance_of_memory;
mod copying;
mod damage;
mod decoders;
mod evidence;
mod fencing;
mod golden;
mod golden_checkpoints;
mod golden_entries;
mod registration;
mod running;
mod segments;
mod support;
