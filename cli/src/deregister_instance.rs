//! `deregister-instance`: deletes an instance with its log.

use std::{
    io::Write,
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use ambrosia_core::InstanceName;
use ambrosia_storage::{Deregistered, HostInfo, InstanceError, Instances, Member, Placing, Store, StorePlace};
use anyhow::bail;

use crate::{arguments::DeregisterInstance, interrupts};

/// Hosts end the replicas of an instance in that time.
const RETIREMENT_TIME: Duration = Duration::from_secs(30);

/// Between two looks at whether they have.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) fn deregister_instance(store: &StorePlace, verb: &DeregisterInstance) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let name = &verb.instance;
    let mut out = std::io::stdout();
    if verb.undo {
        let what = match store.end_retirement(store.instance(name)?.uuid)? {
            true => "is served again by hosts that take places",
            false => "was not about to be deregistered",
        };
        writeln!(out, "instance {name} {what}")?;
        return Ok(ExitCode::SUCCESS);
    }
    if !verb.yes {
        match store.instance(name) {
            Ok(entry) => {
                bail!("this deletes instance {name} ({}) with its log for ever: repeat it with --yes", entry.uuid)
            }
            Err(error @ InstanceError::Unknown { .. }) => return Err(error.into()),
            Err(error) => bail!("this deletes instance {name} with its log for ever: repeat it with --yes ({error})"),
        }
    }
    let Deregistered { uuid, left } = match store.deregister(name) {
        Err(InstanceError::Running { .. }) => retire_and_deregister(&*store, name)?,
        done => done?,
    };
    match uuid {
        Some(uuid) => writeln!(out, "deregistered instance {name} ({uuid})")?,
        None => writeln!(out, "deregistered instance {name}, whose registration could not be read")?,
    }
    for log in left {
        writeln!(out, "it may be that {log} was its log; remove it if you know that it was")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Hosts that take places by themselves end the replicas of an instance, if they are told. Others are ended by whoever began them.
fn retire_and_deregister(store: &dyn Store, name: &InstanceName) -> anyhow::Result<Deregistered> {
    let uuid = store.instance(name)?.uuid;
    // Who ended this in between would leave an instance that nobody serves.
    let ends = interrupts::received()?;
    store.retire(uuid)?;
    let done = wait_and_deregister(store, name, &ends);
    store.end_retirement(uuid)?;
    done
}

fn wait_and_deregister(store: &dyn Store, name: &InstanceName, ends: &Receiver<()>) -> anyhow::Result<Deregistered> {
    let deadline = Instant::now() + RETIREMENT_TIME;
    loop {
        match store.deregister(name) {
            Err(error @ InstanceError::Running { .. }) => {
                let hosts = store.hosts().hosts()?;
                let running = store.members_of(name)?.running()?;
                let is_of_host = |member: &Member| {
                    let is_it = |host: &HostInfo| member.address.as_ref() == Some(&host.address);
                    member.address.is_none() || hosts.iter().any(is_it)
                };
                let is_by_hand = hosts.is_empty() || !running.iter().all(is_of_host);
                if is_by_hand || Instant::now() >= deadline {
                    return Err(error.into());
                }
            }
            done => return Ok(done?),
        }
        match ends.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                bail!(
                    "interrupted while hosts ended the replicas of instance {name}: nothing was deleted, and they serve it again"
                );
            }
        }
    }
}
