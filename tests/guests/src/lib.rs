//! Guest programs for tests of the host, one a case: see `examples/`.
//!
//! `cargo build --release --target wasm32-wasip2 -p test-guests --examples` makes
//! `target/wasm32-wasip2/release/examples/<case>.wasm`.
