//! Makes the modules of a project, each by its own command.

use std::{
    collections::BTreeSet,
    os::unix::process::ExitStatusExt,
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

use super::{Place, speaker::Speaker, wasip2};

/// Runs the command of each instance that has one; one that several have is run once.
///
/// # Errors
/// At the first that fails; what it says is on stderr.
pub(crate) fn build(place: &Place, speaker: &Speaker) -> anyhow::Result<()> {
    let commands: BTreeSet<_> = place.project.instances.values().filter_map(|one| one.build.as_deref()).collect();
    for command in commands {
        if command.contains(wasip2::TARGET) {
            wasip2::provide(&place.directory, speaker)?;
        }
        speaker.say(format_args!("builds: {command}"));
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&place.directory).stdin(Stdio::null());
        let status = shell.status().with_context(|| format!("can't run sh for `{command}`"))?;
        match (status.code(), status.signal()) {
            (Some(0), _) => {}
            (_, Some(signal)) => bail!("`{command}` was ended by signal {signal}"),
            (code, None) => bail!("`{command}` failed with exit code {}", code.unwrap_or(-1)),
        }
    }
    for (name, instance) in &place.project.instances {
        let module = place.module(instance);
        if !module.is_file() {
            let cause = if instance.build.is_some() { "its build has not made it" } else { "and it has no `build`" };
            bail!("the module of instance {name} is not there: {}, {cause}", module.display());
        }
    }
    Ok(())
}
