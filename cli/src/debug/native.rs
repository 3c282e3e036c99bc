//! `debug --native`: hands the delivery of one record to a guest that gdb can follow.
//!
//! **Architecture Invariant:** without a debugger around this process nothing is compiled and nothing is handed over: what
//! to type is said instead. What is written is the script for gdb, which is of this program, and none of it is of the store.

use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io::{self, ErrorKind, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use ambrosia_core::{Lsn, page_hash};
use ambrosia_host::{
    travel::{Native, Traveller},
    without_controls,
};
use ambrosia_storage::StorePlace;
use anyhow::Context;

use crate::arguments::Debug;

/// Has gdb show pointers of the guest, and stop when its code is loaded.
const SCRIPT: &str = include_str!("../../../scripts/ambrosia-gdb.py");

/// Hands record `lsn` over if there is a debugger, and says how to come by one if not.
pub(crate) fn native(store: &StorePlace, verb: &Debug, mut traveller: Traveller, lsn: Lsn) -> anyhow::Result<ExitCode> {
    let native = Native::before(&mut traveller, lsn)?;
    let mut out = io::stdout();
    if !is_traced()? {
        writeln!(
            out,
            "record {lsn} can be looked into. Start it under gdb, which stops before the delivery, once the guest is loaded:\n\n  {}\n",
            command_line(store, verb, native.lsn())?
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "the module is compiled for the debugger ...")?;
    let guest = native.compile()?;
    writeln!(
        out,
        "the guest is loaded, and the delivery of record {lsn} comes next: set breakpoints, such as `break lib.rs:31`, and `continue`"
    )?;
    let (execution, differences) = guest.deliver()?;
    if differences.is_empty() {
        let fuel = execution.map_or(0, |execution| execution.fuel);
        writeln!(out, "record {lsn} did the same as without a debugger: fuel {fuel}, and the digests agree")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "record {lsn} did not do the same as without a debugger, which differs in:")?;
    for difference in differences {
        writeln!(out, "  {}", without_controls(&difference.to_string()))?;
    }
    Ok(ExitCode::FAILURE)
}

/// Whether a debugger follows this process.
fn is_traced() -> anyhow::Result<bool> {
    let status = std::fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    Ok(tracer.is_some_and(|pid| pid.trim() != "0"))
}

/// What to type, for a shell.
fn command_line(store: &StorePlace, verb: &Debug, lsn: Lsn) -> anyhow::Result<String> {
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let script =
        script_file(&std::env::temp_dir()).context("cannot write the script for gdb into the temporary directory")?;
    let mut words = vec!["gdb".to_owned(), "-q".to_owned(), "-x".to_owned(), quoted(script.as_os_str())];
    words.extend(["-ex", "run", "--args"].map(str::to_owned));
    words.push(quoted(program.as_os_str()));
    // The URL of another store is in the environment, where it stays.
    if let StorePlace::Directory(place) = store {
        let directory = std::path::absolute(&place.directory).context("cannot tell where the store is")?;
        words.extend(["--store".to_owned(), quoted(directory.as_os_str())]);
        if place.allow_network_file_system {
            words.push("--allow-network-file-system".to_owned());
        }
    }
    words.extend(
        ["debug", "--instance", &verb.instance.to_string(), "--at", &lsn.to_string(), "--native"].map(str::to_owned),
    );
    Ok(words.join(" "))
}

/// A word for a shell.
fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@%,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Writes the script for gdb into a file in `directory`, or finds it there. gdb does what is in it, so it is taken from there only if
/// nobody else can have written it.
fn script_file(directory: &Path) -> io::Result<PathBuf> {
    let hash = page_hash(SCRIPT.as_bytes());
    for number in 0.. {
        let path = directory.join(format!("ambrosia-gdb-{hash:016x}-{number}.py"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(mut file) => {
                file.write_all(SCRIPT.as_bytes())?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_ours(&path) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 100 => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Whether a file is the script, and belongs to the user whose process this is, who alone can write it.
fn is_ours(path: &Path) -> bool {
    let is_safe = || -> io::Result<bool> {
        let (file, me) = (std::fs::symlink_metadata(path)?, std::fs::metadata("/proc/self")?);
        Ok(file.is_file() && file.uid() == me.uid() && file.mode() & 0o022 == 0)
    };
    is_safe().unwrap_or(false) && std::fs::read(path).is_ok_and(|contents| contents == SCRIPT.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_have_to_be() {
        for (word, expected) in [
            ("/usr/bin/ambrosia-host", "/usr/bin/ambrosia-host"),
            ("", "''"),
            ("my store", "'my store'"),
            ("it's $HOME", "'it'\\''s $HOME'"),
        ] {
            assert_eq!(quoted(OsStr::new(word)), expected);
        }
    }

    #[test]
    fn the_script_is_written_once_and_never_taken_from_somebody_else() {
        let directory = std::env::temp_dir().join(format!("ambrosia-cli-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("nobody else has that name");
        let first = script_file(&directory).expect("it can be written");
        assert_eq!(script_file(&directory).expect("it is there"), first);
        std::fs::write(&first, "print('another')").expect("it can be written");
        let second = script_file(&directory).expect("there is another name");
        assert_ne!(second, first);
        assert_eq!(std::fs::read_to_string(&second).expect("it can be read"), SCRIPT);
        std::fs::remove_dir_all(&directory).expect("it is the test's own");
    }
}
