//! What `wit/immortal.wit` says, in Rust.

#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, reason = "generated")]

use crate::component::Component;

wit_bindgen::generate!({
    path: "../../../wit",
    world: "immortal",
});

export!(Component);
