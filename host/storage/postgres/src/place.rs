//! Where logs are, as an operator writes it.

use std::fmt;

use ambrosia_blobs::BlobsPlace;
use ambrosia_shared_log::ANSWER_TIME;
use ambrosia_storage_tls::{TlsFiles, TlsParameters, is_here};
use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::{error::PlaceError, parameters::Parameters};

/// The schema that is used unless the URL says another one.
const SCHEMA: &str = "ambrosia";

/// Longest name that PostgreSQL does not cut.
const NAME_BYTES_MAX: usize = 63;

/// What URLs of PostgreSQL begin with.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// A schema of a database, and how that is reached. It may have several hosts: whichever of them can be written to is in office.
#[derive(Clone)]
pub struct PostgresPlace {
    pub(crate) config: Config,
    /// `None` in clear text.
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) schema: String,
    /// For large contents, if they are not to lie in the database.
    pub(crate) blobs: Option<BlobsPlace>,
}

impl PostgresPlace {
    /// Reads a URL such as `postgres://ambrosia@db1,db2/app?schema=ambrosia&sslrootcert=/etc/ambrosia/ca.crt`.
    ///
    /// # Errors
    /// If it is none, names no schema, or a database of another machine without seeing by TLS that it is the one.
    pub fn read(url: &str) -> Result<PostgresPlace, PlaceError> {
        let (url, parameters) = Parameters::take(url);
        let schema = parameters.schema.as_deref().unwrap_or(SCHEMA).to_owned();
        check_name(&schema)?;
        // What the library says of a URL does not repeat it.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            PlaceError::Url(
                std::error::Error::source(&error).map_or_else(|| error.to_string(), |inner| inner.to_string()),
            )
        })?;
        if config.get_hosts().is_empty() {
            // They are what the certificates of their servers have to be for.
            let addresses: Vec<_> = config.get_hostaddrs().iter().map(ToString::to_string).collect();
            for address in &addresses {
                config.host(address);
            }
        }
        let blobs = parameters.blobs.as_deref().map(BlobsPlace::read).transpose()?;
        let tls = tls_of(&config, parameters.tls)?;
        // What else the library could do is not to look at certificates.
        config.ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
        config.application_name("ambrosia-host");
        // Only whoever can be written to is in office; a node that is asked for what it has lost would tell an old story.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(ANSWER_TIME).tcp_user_timeout(ANSWER_TIME);
        Ok(PostgresPlace { config, tls, schema, blobs })
    }

    /// The same with these variables in the place of those of the environment, for an object store that `blobs` names.
    #[must_use]
    pub fn with_variables(self, variables: Vec<(String, String)>) -> PostgresPlace {
        PostgresPlace { blobs: self.blobs.map(|blobs| blobs.with_variables(variables)), ..self }
    }

    /// Whether a text is meant to be a URL of PostgreSQL.
    pub fn is_one(text: &str) -> bool {
        SCHEMES.iter().any(|scheme| text.starts_with(scheme))
    }

    /// Whether it has a password in it.
    pub fn has_password(&self) -> bool {
        self.config.get_password().is_some()
    }

    /// The schema that holds the tables.
    pub fn schema(&self) -> &str {
        &self.schema
    }
}

/// Without a password.
impl fmt::Display for PostgresPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = self.config.get_ports();
        for (number, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            let comma = if number > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) => write!(out, "{comma}{name}:{port}")?,
                Host::Unix(path) => write!(out, "{comma}{}:{port}", path.display())?,
            }
        }
        write!(out, "/{}", self.config.get_dbname().or(self.config.get_user()).unwrap_or_default())
    }
}

impl fmt::Debug for PostgresPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}?schema={}", self.schema)
    }
}

/// How connections are made: by TLS that sees who is there, or in clear text, for which nobody may be on another machine.
fn tls_of(config: &Config, parameters: TlsParameters) -> Result<Option<TlsFiles>, PlaceError> {
    let elsewhere = config.get_hosts().iter().find_map(elsewhere);
    let by_address = || config.get_hostaddrs().iter().find(|address| !address.is_loopback()).map(ToString::to_string);
    let files = parameters.files(elsewhere.or_else(by_address))?;
    // PostgreSQL has no TLS on them, and they do not leave the machine.
    let sockets = config.get_hosts().iter().filter(|host| matches!(host, Host::Unix(_))).count();
    if files.is_none() || (sockets > 0 && sockets == config.get_hosts().len()) {
        return Ok(None);
    }
    if sockets > 0 { Err(PlaceError::SocketBesideTls) } else { Ok(files) }
}

/// It is put into statements as it is.
fn check_name(name: &str) -> Result<(), PlaceError> {
    let is_plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let is_name = is_plain && name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.starts_with("pg_");
    if is_name && name.len() <= NAME_BYTES_MAX { Ok(()) } else { Err(PlaceError::Schema(name.to_owned())) }
}

