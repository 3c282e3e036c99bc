//! Somebody uses the store of this host, which they can't reach themselves, or are not to.
//!
//! **Architecture Invariant:** whoever has a token for everything sees what the store has; only whoever may be a host, or is an operator, changes
//! it; a client does neither, nor does anybody without TLS. What is asked and answered, nobody here knows.

use std::sync::Arc;

use ambrosia_storage::{Relayed, Store, StoreRight};
use ambrosia_wire::{Caller, Connection, ConnectionError, ConnectionHandle, Control, Frame};

use crate::{
    bearer::{Bearer, NEITHER},
    known_tokens::KnownTokens,
};

/// Why a store that is not shared is not used from elsewhere.
const NOT_SHARED: &str = "the store of this host is a directory of its machine, which is used there: a store in a database can be used through hosts";

/// Why somebody on this machine does not use the store, whose URL may be one that only its owner can read: nothing says who that is.
const NO_TLS: &str = "this host was started without TLS, and passes its store on by TLS alone, where certificates say who may use it: on \
                      this machine give the URL of the store itself, or start the host with --tls-cert, --tls-key and --tls-ca";

/// Why a client, who may ask every instance for something, does not see what others have asked.
pub(crate) const NO_OPERATOR: &str = "the certificate is one of a client, and the store is used with a certificate of an operator, which \
                           `ambrosia-host cert issue --operator NAME` makes, or read with a token for every deed and every instance";

/// Answers somebody who has said that hello, until either side ends.
pub(crate) async fn relay(
    handle: ConnectionHandle,
    mut connection: Connection,
    version: u16,
    (caller, token): (Caller, Option<String>),
    (store, tokens): (&dyn Store, &Arc<KnownTokens>),
) -> ConnectionError {
    let (relayed, right, bearer) = match admit(version, (caller, token), (store, tokens)).await {
        Ok(admitted) => admitted,
        Err(reason) => return refuse(&mut connection, caller, reason).await,
    };
    let served = ambrosia_relay::serve(&*relayed, right, handle, connection);
    match &bearer {
        None => served.await,
        // Also whoever asks nothing just now.
        Some(bearer) => tokio::select! {
            ended = served => ended,
            reason = Box::pin(bearer.over()) => ConnectionError::Tls(reason),
        },
    }
}

type Admitted = (Arc<dyn Relayed>, StoreRight, Option<Bearer>);

/// What somebody may do, and as long as which token is there.
///
/// # Errors
/// Why nothing, in words that say what is missing.
async fn admit(
    version: u16,
    (caller, token): (Caller, Option<String>),
    (store, tokens): (&dyn Store, &Arc<KnownTokens>),
) -> Result<Admitted, String> {
    let relayed = store.relayed().ok_or(NOT_SHARED)?;
    let (right, bearer) = match caller {
        Caller::Neighbour => return Err(NO_TLS.to_owned()),
        Caller::Host | Caller::Operator => (StoreRight::Change, None),
        Caller::Client => return Err(NO_OPERATOR.to_owned()),
        Caller::Stranger => {
            let bearer = Bearer::of_store(Arc::clone(tokens), token.ok_or(NEITHER)?);
            bearer.look().await?;
            (StoreRight::Read, Some(bearer))
        }
    };
    if version != relayed.version() {
        return Err(format!(
            "this host relays its store by version {}, the other side by version {version}: run the same version of ambrosia-host on \
             both sides",
            relayed.version()
        ));
    }
    Ok((relayed, right, bearer))
}

/// Tells somebody that they may not; returns why the connection ends.
pub(crate) async fn refuse(connection: &mut Connection, caller: Caller, reason: String) -> ConnectionError {
    if caller != Caller::Stranger {
        tracing::warn!("somebody may not use the store through this host: {reason}");
    }
    let refused = Frame::Control(Control::Refused { elsewhere: false, reason: reason.clone() });
    connection.write_frame(&refused).await.err().unwrap_or(match caller {
        Caller::Stranger => ConnectionError::Tls(reason),
        Caller::Neighbour | Caller::Host | Caller::Operator | Caller::Client => ConnectionError::Closed,
    })
}
