//! `deregister-instance`: deletes an instance with its log.

use std::{io::Write, path::Path, process::ExitCode};

use ambrosia_storage::FileStore;
use anyhow::bail;

use crate::arguments::DeregisterInstance;

pub(crate) fn deregister_instance(store: &Path, verb: &DeregisterInstance) -> anyhow::Result<ExitCode> {
    let store = FileStore::open(store)?;
    let entry = store.instance(&verb.instance)?;
    if !verb.yes {
        bail!("this deletes instance {} ({}) with its log for ever: repeat it with --yes", entry.name, entry.uuid);
    }
    store.deregister(&verb.instance)?;
    writeln!(std::io::stdout(), "deregistered instance {} ({})", entry.name, entry.uuid)?;
    Ok(ExitCode::SUCCESS)
}
