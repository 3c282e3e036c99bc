//! What servers say of themselves, and what has to be the same of each that is connected with: another one may have come in its place.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use crate::{error::PostgresError, place::PostgresPlace};

/// What a server said when it was connected with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Known {
    /// Names the store.
    pub(crate) store: Uuid,
    /// Whether commits wait for another machine.
    pub(crate) has_standby: bool,
}

/// What the last one said.
#[derive(Default)]
pub(crate) struct Last(Mutex<Option<Known>>);

/// What is to be said of a server that was connected with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum News {
    None,
    /// The one before had a standby.
    HasNoStandby,
    HasStandby,
}

impl Last {
    /// Sees what another connection was told, and says what has changed.
    ///
    /// # Errors
    /// If it is another store.
    pub(crate) fn see(&self, known: Known, place: &PostgresPlace) -> Result<(), PostgresError> {
        match self.take(known) {
            Ok(News::None) => {}
            Ok(News::HasNoStandby) => tracing::warn!("{}", caution(place)),
            Ok(News::HasStandby) => tracing::info!("the database at {place} has a synchronous standby"),
            Err(reason) => {
                return Err(PostgresError::Unusable { place: place.to_string(), reason: reason.to_owned() });
            }
        }
        Ok(())
    }

    fn take(&self, known: Known) -> Result<News, &'static str> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.store != known.store) {
            return Err(
                "it has another store than this process began with: if another database was put in its place on purpose, start the hosts anew",
            );
        }
        Ok(match last.replace(known).map(|last| last.has_standby) {
            Some(true) if !known.has_standby => News::HasNoStandby,
            Some(false) if known.has_standby => News::HasStandby,
            _ => News::None,
        })
    }
}

/// What an operator has to know of a server without a standby.
pub(crate) fn caution(place: &PostgresPlace) -> String {
    format!(
        "the database at {place} has no synchronous standby (its setting synchronous_standby_names is empty): what it has \
         confirmed is lost if its disk is, unless the service that runs it keeps copies in another way"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_standby_has_gone_or_come_is_said_once_and_another_store_is_refused() {
        let last = Last::default();
        let known = |store, has_standby| Known { store: Uuid::from_u128(store), has_standby };
        for (has_standby, news) in [
            (true, News::None),
            (true, News::None),
            (false, News::HasNoStandby),
            (false, News::None),
            (true, News::HasStandby),
        ] {
            assert_eq!(last.take(known(1, has_standby)), Ok(news));
        }
        assert!(last.take(known(2, false)).is_err());
        assert_eq!(last.take(known(1, true)), Ok(News::None), "the other one counts for nothing");
    }
}
