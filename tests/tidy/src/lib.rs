//! Reads the sources as far as it takes to say whether what a document names is there.
//!
//! **Architecture Invariant:** it depends on no other crate and compiles nothing, so it says what is written, not what is
//! meant: two things of one name are one to it.

mod index;
mod spans;
mod tokens;
mod tree;

pub use index::Index;
pub use spans::{Span, of_comments, of_markdown};
pub use tree::{Source, Tree};
