//! From what wasmtime reports to a [`Fault`] that a person can read.
//!
//! **Architecture Invariant:** a fault holds no address, path or number of the machine at hand, so that every
//! replica writes the same one.

use ambrosia_core::{Fault, Limits, Print, limits};
use wasmtime::{Error, Store, Trap};

use crate::{
    backtrace::{self, Backtrace},
    prints,
    refusal::Refusal,
    source::Source,
    state::GuestState,
};

/// What the SDK writes in front of the message of a panic, in one line.
const SDK_PANIC: &str = "ambrosia: panic ";
/// What the standard library of Rust writes in front of the place of a panic; the message is on the next line.
const PANICKED_AT: &str = "panicked at ";
/// How a line begins that says nothing of what happened.
const NOTE: &str = "note: ";
/// What wasmtime says of a list that is larger than all it may lift.
pub(crate) const TOO_MUCH_COPIED: &str = "too much data is being copied";

/// The fault of a delivery that printed `printed`, in a component with that source.
pub(crate) fn of(error: &Error, printed: &[Print], limits: &Limits, source: &Source) -> Fault {
    let stderr = prints::stderr(printed);
    let Backtrace { text, place } = backtrace::of(error, source);
    let at = place.map_or_else(String::new, |place| format!(", at {place}"));
    Fault { reason: reason(error, &stderr, limits, &at), backtrace: text, stderr }
}

/// The fault of a component that did not get as far as its first delivery.
pub(crate) fn before_delivery(error: Error, store: &mut Store<GuestState>, limits: &Limits) -> Fault {
    let mut printed = Vec::new();
    store.data_mut().prints.end(&mut printed);
    of(&error, &printed, limits, &store.data().source)
}

/// The fault of calling a guest that had one.
pub(crate) fn poisoned() -> Fault {
    Fault {
        reason: "the guest had a fault in an earlier delivery and can't go on: make a new instance from the log".into(),
        backtrace: String::new(),
        stderr: String::new(),
    }
}

/// What happened; `at` is where, or nothing. A panic says that itself.
fn reason(error: &Error, stderr: &str, limits: &Limits, at: &str) -> String {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return format!("{refusal}{at}");
    }
    let Some(trap) = error.downcast_ref::<Trap>() else {
        return format!("{}{at}", broken_rule(&error.root_cause().to_string()));
    };
    match trap {
        Trap::OutOfFuel => format!("{}{at}", out_of_fuel(limits)),
        Trap::StackOverflow => format!("the guest's stack is exhausted: a function calls itself too deep{at}"),
        Trap::UnreachableCodeReached => panicked(stderr).unwrap_or_else(|| format!("{}{at}", aborted(stderr))),
        Trap::MemoryOutOfBounds => format!(
            "the guest trapped: out of bounds memory access{at}. If the backtrace repeats a function, it calls itself \
             too deep"
        ),
        trap => format!("the guest trapped: {}{at}", trap.to_string().trim_start_matches("wasm trap: ")),
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

/// What a panic has said of itself, and where it was.
fn panicked(stderr: &str) -> Option<String> {
    if let Some((_, panic)) = stderr.rsplit_once(SDK_PANIC) {
        return Some(format!("the guest panicked {}", panic.lines().next().unwrap_or_default()));
    }
    let (_, panic) = stderr.rsplit_once(PANICKED_AT)?;
    let mut lines = panic.lines();
    let place = lines.next().unwrap_or_default().trim_end_matches(':');
    Some(format!("the guest panicked at {place}: {}", lines.next().unwrap_or("no message")))
}

/// Why a guest gave up without a panic, from what it printed last.
fn aborted(stderr: &str) -> String {
    match stderr.lines().rfind(|line| !line.is_empty() && !line.starts_with(NOTE)) {
        Some(line) => format!("the guest aborted: {line}"),
        None => "the guest aborted".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{aborted, panicked};

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
            assert_eq!(panicked(stderr).unwrap_or_else(|| aborted(stderr)), expected);
        }
    }
}
