//! Says in time that the certificate of this host ends.

use std::{sync::Arc, time::Duration};

use ambrosia_wire::Tls;

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(3600);

/// What is said so long before it ends leaves time for whoever does it by hand.
const AHEAD: Duration = Duration::from_secs(14 * 24 * 3600);

/// Looks for ever, at once and then now and then.
pub(crate) async fn watch_certificate(tls: Arc<Tls>) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    loop {
        looks.tick().await;
        if let Some(error) = tls.disbelieved_in(Duration::ZERO) {
            tracing::error!(%error, "nobody believes this host any more: connections that stand go on, and new ones fail");
        } else if let Some(error) = tls.disbelieved_in(AHEAD) {
            tracing::warn!("within 14 days nobody will believe this host any more: by then {error}");
        }
    }
}
