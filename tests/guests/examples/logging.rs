//! Writes lines by the crates `log` and `tracing`, as what an application links would.

use std::time::Duration;

use ambrosia::This;
use tracing::Instrument;

#[ambrosia::state]
struct Logging {
    orders: u64,
}

#[ambrosia::immortal]
impl Logging {
    /// A line by `log`.
    fn record(&mut self, value: u64) {
        self.orders += 1;
        log::info!(value = value, paid = true; "an order of {value}");
        log::debug!("nobody wants it");
    }

    /// Lines by `tracing` within a span that lives through an await, while others may write theirs.
    async fn event(_this: This<Self>, order: String, value: u64) {
        async {
            tracing::debug!("nobody wants it");
            tracing::warn!(value, "it is late");
            ambrosia::sleep(Duration::from_millis(50)).await;
            tracing::info!(value = value + 1, "it has come");
        }
        .instrument(tracing::info_span!("order", order))
        .await;
    }
}
