//! `send`: one request from outside.

use std::{io::Write, process::ExitCode};

use ambrosia_core::{Lsn, ReplicaIndex, RequestId};
use ambrosia_host::{Answered, Method, MethodKind, Security, fresh_request_id, show_value, without_controls};
use ambrosia_storage::StorePlace;
use anyhow::{Context, bail};

use crate::{arguments::Send, calling::Calling};

pub(crate) fn send(store: StorePlace, verb: &Send, security: Security) -> anyhow::Result<ExitCode> {
    let mut calling = Calling::begin(store, &verb.what, &verb.at, verb.timeout, security)?;
    if is_query(verb, &calling.method)? {
        return calling.query(verb.replica.map(ReplicaIndex), Lsn(verb.at_least));
    }
    let request = match &verb.request_id {
        Some(id) => RequestId::new(id).context("--request-id")?,
        None => fresh_request_id(),
    };
    calling.client.set_trace(verb.traceparent);
    let (waits, left) = (!(verb.no_wait || verb.is_async), calling.left());
    let answered = calling.client.send(&request, &calling.name, &calling.arguments, waits, left);
    let answered = calling.runtime.block_on(answered)?;
    if verb.is_async {
        writeln!(std::io::stdout(), "{}", without_controls(&String::from_utf8_lossy(request.as_bytes())))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Answered::Value(value) = answered {
        writeln!(std::io::stdout(), "{}", without_controls(&show_value(&calling.method, &value).to_string()))?;
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
        _ if verb.traceparent.is_some() => Some("--traceparent"),
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
