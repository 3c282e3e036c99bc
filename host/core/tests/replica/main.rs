//! One replica, step by step: what it refuses, when it stops, and what it does not do twice.

#![allow(unreachable_pub, missing_docs)]

mod batches;
mod bench;
mod checkpoints;
mod faults;
mod mends;
mod outside;
mod pressure;
mod rebinds;
mod refusals;
mod requests;
mod sessions;
mod timers;
mod upgrades;
mod waits;
