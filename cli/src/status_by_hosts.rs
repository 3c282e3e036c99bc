//! `status` while the store can't be read: which replicas run, and since when and why a log stands, as hosts know it by themselves.

use std::collections::BTreeMap;

use ambrosia_core::{HostAddress, InstanceName};
use ambrosia_host::{ReplicaReport, Security, ask_for_replicas, without_controls};
use ambrosia_storage::InstanceError;
use serde::Serialize;

use crate::{
    said::said,
    status_peers::{ANSWER_WAIT_MAX, ShownStall, all_at_once},
    style::{Style, Tone},
};

/// What hosts know; its JSON is an interface for scripts.
#[derive(Serialize)]
pub(crate) struct ByHosts {
    /// Why the store can't be read.
    store_error: String,
    /// Instances of which a host runs a replica.
    instances: Vec<Instance>,
    /// Hosts that do not say.
    unreached: Vec<Unreached>,
}

#[derive(Serialize)]
struct Instance {
    name: String,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    replica: u16,
    /// "primary" or "standby", as its host has it: it may have been deposed, and not know that yet.
    role: &'static str,
    /// That of its reign; null if it is a standby.
    epoch: Option<u64>,
    /// Address of the host.
    host: String,
    /// Since when its log takes nothing for the time being, and why; null if it does, or has nothing to take.
    stall: Option<ShownStall>,
}

#[derive(Serialize)]
struct Unreached {
    host: String,
    error: String,
}

/// Asks hosts, all at once, since the store can't be read; `None` if that is no reason to, or there is nobody to ask.
///
/// # Errors
/// If the system has no more threads.
pub(crate) fn ask(
    hosts: &[HostAddress],
    only: Option<&InstanceName>,
    error: &anyhow::Error,
    security: &Security,
) -> anyhow::Result<Option<ByHosts>> {
    let is_answered = matches!(error.downcast_ref(), Some(InstanceError::Unknown { .. }));
    if hosts.is_empty() || is_answered {
        return Ok(None);
    }
    let ask = |host: &HostAddress| {
        let (host, security) = (host.clone(), security.clone());
        async move { ask_for_replicas(&host, ANSWER_WAIT_MAX, &security).await }
    };
    let asked = all_at_once(hosts.iter().map(ask))?;
    let (mut instances, mut unreached) = (BTreeMap::<String, Vec<Replica>>::new(), Vec::new());
    for (host, asked) in hosts.iter().zip(asked) {
        let host = host.to_string();
        match asked {
            Ok(replicas) => {
                let wanted = |told: &ReplicaReport| only.is_none_or(|only| only.as_str() == told.instance);
                for told in replicas.into_iter().filter(wanted) {
                    instances.entry(without_controls(&told.instance)).or_default().push(Replica::of(told, &host));
                }
            }
            Err(error) => unreached.push(Unreached { host, error: without_controls(&error.to_string()) }),
        }
    }
    let in_order = |(name, mut replicas): (String, Vec<Replica>)| {
        replicas.sort_by_key(|replica| replica.replica);
        Instance { name, replicas }
    };
    let instances = instances.into_iter().map(in_order).collect();
    Ok(Some(ByHosts { store_error: said(error), instances, unreached }))
}

impl Replica {
    fn of(told: ReplicaReport, host: &str) -> Replica {
        Replica {
            replica: told.replica,
            role: if told.epoch.is_some() { "primary" } else { "standby" },
            epoch: told.epoch.map(|epoch| epoch.0),
            host: host.to_owned(),
            stall: told.stall.map(ShownStall::of),
        }
    }
}

impl ByHosts {
    /// For a person, who is told elsewhere why the store can't be read.
    pub(crate) fn as_text(&self, style: Style) -> String {
        let mut text = "the store can't be read; this is what its hosts know:\n".to_owned();
        for Instance { name, replicas } in &self.instances {
            text += &format!("{}\n", style.paint(Tone::Place, name));
            for Replica { replica, role, epoch, host, stall } in replicas {
                let painted = format!("{role:<8}");
                let painted = if epoch.is_some() { style.paint(Tone::Print, painted) } else { painted };
                text += &format!("  replica {replica:<3} {painted} at {host}");
                text += &epoch.map(|epoch| format!(", epoch {epoch}")).unwrap_or_default();
                text += "\n";
                text += &stall.as_ref().map(ShownStall::as_text).unwrap_or_default();
            }
        }
        if self.instances.is_empty() && self.unreached.is_empty() {
            text += "no replica runs there\n";
        }
        for Unreached { host, error } in &self.unreached {
            text += &format!("host {host} {}: {error}\n", style.paint(Tone::Fault, "does not say"));
        }
        text
    }

    /// The same, with the reason.
    pub(crate) fn as_whole_text(&self, style: Style) -> String {
        format!("{}{}: {}\n", self.as_text(style), style.paint(Tone::Fault, "the store"), self.store_error)
    }
}
