//! `drain`: has a host hand over all that it has, and shows what is left.

use std::{io::Write, process::ExitCode, sync::mpsc::RecvTimeoutError, time::Duration};

use ambrosia_core::InstanceName;
use ambrosia_storage::{HostInfo, Instances, LogError, Placing, Role, Store, StorePlace};
use anyhow::bail;

use crate::{arguments::Drain, interrupts};

/// Between two looks at what is left.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// So many instances are named.
const NAMED_MAX: usize = 5;

pub(crate) fn drain(store: &StorePlace, verb: &Drain) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let hosts = store.hosts().hosts()?;
    // Wishes for hosts that are gone are of no use.
    for gone in store.draining()?.iter().filter(|uuid| !hosts.iter().any(|host| host.uuid == **uuid)) {
        store.end_drain(*gone)?;
    }
    let Some(host) = hosts.iter().find(|host| host.name == verb.host) else {
        let names: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
        let known =
            if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
        bail!("no host takes places under the name {}: {known}", verb.host);
    };
    let mut out = std::io::stdout();
    if verb.undo {
        let what = if store.end_drain(host.uuid)? { "takes part again" } else { "did not drain" };
        writeln!(out, "host {} {what}", host.name)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !host.is_alive {
        bail!(
            "host {} is not alive, so there is nothing that it could hand over: others take what was meant for it",
            host.name
        );
    }
    let ends = interrupts::received()?;
    store.drain(host.uuid)?;
    let mut shown = None;
    loop {
        let left = left(&*store, host)?;
        if left.is_empty() {
            writeln!(
                out,
                "host {} has no replicas any more; end it, or have it take part again with --undo",
                host.name
            )?;
            return Ok(ExitCode::SUCCESS);
        }
        if shown.as_ref() != Some(&left) {
            writeln!(out, "{}", as_text(&left))?;
            shown = Some(left);
        }
        let now = store.hosts().hosts()?;
        if !now.iter().any(|other| other.uuid == host.uuid && other.is_alive) {
            bail!("host {} is not alive any more: others take what was meant for it", host.name);
        }
        if !store.draining()?.contains(&host.uuid) {
            bail!("somebody has taken the drain of host {} back", host.name);
        }
        match ends.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                writeln!(out, "the drain of host {} goes on; --undo ends it", host.name)?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

/// A replica that a host still has.
#[derive(PartialEq, Eq)]
struct Left {
    instance: InstanceName,
    is_primary: bool,
    /// Whether it is the only one that runs.
    is_alone: bool,
}

fn left(store: &dyn Store, host: &HostInfo) -> anyhow::Result<Vec<Left>> {
    let mut left = Vec::new();
    for entry in store.instances()? {
        let running = match store.members(entry.log()) {
            Err(LogError::Gone { .. }) => continue, // it was deregistered meanwhile
            members => members?.running()?,
        };
        let own = running.iter().find(|member| host.has(member));
        left.extend(own.map(|own| Left {
            instance: entry.name,
            is_primary: own.role == Role::Primary,
            is_alone: running.len() == 1,
        }));
    }
    Ok(left)
}

fn as_text(left: &[Left]) -> String {
    let plural = |count: usize, word: &str, words: &str| format!("{count} {}", if count == 1 { word } else { words });
    let primaries = left.iter().filter(|one| one.is_primary).count();
    let (primaries, standbys) =
        (plural(primaries, "primary", "primaries"), plural(left.len() - primaries, "standby", "standbys"));
    let named = |only_alone: bool| {
        let names: Vec<_> =
            left.iter().filter(|one| one.is_alone || !only_alone).map(|one| one.instance.as_str()).collect();
        let more = if names.len() > NAMED_MAX { ", …" } else { "" };
        format!("{}{more}", names[..names.len().min(NAMED_MAX)].join(", "))
    };
    let mut text = format!("{primaries} and {standbys} are left: {}", named(false));
    if left.iter().any(|one| one.is_alone) {
        text += &format!("; no other replica runs of {}", named(true));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_and_some_of_it_named() {
        let left = |names: &[&str]| -> Vec<Left> {
            let one = |(n, name): (usize, &&str)| Left {
                instance: InstanceName::new(*name).expect("plain"),
                is_primary: n == 0,
                is_alone: n == 1,
            };
            names.iter().enumerate().map(one).collect()
        };
        assert_eq!(as_text(&left(&["a"])), "1 primary and 0 standbys are left: a");
        let many = as_text(&left(&["a", "b", "c", "d", "e", "f"]));
        assert_eq!(many, "1 primary and 5 standbys are left: a, b, c, d, e, …; no other replica runs of b");
    }
}
