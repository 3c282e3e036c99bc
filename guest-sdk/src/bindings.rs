//! What `wit/immortal.wit` says, in Rust.

#![allow(unsafe_code, missing_docs, unreachable_pub, clippy::all, reason = "generated")]

wit_bindgen::generate!({
    path: "../wit",
    world: "immortal",
    pub_export_macro: true,
    export_macro_name: "export_component",
    default_bindings_module: "ambrosia::__private::bindings",
});

/// What `interface upgrade` says, which a component exports or not.
pub mod upgradable {
    wit_bindgen::generate!({
        inline: "
            package ambrosia:sdk;
            world upgradable { export ambrosia:runtime/upgrade@0.2.0; }
        ",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_upgrade",
        default_bindings_module: "ambrosia::__private::bindings::upgradable",
    });
}

/// What `interface scheduling` says, which a component exports that has methods which run by themselves.
pub mod scheduled {
    wit_bindgen::generate!({
        inline: "
            package ambrosia:sdk;
            world scheduled { export ambrosia:runtime/scheduling@0.2.0; }
        ",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_scheduling",
        default_bindings_module: "ambrosia::__private::bindings::scheduled",
    });
}

/// What `interface routing` says, which a component exports that has methods which are asked at paths of their own.
pub mod routed {
    wit_bindgen::generate!({
        inline: "
            package ambrosia:sdk;
            world routed { export ambrosia:runtime/routing@0.2.0; }
        ",
        path: "../wit",
        pub_export_macro: true,
        export_macro_name: "export_routing",
        default_bindings_module: "ambrosia::__private::bindings::routed",
    });
}

/// What `interface promises` says, which only a component imports that makes promises.
pub mod promising {
    wit_bindgen::generate!({
        inline: "
            package ambrosia:sdk;
            world promising { import ambrosia:runtime/promises@0.2.0; }
        ",
        path: "../wit",
        generate_all,
    });
}

/// What `interface configuration` says, which only a component imports that looks at it.
pub mod configured {
    wit_bindgen::generate!({
        inline: "
            package ambrosia:sdk;
            world configured { import ambrosia:runtime/configuration@0.2.0; }
        ",
        path: "../wit",
        generate_all,
    });
}
