//! The attributes of `ambrosia-sdk`. Their documentation is there.
//!
//! **Architecture Invariant:** what is generated names only `::ambrosia` and what the application wrote.

mod attribute;
mod immortal;
mod interface;
mod method_id;
mod method_set;
mod proxy;
mod route;
mod schedule;
mod signature;
mod state;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes the methods of a plain struct the handlers of an immortal. The struct is marked [`state`](macro@state).
///
/// ```
/// use std::collections::BTreeMap;
///
/// #[ambrosia::state]
/// struct Directory {
///     numbers: BTreeMap<String, u64>,
///     lookups: u64,
/// }
///
/// #[ambrosia::immortal]
/// impl Directory {
///     /// Runs once in the life of the instance, before anything else.
///     fn on_first_start(&mut self) {
///         self.numbers.insert("ambulance".to_string(), 112);
///     }
///
///     /// Runs whenever a replica becomes primary: at the start, after a failure, after a restart.
///     fn on_becoming_primary(&mut self) {
///         println!("{} numbers", self.numbers.len());
///     }
///
///     /// Runs once in the new code, when the code of the instance has been upgraded.
///     fn on_upgrade(&mut self) {
///         println!("new code, {} numbers", self.numbers.len());
///     }
///
///     /// The result goes back to who called; for a fork it is dropped.
///     fn look_up(&mut self, name: String) -> Option<u64> {
///         self.lookups += 1;
///         self.numbers.get(&name).copied()
///     }
///
///     /// An async handler has `this` instead of `self`. Other handlers run while it awaits.
///     async fn copy_from(this: ambrosia::This<Self>, other: DirectoryProxy, name: String) -> bool {
///         let Ok(Some(number)) = other.look_up(&name).await else { return false };
///         this.with(|directory| directory.numbers.insert(name, number));
///         true
///     }
///
///     /// Takes the bytes of the message as they are: the fastest way.
///     #[ambrosia(raw)]
///     fn count_bytes(&mut self, bytes: &[u8]) {
///         self.lookups += bytes.len() as u64;
///     }
///
///     /// Not a handler. A plain `impl` block beside this one serves as well.
///     #[ambrosia(helper)]
///     fn is_empty(&self) -> bool {
///         self.numbers.is_empty()
///     }
/// }
/// # fn main() {}
/// ```
///
/// * **Arguments** are owned values with serde's `Deserialize`, results with `Serialize`. They travel as MessagePack.
/// * **`#[ambrosia(name = "…")]`** gives a handler another name in messages than in Rust;
///   **`#[ambrosia(formerly = "…")]`** keeps a renamed one within reach of messages that carry its old name.
/// * **Queries**: a handler with `&self` that gives something back, is not async and not raw is a query: asked from outside, it is
///   answered without a record, may send nothing, and what it does to memory is thrown away. **`#[ambrosia(update)]`** makes it
///   an update like the others, **`#[ambrosia(query)]`** says that it is to be a query, and is refused where that can't be.
/// * **`#[ambrosia(cron = "0 3 * * *", zone = "Europe/Berlin", missed = "one")]`** has a handler run by itself at each time that the
///   expression says: minute, hour, day of the month, month, day of the week, and a second before them if there are six. It takes
///   nothing, or `due: ambrosia::Timestamp`. Without a zone that is UTC. What was missed while nobody ran the instance is made up for
///   by `"one"` run, which is the default, by `"all"` of them, or by `"none"`.
/// * **`#[ambrosia(get = "/counters/{name}")]`** on a query, and **`post`**, **`put`**, **`patch`** or **`delete`** on a handler that is no
///   query, have it asked over HTTP at that path below `/INSTANCE`. A placeholder is a whole segment, and the value of the argument of that
///   name. Further arguments come from the URL's query, or from the body: that is the argument if there is one, and else an object by
///   their names. A handler may have several.
/// * **Types** of arguments and results are described to tools, as is the comment before a handler. They are found out
///   from `Deserialize`.
/// * **`DirectoryProxy`** is generated beside it, as by [`interface`](macro@interface): `DirectoryProxy::me()` is this
///   instance.
/// * **`#[ambrosia(restart)]`** on an async handler or hook lets an upgrade of the code begin it again, with its arguments and
///   for its caller, if it is waiting then. An upgrade waits for the others.
/// * **`#[ambrosia::immortal(no_upgrade)]`** is for a state that can't be handed over to other code: its code stays as it is,
///   and the struct needs a `Default` only.
/// * **`#[ambrosia::immortal(no_exports)]`** leaves out the exports of the component, for an immortal inside a library.
///
/// An async handler can't have `&mut self`, since the state would stay borrowed while others run:
///
/// ```compile_fail
/// #[ambrosia::state]
/// struct Server;
///
/// #[ambrosia::immortal]
/// impl Server {
///     async fn transfer(&mut self) {}
/// }
/// # fn main() {}
/// ```
///
/// Handlers are found by a 32-bit hash of their names, and two that collide are refused:
///
/// ```compile_fail
/// #[ambrosia::state]
/// struct Server;
///
/// #[ambrosia::immortal]
/// impl Server {
///     fn costarring(&mut self) {}
///     fn liquid(&mut self) {}
/// }
/// # fn main() {}
/// ```
///
/// A state that other code can't take over is not left so by accident:
///
/// ```compile_fail
/// #[derive(Default)]
/// struct Server;
///
/// #[ambrosia::immortal]
/// impl Server {}
/// # fn main() {}
/// ```
///
/// What travels can't be borrowed:
///
/// ```compile_fail
/// #[ambrosia::state]
/// struct Server;
///
/// #[ambrosia::immortal]
/// impl Server {
///     fn receive(&mut self, text: &str) {}
/// }
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn immortal(options: TokenStream, item: TokenStream) -> TokenStream {
    immortal::expand(options.into(), item.into()).into()
}

