//! Where logs are, as an operator writes it.

use std::fmt;

use ambrosia_shared_log::ANSWER_TIME;
use tokio_postgres::{
    Config,
    config::{Host, TargetSessionAttrs},
};

use crate::error::PlaceError;

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
    schema: String,
}

impl PostgresPlace {
    /// Reads a URL such as `postgres://ambrosia@db1,db2/app?schema=ambrosia`.
    ///
    /// # Errors
    /// If it is none, names no schema, or a database of another machine.
    pub fn read(url: &str) -> Result<PostgresPlace, PlaceError> {
        let (url, schema) = without_schema(url);
        let schema = schema.unwrap_or(SCHEMA).to_owned();
        check_name(&schema)?;
        // What the library says of a URL does not repeat it.
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            PlaceError::Url(
                std::error::Error::source(&error).map_or_else(|| error.to_string(), |inner| inner.to_string()),
            )
        })?;
        if let Some(host) = config.get_hosts().iter().find_map(elsewhere) {
            return Err(PlaceError::Elsewhere(host));
        }
        if let Some(address) = config.get_hostaddrs().iter().find(|address| !address.is_loopback()) {
            return Err(PlaceError::Elsewhere(address.to_string()));
        }
        config.application_name("ambrosia-host");
        // Only whoever can be written to is in office; a node that is asked for what it has lost would tell an old story.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(ANSWER_TIME).tcp_user_timeout(ANSWER_TIME);
        Ok(PostgresPlace { config, schema })
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

/// Takes `schema=NAME` out of the parameters of a URL, which the library does not know.
fn without_schema(url: &str) -> (String, Option<&str>) {
    let Some((before, parameters)) = url.split_once('?') else { return (url.to_owned(), None) };
    let (ours, theirs): (Vec<_>, Vec<_>) = parameters.split('&').partition(|one| one.starts_with("schema="));
    let schema = ours.last().and_then(|one| one.strip_prefix("schema="));
    let url = if theirs.is_empty() { before.to_owned() } else { format!("{before}?{}", theirs.join("&")) };
    (url, schema)
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
        Host::Tcp(name) if name == "localhost" => None,
        Host::Tcp(name) => match name.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            Ok(address) if address.is_loopback() => None,
            _ => Some(name.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
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
        for url in
            ["nonsense", "postgres://me:secret@localhost/app?sslmode=nonsense", "postgres://me:secret@localhost:x/app"]
        {
            let said = error(url);
            assert!(said.contains("postgres://USER@") && !said.contains("secret"), "{said}");
        }
        for schema in ["", "Shop", "1a", "a-b", "a\"b", "pg_temp", &"a".repeat(64)] {
            assert!(
                error(&format!("postgres://localhost/app?schema={schema}")).contains("no name of a schema"),
                "{schema}"
            );
        }
        for host in ["db1.example", "localhost,10.0.0.7", "0.0.0.0"] {
            assert!(error(&format!("postgres://me:secret@{host}/app")).contains("is not this machine"), "{host}");
        }
        assert!(error("postgres://localhost/app?hostaddr=10.0.0.7").contains("10.0.0.7 is not this machine"));
    }
}
