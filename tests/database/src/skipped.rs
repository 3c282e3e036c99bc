//! What can't be tested on a machine is said, and never counts as passed in silence.

use std::{fs::File, io::Write};

/// The file, if any, in which `scripts/test.sh` gathers what was skipped: runners show no output of tests that pass.
const FILE_VARIABLE: &str = "AMBROSIA_SKIPPED";

/// Says that something was not tested, and why.
///
/// # Panics
/// If the file of the script can't be written.
pub fn skip(what: &str, reason: &str) {
    let line = format!("SKIPPED {what}: {reason}\n");
    eprint!("{line}");
    if let Some(path) = std::env::var_os(FILE_VARIABLE) {
        let file = File::options().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the script gave a file that can be written");
    }
}
