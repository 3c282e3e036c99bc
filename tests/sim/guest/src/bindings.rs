//! What `wit/immortal.wit` says, in Rust.

#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, reason = "generated")]

use crate::component::Component;

wit_bindgen::generate!({
    path: "../../../wit",
    world: "immortal",
});

export!(Component);

/// What a component imports beside that if it makes promises and looks at what the operator has set.
pub mod beside {
    wit_bindgen::generate!({
        inline: "
            package ambrosia:sim;
            world beside {
                import ambrosia:runtime/promises@0.2.0;
                import ambrosia:runtime/configuration@0.2.0;
            }
        ",
        path: "../../../wit",
        generate_all,
    });
}
