//! The model of the simulator as a component, straight on `wit/immortal.wit`: what differs from the model is then the
//! engine's doing, and not the SDK's.
//!
//! `cargo build --release --target wasm32-wasip2 -p ambrosia-sim-guest` makes
//! `target/wasm32-wasip2/release/model.wasm`.

#[cfg(target_arch = "wasm32")]
mod bindings;
#[cfg(target_arch = "wasm32")]
mod component;
