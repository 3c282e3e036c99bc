//! `checkpoint`: has a checkpoint taken and waits until it is there.

use std::{io::Write, process::ExitCode, sync::Arc, time::Duration, time::Instant};

use ambrosia_host::Client;
use ambrosia_storage::{FileStore, StorePlace};
use anyhow::bail;

use crate::arguments::Checkpoint;

pub(crate) fn checkpoint(store: &StorePlace, verb: &Checkpoint) -> anyhow::Result<ExitCode> {
    let store = Arc::new(FileStore::open(store)?);
    let checkpoints = store.log(&verb.instance)?.checkpoints();
    if !(verb.timeout > 0.0 && verb.timeout <= 1e9) {
        bail!("--timeout must be a number of seconds above 0");
    }
    let (began, limit) = (Instant::now(), Duration::from_secs_f64(verb.timeout));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (lsn, replica) = runtime.block_on(async {
        let mut client = Client::new(Arc::clone(&store), verb.instance.clone())?;
        client.checkpoint(limit).await
    })?;
    let newest = checkpoints.wait_for(lsn, limit.saturating_sub(began.elapsed()));
    if newest < lsn {
        bail!(
            "replica {replica} was asked for a checkpoint at lsn {lsn} and has taken none within {limit:?}; what it \
             says on its stderr tells why. The log is intact"
        );
    }
    let infos = checkpoints.list()?;
    // A later one may have made it unnecessary already.
    let bytes = infos.iter().find(|info| info.lsn == newest).map_or(0, |info| info.bytes);
    // Whoever was asked may have died, and then another one was.
    let by = if newest == lsn { format!("by replica {replica}") } else { format!("in place of replica {replica}") };
    writeln!(std::io::stdout(), "checkpoint at lsn {newest}, {bytes} bytes, taken {by}")?;
    Ok(ExitCode::SUCCESS)
}
