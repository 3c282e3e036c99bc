//! What can go wrong before anything is asked, and what an error of a statement means.

use std::io;

use ambrosia_blobs::BlobsPlaceError;
use ambrosia_shared_log::{DepotError, Fault};
use ambrosia_storage_tls::{TlsError, words_of};
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
    /// The place for large contents is none.
    #[error(transparent)]
    Blobs(#[from] BlobsPlaceError),
    /// What it says of TLS can't be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// One of the hosts can't be asked by TLS, and others are to be.
    #[error(
        "one of the hosts is a local socket, on which PostgreSQL has no TLS, and others are to be asked by TLS: name its address in its place"
    )]
    SocketBesideTls,
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
    /// The place for blobs can't be used.
    #[error(transparent)]
    Blobs(#[from] DepotError),
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
    if let Some(error) = error.as_db_error() {
        return format!("{} ({})", error.message(), error.code().code());
    }
    let mut said = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(words) = words_of_tls(inner) {
            return words;
        }
        said = format!("{said}: {inner}");
        source = inner.source();
    }
    said
}

/// What is wrong with TLS, and what to do about it, if an error is of that.
fn words_of_tls(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(io) = error.downcast_ref::<io::Error>() {
        let inner = io.get_ref()?;
        return match inner.downcast_ref::<rustls::Error>() {
            Some(error) => Some(words_of(error)),
            // As rustls says that it has ended before its time.
            None if inner.to_string() == "tls handshake eof" => {
                Some("the server ended the connection during the handshake of TLS: see its log".to_owned())
            }
            None => None,
        };
    }
    // The client has no type for it.
    (error.to_string() == "server does not support TLS").then(|| {
        "the server has no TLS: switch it on there (its settings ssl, ssl_cert_file and ssl_key_file), for in clear text no other machine is asked"
            .to_owned()
    })
}
