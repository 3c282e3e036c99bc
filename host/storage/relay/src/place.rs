//! Which hosts a store is reached through, as an operator writes it.

use std::{fmt, sync::Arc, time::Duration};

use ambrosia_core::{HostAddress, HostAddressError};
use ambrosia_shared_log::{Connected, EngineStorePlace, EngineUrl, HostId};
use ambrosia_storage::OpenError;
use ambrosia_wire::Security;
use uuid::Uuid;

use crate::{depot::RelayDepot, engine::RelayEngine, error::RelayPlaceError};

/// What URLs of hosts begin with.
const SCHEME: &str = "ambrosia://";

/// Where hosts listen, unless they are told otherwise.
const PORT: u16 = 7400;

/// Whoever opens a store hears after that time that nobody answers.
pub(crate) const OPENING_TIME: Duration = Duration::from_secs(10);

/// Where a store that is reached through hosts is.
pub type RelayStore = EngineStorePlace<RelayPlace>;

/// Hosts that have one store, and how they are connected with.
#[derive(Clone)]
pub struct RelayPlace {
    hosts: Vec<HostAddress>,
    security: Security,
}

impl RelayPlace {
    /// Reads a URL such as `ambrosia://a.example:7400,b.example`. Connections are in clear text, which goes to this machine alone.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(url: &str) -> Result<RelayPlace, RelayPlaceError> {
        let rest = url.strip_prefix(SCHEME).ok_or(RelayPlaceError::Url("it does not begin with ambrosia://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains('@') {
            return Err(RelayPlaceError::Url("it has a user, and hosts go by certificates and tokens"));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(RelayPlaceError::Url("something follows the hosts"));
        }
        let hosts = rest.split(',').map(read_host).collect::<Result<Vec<_>, _>>()?;
        Ok(RelayPlace { hosts, security: Security::Plain })
    }

    /// The same, where hosts are connected with like this.
    #[must_use]
    pub fn by(self, security: Security) -> RelayPlace {
        RelayPlace { security, ..self }
    }

    /// Whether a text is meant to be a URL of hosts.
    pub fn is_one(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// The hosts, in the order in which they are tried.
    pub(crate) fn addresses(&self) -> &[HostAddress] {
        &self.hosts
    }

    /// How they are connected with.
    pub(crate) fn security(&self) -> &Security {
        &self.security
    }
}

/// A name or an IP address, and a port if it is another than the usual one.
fn read_host(text: &str) -> Result<HostAddress, HostAddressError> {
    let has_port = match text.strip_prefix('[') {
        Some(v6) => v6.split_once(']').is_some_and(|(_, behind)| !behind.is_empty()),
        None => text.contains(':'),
    };
    if has_port { text.parse() } else { format!("{text}:{PORT}").parse() }
}

impl fmt::Display for RelayPlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        write!(out, "{SCHEME}{}", hosts.join(","))
    }
}

impl EngineUrl for RelayPlace {
    type Fault = RelayPlaceError;

    fn read(url: &str) -> Result<RelayPlace, RelayPlaceError> {
        RelayPlace::read(url)
    }

    fn shown(&self) -> String {
        self.to_string()
    }

    fn hosts(&self) -> &[HostAddress] {
        &self.hosts
    }

    fn connect(&self) -> Result<Connected, OpenError> {
        let engine = RelayEngine::open(self.clone()).map_err(|error| OpenError::Engine(error.to_string()))?;
        let depot = engine.depot_place().map(|place| Arc::new(RelayDepot::new(&engine, place.to_owned())) as Arc<_>);
        let (store, me) = (engine.store().to_owned(), HostId(Uuid::new_v4().into_bytes()));
        Ok(Connected { engine: Arc::new(engine), depot, store, me })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_hosts_whose_port_need_not_be_said() {
        for (url, shown) in [
            ("ambrosia://a.example", "ambrosia://a.example:7400"),
            ("ambrosia://a.example:7401,B.example/", "ambrosia://a.example:7401,b.example:7400"),
            ("ambrosia://[::1],[::1]:7,10.0.0.1", "ambrosia://[::1]:7400,[::1]:7,10.0.0.1:7400"),
        ] {
            assert_eq!(RelayPlace::read(url).expect(url).to_string(), shown);
        }
    }

    #[test]
    fn what_names_no_hosts_is_refused_with_an_example() {
        for url in [
            "nonsense",
            "ambrosia://",
            "ambrosia://a,",
            "ambrosia://a:x",
            "ambrosia://a:0",
            "ambrosia://::1",
            "ambrosia://me:secret@a",
            "ambrosia://a/app",
            "ambrosia://a?tls=no",
        ] {
            let said = RelayPlace::read(url).err().expect(url).to_string();
            assert!(said.contains("ambrosia://") && !said.contains("secret"), "{url}: {said}");
        }
    }
}
