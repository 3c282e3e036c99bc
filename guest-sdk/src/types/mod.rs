//! The types of arguments and results as text (`wit/TYPES.md`), found out from how they are decoded.
//!
//! A type says what it is made of while it is decoded: its `Deserialize` asks for a struct with these fields, a list, a
//! number. So it is decoded from nothing, and what it asks for is noted. That needs no attribute on a type, knows what serde's
//! attributes make of it, and works for types of other crates. Each try follows one path down to a part that is not known yet
//! and ends there with an error, so that no value is ever made of the type itself, nor checked.
//!
//! What depends on the value that comes (untagged and internally tagged enums, flattened fields) is `any`.
//!
//! **Architecture Invariant:** nothing is described that was not asked for, and what can't be told is `any`, never a guess.

#[cfg(test)]
mod golden;
mod node;
mod text;
mod tracer;

use std::cell::Cell;

use serde::de::DeserializeOwned;

use self::{node::Node, tracer::trace};

/// Parts of a type that are looked at; what is beyond is `any`.
const TRIES_MAX: usize = 4096;

/// Longest text of a type; a longer one is `any`.
const TEXT_BYTES_MAX: usize = 32 << 10;

thread_local! {
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// The text of the type of an argument or result.
#[derive(Clone, Copy)]
pub struct TypeOf(fn() -> String);

impl TypeOf {
    /// That of `T`.
    #[must_use]
    pub const fn of<T: DeserializeOwned>() -> Self {
        TypeOf(type_of::<T>)
    }

    /// That of raw bytes.
    #[must_use]
    pub const fn bytes() -> Self {
        TypeOf(|| "list<u8>".to_string())
    }

    /// That of nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        TypeOf(|| "_".to_string())
    }

    /// Finds it out.
    #[must_use]
    pub fn text(self) -> String {
        (self.0)()
    }
}

impl std::fmt::Debug for TypeOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text())
    }
}

/// Whether values are decoded just now that nobody gets: they must have no effect.
pub(crate) fn is_tracing() -> bool {
    TRACING.get()
}

fn type_of<T: DeserializeOwned>() -> String {
    let root = Node::unknown();
    TRACING.set(true);
    for _ in 0..TRIES_MAX {
        if root.is_done() {
            break;
        }
        trace::<T>(&root);
    }
    TRACING.set(false);
    let text = text::of(&root);
    if text.len() > TEXT_BYTES_MAX { "any".to_string() } else { text }
}

#[cfg(test)]
mod tests;
