//! `events`: what an instance emits.

use std::{
    io::{LineWriter, Write},
    process::ExitCode,
    time::Duration,
};

use ambrosia_core::{Event, EventId, ReplicaIndex, Timestamp};
use ambrosia_host::{ClientError, Diagnostics, Heard, Security, decode_value, without_controls};
use ambrosia_storage::StorePlace;
use anyhow::bail;
use serde::Serialize;
use serde_json::Value;

use crate::{arguments::Events, reach::reach};

/// While nobody is reached, it is said why as often as that changes; this is how long is waited before the first time.
const PATIENCE: Duration = Duration::from_secs(1);

/// An event as a line of JSON.
#[derive(Serialize)]
struct Shown<'a> {
    id: String,
    time: String,
    topic: &'a str,
    value: Value,
}

/// That events are missing, as a line of JSON.
#[derive(Serialize)]
struct Gap {
    lost: Lost,
}

#[derive(Serialize)]
struct Lost {
    /// All of them are behind this one,
    after: String,
    /// and this is the last.
    through: String,
}

pub(crate) fn events(store: StorePlace, verb: &Events, security: Security) -> anyhow::Result<ExitCode> {
    if !(verb.timeout > 0.0 && verb.timeout <= 1e9) {
        bail!("--timeout must be a number of seconds above 0");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(listen(store, verb, security))?;
    Ok(ExitCode::SUCCESS)
}

async fn listen(store: StorePlace, verb: &Events, security: Security) -> anyhow::Result<()> {
    let mut client = reach(store, &verb.instance, &verb.at, security).await?;
    let limit = Duration::from_secs_f64(verb.timeout);
    let mut events = client.events(Some(verb.after.unwrap_or_default()), verb.replica.map(ReplicaIndex));
    let newest = events.begin(limit).await?;
    // Each line is seen as it comes.
    let mut out = LineWriter::new(std::io::stdout());
    let mut said = String::new();
    while verb.follow || events.place().is_none_or(|place| place < newest) {
        match events.next(if verb.follow { PATIENCE } else { limit }).await {
            Ok(heard) => {
                said.clear();
                // Those that are forgotten from the start were not asked for.
                let is_asked_for = verb.after.is_some_and(|after| after > EventId::default());
                show(&mut out, verb, &heard, is_asked_for)?;
            }
            Err(error @ (ClientError::Ended(_) | ClientError::Rejected(_))) => return Err(error.into()),
            Err(error) if verb.follow => {
                let waits = hindrance(&error);
                if said != waits {
                    Diagnostics::say(format_args!("ambrosia-host: waiting: {waits}"));
                    said = waits;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Why nobody is reached, without how long that has been so.
fn hindrance(error: &ClientError) -> String {
    let said = error.to_string();
    said.split(" (waited ").next().unwrap_or_default().to_owned()
}

fn show(out: &mut impl Write, verb: &Events, heard: &Heard, is_asked_for: bool) -> anyhow::Result<()> {
    match heard {
        Heard::Event(event) => {
            if verb.topic.is_empty() || verb.topic.contains(&event.topic) {
                show_event(out, verb.json, event)?;
            }
        }
        Heard::Lost { after, through } if verb.json => {
            let gap = Gap { lost: Lost { after: after.to_string(), through: through.to_string() } };
            writeln!(out, "{}", serde_json::to_string(&gap)?)?;
        }
        Heard::Lost { after, through } if is_asked_for || *after > EventId::default() => {
            Diagnostics::say(format_args!(
                "ambrosia-host: events behind {after} are kept no more, up to {through}: the instance keeps the newest only"
            ));
        }
        Heard::Lost { through, .. } => {
            Diagnostics::say(format_args!("ambrosia-host: older events, up to {through}, are kept no more"));
        }
    }
    Ok(())
}

fn show_event(out: &mut impl Write, as_json: bool, event: &Event) -> anyhow::Result<()> {
    let Event { id, time, topic, value } = event;
    let (time, value) = (shown_time(*time)?, decode_value(value));
    if as_json {
        let shown = Shown { id: id.to_string(), time, topic, value };
        writeln!(out, "{}", without_controls(&serde_json::to_string(&shown)?))?;
    } else {
        writeln!(out, "{id:<12} {time}  {} {}", without_controls(topic), without_controls(&value.to_string()))?;
    }
    Ok(())
}

fn shown_time(time: Timestamp) -> anyhow::Result<String> {
    let time = jiff::Timestamp::from_nanosecond(i128::from(time.0))?;
    Ok(format!("{time:.6}"))
}
