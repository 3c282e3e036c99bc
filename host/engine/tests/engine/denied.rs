//! What is there, and of no use: a guest that asks for it is told so, and goes on.

use ambrosia_engine::ModuleError;

use crate::{
    ENGINE, Run,
    capturing::all,
    genesis,
    guests::{ECHO, Wat},
    kept::ENGINES,
    module,
};

/// Asks for a network and keeps its handle in place 64, asks for a socket and keeps the answer from 72 on, and answers with
/// all that. With any runs it drops the network again.
const ASKS: &str = "
    (i32.store (i32.const 64) (call $network))
    (call $create-socket (i32.const 0) (i32.const 72))
    (if (local.get $length) (then (call $drop-network (i32.load (i32.const 64)))))
    (call $answer (i32.const 64) (i32.const 16))";

const NETWORK: &str = r#"
    (import "wasi:sockets/network@0.2.6" (instance $sockets
      (export "network" (type $network (sub resource)))
      (type $code' (enum "unknown" "access-denied" "not-supported")) (export "error-code" (type $code (eq $code')))))
    (alias export $sockets "network" (type $network)) (alias export $sockets "error-code" (type $code))
    (import "wasi:sockets/instance-network@0.2.6" (instance $default
      (alias outer 1 $network (type $outer-network)) (export "network" (type $network (eq $outer-network)))
      (export "instance-network" (func (result (own $network))))))
    (import "wasi:sockets/tcp@0.2.6" (instance $tcp
      (export "tcp-socket" (type $socket (sub resource)))
      (export "[method]tcp-socket.is-listening" (func (param "self" (borrow $socket)) (result bool)))))
    (alias export $tcp "tcp-socket" (type $socket))
    (import "wasi:sockets/tcp-create-socket@0.2.6" (instance $create
      (alias outer 1 $socket (type $outer-socket)) (export "tcp-socket" (type $socket (eq $outer-socket)))
      (alias outer 1 $code (type $outer-code)) (export "error-code" (type $code (eq $outer-code)))
      (type $family' (enum "ipv4" "ipv6")) (export "ip-address-family" (type $family (eq $family')))
      (export "create-tcp-socket"
        (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))
    (core func $network (canon lower (func $default "instance-network")))
    (core func $drop-network (canon resource.drop $network))
    (core module $libc"#;

fn asks() -> Wat {
    Wat::deliver(ASKS)
        .change("(core module $libc", NETWORK)
        .change(
            r#"(core module $main"#,
            r#"(core func $create-socket (canon lower (func $create "create-tcp-socket") (memory $memory)))
               (core module $main"#,
        )
        .change(
            r#"(import "host" "directories""#,
            r#"(import "host" "network" (func $network (result i32)))
               (import "host" "drop-network" (func $drop-network (param i32)))
               (import "host" "create-socket" (func $create-socket (param i32 i32))) (import "host" "directories""#,
        )
        .change(
            r#"(export "directories""#,
            r#"(export "network" (func $network)) (export "drop-network" (func $drop-network))
               (export "create-socket" (func $create-socket)) (export "directories""#,
        )
}

/// A handle, then a result that is an error, and its case, which is `access-denied`.
fn denied(handle: u8) -> Vec<u8> {
    let mut answer = vec![0; 16];
    [answer[0], answer[8], answer[12]] = [handle, 1, 1];
    answer
}

#[test]
fn a_socket_is_denied_and_the_network_is_a_handle_like_others() {
    for engine in &*ENGINES {
        let module = engine.load(&asks().bytes()).expect("an immortal");
        assert_eq!(module.captures(), Ok(()));
        let mut run = Run::of(module.instantiate(&genesis(1)).expect("it starts"));
        assert_eq!(run.deliver(b""), Ok(denied(1)));
        assert_eq!(run.deliver(b"drop"), Ok(denied(2)));
        assert_eq!(run.deliver(b""), Ok(denied(2)));
        let kept = all(&mut run.guest);
        let mut restored = Run::of(module.restore(&genesis(1), kept.image()).expect("the image is whole"));
        assert_eq!(run.deliver(b""), Ok(denied(3)));
        assert_eq!(restored.deliver(b""), Ok(denied(3)));
        assert_eq!(run.guest.digest(), restored.guest.digest());
    }
}

#[test]
fn what_is_denied_is_told_by_its_name_before_anything_is_compiled() {
    let expected = [
        ("wasi:sockets/instance-network@0.2.6", "instance-network"),
        ("wasi:sockets/tcp@0.2.6", "[method]tcp-socket.is-listening"),
        ("wasi:sockets/tcp-create-socket@0.2.6", "create-tcp-socket"),
    ];
    let expected = expected.map(|(interface, function)| (interface.to_owned(), vec![function.to_owned()]));
    assert_eq!(ENGINE.denied(&asks().bytes()), expected);
    assert_eq!(ENGINE.denied(&Wat::deliver(ECHO).bytes()), []);
}

#[test]
fn a_component_that_could_open_files_is_told_and_starts() {
    let opens = Wat::deliver(ECHO).change("[method]descriptor.get-flags", "[method]descriptor.open-at");
    let function = "[method]descriptor.open-at".to_owned();
    assert_eq!(ENGINE.denied(&opens.bytes()), [("wasi:filesystem/types@0.2.6".to_owned(), vec![function])]);
    assert_eq!(module(&opens).captures(), Ok(()));
}

#[test]
fn components_for_wasi_3_are_told_how_to_be_built() {
    let later = r#"(import "wasi:cli/exit@0.3.0" (instance (export "exit" (func (param "status" (result))))))
                   (import "wasi:cli/exit@0.2.6""#;
    let imports = Wat::deliver(ECHO).change(r#"(import "wasi:cli/exit@0.2.6""#, later);
    let has_tasks =
        Wat::deliver(ECHO).change("(core module $libc", "(core func (canon task.cancel)) (core module $libc");
    for (wat, sign) in [(imports, "it imports wasi:cli/exit@0.3.0"), (has_tasks, "it has async functions")] {
        let error = ENGINE.load(&wat.bytes()).err().expect("it can't run here");
        assert!(matches!(error, ModuleError::Wasi3 { .. }), "{error}");
        assert!(error.to_string().contains(sign) && error.to_string().contains("wasm32-wasip2"), "{error}");
    }
}
