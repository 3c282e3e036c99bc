//! `result`: what has become of a request that was not waited for.

use std::{io::Write, process::ExitCode, time::Duration};

use ambrosia_core::{Answer, RequestId, RequestStatus};
use ambrosia_host::{Security, decode_value, show_raw, show_value, without_controls};
use ambrosia_storage::StorePlace;
use anyhow::bail;

use crate::{arguments::ResultOf, reach::reach_methods};

/// Exit code while there is no result.
const UNDER_WAY: u8 = 3;

pub(crate) fn result(store: StorePlace, verb: &ResultOf, security: Security) -> anyhow::Result<ExitCode> {
    let seconds = |flag: &str, seconds: f64| {
        if !(0.0..=1e9).contains(&seconds) {
            bail!("{flag} must be a number of seconds, at most 1000000000");
        }
        Ok(Duration::from_secs_f64(seconds))
    };
    let (wait, limit) = (seconds("--wait", verb.wait)?, seconds("--timeout", verb.timeout)?);
    let request = RequestId::new(&verb.of.request)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut client, methods) = runtime.block_on(reach_methods(store, &verb.of.instance, &verb.at, limit, security))?;
    let method = verb.method.as_deref().map(|name| methods.find(name)).transpose()?;
    let shown = |value: &[u8]| match method {
        Some(method) => show_value(method, value),
        None if methods.iter().all(|method| !method.message_pack()) => show_raw(value),
        None => decode_value(value),
    };
    let id = without_controls(&verb.of.request);
    match runtime.block_on(client.inquire(&request, wait, limit))? {
        RequestStatus::Answered { answer: Answer { success: true, value }, .. } => {
            writeln!(std::io::stdout(), "{}", without_controls(&shown(&value).to_string()))?;
            Ok(ExitCode::SUCCESS)
        }
        RequestStatus::Answered { answer: Answer { success: false, value }, .. } => {
            let reason = decode_value(&value);
            bail!("the request failed: {}", reason.as_str().map_or_else(|| reason.to_string(), str::to_owned))
        }
        RequestStatus::UnderWay { accepted } => {
            let name = &verb.of.instance;
            writeln!(
                std::io::stderr(),
                "request {id} of instance {name} is under way since lsn {accepted}: ask again, or wait for it with --wait SECONDS"
            )?;
            Ok(ExitCode::from(UNDER_WAY))
        }
        RequestStatus::Unknown => bail!(
            "nothing is known of request {id} of instance {}: it was never asked, is not in the log yet, or its result is \
             forgotten by now",
            verb.of.instance
        ),
    }
}
