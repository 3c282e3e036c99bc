//! What the macro implements, and how handlers reach the state.

use std::{cell::RefCell, fmt};

use crate::{State, request::Request, runtime, types::TypeOf};

/// An application. [`#[ambrosia::immortal]`](macro@crate::immortal) implements it.
pub trait Immortal: Default + Sized + 'static {
    /// The methods that messages can name.
    const METHODS: &'static [Method];

    /// Sends messages to an instance of this application: it has a method for each handler.
    type Proxy: From<crate::Peer> + Copy;

    /// Handles one fork, call or impulse.
    #[doc(hidden)]
    fn dispatch(this: &This<Self>, request: Request<'_>);

    /// Handles the first message of the instance's life.
    #[doc(hidden)]
    fn start(_this: &This<Self>) {}

    /// Handles that a replica became primary.
    #[doc(hidden)]
    fn primary(_this: &This<Self>) {}

    /// Whether its code can be upgraded, so that the messages of handlers that wait are kept.
    #[doc(hidden)]
    const UPGRADES: bool = false;

    /// Handles that this code has taken over from another one.
    #[doc(hidden)]
    fn upgraded(_this: &This<Self>) {}

    /// The hooks that [`Immortal::restart_hook`] begins again.
    #[doc(hidden)]
    const RESTARTING_HOOKS: &'static [&'static str] = &[];

    /// Begins a hook again that was waiting in the code before.
    #[doc(hidden)]
    fn restart_hook(_this: &This<Self>, _name: &str) {}
}

/// Makes the compiler see that an immortal is used.
#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub fn keep<S: Immortal>() {
    let _ = (S::default, S::dispatch, S::start, S::primary, S::upgraded);
}

/// Makes the compiler see that an immortal has a state that an upgrade can hand over.
#[doc(hidden)]
pub const fn check_state<S: State>() {}

/// What it means to run a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MethodKind {
    /// It may change the state.
    Update,
    /// It changes nothing and sends nothing: it has `&self` and gives something back, or is marked `#[ambrosia(query)]`.
    Query,
    /// Takes and gives bytes instead of MessagePack: `#[ambrosia(raw)]`.
    Raw,
}

/// One argument of a method, as tools see it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// As in the source.
    pub name: &'static str,
    /// What it takes.
    pub ty: TypeOf,
}

/// One method of an immortal, as tools see it.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// The published hash of the name: [`method_id`].
    pub id: u32,
    /// The name that messages carry the hash of.
    pub name: &'static str,
    /// What it means to run it.
    pub kind: MethodKind,
    /// Its arguments, in order.
    pub arguments: &'static [Argument],
    /// What it gives back.
    pub result: TypeOf,
    /// Its documentation.
    pub docs: &'static str,
    /// Whether a handler of it that waits begins again when this code takes over from another one.
    pub restarts: bool,
    /// Names that it had before, which messages may still carry the hash of.
    pub formerly: &'static [&'static str],
    /// When it runs by itself, if it does.
    pub schedule: Option<Schedule>,
    /// Where it is asked over HTTP, beside its name.
    pub routes: &'static [Route],
}

/// Where a method is asked over HTTP: `#[ambrosia(get = "/counters/{name}")]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// By which method of HTTP.
    pub verb: Verb,
    /// Below what leads to the instance; `{name}` stands for the argument of that name.
    pub path: &'static str,
}

/// A method of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Of queries alone.
    Get,
    /// As all further ones, of methods that are no queries.
    Post,
    /// See [`Verb::Post`].
    Put,
    /// See [`Verb::Post`].
    Patch,
    /// See [`Verb::Post`].
    Delete,
}

/// When a method runs by itself: `#[ambrosia(cron = "…")]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Minute, hour, day of the month, month and day of the week; six fields begin with the second.
    pub cron: &'static str,
    /// The time zone in which that is meant, by its IANA name; empty for UTC.
    pub zone: &'static str,
    /// What becomes of times at which nobody ran the instance.
    pub missed: Missed,
}

