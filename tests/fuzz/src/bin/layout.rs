//! Fuzzes [`ambrosia_fuzz::layout`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::layout::target);
