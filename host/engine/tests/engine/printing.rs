//! What a guest prints.

use crate::{Run, guests::Wat};
use ambrosia_core::limits::PRINTS_BYTES_MAX;

const TEXTS: &str = r#"(data (i32.const 16) "firstsecondthird")"#;
const FIRST: &str = "(i32.const 16) (i32.const 5)";
const SECOND: &str = "(i32.const 21) (i32.const 6)";
const THIRD: &str = "(i32.const 27) (i32.const 5)";

#[test]
fn prints_come_in_order_and_neighbours_are_merged() {
    let body = format!(
        "(call $print (call $stdout) {FIRST}) (call $print (call $stdout) {SECOND})
         (call $print (call $stderr) {THIRD}) (call $print (call $stdout) {FIRST})"
    );
    let mut run = Run::new(&Wat::silent(&body).more(TEXTS));
    for _ in 0..2 {
        run.deliver(b"").expect("printing is harmless");
        assert_eq!(run.printed(), "1:firstsecond 2:third 1:first");
    }
}

#[test]
fn a_kept_handle_can_be_printed_to_later() {
    let body = format!(
        "(if (i32.eqz (global.get $handle)) (then (global.set $handle (call $stdout))))
         (call $print (global.get $handle) {FIRST})"
    );
    let mut run = Run::new(&Wat::silent(&body).more(TEXTS).more("(global $handle (mut i32) (i32.const 0))"));
    for _ in 0..3 {
        run.deliver(b"").expect("printing is harmless");
        assert_eq!(run.printed(), "1:first");
    }
}

#[test]
fn what_is_printed_at_the_start_is_dropped() {
    let start = format!("(func $start (call $print (call $stdout) {FIRST})) (start $start)");
    let body = format!("(call $print (call $stdout) {SECOND})");
    let mut run = Run::new(&Wat::silent(&body).more(TEXTS).more(&start));
    run.deliver(b"").expect("printing is harmless");
    assert_eq!(run.printed(), "1:second");
}

#[test]
fn what_is_printed_beyond_the_limit_is_cut_and_said() {
    let body = "(loop $again (call $print (call $stdout) (i32.const 0) (i32.const 65536))
                  (br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300))))";
    let mut run = Run::new(&Wat::silent(body));
    run.deliver(b"").expect("the instance goes on");
    let [stdout, stderr] = run.delivered.prints.as_slice() else { panic!("one print a stream") };
    assert_eq!(stdout.bytes.len(), PRINTS_BYTES_MAX);
    let said = String::from_utf8_lossy(&stderr.bytes).into_owned();
    let cut = 300 * 65536 - PRINTS_BYTES_MAX;
    assert!(said.contains(&format!("{cut} bytes more were printed in this delivery and are left out")), "{said}");
}

#[test]
fn a_fault_carries_what_went_to_standard_error() {
    let body = format!(
        "(call $print (call $stdout) {FIRST}) (call $print (call $stderr) {SECOND})
         (call $print (call $stderr) {THIRD}) (unreachable)"
    );
    let mut run = Run::new(&Wat::silent(&body).more(TEXTS));
    let fault = run.deliver(b"").expect_err("it aborts");
    assert_eq!(fault.stderr, "secondthird");
    assert_eq!(run.printed(), "1:first 2:secondthird");
}
