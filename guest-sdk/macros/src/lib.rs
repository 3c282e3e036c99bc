//! The attributes of `ambrosia-sdk`. Their documentation is there.
//!
//! **Architecture Invariant:** what is generated names only `::ambrosia` and what the application wrote.

mod attribute;
mod immortal;
mod interface;
mod method_id;
mod method_set;
mod proxy;
mod signature;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Makes the methods of a plain struct the handlers of an immortal. The struct needs a `Default`.
///
/// ```
/// use std::collections::BTreeMap;
///
/// #[derive(Default)]
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
/// * **`#[ambrosia(query)]`** says that a handler with `&self` changes nothing and sends nothing.
/// * **Types** of arguments and results are described to tools, as is the comment before a handler. They are found out
///   from `Deserialize`.
/// * **`DirectoryProxy`** is generated beside it, as by [`interface`](macro@interface): `DirectoryProxy::me()` is this
///   instance.
/// * **`#[ambrosia::immortal(no_exports)]`** leaves out the exports of the component, for an immortal inside a library.
///
/// An async handler can't have `&mut self`, since the state would stay borrowed while others run:
///
/// ```compile_fail
/// #[derive(Default)]
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
/// #[derive(Default)]
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
/// What travels can't be borrowed:
///
/// ```compile_fail
/// #[derive(Default)]
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
