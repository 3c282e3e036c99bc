//! Guests in Rust, captured and put back without knowing of it.

use std::path::Path;

use ambrosia_core::{
    Capture, Delivered, Genesis, Guest, InstanceName, InstanceUuid, Limits, MemoryCapture, Message, MessageKind,
    MethodId, PeerIndex, Peers, Random, Seq, Timestamp, World, begin_run, finish_run, limits, push_message,
};
use ambrosia_engine::{Engine, Image, MemoryImage, Module, WasmGuest};

use crate::{other_languages, support::cluster};

/// `["hi"]` in MessagePack.
const HI: &[u8] = b"\x91\xa2hi";

fn module(guest: &str) -> Module {
    load(&cluster().guest(guest))
}

fn load(file: &Path) -> Module {
    let bytes = std::fs::read(file).expect("`make guests` has built it, or it is committed");
    let engine = Engine::new().expect("this machine runs guests");
    engine.load(&bytes).expect("the guest is an immortal")
}

fn name() -> InstanceName {
    InstanceName::new("captured").expect("a plain name")
}

fn genesis() -> Genesis {
    let limits = Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
    Genesis { uuid: InstanceUuid([1; 16]), module: [1; 32], seed: 1, limits, name: name() }
}

/// A run of the outside world with one message.
fn runs(kind: MessageKind, method: &str, arguments: &[u8]) -> Vec<u8> {
    let method = if method.is_empty() { MethodId::default() } else { MethodId::of(method) };
    let mut runs = Vec::new();
    let run = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
    push_message(&mut runs, Message { kind, method, call_id: Default::default(), arguments });
    finish_run(&mut runs, run, 1);
    runs
}

fn deliver(guest: &mut WasmGuest, world: &mut World, runs: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    guest.deliver(runs, world, &mut delivered).expect("the guest has no fault");
    delivered
}

fn image(Capture { registers, memories }: Capture, hashes: Vec<Vec<u64>>) -> Image {
    let memory = |(pages, hashes): (MemoryCapture, _)| {
        let bytes = pages.bytes;
        MemoryImage { bytes, hashes, mapped: None, pages }
    };
    Image { registers, memories: memories.into_iter().zip(hashes).map(memory).collect() }
}

#[test]
fn every_guest_that_we_build_can_be_captured() {
    for guest in ["server", "client1", "counter", "printer", "deterministic", "bank", "ticker", "job", "model"] {
        assert_eq!(module(guest).captures(), Ok(()), "{guest}");
    }
}

#[test]
fn a_guest_that_has_printed_and_kept_something_goes_on_after_a_restore() {
    check_printer(&module("printer"));
}

/// The same guest as the libraries of rustup and of Debian make it, whichever of the two is in use here.
#[test]
fn a_guest_built_with_either_standard_library_goes_on_after_a_restore() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for library in ["rustup", "debian"] {
        check_printer(&load(&fixtures.join(format!("printer-{library}.wasm"))));
    }
}

fn check_printer(printer: &Module) {
    let methods = ["say", "complain", "mutter", "say"];
    let impulses: Vec<_> = methods.into_iter().map(|method| runs(MessageKind::Impulse, method, HI)).collect();
    check_restores(printer, &impulses, 5);
}

#[test]
fn each_guest_of_hello_world_goes_on_after_a_restore() {
    check_restores(&module("server"), &vec![runs(MessageKind::Impulse, "receive_message", HI); 3], 3);
    check_restores(&module("client2"), &vec![runs(MessageKind::Impulse, "receive_keyboard_input", HI); 3], 0);
    for client in ["client1", "client3"] {
        check_restores(&module(client), &[], 0);
    }
}

/// Starts the guest, gives it the impulses, and captures it before each delivery: whatever was captured goes on as the
/// guest itself does, through all deliveries that are left and all impulses once more, which print `prints` times at
/// least.
fn check_restores(module: &Module, impulses: &[Vec<u8>], prints: usize) {
    let start = [runs(MessageKind::Start, "", b""), runs(MessageKind::Primary, "", b"")];
    let deliveries: Vec<_> = start.iter().chain(impulses).collect();
    for captured_after in 0..=deliveries.len() {
        let mut world = World {
            name: name(),
            time: Timestamp(1),
            peers: Peers::default(),
            random: Random::new(1),
            configuration: Default::default(),
        };
        let mut guest = module.instantiate(&genesis()).expect("it starts");
        for runs in &deliveries[..captured_after] {
            deliver(&mut guest, &mut world, runs);
        }
        let capture = guest.capture_all().expect("it can be captured");
        let image = image(capture, guest.page_hashes());
        let mut restored = module.restore(&genesis(), image).expect("the image is whole");
        let mut printed = 0;
        for runs in deliveries[captured_after..].iter().copied().chain(impulses) {
            let delivered = deliver(&mut guest, &mut world.clone(), runs);
            assert_eq!(delivered, deliver(&mut restored, &mut world, runs));
            assert_eq!(guest.digest(), restored.digest());
            assert_eq!(guest.fuel_used(), restored.fuel_used());
            printed += delivered.prints.len();
        }
        assert!(printed >= prints, "{printed} prints");
    }
}

/// What each of the other toolchains makes, with all that its runtime keeps in memories, globals and tables of handles.
#[test]
fn each_guest_in_another_language_goes_on_after_a_restore() {
    for guest in [Some(other_languages::javascript()), Some(other_languages::c()), other_languages::python()] {
        let Some(guest) = guest else { continue };
        let module = load(&guest);
        assert_eq!(module.captures(), Ok(()), "{}", guest.display());
        let impulses = [
            runs(MessageKind::Impulse, "add", b"\x91\x05"),
            runs(MessageKind::Impulse, "note", HI),
            runs(MessageKind::Impulse, "luck", b"\x90"),
            runs(MessageKind::Impulse, "add", HI),
        ];
        check_restores(&module, &impulses, 2);
    }
}
