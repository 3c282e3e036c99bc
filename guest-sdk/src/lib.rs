//! For applications that can't die: write a plain struct with methods, and it becomes an *immortal*.
//!
//! An immortal is a named instance of a WebAssembly component. It lives through the death of any process or machine,
//! and every message between immortals is handled exactly once. There is nothing to save, to retry or to recover:
//! the host logs what comes in, and brings back the state, and the handlers that were awaiting something, after any
//! failure.
//!
//! # A whole application
//!
//! ```
//! #[ambrosia::state]
//! struct Counter { total: u64 }
//!
//! #[ambrosia::immortal]
//! impl Counter {
//!     fn add(&mut self, n: u64) -> u64 {
//!         self.total += n;
//!         self.total
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib", "rlib"]
//!
//! [dependencies]
//! ambrosia-sdk = { path = "../ambrosia/guest-sdk" }
//! ```
//!
//! `cargo build --release --target wasm32-wasip2` makes the component.
//!
//! # Messages
//!
//! What another instance can do is listed in an [interface](macro@interface), which makes a typed proxy of it. A *call*
//! awaits an answer, a *fork* does not want one:
//!
//! ```
//! #[ambrosia::interface]
//! trait Account {
//!     fn withdraw(amount: u64) -> Result<u64, String>;
//!     fn deposit(amount: u64);
//! }
//!
//! #[ambrosia::state]
//! struct Clerk { transfers: u64 }
//!
//! #[ambrosia::immortal]
//! impl Clerk {
//!     async fn transfer(this: ambrosia::This<Self>, from: Account, to: Account, amount: u64) -> Result<(), String> {
//!         let cash = from.withdraw(amount).await.map_err(|error| error.to_string())??;
//!         to.fork().deposit(cash);
//!         this.with(|clerk| clerk.transfers += 1);
//!         Ok(())
//!     }
//! }
//! # fn main() {}
//! ```
//!
//! The host may die while `transfer` awaits: another one carries on from there. Handlers with `&mut self` run from
//! their beginning to their end without anything between; async handlers interleave at their awaits, and reach the
//! state by [`This::with`].
//!
//! # The same again
//!
//! After a failure the messages since the last checkpoint are handled again, and must bring about the same. An
//! immortal has no way to see anything else: [`now`] is the time of the message, [`random`] and the hash maps of the
//! standard library draw from a seed in the log, and there are no files, sockets or threads. What it prints appears
//! once.
//!
//! # In this crate
//!
//! * [`macro@immortal`], [`macro@interface`], [`macro@state`]: handlers, proxies, and what an upgrade of the code hands over. [`This`], [`Call`], [`CallError`], [`Peer`].
//! * [`spawn`], [`after`], [`sleep`], [`timeout`]: beside and between messages.
//! * [`join`], [`select`], [`Mutex`], [`retry`](fn@retry), [`OnceMap`], [`Saga`]: several at once, one at a time, once, or not at all.
//! * [`http`], [`secret`](fn@secret): requests to the world outside.
//! * [`emit`]: events for whoever listens outside. [`log`]: lines with a level and fields.
//! * [`now`], [`random`], [`instance_name`], [`exit`]: the world.
//! * `testing`: runs an immortal natively in `cargo test`.
//!
//! **Architecture Invariant:** an application never sees how it is hosted: no log, replica, epoch or checkpoint has a
//! name here.

extern crate self as ambrosia;

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
mod bounded;
mod call;
mod carried;
mod codec;
#[cfg(target_arch = "wasm32")]
mod component;
mod deliver;
mod events;
mod executor;
#[cfg(test)]
mod golden_tests;
mod handover;
mod host;
pub mod http;
mod immortal;
mod layout;
pub mod log;
mod mutex;
mod once;
mod outside;
mod panics;
mod peer;
mod promise;
mod reader;
mod request;
mod retry;
mod runtime;
#[cfg(test)]
mod runtime_tests;
mod saga;
mod settings;
mod shape;
mod spelled;
mod state;
mod task;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod together;
mod types;
mod world;

pub use ambrosia_sdk_macros::{immortal, interface, state};
pub use call::{Call, CallError};
pub use codec::Arguments;
pub use events::{EmitError, emit, try_emit};
pub use immortal::{Argument, Immortal, Method, MethodKind, Missed, Route, Schedule, This, Verb, method_id};
pub use mutex::{Guard, Lock, Mutex};
pub use once::OnceMap;
pub use peer::{AttachError, ForkError, Peer};
pub use promise::{Promise, PromiseError, PromiseUrl, promise};
pub use retry::{Retry, retry, retry_if};
pub use saga::Saga;
pub use serde;
pub use settings::{ConfigError, config};
pub use settings::{Secret, secret};
pub use state::State;
pub use task::{Sleep, Task, TimedOut, after, sleep, sleep_until, spawn, timeout};
pub use together::{Either, Joined, join, join_all, select, select_all};
pub use types::TypeOf;
pub use world::{Timestamp, exit, instance_name, now, random, random_range};

/// What generated code uses. Not for applications.
#[doc(hidden)]
pub mod __private {
    #[cfg(not(target_arch = "wasm32"))]
    pub use crate::immortal::keep;
    #[cfg(target_arch = "wasm32")]
    pub use crate::{
        bindings, bindings::export_component, bindings::routed::export_routing, bindings::scheduled::export_scheduling,
        bindings::upgradable::export_upgrade, component::Component,
    };
    pub use crate::{
        codec::ArgumentReader,
        immortal::check_state,
        request::{Request, spawn_hook},
        runtime::push_effect_bytes,
        state::read_as,
    };
}
