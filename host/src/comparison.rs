//! Has the primary write a digest record, with which a replica of another version of the engine compares itself.

use std::{sync::Arc, time::Duration};

use ambrosia_client::Client;
use tracing::Instrument;

use crate::{driver::Driver, store_whereabouts::StoreWhereabouts};

/// How long the primary, or the next one, is looked for: less than until the member asks again.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// Asks the primary for a checkpoint, which comes with a digest record: hosts of every version know that. The member sees
/// the record in its log; if there is none, it asks again.
pub(crate) fn ask(driver: &Arc<Driver>) {
    let (store, name) = (Arc::clone(&driver.store), driver.name.clone());
    let whereabouts = StoreWhereabouts::told_by(Arc::clone(&driver.directory), store, name.clone());
    let checkpoints = Arc::clone(&driver.checkpoints);
    let asking = async move {
        let taken = async {
            let (published, _subscription) = crate::follow_checkpoints(&checkpoints)?;
            Client::new(name, whereabouts).checkpoint(published, ASK_PATIENCE).await
        };
        match taken.await {
            Ok(taken) => tracing::debug!(lsn = %taken.asked, "the primary has written a digest to compare with"),
            Err(error) => tracing::info!("the primary was asked for a digest to compare with: {error}"),
        }
    };
    driver.runtime.spawn(asking.instrument(driver.span.clone()));
}
