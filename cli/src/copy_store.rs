//! `copy-store`: takes instances into another store, such as from the directory in which they were developed into a database.

use std::{
    ffi::OsString,
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use ambrosia_host::Diagnostics;
use ambrosia_storage::{CopiedInstance, Instances, Progress, StorePlace, copy_instance, copy_tokens};
use anyhow::{Context, bail};

use crate::{arguments::CopyStore, interrupts, place};

/// How far it is, is said so often.
const SAY_INTERVAL: Duration = Duration::from_secs(2);

/// Copies from one place to the other, one of which may be `store`, where nothing else is said.
pub(crate) fn copy_store(
    store: &StorePlace,
    verb: &CopyStore,
    here: place::Here<'_>,
    allow_network_file_system: bool,
) -> anyhow::Result<ExitCode> {
    let place = |given: &Option<OsString>, flag: &'static str| {
        let Some(given) = given else { return anyhow::Ok(store.clone()) };
        Ok(place::given(given, here).context(flag)?.allowing_network_file_system(allow_network_file_system))
    };
    let (from, to) = (place(&verb.from, "--from")?, place(&verb.to, "--to")?);
    if from.to_string() == to.to_string() {
        bail!("{from} can't be copied into itself: give another place with --to");
    }
    let source = from.open().with_context(|| format!("can't copy from {from}"))?;
    let target = to.create_or_open().with_context(|| format!("can't copy to {to}"))?;
    let names = if verb.instance.is_empty() {
        source.instances()?.into_iter().map(|entry| entry.name).collect()
    } else {
        verb.instance.clone()
    };
    let interrupted = interrupts::received()?;
    let mut out = std::io::stdout();
    for name in &names {
        let mut said = Instant::now();
        let mut goes_on = |progress| {
            if said.elapsed() >= SAY_INTERVAL {
                said = Instant::now();
                say(name, progress);
            }
            interrupted.try_recv().is_err()
        };
        let copied = copy_instance(&*source, &*target, name, &mut goes_on);
        let copied = copied.with_context(|| format!("can't copy {name} from {from} to {to}"))?;
        writeln!(out, "{}", shown(name, &copied))?;
    }
    if verb.instance.is_empty() {
        match copy_tokens(&*source, &*target).with_context(|| format!("can't copy tokens from {from} to {to}"))? {
            0 => {}
            1 => writeln!(out, "copied 1 token")?,
            count => writeln!(out, "copied {count} tokens")?,
        }
    }
    writeln!(out, "{to} has {} of {from}; run one of the two alone from now on", counted(names.len()))?;
    Ok(ExitCode::SUCCESS)
}

fn counted(instances: usize) -> String {
    if instances == 1 { "1 instance".to_owned() } else { format!("{instances} instances") }
}

fn say(name: &InstanceName, progress: Progress) {
    match progress {
        Progress::Written(lsn, last) => Diagnostics::say(format_args!("{name}: copied up to record {lsn} of {last}")),
        Progress::ReadBack(lsn, last) => {
            Diagnostics::say(format_args!("{name}: read back up to record {lsn} of {last}"))
        }
        Progress::Checkpoint(lsn) => Diagnostics::say(format_args!("{name}: copying the checkpoint at lsn {lsn}")),
    }
}

fn shown(name: &InstanceName, copied: &CopiedInstance) -> String {
    let CopiedInstance { first, last, checkpoints, was_there } = copied;
    let beside = match checkpoints.as_slice() {
        [] => String::new(),
        [lsn] => format!(" and the checkpoint at lsn {lsn}"),
        [.., lsn] => format!(" and {} checkpoints, the newest at lsn {lsn}", checkpoints.len()),
    };
    if *was_there {
        format!("{name} is there already: records {first} to {last}{beside}, compared")
    } else {
        format!("copied {name}: records {first} to {last}{beside}, read back and compared")
    }
}
