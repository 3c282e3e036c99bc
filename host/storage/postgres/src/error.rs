//! What can go wrong before anything is asked, and what an error of a statement means.

use ambrosia_shared_log::Fault;
use tokio_postgres::error::{Severity, SqlState};

/// A URL does not say where logs are.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It is no URL of PostgreSQL. The URL is not shown: it may hold a password.
    #[error("the URL of the database can't be read ({0}): use postgres://USER@HOST:PORT/DATABASE?schema=NAME")]
    Url(String),
    /// The name of the schema can't be one.
    #[error("{0:?} is no name of a schema: use a letter, then up to 62 lower-case letters, digits and '_'")]
    Schema(String),
    /// The database is on another machine, and connections are not encrypted yet.
    #[error(
        "{0} is not this machine: databases elsewhere are not supported yet, since connections with them are not encrypted"
    )]
    Elsewhere(String),
}

/// A database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Nobody answers, or not in time.
    #[error("no database answers at {place}: {reason}")]
    Unreachable {
        /// Where, without a password.
        place: String,
        /// Why.
        reason: String,
    },
    /// It is there, and keeps no logs.
    #[error("there is no store of Ambrosia in schema {schema} of {place}: make it with `ambrosia-host store init`")]
    NoStore {
        /// Where, without a password.
        place: String,
        /// The schema.
        schema: String,
    },
    /// It is there, and this program can't or must not use it.
    #[error("the database at {place} can't be used: {reason}")]
    Unusable {
        /// Where, without a password.
        place: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The system has no more threads.
    #[error("no thread can be begun for the connections with the database: {0}")]
    Threads(std::io::Error),
}

/// What an error says of a statement that was sent.
pub(crate) fn fault_of(error: &tokio_postgres::Error) -> Fault {
    let said = said(error);
    match error.as_db_error().and_then(|error| error.parsed_severity()) {
        // It is rolled back: behind the commit there are no errors of this severity.
        Some(Severity::Error) => Fault::Unavailable(said),
        // The server ends, perhaps while the commit waits for a standby.
        _ => Fault::Unknown(said),
    }
}

/// Whether no statement can be asked on a connection any more that has met this.
pub(crate) fn ends_conversation(error: &tokio_postgres::Error) -> bool {
    let state = error.as_db_error().map(|error| (error.parsed_severity(), error.code()));
    match state {
        // Somebody else is in office.
        Some((Some(Severity::Error), code)) => *code == SqlState::READ_ONLY_SQL_TRANSACTION,
        _ => true,
    }
}

/// An error as one line: of the client's own only the outermost part would be shown.
pub(crate) fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => {
            let mut said = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(inner) = source {
                said = format!("{said}: {inner}");
                source = inner.source();
            }
            said
        }
    }
}
