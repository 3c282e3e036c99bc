//! `deregister-instance`: deletes an instance with its log.

use std::{io::Write, process::ExitCode};

use ambrosia_storage::{Deregistered, InstanceError, Instances, StorePlace};
use anyhow::bail;

use crate::arguments::DeregisterInstance;

pub(crate) fn deregister_instance(store: &StorePlace, verb: &DeregisterInstance) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let name = &verb.instance;
    if !verb.yes {
        match store.instance(name) {
            Ok(entry) => {
                bail!("this deletes instance {name} ({}) with its log for ever: repeat it with --yes", entry.uuid)
            }
            Err(error @ InstanceError::Unknown { .. }) => return Err(error.into()),
            Err(error) => bail!("this deletes instance {name} with its log for ever: repeat it with --yes ({error})"),
        }
    }
    let Deregistered { uuid, left } = store.deregister(name)?;
    let mut out = std::io::stdout();
    match uuid {
        Some(uuid) => writeln!(out, "deregistered instance {name} ({uuid})")?,
        None => writeln!(out, "deregistered instance {name}, whose registration could not be read")?,
    }
    for log in left {
        writeln!(out, "it may be that {log} was its log; remove it if you know that it was")?;
    }
    Ok(ExitCode::SUCCESS)
}
