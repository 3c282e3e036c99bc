//! The deterministic configuration of wasmtime, built in one place, and the hash that names it.
//!
//! **Architecture Invariant:** no other file calls a method of [`Config`] except `cpu.rs`, which this one calls, and
//! no setting that a guest could notice depends on the machine, the environment or a feature flag.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use ambrosia_core::limits;
use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails, WasmFeatures};

use crate::{cpu, memories::Memories, memory, threads, wasi};

/// Stack that wasm code may use, counted from where the guest is entered.
const WASM_STACK_BYTES: usize = 1 << 20;

/// What host functions and the caller of the guest need beside it.
const HOST_STACK_BYTES: usize = 1 << 20;

/// Least stack of a thread that calls a guest; the default of `std::thread` is as much.
pub const THREAD_STACK_BYTES_MIN: usize = WASM_STACK_BYTES + HOST_STACK_BYTES;

/// Stack that wasm code may use where it is not optimised: its frames are several times as large then.
const NATIVE_WASM_STACK_BYTES: usize = 16 << 20;

/// Least stack of a thread that calls a guest of [`Engine::native`](crate::Engine::native).
pub const NATIVE_THREAD_STACK_BYTES_MIN: usize = NATIVE_WASM_STACK_BYTES + HOST_STACK_BYTES;

/// Address space set aside for each linear memory: all that 32 bits can address.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Inaccessible bytes after each linear memory, so that a bounds check costs nothing.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;

/// Raised whenever a guest could tell the difference and nothing hashed below does, and with each change of what is added
/// to components, since compiled ones are found by it.
const GUEST_VISIBLE_VERSION: u32 = 3;

const _: () = assert!(THREAD_STACK_BYTES_MIN <= 2 << 20);

/// The configuration under which every replica runs its guest.
pub(crate) fn deterministic() -> Result<Config, wasmtime::Error> {
    let mut config = Config::new();
    // The same machine code on every machine of one architecture, whatever its CPU could do beyond.
    cpu::pin(&mut config)?;
    // Async components are not supported; without their bookkeeping a call costs half.
    config.concurrency_support(false);
    // Which of the many NaNs an operation gives depends on the CPU.
    config.cranelift_nan_canonicalization(true);
    // Relaxed SIMD may round as the CPU likes; this makes it choose one way.
    config.wasm_relaxed_simd(true).relaxed_simd_deterministic(true);
    // Bounds a handler that loops by counting what it does; an epoch would count time.
    config.consume_fuel(true).epoch_interruption(false);
    // Running out of stack is an outcome, so the room must be equal.
    config.max_wasm_stack(WASM_STACK_BYTES);
    // Growing a memory must never fail for want of address space or by having to move.
    config.memory_reservation(MEMORY_RESERVATION_BYTES).memory_reservation_for_growth(0);
    config.memory_guard_size(MEMORY_GUARD_BYTES).memory_may_move(false);
    // Memories are ours, so that they can be captured; wasmtime can't map its images of first contents into them.
    config.with_host_memory(Arc::new(Memories)).memory_init_cow(false);
    // Compiled code, and with it the depth of the stack, depends on these.
    config.cranelift_opt_level(OptLevel::Speed).signals_based_traps(true);
    // Names of functions are enough; source lines would show paths of the machine that built the guest.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    // Who compiles, not what comes of it.
    config.parallel_compilation(threads::can_be_had(threads::of_the_compiler()));
    // Threads race. The rest hides state from checkpoints, or is not finished in this version of wasmtime.
    config.wasm_features(features_off(), false).shared_memory(false);
    Ok(config)
}

/// The same, for somebody who looks at one guest with a debugger of the machine: its code comes with debug information, and is
/// as it was written, line by line. A guest can't tell, unless it runs out of stack; the hash is another.
pub(crate) fn native() -> Result<Config, wasmtime::Error> {
    let mut config = deterministic()?;
    config.debug_info(true).cranelift_opt_level(OptLevel::None);
    // A stack of wasm has to fit those of fibers, though there are none.
    config.async_stack_size(NATIVE_THREAD_STACK_BYTES_MIN).max_wasm_stack(NATIVE_WASM_STACK_BYTES);
    Ok(config)
}

/// The same, compiled otherwise: for whoever has to see what happens where replicas have different engines. A guest can't tell,
/// unless it runs out of stack; the hash is another.
pub(crate) fn unoptimised() -> Result<Config, wasmtime::Error> {
    let mut config = deterministic()?;
    config.cranelift_opt_level(OptLevel::None);
    Ok(config)
}

fn features_off() -> WasmFeatures {
    WasmFeatures::THREADS
        | WasmFeatures::SHARED_EVERYTHING_THREADS
        | WasmFeatures::MEMORY64
        | WasmFeatures::GC
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::LEGACY_EXCEPTIONS
        | WasmFeatures::STACK_SWITCHING
        | WasmFeatures::CUSTOM_PAGE_SIZES
        | WasmFeatures::WIDE_ARITHMETIC
        | WasmFeatures::CM_ASYNC
        | WasmFeatures::CM_ASYNC_STACKFUL
        | WasmFeatures::CM_MORE_ASYNC_BUILTINS
        | WasmFeatures::CM_THREADING
        | WasmFeatures::CM_ERROR_CONTEXT
        | WasmFeatures::CM_GC
        | WasmFeatures::CM_MAP
        | WasmFeatures::CM64
        | WasmFeatures::CM_FIXED_LENGTH_LISTS
        | WasmFeatures::CM_IMPLEMENTS
}

/// SHA-256 over all that decides what a guest does with the same messages.
///
/// Wasmtime's own hash covers its version, the target, the flags of the compiler and the features of wasm; the
/// numbers are what it leaves out.
pub(crate) fn hash(engine: &Engine) -> [u8; 32] {
    let mut hasher = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let numbers = [
        u64::from(GUEST_VISIBLE_VERSION),
        WASM_STACK_BYTES as u64,
        memory::TABLE_ELEMENTS_MAX as u64,
        wasi::RANDOM_BYTES_MAX,
        limits::PRINTS_BYTES_MAX as u64,
        limits::EFFECTS_BYTES_MAX as u64,
        u64::from(limits::PEERS_MAX),
    ];
    for number in numbers {
        hasher.0.update(number.to_le_bytes());
    }
    hasher.0.finalize().into()
}

/// Feeds what is hashed to SHA-256; the 64 bits that a [`Hasher`] gives would be too few.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is taken from the field")
    }
}
