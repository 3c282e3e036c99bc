//! Which of the servers that a URL names is in office: all are asked at once, and who does not answer holds nobody up.
//!
//! A machine that is gone does not say so, and a server that stands still takes connections and answers nothing. Asked one after the other,
//! as the library does it, the first of these would use up the time that a request may take, and the next one would never be asked.
//!
//! Of several that can be written to the one with the newest *timeline* counts: a server that was cut off while its standby became
//! primary knows nothing of that when it is back. Nothing that it says would come to be durable, since that waits for its standby; but each
//! attempt would cost the time of a request.
//!
//! **Architecture Invariant:** that the wrong one is taken costs time and nothing else: what counts is what is durable.

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    net::lookup_host,
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, config::Host};

use crate::{conversation::driven, error::said, place::PostgresPlace, tls::Connector};

/// When one has answered that is in office, another one that thinks so, too, has so long to say it.
const OTHERS_TIME: Duration = Duration::from_millis(100);

/// The names of its files of WAL begin with the number of its timeline, in so many digits of 16.
const TIMELINE: &str = "select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";

/// A connection with a server that can be written to.
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// The server has warned of something.
    pub(crate) is_warned: Arc<AtomicBool>,
    pub(crate) driver: AbortHandle,
    /// 0 where there is nobody else, and where it can't be told, as by what only speaks like PostgreSQL.
    timeline: u32,
}

/// What has come of a part of the search.
enum Found {
    /// These are to be asked.
    Servers(Vec<Config>),
    Connected(Box<Connected>),
    /// Why one can't be asked, or must not.
    Nobody(String),
}

/// Connects with whoever is in office. The error says what each of them has said.
pub(crate) async fn connect(place: &PostgresPlace, connector: Option<&Connector>) -> Result<Connected, String> {
    let servers = servers(&place.config);
    let mut search = JoinSet::new();
    for server in servers {
        search.spawn(async move { resolve(server).await });
    }
    let (mut best, mut reasons) = (None::<Box<Connected>>, Vec::new());
    let (mut asked, mut until) = (0, None);
    loop {
        let next = match until {
            None => search.join_next().await,
            // Whoever is silent is not waited for.
            Some(until) => timeout_at(until, search.join_next()).await.unwrap_or_default(),
        };
        match next.map(|found| found.unwrap_or_else(|error| Found::Nobody(error.to_string()))) {
            None => break,
            Some(Found::Servers(servers)) => {
                asked += servers.len();
                // Of one alone it need not be known, unless another one may be found.
                let is_compared = asked > 1 || !search.is_empty();
                for server in servers {
                    let connector = connector.cloned();
                    search.spawn(async move { ask(server, connector, is_compared).await });
                }
            }
            Some(Found::Connected(connected)) => {
                until = until.or_else(|| Some(Instant::now() + OTHERS_TIME));
                if best.as_ref().is_none_or(|best| best.timeline < connected.timeline) {
                    best = Some(connected);
                }
            }
            // Of a name with several addresses all may say the same.
            Some(Found::Nobody(reason)) if reasons.contains(&reason) => {}
            Some(Found::Nobody(reason)) => reasons.push(reason),
        }
    }
    best.map(|best| *best).ok_or_else(|| reasons.join("; "))
}

/// Each server as the URL names it, by itself.
fn servers(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let server = |(number, host): (usize, &Host)| {
        let mut server = alone(config);
        match host {
            Host::Tcp(name) => server.host(name),
            Host::Unix(path) => server.host_path(path),
        };
        addresses.get(number).map(|address| server.hostaddr(*address));
        ports.get(number).or(ports.first()).map(|port| server.port(*port));
        server
    };
    hosts.iter().enumerate().map(server).collect()
}

/// All that does not say who is asked.
fn alone(config: &Config) -> Config {
    let mut server = Config::new();
    config.get_user().map(|user| server.user(user));
    config.get_password().map(|password| server.password(password));
    config.get_dbname().map(|name| server.dbname(name));
    config.get_options().map(|options| server.options(options));
    config.get_application_name().map(|name| server.application_name(name));
    config.get_connect_timeout().map(|time| server.connect_timeout(*time));
    config.get_tcp_user_timeout().map(|time| server.tcp_user_timeout(*time));
    config.get_keepalives_interval().map(|time| server.keepalives_interval(time));
    config.get_keepalives_retries().map(|count| server.keepalives_retries(count));
    server.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    server.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    server.channel_binding(config.get_channel_binding()).target_session_attrs(config.get_target_session_attrs());
    server
}

/// Finds the addresses of a name, each of which is asked by itself, too.
async fn resolve(server: Config) -> Found {
    let (Some(Host::Tcp(name)), []) = (server.get_hosts().first(), server.get_hostaddrs()) else {
        return Found::Servers(vec![server]);
    };
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match lookup_host((name.trim_matches(['[', ']']), port)).await {
        Ok(found) => {
            let mut addresses: Vec<IpAddr> = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            let at = |address| {
                let mut server = server.clone();
                server.hostaddr(address);
                server
            };
            Found::Servers(addresses.into_iter().map(at).collect())
        }
        Err(error) => Found::Nobody(format!("the address {name} is not found: {error}")),
    }
}

async fn ask(server: Config, connector: Option<Connector>, is_compared: bool) -> Found {
    let connected = match connector {
        None => server.connect(NoTls).await.map(|(client, connection)| driven(client, connection)),
        Some(connector) => server.connect(connector).await.map(|(client, connection)| driven(client, connection)),
    };
    match connected {
        Err(error) => Found::Nobody(said(&error)),
        Ok((client, is_warned, driver)) => {
            let timeline = if is_compared { timeline(&client).await } else { 0 };
            Found::Connected(Box::new(Connected { client, is_warned, driver, timeline }))
        }
    }
}

async fn timeline(client: &Client) -> u32 {
    let rows = client.simple_query(TIMELINE).await.unwrap_or_default();
    let text = rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    text.and_then(|text| u32::from_str_radix(text, 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_asked_as_the_url_says_it_of_all() {
        let url = "postgres://me:secret@db1:1111,db2:2222/app?options=-c%20geqo%3Doff&keepalives_idle=7";
        let place = PostgresPlace::read(&format!("{url}&hostaddr=127.0.0.1,127.0.0.2&sslmode=verify-full"))
            .expect("it is a URL");
        let servers = servers(&place.config);
        assert_eq!(servers.len(), 2);
        for (number, server) in servers.iter().enumerate() {
            let mut all = alone(&place.config);
            all.host(["db1", "db2"][number]).port([1111, 2222][number]);
            all.hostaddr(["127.0.0.1", "127.0.0.2"][number].parse().expect("an address"));
            assert_eq!(*server, all);
            assert_eq!(format!("{:?}", server.get_password()), format!("{:?}", Some(b"secret")));
        }
        // Nothing of it is lost on the way.
        let one = PostgresPlace::read(&format!("{}&sslmode=verify-full", url.replace(",db2:2222", ""))).expect("one");
        assert_eq!(super::servers(&one.config), [one.config]);
    }
}
