//! Fuzz targets: functions that take any bytes, and must neither panic nor use more memory than the bytes justify.
//!
//! Each target is a function in a module of its own, which also lists the seeds of its corpus. It is called in three
//! ways: by `make test` for each file of `corpus/`, by `make fuzz` through libFuzzer, and, where that can't be built,
//! through [`mutation`]. A target checks more than that nothing breaks: what is read is written again and compared, and
//! two ways to the same result must agree.
//!
//! **Architecture Invariant:** what a target does depends on its bytes alone, so that every find can be repeated.

pub mod checkpoints;
pub mod choices;
pub mod corpus;
pub mod layout;
pub mod member;
pub mod mutation;
pub mod records;
pub mod relayed;
pub mod segments;
pub mod states;

/// The program that fuzzes one target: libFuzzer's. Who uses it depends on `libfuzzer-sys`, as its macro wants.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! fuzz {
    ($target:path) => {
        ::libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $target(bytes));
    };
}

/// The program that fuzzes one target: [`mutation::main`].
#[cfg(not(feature = "libfuzzer"))]
#[macro_export]
macro_rules! fuzz {
    ($target:path) => {
        fn main() -> std::process::ExitCode {
            $crate::mutation::main($target)
        }
    };
}
