//! `token`: who may do what, over HTTP or as a client that has no certificate.

use std::{io::Write, process::ExitCode};

use ambrosia_core::{InstanceName, Timestamp};
use ambrosia_host::{Clock, SystemClock, entropy_bytes};
use ambrosia_storage::{Deed, FoundToken, StorePlace, Token, Tokens};
use anyhow::bail;

use crate::arguments::{NewToken, TokenVerb};

/// What stands in front of a secret, so that whoever finds one knows what it is.
const PREFIX: &str = "ambrosia_";

pub(crate) fn token(store: &StorePlace, verb: TokenVerb) -> anyhow::Result<ExitCode> {
    match verb {
        TokenVerb::New(new) => make(store, new),
        TokenVerb::List => list(store),
        TokenVerb::Revoke { name } => {
            store.open()?.revoke_token(&name)?;
            writeln!(std::io::stdout(), "revoked token {name}")?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn make(store: &StorePlace, new: NewToken) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let made = SystemClock::check()?.now();
    if new.until.is_some_and(|until| until <= made) {
        bail!("--until {} is in the past", time(new.until.unwrap_or_default())?);
    }
    let secret = entropy_bytes();
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{digits}");
    let deeds = if new.deed.is_empty() { Deed::ALL.into() } else { new.deed.into_iter().collect() };
    let instances = (!new.instance.is_empty()).then(|| new.instance.into_iter().collect());
    store.add_token(&Token {
        name: new.name,
        hash: Token::hash_of(&text),
        deeds,
        instances,
        made,
        until: new.until,
    })?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

fn list(store: &StorePlace) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    let mut all_are_well = true;
    for FoundToken { name, token } in store.open()?.tokens()? {
        match token {
            Ok(token) => writeln!(out, "{}", described(&token)?)?,
            Err(error) => {
                all_are_well = false;
                writeln!(out, "{name}  {error}")?;
            }
        }
    }
    Ok(if all_are_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn described(token: &Token) -> anyhow::Result<String> {
    let deeds: Vec<_> = token.deeds.iter().map(|deed| deed.word()).collect();
    let instances = match &token.instances {
        None => "all instances".to_owned(),
        Some(names) => names.iter().map(InstanceName::as_str).collect::<Vec<_>>().join(", "),
    };
    let until = match token.until {
        None => "no end".to_owned(),
        Some(until) if token.has_ended(SystemClock::check()?.now()) => format!("ended {}", time(until)?),
        Some(until) => format!("until {}", time(until)?),
    };
    Ok(format!("{}  {}  {instances}  {until}  made {}", token.name, deeds.join(", "), time(token.made)?))
}

fn time(time: Timestamp) -> anyhow::Result<jiff::Timestamp> {
    Ok(jiff::Timestamp::from_nanosecond(i128::from(time.0))?)
}
