//! The part of WASI 0.2 that a guest gets: what the standard library of its language needs to start.
//!
//! | interface | what it gives |
//! |---|---|
//! | `wasi:cli/environment` | nothing: no arguments, variables or directory |
//! | `wasi:cli/exit` | a fault |
//! | `wasi:cli/stdin` | a closed stream |
//! | `wasi:cli/stdout`, `stderr` | the prints of the delivery |
//! | `wasi:cli/terminal-*` | nothing: it is no terminal |
//! | `wasi:clocks/monotonic-clock`, `wall-clock` | the time of the record; waiting is a fault |
//! | `wasi:filesystem/preopens`, `types` | no directory, and nothing to open a file with |
//! | `wasi:io/error`, `poll`, `streams` | what the above need; everything is always ready |
//! | `wasi:random/random`, `insecure`, `insecure-seed` | the generator of the world, the seed of genesis |
//!
//! It is written by hand and not taken from `wasmtime-wasi`, whose streams and clocks wait on a tokio runtime and on
//! real time.
//!
//! **Architecture Invariant:** no function here waits, and none keeps anything between two calls but what it prints.
//! So the host's side of a guest has no state that a checkpoint could miss.

mod cli;
mod clocks;
mod filesystem;
mod io;
mod random;

pub(crate) use random::RANDOM_BYTES_MAX;

use crate::offers::Offers;

/// Offers all of it. A guest built for any 0.2 finds these.
pub(crate) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    io::add_to(offers)?;
    cli::add_to(offers)?;
    clocks::add_to(offers)?;
    filesystem::add_to(offers)?;
    random::add_to(offers)
}
