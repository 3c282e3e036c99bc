//! Fuzzes [`ambrosia_fuzz::records`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::records::target);
