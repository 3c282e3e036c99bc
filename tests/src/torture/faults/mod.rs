//! The faults, one kind a file.

pub(crate) mod kill;
pub(crate) mod restart;
pub(crate) mod stop;
