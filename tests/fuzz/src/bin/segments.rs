//! Fuzzes [`ambrosia_fuzz::segments`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::segments::target);
