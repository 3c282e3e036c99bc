//! `status`: who is primary, the epoch, the lsn, and how far each replica is.

use std::{io::Write, path::Path, process::ExitCode};

use ambrosia_core::ReplicaIndex;
use ambrosia_storage::{BlobHash, CaptureMeans, FileStore, InstanceEntry, LogStore, Member, Outcome, Role};
use serde::Serialize;

use crate::arguments::Status;

/// The whole answer; its JSON is an interface for scripts.
#[derive(Serialize)]
struct Answer {
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct Instance {
    name: String,
    uuid: String,
    module: String,
    state: &'static str,
    /// Why it is halted, or with which code it finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Ended>,
    epoch: u64,
    durable_lsn: u64,
    first_lsn: u64,
    disk_bytes: u64,
    checkpoints: Vec<ShownCheckpoint>,
    /// How checkpoints are taken: "memory", "save" or "none"; null if nobody runs.
    capture: Option<&'static str>,
    /// How long the guest would need for what is behind the newest checkpoint; null if nobody runs.
    recovery_ms: Option<u64>,
    primary: Option<Primary>,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct ShownCheckpoint {
    lsn: u64,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Ended {
    Finished { code: i32, lsn: u64 },
    Halted { lsn: u64, reason: String },
}

#[derive(Serialize)]
struct Primary {
    replica: u16,
    address: String,
    pid: u32,
}

#[derive(Serialize)]
struct Replica {
    replica: u16,
    role: &'static str,
    applied_lsn: Option<u64>,
    pid: Option<u32>,
    heartbeat_age_ms: Option<u64>,
}

pub(crate) fn status(store: &Path, verb: &Status) -> anyhow::Result<ExitCode> {
    let store = FileStore::open(store)?;
    let entries = match &verb.instance {
        Some(name) => vec![store.instance(name)?],
        None => store.instances()?,
    };
    let instances = entries.into_iter().map(|entry| look(&store, entry)).collect::<anyhow::Result<_>>()?;
    let answer = Answer { instances };
    let mut out = std::io::stdout();
    if verb.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else if answer.instances.is_empty() {
        writeln!(out, "no instances; register one with `ambrosia-host register-instance`")?;
    } else {
        out.write_all(as_text(&answer).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn look(store: &FileStore, entry: InstanceEntry) -> anyhow::Result<Instance> {
    let roster = store.roster(&entry.name)?;
    let log = store.log(&entry.name)?;
    let head = log.head()?;
    let checkpoints = log.checkpoints().list()?;
    let members = roster.members(entry.replicas.iter().copied().map(ReplicaIndex))?;
    let primary = members.iter().find(|member| member.role == Role::Primary);
    let state = match (&entry.outcome, primary) {
        (Some(Outcome::Finished { .. }), _) => "finished",
        (Some(Outcome::Halted { .. }), _) => "halted",
        (None, Some(_)) => "running",
        (None, None) => "down",
    };
    let outcome = entry.outcome.map(|outcome| match outcome {
        Outcome::Finished { code, lsn } => Ended::Finished { code, lsn: lsn.0 },
        Outcome::Halted { lsn, reason, .. } => Ended::Halted { lsn: lsn.0, reason },
    });
    Ok(Instance {
        name: entry.name.to_string(),
        uuid: entry.uuid.to_string(),
        module: BlobHash(entry.module).to_string(),
        state,
        outcome,
        epoch: head.epoch.0,
        durable_lsn: head.durable.0,
        first_lsn: log.first()?.0,
        disk_bytes: log.disk_bytes()?,
        checkpoints: checkpoints.iter().map(|info| ShownCheckpoint { lsn: info.lsn.0, bytes: info.bytes }).collect(),
        capture: primary.and_then(|member| member.capture).map(|means| match means {
            CaptureMeans::Memory => "memory",
            CaptureMeans::Save => "save",
            CaptureMeans::None => "none",
        }),
        recovery_ms: primary.map(|member| member.replay.as_millis() as u64),
        primary: primary.and_then(|member| {
            let address = member.address?.to_string();
            Some(Primary { replica: member.replica.0, address, pid: member.pid })
        }),
        replicas: members.iter().map(replica).collect(),
    })
}

fn replica(member: &Member) -> Replica {
    let alive = member.role != Role::Down;
    Replica {
        replica: member.replica.0,
        role: match member.role {
            Role::Primary => "primary",
            Role::Standby => "standby",
            Role::Down => "down",
        },
        applied_lsn: alive.then_some(member.applied.0),
        pid: alive.then_some(member.pid),
        heartbeat_age_ms: alive.then_some(member.heartbeat_age.as_millis() as u64),
    }
}

fn as_text(answer: &Answer) -> String {
    let mut text = String::new();
    for instance in &answer.instances {
        let Instance { name, state, epoch, durable_lsn, .. } = instance;
        text += &format!("{name}: {state}, epoch {epoch}, durable lsn {durable_lsn}");
        match &instance.outcome {
            Some(Ended::Finished { code, lsn }) => text += &format!(", exit code {code} at lsn {lsn}"),
            Some(Ended::Halted { lsn, reason }) => text += &format!(", at lsn {lsn}: {reason}"),
            None => {}
        }
        text += "\n";
        text += &format!("  {} on the disk, log from lsn {}; ", size(instance.disk_bytes), instance.first_lsn);
        text += &checkpoints_as_text(instance);
        for replica in &instance.replicas {
            text += &format!("  replica {:<3} {:<8}", replica.replica, replica.role);
            if let (Some(applied), Some(pid), Some(age)) = (replica.applied_lsn, replica.pid, replica.heartbeat_age_ms)
            {
                let lag = durable_lsn.saturating_sub(applied);
                text += &format!(" applied {applied:<10} lag {lag:<6} pid {pid:<8} heartbeat {age} ms ago");
            }
            if let Some(primary) = &instance.primary
                && primary.replica == replica.replica
            {
                text += &format!("  at {}", primary.address);
            }
            text += "\n";
        }
    }
    text
}

fn checkpoints_as_text(instance: &Instance) -> String {
    let mut text = match instance.checkpoints.last() {
        Some(newest) => {
            let bytes = instance.checkpoints.iter().map(|checkpoint| checkpoint.bytes).sum();
            let count = instance.checkpoints.len();
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} checkpoint{plural}, {}, the newest at lsn {}", size(bytes), newest.lsn)
        }
        None => "no checkpoint yet".to_owned(),
    };
    match instance.capture {
        Some("none") => text += "; the guest can't be captured, so recovery is a replay of the whole log",
        Some("save") => text += "; by the guest's own save and load",
        _ => {}
    }
    if let Some(recovery_ms) = instance.recovery_ms {
        text += &format!("; replay about {recovery_ms} ms");
    }
    text + "\n"
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
