//! `send`: one request from outside.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use ambrosia_core::{Lsn, ReplicaIndex, RequestId, limits::ARGUMENTS_BYTES_MAX};
use ambrosia_host::{
    Answered, Method, MethodKind, encode_arguments_of, fresh_request_id, show_value, without_controls,
};
use ambrosia_storage::StorePlace;
use anyhow::{Context, bail};

use crate::{arguments::Send, reach::reach_methods};

pub(crate) fn send(store: StorePlace, verb: Send) -> anyhow::Result<ExitCode> {
    if !(verb.timeout > 0.0 && verb.timeout <= 1e9) {
        bail!("--timeout must be a number of seconds above 0");
    }
    let (began, limit) = (Instant::now(), Duration::from_secs_f64(verb.timeout));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut client, methods) = runtime.block_on(reach_methods(store, &verb.what.instance, &verb.at, limit))?;
    let method = methods.find(&verb.what.method)?;
    let arguments = verb.what.args.read().and_then(|json| Ok(encode_arguments_of(&json, method)?));
    let arguments = arguments.with_context(|| format!("--args{}", verb.what.args.place()))?;
    if arguments.len() > ARGUMENTS_BYTES_MAX {
        bail!(
            "--args{}: arguments of {} bytes exceed the limit of {ARGUMENTS_BYTES_MAX} bytes",
            verb.what.args.place(),
            arguments.len()
        );
    }
    let left = if verb.at.is_empty() { limit } else { limit.saturating_sub(began.elapsed()) };
    if is_query(&verb, method)? {
        let replica = verb.replica.map(ReplicaIndex);
        let asked = client.query(&verb.what.method, &arguments, Lsn(verb.at_least), replica, left);
        let queried = runtime.block_on(asked)?;
        writeln!(std::io::stdout(), "{}", without_controls(&show_value(method, &queried.value).to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = match &verb.request_id {
        Some(id) => RequestId::new(id).context("--request-id")?,
        None => fresh_request_id(),
    };
    let answered = client.send(&request, &verb.what.method, &arguments, !(verb.no_wait || verb.is_async), left);
    let answered = runtime.block_on(answered)?;
    if verb.is_async {
        writeln!(std::io::stdout(), "{}", without_controls(&String::from_utf8_lossy(request.as_bytes())))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Answered::Value(value) = answered {
        writeln!(std::io::stdout(), "{}", without_controls(&show_value(method, &value).to_string()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the method is asked, and not run as what may change something.
fn is_query(verb: &Send, method: &Method) -> anyhow::Result<bool> {
    let of_queries =
        if verb.replica.is_some() { Some("--replica") } else { (verb.at_least > 0).then_some("--at-least") };
    let of_requests = match &verb.request_id {
        _ if verb.no_wait => Some("--no-wait"),
        _ if verb.is_async => Some("--async"),
        id => id.as_ref().map(|_| "--request-id"),
    };
    let (name, kind) = (&method.name, method.kind.word());
    match (method.kind, of_queries, of_requests) {
        (MethodKind::Query, _, None) => Ok(!verb.logged),
        (MethodKind::Query, _, Some(_)) if verb.logged => Ok(false),
        (MethodKind::Query, _, Some(flag)) => {
            bail!(
                "{flag} is of requests, and method {name} is a query, of which nothing is logged: add --logged to log it"
            )
        }
        (_, Some(flag), _) => bail!("{flag} is of queries, and method {name} is of kind {kind}"),
        _ => Ok(false),
    }
}
