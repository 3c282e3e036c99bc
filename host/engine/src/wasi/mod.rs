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
//! | `wasi:filesystem/preopens`, `types` | no directory, and so nothing to open a file with |
//! | `wasi:io/error`, `poll`, `streams` | what the above need; everything is always ready |
//! | `wasi:sockets/*` | a network that denies to look up a name and to make a socket |
//! | `wasi:random/random`, `insecure`, `insecure-seed` | the generator of the world, the seed of genesis |
//!
//! Types, traits and linking come from the synchronous bindings of `wasmtime-wasi`, one `add_to_linker` for each
//! interface. What stands behind the traits is ours, on [`GuestState`]: that crate's own `WasiCtx` reads the clocks of
//! the machine, waits on a tokio runtime and keeps a `ResourceTable`, which a capture would miss.
//! `wasi:filesystem/types` and `wasi:sockets` are linked by hand, since nothing of them is ever done.
//!
//! **Architecture Invariant:** no function here waits, and none keeps anything between two calls but what it prints and
//! which handles there are. So the host's side of a guest has no state that a capture could miss: prints end with their
//! delivery, and the handles are captured. Neither a `WasiCtx` nor a `ResourceTable` is ever made.

mod cli;
mod clocks;
mod filesystem;
mod io;
mod random;
mod sockets;

pub(crate) use random::{RANDOM_BYTES_MAX, random_bytes};

use wasmtime::component::HasSelf;

use crate::{
    offers::{AddToLinker, Offers},
    state::GuestState,
};

/// What the functions of the bindings reach: the state itself.
type Whole = HasSelf<GuestState>;

/// Offers all of it. A guest built for any 0.2 finds these.
pub(crate) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    io::add_to(offers)?;
    cli::add_to(offers)?;
    clocks::add_to(offers)?;
    filesystem::add_to(offers)?;
    random::add_to(offers)?;
    sockets::add_to(offers)
}

impl Offers {
    /// Offers an interface by the bindings of `wasmtime-wasi`, with the version that they have.
    fn wasi(&mut self, name: &str, items: &[&'static str], add: AddToLinker) -> Result<(), wasmtime::Error> {
        self.bindings(&format!("wasi:{name}@0.2.12"), items, add)
    }
}
