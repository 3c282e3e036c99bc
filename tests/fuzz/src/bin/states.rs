//! Fuzzes [`ambrosia_fuzz::states`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::states::target);
