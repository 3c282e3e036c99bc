//! The functions of a guest that were active when it failed.
//!
//! With the debug information of the component each has its place in the source, and what only makes a panic known is left
//! out. Without, it is what wasmtime says.
//!
//! **Architecture Invariant:** it depends on the component and the fault alone, so that every replica has the same.

use std::fmt::Write;

use wasmtime::{Error, WasmBacktrace};

use crate::source::{Place, Source};

/// The hash that the compiler gives a crate or a function has as many digits; it is of no use to a person.
const HASH_DIGITS: usize = 16;
/// Where the sources of Rust's own crates are.
const LIBRARY: &str = "library/";
/// How the names of functions begin that end a guest, beside those that are methods.
const LIBRARY_NAMES: [&str; 9] =
    ["core::", "std::", "alloc::", "panic_abort::", "__rust", "rust_panic", "rust_begin_unwind", "abort", "_abort"];
/// What is in the names of functions that only a panic calls.
const PANIC_NAMES: [&str; 4] = ["core::panicking::", "std::panicking::", "rust_begin_unwind", "rust_panic"];
/// What the files are called in which these are.
const PANIC_FILE: &str = "/panicking.rs";

/// Where a guest was when it failed.
#[derive(Default)]
pub(crate) struct Backtrace {
    /// The functions, innermost first, one a line.
    pub(crate) text: String,
    /// The innermost place that is not in Rust's own crates.
    pub(crate) place: Option<String>,
}

/// One function; an inlined one too.
struct Frame {
    /// As wasmtime tells it: an offset, a module and a name.
    line: String,
    function: String,
    place: Option<Place>,
}

impl Frame {
    fn is_of_the_library(&self) -> bool {
        let file = self.place.as_ref().map_or("", |place| &place.file);
        let name = self.function.trim_start_matches('<');
        file.starts_with(LIBRARY)
            || file.contains("/library/")
            || LIBRARY_NAMES.iter().any(|begin| name.starts_with(begin))
    }

    fn is_of_a_panic(&self) -> bool {
        let file = self.place.as_ref().map_or("", |place| &place.file);
        self.is_of_the_library()
            && (file.ends_with(PANIC_FILE) || PANIC_NAMES.iter().any(|name| self.function.contains(name)))
    }
}

/// Where the guest was, if the error says so.
pub(crate) fn of(error: &Error, source: &Source) -> Backtrace {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Backtrace::default() };
    let text = backtrace.to_string();
    let lines: Vec<String> = text.lines().skip(1).map(without_hashes).collect();
    let offsets: Vec<_> = backtrace.frames().iter().map(wasmtime::FrameInfo::module_offset).collect();
    let frames = frames(&lines, source.places(&offsets));
    if frames.iter().all(|frame| frame.place.is_none()) {
        return Backtrace { text: lines.join("\n"), place: None };
    }
    told(&frames)
}

/// Puts the places of each function beside it.
fn frames(lines: &[String], places: Vec<Vec<Place>>) -> Vec<Frame> {
    let mut frames = Vec::new();
    for (line, places) in lines.iter().zip(places.into_iter().chain(std::iter::repeat_with(Vec::new))) {
        // "   3:   0xe448 - module.wasm!ledger::deposit"
        let line = line.split_once(": ").map_or(line.as_str(), |(_, rest)| rest).trim_start();
        let function = line.split_once('!').map_or(line, |(_, name)| name);
        let count = places.len();
        for (at, place) in places.into_iter().enumerate() {
            // The function itself comes last, and has a longer name in the table of names.
            let inlined = place.function.as_deref().filter(|_| at + 1 < count);
            let function = without_hashes(inlined.unwrap_or(function));
            frames.push(Frame { line: String::new(), function, place: Some(place) });
        }
        if count == 0 {
            frames.push(Frame { line: line.to_owned(), function: function.to_owned(), place: None });
        }
    }
    frames
}

fn told(frames: &[Frame]) -> Backtrace {
    let library = frames.iter().take_while(|frame| frame.is_of_the_library()).count();
    // What made the panic known: the caller of it is what a person looks for.
    let hidden = if library < frames.len() && frames[..library].iter().any(Frame::is_of_a_panic) { library } else { 0 };
    let mut text = String::new();
    for (number, frame) in frames[hidden..].iter().enumerate() {
        let end = if number == 0 { "" } else { "\n" };
        match &frame.place {
            Some(place) => write!(text, "{end}{number:>4}: {} at {place}", frame.function),
            None => write!(text, "{end}{number:>4}: {}", frame.line),
        }
        .expect("a string takes all");
    }
    let place = frames.iter().filter(|frame| !frame.is_of_the_library()).find_map(|frame| frame.place.as_ref());
    Backtrace { text, place: place.map(Place::to_string) }
}

/// `std[8e62e0444cce157f]::process::abort` and `abort::h8e62e0444cce157f` without what is in them of the compiler's.
fn without_hashes(frame: impl AsRef<str>) -> String {
    let is_hash = |text: &str| text.len() == HASH_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    let frame = frame.as_ref();
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
    use super::*;

    fn place(file: &str, line: u32) -> Place {
        Place { function: Some("short".to_owned()), file: file.to_owned(), line: Some(line), column: Some(5) }
    }

    fn told_of(frames: &[(&str, Vec<Place>)]) -> Backtrace {
        let lines: Vec<_> = frames.iter().map(|(name, _)| format!("   0:   0xe448 - a.wasm!{name}")).collect();
        told(&super::frames(&lines, frames.iter().map(|(_, places)| places.clone()).collect()))
    }

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
    fn what_makes_a_panic_known_is_left_out() {
        let told = told_of(&[
            ("abort", vec![]),
            ("std::panicking::panic_with_hook", vec![place("library/std/src/panicking.rs", 1)]),
            ("core::option::expect_failed", vec![]),
            ("bank::deposit", vec![place("src/ledger.rs", 7), place("src/lib.rs", 31)]),
            ("core::ops::FnOnce::call_once", vec![place("library/core/src/ops/function.rs", 250)]),
            ("bank::main", vec![]),
        ]);
        let expected = "   0: short at src/ledger.rs:7:5\n   1: bank::deposit at src/lib.rs:31:5\n   \
                        2: core::ops::FnOnce::call_once at library/core/src/ops/function.rs:250:5\n   \
                        3: 0xe448 - a.wasm!bank::main";
        assert_eq!((told.text.as_str(), told.place.as_deref()), (expected, Some("src/ledger.rs:7:5")));
    }

    #[test]
    fn a_trap_in_the_library_is_shown_as_it_is() {
        let told = told_of(&[
            ("core::slice::sort", vec![place("library/core/src/slice/mod.rs", 3)]),
            ("bank::deposit", vec![place("src/lib.rs", 31)]),
            ("std::panicking::try", vec![place("library/std/src/panicking.rs", 9)]),
        ]);
        assert!(told.text.starts_with("   0: core::slice::sort at library/"), "{}", told.text);
        assert!(told.text.contains("std::panicking::try"), "{}", told.text);
        assert_eq!(told.place.as_deref(), Some("src/lib.rs:31:5"));
    }
}
