//! Fuzzes [`ambrosia_fuzz::replica`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::replica::target);
