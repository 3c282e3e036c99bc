//! Fuzzes [`ambrosia_fuzz_host::frames`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz_host::frames::target);
