//! Fuzzes [`ambrosia_fuzz::relayed`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::relayed::target);
