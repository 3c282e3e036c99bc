//! What can go wrong before anything is asked, and what an error of a statement means.

use std::io;

use ambrosia_shared_log::Fault;
use rustls::{AlertDescription, CertificateError};
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
    /// The database is on another machine, and it is not to be seen that it is the one that is meant.
    #[error(
        "{host} is not this machine, and sslmode={mode} does not see that the server there is the one that is meant: leave sslmode out or write \
         verify-full, and name the certificate of the CA that has signed the server's by sslrootcert=PATH"
    )]
    NeedsTls {
        /// Who is elsewhere.
        host: String,
        /// What was to be done.
        mode: String,
    },
    /// The mode encrypts, and does not see for whom.
    #[error(
        "sslmode={0} encrypts without seeing that the server is the one that is meant: write verify-full, and sslrootcert=PATH for the CA that has \
         signed the server's certificate, or disable for clear text on this machine"
    )]
    Unverified(String),
    /// There is no such mode.
    #[error("{0:?} is no mode of sslmode: use verify-full, or disable for clear text on this machine")]
    Mode(String),
    /// A certificate without its key, or the other way round.
    #[error("{given} needs {missing} beside it: both name files of PEM, the certificate of this client and its key")]
    Half {
        /// What was given.
        given: &'static str,
        /// What is needed, too.
        missing: &'static str,
    },
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

fn words_of(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(fault) => format!("the certificate of the server {}", words_of_theirs(fault)),
        rustls::Error::InvalidMessage(_) => "what answers there speaks no TLS, and may be no database".to_owned(),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the server wants a certificate: give sslcert and sslkey in the URL".to_owned()
            }
            AlertDescription::CertificateExpired => {
                "the server says that the certificate of sslcert has expired: put a new one in its place, which is read without a restart".to_owned()
            }
            AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate => {
                "the server does not believe the certificate of sslcert: let its ssl_ca_file have the CA that has signed it".to_owned()
            }
            AlertDescription::ProtocolVersion => "the server has no TLS 1.2 or newer".to_owned(),
            alert => format!("the server refuses by the alert {alert:?} of TLS: see its log"),
        },
        error => format!("TLS has failed: {error}"),
    }
}

fn words_of_theirs(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired: give the server a new one".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: see that the clocks of both machines are right".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by a CA of sslrootcert (without that, by one that this system believes): name its CA by sslrootcert=PATH in the URL"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            // They come as `DnsName("a.example")`.
            let names: Vec<&str> = presented.iter().map(|name| name.split('"').nth(1).unwrap_or(name)).collect();
            let names = if names.is_empty() { "no name in its subjectAltName".to_owned() } else { names.join(", ") };
            format!(
                "is not for {}, but for {names}: use that name in the URL (with hostaddr=IP if it can't be resolved), or give the server one for this",
                expected.to_str()
            )
        }
        fault => format!("can't be believed: {fault}"),
    }
}
