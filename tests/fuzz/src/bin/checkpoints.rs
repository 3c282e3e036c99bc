//! Fuzzes [`ambrosia_fuzz::checkpoints`].

#![cfg_attr(feature = "libfuzzer", no_main)]

ambrosia_fuzz::fuzz!(ambrosia_fuzz::checkpoints::target);
