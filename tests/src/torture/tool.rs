//! Programs of the system that make faults: `ip`, `mount`, `strace`.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

/// Runs a program that must succeed.
pub(crate) fn run_tool(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {} failed: {}", arguments.join(" "), said.trim());
    Ok(())
}

/// An error that says what is missing, unless the program can be run.
pub(crate) fn need_tool(program: &str, version: &str) -> Result<(), String> {
    let mut tried = Command::new(program);
    tried.arg(version).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match tried.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{program} can't be run: {error}")),
    }
}