/// Makes a proxy of a trait that lists what another instance can do. The trait itself is gone; the struct has its name.
///
/// ```
/// #[ambrosia::interface]
/// trait Counter {
///     fn add(n: u64) -> u64;
///     fn note(text: String);
///     #[ambrosia(raw)]
///     fn blob(bytes: &[u8]) -> Vec<u8>;
/// }
///
/// async fn example() -> Result<(), ambrosia::CallError> {
///     let counter = Counter::attach("counter");
///     let total = counter.add(2).await?;                       // a call: await the answer
///     counter.fork().note(format!("{total}"));                 // a fork: no answer
///     let answer: Vec<u8> = counter.blob(b"any bytes").await?;
///     counter.fork().blob(&answer);
///     assert_eq!(counter.name(), "counter");
///     Ok(())
/// }
/// ```
///
/// The proxy is `Copy`, compares by instance, and is encoded as the name of the instance, so it can be an argument:
/// the receiver gets a proxy for the same instance. An argument of type `String` is taken as anything that is
/// `AsRef<str>`, raw bytes as anything that is `AsRef<[u8]>`.
#[proc_macro_attribute]
pub fn interface(options: TokenStream, item: TokenStream) -> TokenStream {
    interface::expand(options.into(), item.into()).into()
}

/// Makes a struct, or an enum, the state of an immortal: a value that an upgrade of the code hands over, as MessagePack with
/// the names of the fields. It derives `Default` and serde's `Serialize` and `Deserialize`, where these are not derived
/// beside it. What it consists of needs serde's as well; this attribute on it serves.
///
/// A field that the old state lacks gets its default, and one that is there no more is dropped. A change of meaning takes a
/// version, and code:
///
/// ```
/// use std::collections::BTreeMap;
///
/// #[ambrosia::state(version = 2, from = CounterV1)]
/// struct Counter {
///     received: BTreeMap<String, u64>,
/// }
///
/// /// What it was before. It may have a `from` itself.
/// #[ambrosia::state]
/// struct CounterV1 {
///     received: u64,
/// }
///
/// impl From<CounterV1> for Counter {
///     fn from(old: CounterV1) -> Self {
///         Counter { received: BTreeMap::from([("before".to_string(), old.received)]) }
///     }
/// }
///
/// #[ambrosia::immortal]
/// impl Counter {
///     fn receive(&mut self, from: String) {
///         *self.received.entry(from).or_default() += 1;
///     }
/// }
/// # fn main() {}
/// ```
///
/// * **`version = N`**: 1 where nothing is said. A state of a version that is not known is refused.
/// * **`from = Old`**: the state that it was before, with a lower version, and `impl From<Old>` for this one.
/// * **`own_default`**: does not derive `Default`, for which there is an `impl`.
///
/// ```compile_fail
/// #[ambrosia::state(version = 1, from = Old)]
/// struct New;
///
/// #[ambrosia::state]
/// struct Old;
///
/// impl From<Old> for New {
///     fn from(_: Old) -> Self { New }
/// }
/// ```
#[proc_macro_attribute]
pub fn state(options: TokenStream, item: TokenStream) -> TokenStream {
    state::expand(options.into(), item.into()).into()
}
