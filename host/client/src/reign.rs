//! How a connection with the primary is kept that many use at once: as long as its reign, and made again behind that.

use ambrosia_wire::ConnectionError;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use crate::{
    client::{LOOK_INTERVAL, REFUSED_PAUSE, RETRY_PAUSE},
    unreached::Unreached,
    whereabouts::{Primary, Whereabouts},
};

/// Greets the primary, unless another one becomes it meanwhile: a stopped primary's kernel still accepts connections, and a machine that is
/// gone says nothing, so it is not waited for longer than it reigns.
pub(crate) async fn greeted<T>(
    greeting: impl Future<Output = Result<T, ConnectionError>>,
    primaries: &mut watch::Receiver<Option<Primary>>,
    whereabouts: &dyn Whereabouts,
) -> Result<T, ConnectionError> {
    let looking = async {
        loop {
            sleep(LOOK_INTERVAL).await;
            whereabouts.look_again();
        }
    };
    tokio::select! {
        greeted = greeting => greeted,
        _changed = primaries.changed() => Err(ConnectionError::Closed),
        () = looking => unreachable!("it looks for ever"),
    }
}

/// Serves the connection with a primary as long as that is it. While somebody waits, it is looked who is.
pub(crate) async fn served(
    serving: impl Future<Output = ConnectionError>,
    primary: Primary,
    mut primaries: watch::Receiver<Option<Primary>>,
    is_idle: impl Fn() -> bool,
    whereabouts: &dyn Whereabouts,
) -> ConnectionError {
    let moved = primaries.wait_for(|now| now.as_ref().is_some_and(|now| now.epoch != primary.epoch));
    let looking = async {
        loop {
            sleep(LOOK_INTERVAL).await;
            if !is_idle() {
                whereabouts.look_again();
            }
        }
    };
    tokio::select! {
        ended = serving => ended,
        _moved = moved => ConnectionError::Closed,
        () = looking => unreachable!("it looks for ever"),
    }
}

/// Waits before the next try, as long as what the last one has met is worth, or until the primary changes.
pub(crate) async fn paused(unreached: Option<&Unreached>, primaries: &mut watch::Receiver<Option<Primary>>) {
    let is_refused = matches!(unreached, Some(Unreached::Refused { .. } | Unreached::Tls { .. }));
    let _changed = timeout(if is_refused { REFUSED_PAUSE } else { RETRY_PAUSE }, primaries.changed()).await;
}
