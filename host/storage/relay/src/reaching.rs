//! Connects with one of the hosts, whichever answers first.

use std::time::Duration;

use ambrosia_core::HostAddress;
use ambrosia_shared_log::{RELAY_VERSION, RelayFacts, decode};
use ambrosia_wire::{Connection, ConnectionError, ConnectionHandle, Control, Frame, RELAYED_FRAME_MAX, Security};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use crate::{error::RelayError, place::RelayPlace};

/// The next host is tried beside one that has not answered for so long; one that is gone never does.
const NEXT_AFTER: Duration = Duration::from_millis(500);

/// No name of a store is longer: it is that of a directory here.
const STORE_NAME_BYTES_MAX: usize = 64;

/// A host that relays its store.
pub(crate) struct Reached {
    pub(crate) address: HostAddress,
    pub(crate) handle: ConnectionHandle,
    pub(crate) connection: Connection,
    pub(crate) facts: RelayFacts,
}

/// Why one of them does not.
enum Failed {
    /// It may when it is asked again.
    Away(String),
    /// It won't.
    No(String),
}

/// One of the hosts, until then; the first to be tried is the one behind that. It has to have the store of that name, if there is one.
pub(crate) async fn reach(
    place: &RelayPlace,
    store: Option<&str>,
    behind: Option<&HostAddress>,
    until: Instant,
) -> Result<Reached, RelayError> {
    let addresses = place.addresses();
    let first = addresses.iter().position(|address| Some(address) == behind).map_or(0, |last| last + 1);
    let (before, others) = addresses.split_at(first);
    let (mut trying, mut next) = (JoinSet::new(), others.iter().chain(before));
    let mut failures = Vec::new();
    let mut begin = |trying: &mut JoinSet<_>| {
        let Some(address) = next.next().cloned() else { return false };
        let (security, store) = (place.security().clone(), store.map(str::to_owned));
        trying.spawn(async move {
            let tried = timeout_at(until, hello(&address, store.as_deref(), &security)).await;
            let late = || Err(Failed::Away("it has not answered in time".to_owned()));
            (address, tried.unwrap_or_else(|_| late()))
        });
        true
    };
    let mut has_more = begin(&mut trying);
    while !trying.is_empty() {
        tokio::select! {
            Some(tried) = trying.join_next() => match tried {
                Ok((_, Ok(reached))) => return Ok(reached),
                Ok((address, Err(failed))) => {
                    failures.push((address, failed));
                    has_more = begin(&mut trying);
                }
                Err(error) => return Err(RelayError::Threads(error.to_string())),
            },
            () = sleep(NEXT_AFTER), if has_more => has_more = begin(&mut trying),
        }
    }
    Err(none_of(place, failures))
}

/// No host was of use. If one of them has said no, those that are away would most likely, too.
fn none_of(place: &RelayPlace, failures: Vec<(HostAddress, Failed)>) -> RelayError {
    let is_refused = failures.iter().any(|(_, failed)| matches!(failed, Failed::No(_)));
    let said = |(address, failed): (HostAddress, Failed)| match failed {
        Failed::Away(reason) | Failed::No(reason) => format!("{address}: {reason}"),
    };
    let reasons = failures.into_iter().map(said).collect::<Vec<_>>().join("; ");
    let place = place.to_string();
    if is_refused { RelayError::Refused { place, reasons } } else { RelayError::Unreached { place, reasons } }
}

async fn hello(address: &HostAddress, store: Option<&str>, security: &Security) -> Result<Reached, Failed> {
    let (handle, mut connection, answer) = match say_hello(address, security).await {
        Ok(greeted) => greeted,
        Err(ConnectionError::Refused(reason)) => return Err(Failed::No(reason)),
        Err(error @ ConnectionError::Tls(_)) => return Err(Failed::No(error.to_string())),
        Err(error) => return Err(Failed::Away(error.to_string())),
    };
    let facts = match answer {
        Ok(Frame::Control(Control::RelayWelcome { facts })) => facts,
        Ok(Frame::Control(Control::Refused { reason, .. })) => return Err(Failed::No(reason)),
        Ok(_) => return Err(Failed::No("it answers something else: it is of another version".to_owned())),
        Err(error) if error.is_hang_up() => {
            let words = "it ended the connection without a word: it is about to end, or of a version that relays no store; \
                         run this version of ambrosia-host there, too";
            return Err(Failed::Away(words.to_owned()));
        }
        Err(ConnectionError::Refused(reason)) => return Err(Failed::No(reason)),
        Err(error @ ConnectionError::Tls(_)) => return Err(Failed::No(error.to_string())),
        Err(error) => return Err(Failed::Away(error.to_string())),
    };
    let facts: RelayFacts = decode(facts.into()).map_err(|error| Failed::No(error.to_string()))?;
    if !is_store_name(&facts.store) {
        return Err(Failed::No(format!("it calls its store {:?}, which is no name of one", facts.store)));
    }
    if let Some(wanted) = store
        && wanted != facts.store
    {
        // What was read from one store says nothing of another one.
        return Err(Failed::No(format!("it has another store ({}, and not {wanted})", facts.store)));
    }
    connection.welcome_relay(RELAYED_FRAME_MAX);
    Ok(Reached { address: address.clone(), handle, connection, facts })
}

/// Connects, says hello, and waits for the answer.
async fn say_hello(
    address: &HostAddress,
    security: &Security,
) -> Result<(ConnectionHandle, Connection, Result<Frame, ConnectionError>), ConnectionError> {
    let (handle, mut connection) = Connection::new(security.connect(address).await?)?;
    connection.say_first(Control::RelayHello { version: RELAY_VERSION }, security).await?;
    let answer = connection.read_frame().await;
    Ok((handle, connection, answer))
}

/// It becomes the name of a directory, and comes from elsewhere.
fn is_store_name(name: &str) -> bool {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_plain && (1..=STORE_NAME_BYTES_MAX).contains(&name.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_has_a_name_that_leads_out_of_no_directory() {
        assert!(is_store_name("5f0e7a10-8c5c-4d57-9b6e-0123456789ab") && is_store_name("store"));
        for name in ["", ".", "..", "a/b", "/etc", "a\0b", &"a".repeat(65)] {
            assert!(!is_store_name(name), "{name:?}");
        }
    }
}
