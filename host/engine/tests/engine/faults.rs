//! What ends a guest, and what a person reads of it.

use crate::{LIMITS, Run, fault, genesis, guests::Wat, module};
use ambrosia_engine::ModuleError;

fn reason(body: &str) -> String {
    fault(body).reason
}

#[test]
fn a_trap_says_which_and_where() {
    let body = "(call $outer) ";
    let wat = Wat::silent(body).more(
        "(func $_ZN6ledger4bank7deposit17h0123456789abcdefE (drop (i32.div_u (i32.const 1) (i32.const 0))))
         (func $outer (call $_ZN6ledger4bank7deposit17h0123456789abcdefE))",
    );
    let fault = Run::new(&wat).deliver(b"").expect_err("a division by zero");
    assert_eq!(fault.reason, "the guest trapped: integer divide by zero");
    let frames: Vec<&str> = fault.backtrace.lines().map(|line| line.rsplit_once('!').expect("a name").1).collect();
    assert_eq!(frames[..2], ["ledger::bank::deposit", "outer"]);
    assert!(!fault.backtrace.contains('/'), "no path of this machine: {}", fault.backtrace);
}

#[test]
fn an_abort_is_told_from_a_panic() {
    assert_eq!(reason("(unreachable)"), "the guest aborted");
    let panic = r#"(data (i32.const 16) "\nthread 'main' panicked at src/lib.rs:1:2:\nno such account\n")"#;
    let body = "(call $print (call $stderr) (i32.const 16) (i32.const 58)) (unreachable)";
    let fault = Run::new(&Wat::silent(body).more(panic)).deliver(b"").expect_err("it panics");
    assert_eq!(fault.reason, "the guest panicked at src/lib.rs:1:2: no such account");
}

#[test]
fn a_loop_runs_out_of_fuel() {
    let reason = reason("(loop $again (br $again))");
    assert!(reason.starts_with("ran out of fuel: a handler loops too long"), "{reason}");
    assert!(reason.contains(&LIMITS.fuel.to_string()), "{reason}");
}

#[test]
fn endless_recursion_exhausts_the_stack() {
    let wat = Wat::silent("(call $down)").more("(func $down (call $down) (call $down))");
    let mut genesis = genesis(1);
    genesis.limits.fuel = u64::MAX;
    let fault = Run::with(&wat, &genesis).deliver(b"").expect_err("no stack is endless");
    assert_eq!(fault.reason, "the guest's stack is exhausted: a function calls itself too deep");
}

#[test]
fn memory_grows_up_to_the_limit() {
    let grow = |pages: u32| format!("(memory.grow (i32.const {pages}))");
    let body = format!(
        "(i32.store (i32.const 16) {}) (i32.store (i32.const 20) {}) (i32.store (i32.const 24) {})
         (i32.store (i32.const 28) {}) (call $answer (i32.const 16) (i32.const 16))",
        grow(16),
        grow(15),
        grow(1),
        grow(70_000)
    );
    let mut run = Run::new(&Wat::deliver(&body));
    let answers = run.deliver(b"").expect("a refusal is an answer");
    let answers: Vec<i32> = answers.chunks(4).map(|n| i32::from_le_bytes(n.try_into().expect("four"))).collect();
    assert_eq!(answers, [-1, 1, -1, -1]);
    assert_eq!(run.guest.memory_bytes(), LIMITS.memory_bytes);
}

#[test]
fn growth_beyond_what_wasm_can_address_is_refused_and_no_more() {
    let mut genesis = genesis(1);
    genesis.limits.memory_bytes = u64::MAX;
    let body = "(if (i32.ne (memory.grow (i32.const 65536)) (i32.const -1)) (then (unreachable)))";
    Run::with(&Wat::silent(body), &genesis).deliver(b"").expect("a refusal is an answer");
}

#[test]
fn a_component_that_starts_with_too_much_memory_is_told_so() {
    let mut genesis = genesis(1);
    genesis.limits.memory_bytes = 1000;
    let error = module(&Wat::silent("")).instantiate(&genesis).err().expect("64 KiB are more than 1000 bytes");
    let text = error.to_string();
    assert!(text.contains("starts with 65536 bytes of memory, and its limit is 1000"), "{text}");
}

#[test]
fn ending_the_process_and_sleeping_point_to_what_to_use() {
    assert!(reason("(call $exit (i32.const 0))").contains("ended its process with status 0: use ambrosia::exit"));
    assert!(reason("(call $exit (i32.const 1))").contains("ended its process with status 1: use ambrosia::exit"));
    assert!(reason("(drop (call $subscribe-duration (i64.const 5)))").contains("use ambrosia::sleep"));
}

#[test]
fn attaching_nonsense_gives_no_peer() {
    let body = "(if (call $attach (i32.const 16) (i32.const 3)) (then (unreachable)))";
    let wat = Wat::silent(body).more(r#"(data (i32.const 16) "a/b")"#);
    Run::new(&wat).deliver(b"").expect("a name with a slash gives 0, and the guest goes on");
}

#[test]
fn attaching_before_the_first_delivery_is_refused() {
    let start = r#"(data (i32.const 16) "abc")
                   (func $start (drop (call $attach (i32.const 16) (i32.const 3)))) (start $start)"#;
    let error = module(&Wat::silent("").more(start)).instantiate(&genesis(1)).err().expect("too early");
    assert!(matches!(&error, ModuleError::Instantiate(fault) if fault.reason.contains("first message")), "{error}");
}

#[test]
fn too_many_random_bytes_are_refused() {
    assert!(reason("(call $random-bytes (i64.const 99999999) (i32.const 16))").contains("99999999 random bytes"));
}

#[test]
fn an_answer_outside_of_memory_breaks_the_rules() {
    let body = "(return (call $answer (i32.const 16) (i32.const 999999)))";
    assert!(reason(body).starts_with("the guest broke the rules of the component model: list"), "{}", reason(body));
}

#[test]
fn effects_have_a_limit() {
    let mut genesis = genesis(1);
    genesis.limits.memory_bytes = 1 << 30;
    let body = "(drop (memory.grow (i32.const 9000))) (return (call $answer (i32.const 16) (i32.const 0x20000001)))";
    let fault = Run::with(&Wat::silent(body), &genesis).deliver(b"").expect_err("512 MiB and one byte");
    assert!(fault.reason.contains("more than 536870912 bytes"), "{}", fault.reason);
}

#[test]
fn a_guest_with_a_fault_is_not_called_again() {
    let mut run = Run::new(&Wat::silent("(if (local.get $length) (then (unreachable)))"));
    run.deliver(b"").expect("nothing to do");
    run.deliver(b"x").expect_err("it aborts");
    let fault = run.deliver(b"").expect_err("it is poisoned");
    assert!(fault.reason.contains("earlier delivery"), "{}", fault.reason);
}
