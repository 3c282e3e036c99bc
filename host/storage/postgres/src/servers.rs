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
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::lookup_host,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, timeout_at},
};
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, config::Host};

use crate::{conversation::driven, error::said, place::PostgresPlace, tls::Connector};

/// When one has answered that is in office, another one that thinks so, too, has so long to say it.
const OTHERS_TIME: Duration = Duration::from_millis(100);

/// Who is not in office is asked again after that time, and then after twice as long each time, up to [`AGAIN_MAX`].
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_millis(400);

/// The names of its files of WAL begin with the number of its timeline, in so many digits of 16.
const TIMELINE: &str = "select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)";

/// A connection with a server that can be written to.
pub(crate) struct Connected {
    pub(crate) client: Client,
    /// The server has warned of something.
    pub(crate) is_warned: Arc<AtomicBool>,
    pub(crate) driver: AbortHandle,
    /// `None` where there is nobody else, and where it can't be told, as by what only speaks like PostgreSQL.
    pub(crate) timeline: Option<u32>,
}

/// What has come of a part of the search.
enum Found {
    /// These are to be asked.
    Servers(Vec<Config>),
    Connected(Box<Connected>),
    /// Why one can't be asked, or must not.
    Nobody(String),
}

/// Asks all servers at once.
struct Search {
    tasks: JoinSet<Found>,
    connector: Option<Connector>,
    asked: usize,
    /// How many have said nothing so far.
    silent: Arc<AtomicUsize>,
}

impl Search {
    fn begin(place: &PostgresPlace, connector: Option<&Connector>) -> Search {
        let mut tasks = JoinSet::new();
        for server in servers(&place.config) {
            tasks.spawn(async move { resolve(server).await });
        }
        Search { tasks, connector: connector.cloned(), asked: 0, silent: Arc::default() }
    }

    /// What is found next, or why there is nothing; `None` when all have answered.
    async fn next(&mut self) -> Option<Result<Box<Connected>, String>> {
        loop {
            match self.tasks.join_next().await?.unwrap_or_else(|error| Found::Nobody(error.to_string())) {
                Found::Servers(servers) => {
                    self.asked += servers.len();
                    self.silent.fetch_add(servers.len(), Ordering::SeqCst);
                    // Of one alone it need not be known, unless another one may be found.
                    let is_compared = self.asked > 1 || !self.tasks.is_empty();
                    for server in servers {
                        let (connector, silent) = (self.connector.clone(), Arc::clone(&self.silent));
                        self.tasks.spawn(async move { ask(server, connector, is_compared, &silent).await });
                    }
                }
                Found::Connected(connected) => return Some(Ok(connected)),
                Found::Nobody(reason) => return Some(Err(reason)),
            }
        }
    }
}

/// Connects with whoever is in office. The error says what each of them has said.
pub(crate) async fn connect(place: &PostgresPlace, connector: Option<&Connector>) -> Result<Connected, String> {
    let mut search = Search::begin(place, connector);
    let (mut best, mut reasons) = (None::<Box<Connected>>, Vec::new());
    let mut until = None;
    loop {
        let next = match until {
            None => search.next().await,
            // Whoever is silent is not waited for.
            Some(until) => timeout_at(until, search.next()).await.unwrap_or_default(),
        };
        match next {
            None => break,
            Some(Ok(connected)) => {
                until = until.or_else(|| Some(Instant::now() + OTHERS_TIME));
                if best.as_ref().is_none_or(|best| best.timeline < connected.timeline) {
                    best = Some(connected);
                }
            }
            // Of a name with several addresses all may say the same.
            Some(Err(reason)) if reasons.contains(&reason) => {}
            Some(Err(reason)) => reasons.push(reason),
        }
    }
    best.map(|best| *best).ok_or_else(|| reasons.join("; "))
}

/// The timeline of a server in office, if that is above this one.
pub(crate) async fn successor(place: &PostgresPlace, connector: Option<&Connector>, of: u32) -> Option<u32> {
    let mut search = Search::begin(place, connector);
    while let Some(next) = search.next().await {
        if let Ok(connected) = next
            && connected.timeline > Some(of)
        {
            return connected.timeline;
        }
    }
    None
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

/// Asks one server, and again as long as another one says nothing: who stands by may come into office, and if the silent one is gone nobody
/// else will.
async fn ask(server: Config, connector: Option<Connector>, is_compared: bool, silent: &AtomicUsize) -> Found {
    let mut found = ask_once(&server, connector.clone(), is_compared).await;
    silent.fetch_sub(1, Ordering::SeqCst);
    let mut pause = AGAIN_FIRST;
    while matches!(&found, Found::Nobody(_)) && silent.load(Ordering::SeqCst) > 0 {
        sleep(pause).await;
        pause = (2 * pause).min(AGAIN_MAX);
        found = ask_once(&server, connector.clone(), is_compared).await;
    }
    found
}

async fn ask_once(server: &Config, connector: Option<Connector>, is_compared: bool) -> Found {
    let connected = match connector {
        None => server.connect(NoTls).await.map(|(client, connection)| driven(client, connection)),
        Some(connector) => server.connect(connector).await.map(|(client, connection)| driven(client, connection)),
    };
    match connected {
        Err(error) => Found::Nobody(said(&error)),
        Ok((client, is_warned, driver)) => {
            let timeline = if is_compared { timeline(&client).await } else { None };
            Found::Connected(Box::new(Connected { client, is_warned, driver, timeline }))
        }
    }
}

async fn timeline(client: &Client) -> Option<u32> {
    let rows = client.simple_query(TIMELINE).await.unwrap_or_default();
    let text = rows.iter().find_map(|row| match row {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    text.and_then(|text| u32::from_str_radix(text, 16).ok())
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
