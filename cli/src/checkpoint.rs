//! `checkpoint`: has a checkpoint taken and waits until it is there.

use std::{io::Write, process::ExitCode, sync::Arc, time::Duration};

use ambrosia_host::{CheckpointTaken, Security, follow_checkpoints};
use ambrosia_storage::{Instances, StorePlace};
use anyhow::bail;

use crate::{arguments::Checkpoint, reach::by_store};

pub(crate) fn checkpoint(store: &StorePlace, verb: &Checkpoint, security: Security) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let checkpoints = store.checkpoints(store.log_of(&verb.instance)?)?;
    if !(verb.timeout > 0.0 && verb.timeout <= 1e9) {
        bail!("--timeout must be a number of seconds above 0");
    }
    let limit = Duration::from_secs_f64(verb.timeout);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let CheckpointTaken { lsn, asked, replica } = runtime.block_on(async {
        let (published, _subscription) = follow_checkpoints(&checkpoints)?;
        let mut client = by_store(Arc::clone(&store), &verb.instance.0, security)?;
        client.checkpoint(published, limit).await
    })?;
    let infos = checkpoints.list()?;
    // A later one may have made it unnecessary already.
    let bytes = infos.iter().find(|info| info.lsn == lsn).map_or(0, |info| info.bytes);
    let by = if lsn == asked { format!("by replica {replica}") } else { format!("in place of replica {replica}") };
    writeln!(std::io::stdout(), "checkpoint at lsn {lsn}, {bytes} bytes, taken {by}")?;
    Ok(ExitCode::SUCCESS)
}
