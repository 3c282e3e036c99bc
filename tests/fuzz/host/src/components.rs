//! Components, as anybody may register them: loaded, asked for their methods, and given a first delivery.
//!
//! What is a component and what is not is up to wasmtime. What must hold is that nothing of it ends the process or takes
//! the machine's memory, that what is refused has a reason, that the same component does the same twice, and that it does
//! the same after a restore.

use std::sync::LazyLock;

use ambrosia_core::{
    Capture, Delivered, Fault, Genesis, Guest, InstanceName, InstanceUuid, Limits, Peers, Random, Timestamp, World,
};
use ambrosia_engine::{Engine, Image, MemoryImage, Module, ModuleError, RestoreError, WasmGuest};
use ambrosia_fuzz::corpus::Seed;
use ambrosia_test_allocations::within;

/// What the compiler needs for a byte of wasm, at most.
const MEMORY_PER_BYTE: usize = 16 << 10;
/// The compiler's own, on all threads; and what a validator makes room for when a section only says that it has as many
/// items as are allowed, a million of 136 bytes. Wasmtime's does, and so does that of the rewriter, one after the other.
const MEMORY_SLACK: usize = (64 << 20) + 136_000_000;

/// Little, so that a component that loops takes no time.
const LIMITS: Limits = Limits { fuel: 100_000, memory_bytes: 4 << 20 };

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().expect("this machine runs guests"));

/// Registers the bytes as a module, and runs what could be registered.
pub fn target(bytes: &[u8]) {
    let engine = &*ENGINE;
    let loaded = within(MEMORY_SLACK + MEMORY_PER_BYTE * bytes.len(), || engine.load(bytes));
    match loaded {
        Ok(module) => check_module(&module),
        Err(error) => check_error(&error),
    }
}

fn check_module(module: &Module) {
    let first = live(module);
    assert_eq!(first, live(module), "equal instances do the same");
    if first.is_ok_and(|(delivered, ..)| delivered.is_ok()) {
        check_restore(module);
    }
}

/// A guest that can be captured is the same after a restore. One that can't has its reasons.
fn check_restore(module: &Module) {
    let genesis = genesis();
    let mut guest = module.instantiate(&genesis).expect("it did before");
    deliver(&mut guest).0.expect("it did before");
    let digest = guest.digest();
    assert_eq!(digest == 0, module.captures().is_err());
    let Ok(Capture { registers, memories }) = guest.capture_all() else { return };
    let hashes = guest.page_hashes();
    let memories = memories.into_iter().zip(hashes);
    let memories = memories.map(|(pages, hashes)| MemoryImage { bytes: pages.bytes, hashes, mapped: None, pages });
    let image = Image { registers, memories: memories.collect() };
    match module.restore(&genesis, image) {
        Ok(mut restored) => {
            assert_eq!(restored.digest(), digest);
            assert_eq!(deliver(&mut restored), deliver(&mut guest), "a restored instance does the same");
        }
        Err(error) => assert!(matches!(error, RestoreError::Load(_) | RestoreError::Refused(_)), "{error}"),
    }
}

/// All that one can see of an instance.
type Life = Result<(Result<(), Fault>, Delivered, World), String>;

fn live(module: &Module) -> Life {
    let mut guest = module.instantiate(&genesis()).map_err(|error| error.to_string())?;
    Ok(deliver(&mut guest))
}

fn deliver(guest: &mut WasmGuest) -> (Result<(), Fault>, Delivered, World) {
    let mut world = World {
        name: name(),
        time: Timestamp(1),
        peers: Peers::default(),
        random: Random::new(1),
        configuration: Default::default(),
    };
    let mut delivered = Delivered::default();
    let result = guest.deliver(b"", &mut world, &mut delivered);
    (result, delivered, world)
}

fn genesis() -> Genesis {
    Genesis { uuid: InstanceUuid([7; 16]), module: [0; 32], seed: 1, limits: LIMITS, name: name() }
}

fn name() -> InstanceName {
    InstanceName::new("server").expect("letters only")
}

