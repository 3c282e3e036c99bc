//! An engine and a store that are reached through hosts: they pass what all others pass, and what a host has not answered is not known.

mod conformance;
mod faults;
mod support;