/// What becomes of times at which nobody ran the instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// The method runs once for all of them.
    One,
    /// It runs for each, for the newest hundred at most.
    All,
    /// It does not run for them.
    None,
}

impl Method {
    /// Whether a message that names `id` is for this method.
    pub(crate) fn answers_to(&self, id: u32) -> bool {
        self.id == id || self.formerly.iter().any(|name| method_id(name) == id)
    }
}

/// The id of the method `name`: FNV-1a with 32 bits over its UTF-8 bytes.
///
/// ```
/// assert_eq!(ambrosia::method_id("foobar"), 0xbf9c_f968);
/// ```
pub const fn method_id(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let mut hash = 0x811c_9dc5_u32;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// The immortal, as an async handler has it: the state is borrowed for a moment only, never across an await.
///
/// ```
/// # #[ambrosia::interface] trait Bank { fn withdraw(amount: u64) -> bool; }
/// #[ambrosia::state]
/// struct Till { cash: u64 }
///
/// #[ambrosia::immortal]
/// impl Till {
///     async fn fetch(this: ambrosia::This<Self>, bank: Bank, amount: u64) -> u64 {
///         if bank.withdraw(amount).await == Ok(true) {
///             this.with(|till| till.cash += amount);
///         }
///         this.with(|till| till.cash)
///     }
/// }
/// # fn main() {}
/// ```
///
/// What is borrowed from the state can't leave the closure:
///
/// ```compile_fail
/// # struct Till { cash: Vec<u64> }
/// async fn peek(this: ambrosia::This<Till>) {
///     let first = this.with(|till| &till.cash[0]);
/// }
/// ```
///
/// It is `Copy`: pass it on, and move it into futures, as it is.
pub struct This<S: 'static>(pub(crate) Kept<S>);

/// Where the state lies: a place that lasts as long as the program, so that whoever has it need not be counted.
pub(crate) type Kept<S> = &'static RefCell<Place<S>>;

/// What is kept there. A component has its state for all its life, and looks at nothing before each use: what a compiler makes
/// of that would also hide where a handler traps.
#[cfg(target_arch = "wasm32")]
pub(crate) type Place<S> = S;

/// The same in a test, where a harness can be gone before what it has given out.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type Place<S> = Option<S>;

#[cfg(target_arch = "wasm32")]
pub(crate) fn place_of<S>(state: S) -> Place<S> {
    state
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn place_of<S>(state: S) -> Place<S> {
    Some(state)
}

#[cfg(target_arch = "wasm32")]
#[inline]
fn state_in<S>(place: &mut Place<S>) -> &mut S {
    place
}

#[cfg(not(target_arch = "wasm32"))]
#[track_caller]
fn state_in<S>(place: &mut Place<S>) -> &mut S {
    place.as_mut().unwrap_or_else(|| state_is_gone())
}

impl<S> This<S> {
    /// Lets `change` work on the state.
    ///
    /// Panics inside another `with`, or inside a handler with `&mut self`: those hold the state already.
    #[inline]
    #[track_caller]
    pub fn with<R>(&self, change: impl FnOnce(&mut S) -> R) -> R {
        let mut state = self.0.try_borrow_mut().unwrap_or_else(|_| state_in_use());
        change(state_in(&mut state))
    }
}

impl<S: Immortal> This<S> {
    /// The immortal that is running, for futures spawned by a handler with `&mut self`.
    ///
    /// Panics if the immortal is of another type.
    pub fn current() -> Self {
        runtime::with(|runtime| runtime.this())
    }
}

#[cold]
#[track_caller]
fn state_in_use() -> ! {
    panic!("the state is in use: `with` was called inside `with`, or inside a handler with `&mut self`")
}

#[cold]
#[cfg(not(target_arch = "wasm32"))]
#[track_caller]
fn state_is_gone() -> ! {
    panic!("the harness of this instance is gone, and its state with it")
}

impl<S> Clone for This<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for This<S> {}

impl<S: fmt::Debug> fmt::Debug for This<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("This").field(&self.0).finish()
    }
}
