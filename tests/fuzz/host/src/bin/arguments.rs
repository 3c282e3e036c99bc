//! Fuzzes [`ambrosia_fuzz_host::arguments`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz_host::arguments::target);