fn check_error(error: &ModuleError) {
    assert!(!error.to_string().is_empty());
    let of_running = matches!(error, ModuleError::Instantiate(_) | ModuleError::Describe(_));
    assert!(!of_running, "nothing runs while a component is checked: {error}");
}

/// Four numbers for an operation that may round as the machine likes.
const VECTOR: &str = "(v128.const f32x4 0.1 2.5 1e30 -7)";

/// Components that are refused for one reason each, and immortals with and without a use of the host.
pub fn seeds() -> Vec<Seed> {
    let kit = include_str!("../../../../host/engine/tests/engine/kit.wat");
    let full = kit
        .replace("DELIVER", "(drop (call $random)) (call $answer (local.get $at) (local.get $length))")
        .replace("DESCRIBE", "(i64.store (i32.const 8) (i64.const 0)) (i32.const 8)")
        .replace("MORE", "");
    let immortal =
        |deliver: &str, more: &str| include_str!("small.wat").replace("DELIVER", deliver).replace("MORE", more);
    // A byte at each end of many memories: whoever keeps their first contents as one piece keeps all between.
    let memory = |n: u32| {
        let byte = |at: u32| format!("(data (memory $m{n}) (i32.const {at}) \"x\")");
        format!("(memory $m{n} 256) {} {}", byte(0), byte(16_777_000))
    };
    let memories: String = (0..40).map(memory).collect();
    let nested = |depth: u32| {
        let leaf = "(component $c (core module $m) (core instance (instantiate $m)))".to_owned();
        let twice = "(instance (instantiate $c)) (instance (instantiate $c))";
        (0..depth).fold(leaf, |inner, _| format!("(component $c {inner} {twice})"))
    };
    let counter = "(component $counter (core module $m (memory 1) (global (mut i32) (i32.const 7)))
                     (core instance (instantiate $m)) (core instance (instantiate $m)))";
    let composed = |immortal: &str| {
        let (_comment, inner) = immortal.split_once("(component").expect("it is one");
        let description = inner.split("(core module").next().expect("it imports a type");
        let given = "(with \"ambrosia:runtime/description@0.1.0\" (instance $description))";
        format!(
            "(component {description} {counter} (instance (instantiate $counter)) (component $inner {inner}
               (instance $inner (instantiate $inner {given})) (instance (instantiate $counter))
               (export \"deliver\" (func $inner \"deliver\")) (export \"describe\" (func $inner \"describe\")))"
        )
    };
    let texts = [
        ("seed-composed", composed(&immortal("(i32.const 0)", "(global (mut i64) (i64.const 1))"))),
        ("seed-nested-instances", nested(6)),
        ("bug-sparse-memory-images", format!("(component (core module {memories}))")),
        ("seed-empty", "(component)".to_owned()),
        ("seed-core-module", "(module)".to_owned()),
        ("seed-no-exports", "(component (core module (func unreachable)))".to_owned()),
        (
            "seed-missing-import",
            r#"(component (import "wasi:sockets/tcp@0.2.6" (instance (export "connect" (func)))))"#.to_owned(),
        ),
        ("seed-wrong-version", full.replace("ambrosia:runtime/host@0.1.0", "ambrosia:runtime/host@9.1.0")),
        ("seed-feature-off", "(component (core module (memory i64 1)))".to_owned()),
        ("seed-kit", full),
        ("seed-immortal", immortal("(i32.const 0)", "")),
        ("seed-loops", immortal("(loop (br 0)) (i32.const 0)", "")),
        ("seed-traps-at-the-start", immortal("(i32.const 0)", "(func $start unreachable) (start $start)")),
        ("seed-recursion", immortal("(call $deliver (i32.const 0) (i32.const 0))", "")),
        ("seed-table", immortal("(table.grow (ref.null func) (i32.const 9))", "(table 10 funcref)")),
        ("seed-memory", immortal("(memory.grow (i32.const 9))", "(data (i32.const 9) \"some data\")")),
        ("seed-simd", immortal(&format!("(i32x4.extract_lane 0 (f32x4.relaxed_madd {VECTOR} {VECTOR} {VECTOR}))"), "")),
    ];
    texts.map(|(name, text)| (name.to_owned(), wat::parse_str(&text).expect("the text is valid"))).into()
}