fn elsewhere(host: &Host) -> Option<String> {
    match host {
        Host::Unix(_) => None,
        Host::Tcp(name) => Some(name).filter(|name| !is_here(name)).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_storage_tls::OwnFiles;

    use super::*;

    #[test]
    fn a_url_names_hosts_a_database_and_a_schema_and_its_password_is_not_shown() {
        let url = "postgres://me:secret@127.0.0.1:5432,localhost:5433/app?schema=shop&connect_timeout=7";
        let place = PostgresPlace::read(url).expect("it is one");
        assert_eq!(format!("{place:?}"), "127.0.0.1:5432,localhost:5433/app?schema=shop");
        assert_eq!(place.config.get_connect_timeout(), Some(&ANSWER_TIME), "who waits longer gives up first");
        assert_eq!(PostgresPlace::read("postgres://me@localhost/app").expect("it is one").schema(), "ambrosia");
        let socket = PostgresPlace::read("postgres://me@%2Frun%2Fpostgresql/app").expect("it is one");
        assert_eq!(socket.to_string(), "/run/postgresql:5432/app");
    }

    #[test]
    fn what_can_not_be_a_place_is_refused_without_its_password() {
        let error = |url: &str| PostgresPlace::read(url).expect_err(url).to_string();
        for url in [
            "nonsense",
            "postgres://me:secret@localhost/app?channel_binding=nonsense",
            "postgres://me:secret@localhost:x/app",
        ] {
            let said = error(url);
            assert!(said.contains("postgres://USER@") && !said.contains("secret"), "{said}");
        }
        for schema in ["", "Shop", "1a", "a-b", "a\"b", "pg_temp", &"a".repeat(64)] {
            assert!(
                error(&format!("postgres://localhost/app?schema={schema}")).contains("no name of a schema"),
                "{schema}"
            );
        }
    }

    /// Hosts and addresses of which at least one is not this machine.
    const ELSEWHERE: [&str; 6] = [
        "db1.example/app?",
        "localhost,10.0.0.7/app?",
        "0.0.0.0/app?",
        "localhost/app?hostaddr=10.0.0.7&",
        "/app?hostaddr=10.0.0.7&",
        "localhost.example/app?",
    ];

    fn tls(url: &str) -> Option<TlsFiles> {
        PostgresPlace::read(url).expect(url).tls
    }

    #[test]
    fn another_machine_is_asked_by_tls_that_sees_who_answers_and_in_no_other_way() {
        for place in ELSEWHERE {
            let url = format!("postgres://me:secret@{place}");
            let by_system = Some(TlsFiles { roots: None, own: None });
            for parameters in ["", "sslmode=verify-full", "sslmode=", "sslrootcert=system", "sslrootcert="] {
                assert_eq!(tls(&format!("{url}{parameters}")), by_system, "{url}{parameters}");
            }
            for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
                let said = PostgresPlace::read(&format!("{url}sslrootcert=ca.crt&sslmode={mode}")).expect_err(&url);
                let said = said.to_string();
                assert!(said.contains("is not this machine") && said.contains(mode), "{url}: {said}");
                assert!(said.contains("verify-full") && said.contains("sslrootcert="), "{said}");
                assert!(!said.contains("secret"), "{said}");
            }
        }
    }

    #[test]
    fn this_machine_is_asked_in_clear_text_unless_tls_is_wanted() {
        for place in ["localhost/app?", "127.0.0.1,[::1]/app?", "/app?hostaddr=127.0.0.2&"] {
            let url = format!("postgres://me@{place}");
            for parameters in ["", "sslmode=disable", "sslmode=prefer", "sslmode=allow&sslrootcert=ca.crt"] {
                assert_eq!(tls(&format!("{url}{parameters}")), None, "{url}{parameters}");
            }
            let own = Some(OwnFiles { certificate: "me.crt".into(), key: "me.key".into() });
            let given = tls(&format!("{url}sslrootcert=%2Fca.crt&sslcert=me.crt&sslkey=me.key"));
            assert_eq!(given, Some(TlsFiles { roots: Some("/ca.crt".into()), own }));
            assert!(tls(&format!("{url}sslmode=verify-full")).is_some());
            for mode in ["require", "verify-ca"] {
                let said = PostgresPlace::read(&format!("{url}sslmode={mode}")).expect_err(mode).to_string();
                assert!(said.contains(mode) && said.contains("verify-full"), "{said}");
            }
            for (parameters, words) in [("sslmode=yes", "no mode"), ("sslcert=a", "sslkey"), ("sslkey=a", "sslcert")] {
                let said = PostgresPlace::read(&format!("{url}{parameters}")).expect_err(words).to_string();
                assert!(said.contains(words), "{said}");
            }
        }
    }

    #[test]
    fn a_local_socket_has_no_tls_and_stands_beside_no_host_that_has() {
        let socket = "postgres://me@%2Frun%2Fpostgresql";
        assert_eq!(tls(&format!("{socket}/app?sslmode=verify-full")), None);
        for url in [format!("{socket},db1.example/app"), format!("{socket},localhost/app?sslrootcert=ca.crt")] {
            let said = PostgresPlace::read(&url).expect_err("one of them has none").to_string();
            assert!(said.contains("local socket"), "{said}");
        }
    }
}
