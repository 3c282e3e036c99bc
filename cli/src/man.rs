//! `man`: pages of the manual, one of the program and one a verb.

use std::{fs, io::Write, process::ExitCode};

use anyhow::Context;
use clap::CommandFactory;

use crate::arguments::{Arguments, Man};

pub(crate) fn man(verb: &Man) -> anyhow::Result<ExitCode> {
    let directory = &verb.directory;
    let wrong = || format!("can't write pages into {}", directory.display());
    fs::create_dir_all(directory).with_context(wrong)?;
    clap_mangen::generate_to(Arguments::command(), directory).with_context(wrong)?;
    writeln!(std::io::stdout(), "wrote pages of the manual into {}: see ambrosia-host(1)", directory.display())?;
    Ok(ExitCode::SUCCESS)
}
