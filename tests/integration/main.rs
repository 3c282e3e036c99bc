//! The real executable, from outside; and the real guest engine inside the simulator.

mod bad_input;
mod bad_store;
mod captures;
mod checkpoints;
mod clock;
mod command_line;
mod determinism;
mod guest_faults;
mod kill_restart;
mod looking;
mod messages;
mod messages_to_nobody;
mod namespaces;
mod original;
mod paused;
mod replicas;
mod requests;
mod simulated;
mod stdin;
mod store_replaced;
mod support;
mod torture;
mod values;
mod waits;
mod walkthrough;
mod wire;
