//! The Rust target that guests are built for, provided where it is missing.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use super::speaker::Speaker;

/// Its name.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// Knows all ways to it: by rustup, from Debian's packages, from archives.
const SETUP: &str = include_str!("../../../scripts/setup-wasip2.sh");

/// Sees that the rustc of that directory has it.
///
/// # Errors
/// If there is no rustc, or no way to the target works.
pub(crate) fn provide(directory: &Path, speaker: &Speaker) -> anyhow::Result<()> {
    let asked = Command::new("rustc").args(["--print", "sysroot"]).current_dir(directory).output();
    let asked =
        asked.context("there is no `rustc`, which builds the module: install Rust first, see https://rustup.rs")?;
    if !asked.status.success() {
        bail!("`rustc --print sysroot` failed: {}", String::from_utf8_lossy(&asked.stderr).trim_end());
    }
    let sysroot = PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim_end());
    if has_std(&sysroot) {
        return Ok(());
    }
    speaker.say(format_args!("the Rust target {TARGET} is missing in {}: it is set up now, once", sysroot.display()));
    let mut script = Command::new("bash");
    script.arg("-s").current_dir(directory).stdin(Stdio::piped());
    if std::env::var_os("CARGO_TARGET_DIR").is_none() {
        script.env("CARGO_TARGET_DIR", "target");
    }
    let mut running = script.spawn().context("can't run bash, which sets the target up")?;
    let written = running.stdin.take().map(|mut stdin| stdin.write_all(SETUP.as_bytes()));
    let status = running.wait()?;
    if !status.success() || written.is_some_and(|written| written.is_err()) || !has_std(&sysroot) {
        bail!(
            "the Rust target {TARGET} could not be set up, as is said above. With a Rust of rustup, `rustup target add {TARGET}` \
             does it; then start again"
        );
    }
    Ok(())
}

fn has_std(sysroot: &Path) -> bool {
    let library = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let mut files = std::fs::read_dir(library).into_iter().flatten().flatten();
    files.any(|file| {
        let name = file.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}
