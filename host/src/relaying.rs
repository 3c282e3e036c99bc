//! Somebody uses the store of this host, which they can't reach themselves, or are not to.
//!
//! **Architecture Invariant:** whoever has a token for everything sees what the store has; only whoever may be a host, or is an operator, changes
//! it; a client does neither. What is asked and answered, nobody here knows.

use std::sync::Arc;

use ambrosia_storage::{Relayed, Store, StoreRight};
use ambrosia_wire::{Caller, Connection, ConnectionError, ConnectionHandle, Control, Frame};

use crate::{
    bearer::{Bearer, NEITHER},
    known_tokens::KnownTokens,
};

/// Why a store that is not shared is not used from elsewhere.
const NOT_SHARED: &str = "the store of this host is a directory of its machine, which is used there: a store in a database can be used through hosts";

/// Why a client, who may ask every instance for something, does not see what others have asked.
const NO_OPERATOR: &str = "the certificate is one of a client, and the store is used with a certificate of an operator, which \
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
        Err(reason) => {
            if caller != Caller::Stranger {
                tracing::warn!("somebody may not use the store through this host: {reason}");
            }
            let refused = Frame::Control(Control::Refused { elsewhere: false, reason: reason.clone() });
            return connection.write_frame(&refused).await.err().unwrap_or(match caller {
                Caller::Stranger => ConnectionError::Tls(reason),
                Caller::Host | Caller::Operator | Caller::Client => ConnectionError::Closed,
            });
        }
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
    let (right, bearer) = match caller {
        Caller::Host | Caller::Operator => (StoreRight::Change, None),
        Caller::Client => return Err(NO_OPERATOR.to_owned()),
        Caller::Stranger => {
            let bearer = Bearer::of_store(Arc::clone(tokens), token.ok_or(NEITHER)?);
            bearer.look().await?;
            (StoreRight::Read, Some(bearer))
        }
    };
    let relayed = store.relayed().ok_or(NOT_SHARED)?;
    if version != relayed.version() {
        return Err(format!(
            "this host relays its store by version {}, the other side by version {version}: run the same version of ambrosia-host on \
             both sides",
            relayed.version()
        ));
    }
    Ok((relayed, right, bearer))
}
