//! `send`: one request from outside.

use std::{io::Write, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use ambrosia_core::RequestId;
use ambrosia_engine::Engine;
use ambrosia_host::{Answered, Client, Methods, decode_value, encode_arguments, fresh_request_id, load_module};
use ambrosia_storage::FileStore;
use anyhow::{Context, bail};

use crate::arguments::Send;

pub(crate) fn send(store: PathBuf, verb: Send) -> anyhow::Result<ExitCode> {
    let store = Arc::new(FileStore::open(&store)?);
    let entry = store.instance(&verb.instance)?;
    let methods = Methods::new(load_module(&store, &Engine::new()?, entry.module)?.methods()?);
    let message_pack = methods.find(&verb.method)?.message_pack;
    let arguments = encode_arguments(&verb.args, message_pack).context("--args")?;
    let request = match &verb.request_id {
        Some(id) => RequestId::new(id).context("--request-id")?,
        None => fresh_request_id(),
    };
    if !(verb.timeout > 0.0 && verb.timeout <= 1e9) {
        bail!("--timeout must be a number of seconds above 0");
    }
    let limit = Duration::from_secs_f64(verb.timeout);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answered = runtime.block_on(async {
        let mut client = Client::new(store, verb.instance)?;
        client.send(&request, &verb.method, &arguments, !verb.no_wait, limit).await
    })?;
    if let Answered::Value(value) = answered {
        writeln!(std::io::stdout(), "{}", decode_value(&value))?;
    }
    Ok(ExitCode::SUCCESS)
}
