//! The real executable, from outside.
