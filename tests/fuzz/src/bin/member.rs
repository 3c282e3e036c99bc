//! Fuzzes [`ambrosia_fuzz::member`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::member::target);
