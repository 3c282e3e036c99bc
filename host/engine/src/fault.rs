//! From what wasmtime reports to a [`Fault`] that a person can read.
//!
//! **Architecture Invariant:** a fault holds no address, path or number of the machine at hand, so that every
//! replica writes the same one.

use ambrosia_core::{Fault, Limits, Print, limits};
use wasmtime::{Error, Store, Trap, WasmBacktrace};

use crate::{prints, refusal::Refusal, state::GuestState};

/// What the SDK writes in front of the message of a panic, in one line.
const SDK_PANIC: &str = "ambrosia: panic ";
/// What the standard library of Rust writes in front of the place of a panic; the message is on the next line.
const PANICKED_AT: &str = "panicked at ";
/// How a line begins that says nothing of what happened.
const NOTE: &str = "note: ";
/// What wasmtime says of a list that is larger than all it may lift.
const TOO_MUCH_COPIED: &str = "too much data is being copied";
/// The hash that the compiler gives a crate or a function has as many digits; it is of no use to a person.
const HASH_DIGITS: usize = 16;

/// The fault of a delivery that printed `printed`.
pub(crate) fn of(error: &Error, printed: &[Print], limits: &Limits) -> Fault {
    let stderr = prints::stderr(printed);
    Fault { reason: reason(error, &stderr, limits), backtrace: backtrace(error), stderr }
}

/// The fault of a component that did not get as far as its first delivery.
pub(crate) fn before_delivery(error: Error, store: &mut Store<GuestState>, limits: &Limits) -> Fault {
    let mut printed = Vec::new();
    store.data_mut().prints.end(&mut printed);
    of(&error, &printed, limits)
}

/// The fault of calling a guest that had one.
pub(crate) fn poisoned() -> Fault {
    Fault {
        reason: "the guest had a fault in an earlier delivery and can't go on: make a new instance from the log".into(),
        backtrace: String::new(),
        stderr: String::new(),
    }
}

fn reason(error: &Error, stderr: &str, limits: &Limits) -> String {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.to_string();
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return broken_rule(&error.root_cause().to_string());
    };
    match trap {
        Trap::OutOfFuel => out_of_fuel(limits),
        Trap::StackOverflow => "the guest's stack is exhausted: a function calls itself too deep".into(),
        Trap::UnreachableCodeReached => aborted(stderr),
        Trap::MemoryOutOfBounds => {
            "the guest trapped: out of bounds memory access. If the backtrace repeats a function, \
                                    it calls itself too deep"
                .into()
        }
        trap => format!("the guest trapped: {}", trap.to_string().trim_start_matches("wasm trap: ")),
    }
}

fn broken_rule(cause: &str) -> String {
    if cause.starts_with(TOO_MUCH_COPIED) {
        let max = limits::EFFECTS_BYTES_MAX;
        return format!("gave the host more than {max} bytes at once, which is the limit for effects");
    }
    format!("the guest broke the rules of the component model: {cause}")
}

fn out_of_fuel(limits: &Limits) -> String {
    format!(
        "ran out of fuel: a handler loops too long, or one delivery takes more work than its limit of {} allows",
        limits.fuel
    )
}

/// Why a guest gave up, from what it printed last.
fn aborted(stderr: &str) -> String {
    if let Some((_, panic)) = stderr.rsplit_once(SDK_PANIC) {
        return format!("the guest panicked {}", panic.lines().next().unwrap_or_default());
    }
    if let Some((_, panic)) = stderr.rsplit_once(PANICKED_AT) {
        let mut lines = panic.lines();
        let place = lines.next().unwrap_or_default().trim_end_matches(':');
        return format!("the guest panicked at {place}: {}", lines.next().unwrap_or("no message"));
    }
    match stderr.lines().rfind(|line| !line.is_empty() && !line.starts_with(NOTE)) {
        Some(line) => format!("the guest aborted: {line}"),
        None => "the guest aborted".into(),
    }
}

/// The functions of the guest that were active, innermost first, demangled.
fn backtrace(error: &Error) -> String {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let text = backtrace.to_string();
    let frames: Vec<String> = text.lines().skip(1).map(without_hashes).collect();
    frames.join("\n")
}

/// `std[8e62e0444cce157f]::process::abort` and `abort::h8e62e0444cce157f` without what is in them of the compiler's.
fn without_hashes(frame: &str) -> String {
    let is_hash = |text: &str| text.len() == HASH_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let frame = frame.rsplit_once("::h").filter(|(_, end)| is_hash(end)).map_or(frame, |(name, _)| name);
    let mut parts = frame.split('[');
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(']').filter(|(inside, _)| is_hash(inside)) {
            Some((_, rest)) => kept.push_str(rest),
            None => kept.extend(["[", part]),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{aborted, without_hashes};

    #[test]
    fn names_lose_their_hashes_and_nothing_else() {
        for (frame, expected) in [
            ("a::deposit::h0123456789abcdef", "a::deposit"),
            ("a::h0123456789abcdef::deposit", "a::h0123456789abcdef::deposit"),
            ("std[8e62e0444cce157f]::run::<core[69ded7072d0f5a3a]::Never>", "std::run::<core::Never>"),
            ("sort::<[u8]>", "sort::<[u8]>"),
        ] {
            assert_eq!(without_hashes(frame), expected);
        }
    }

    #[test]
    fn what_was_printed_last_says_why_it_aborted() {
        for (stderr, expected) in [
            ("", "the guest aborted"),
            ("memory allocation failed\nnote: run with\n", "the guest aborted: memory allocation failed"),
            (
                "before\n\nthread 'main' (1) panicked at src/lib.rs:3:5:\nno such account\nmore\nnote: run with\n",
                "the guest panicked at src/lib.rs:3:5: no such account",
            ),
            (
                "before\nambrosia: panic in message 0 of the delivery: no such account, at src/lib.rs:3:5\n",
                "the guest panicked in message 0 of the delivery: no such account, at src/lib.rs:3:5",
            ),
        ] {
            assert_eq!(aborted(stderr), expected);
        }
    }
}
