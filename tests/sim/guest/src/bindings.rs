//! What `wit/immortal.wit` says, in Rust.

#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, reason = "generated")]

use crate::component::Component;

wit_bindgen::generate!({
    inline: "
        package ambrosia:sim;
        world model {
            include ambrosia:runtime/immortal@0.2.0;
            import ambrosia:runtime/promises@0.2.0;
            import ambrosia:runtime/configuration@0.2.0;
        }
    ",
    path: "../../../wit",
    world: "ambrosia:sim/model",
});

export!(Component);
