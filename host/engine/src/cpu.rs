//! Which CPU the compiled code is for.
//!
//! Wasmtime compiles for the CPU it finds. How deep a guest's stack reaches would then differ from machine to
//! machine, and replicas could not share a log. Naming the target switches that off.
//!
//! **Architecture Invariant:** the features of the CPU at hand are never asked for here.
#![allow(unsafe_code, reason = "wasmtime asks for it where flags of Cranelift are set")]

use wasmtime::Config;

/// x86-64-v2: what every x86-64 since 2009 has. SIMD and rounding are slow without.
#[cfg(target_arch = "x86_64")]
const FEATURES: &[&str] = &["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];

/// The base of other architectures has all that matters.
#[cfg(not(target_arch = "x86_64"))]
const FEATURES: &[&str] = &[];

/// Compiles for this architecture with a fixed set of features.
pub(crate) fn pin(config: &mut Config) -> Result<(), wasmtime::Error> {
    config.target(&target_lexicon::HOST.to_string())?;
    for feature in FEATURES {
        // SAFETY: wasmtime refuses to load code for features that the CPU at hand lacks, and these flags only
        // choose instructions.
        unsafe { config.cranelift_flag_enable(feature) };
    }
    Ok(())
}
