//! The faults, one kind a file.

pub(crate) mod damage;
pub(crate) mod full;
pub(crate) mod kill;
pub(crate) mod partition;
pub(crate) mod power_cut;
pub(crate) mod proxy;
pub(crate) mod restart;
pub(crate) mod stop;
pub(crate) mod trace;
