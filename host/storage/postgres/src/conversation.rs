//! One connection with one server, as long as both agree.

use std::{
    future::poll_fn,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ambrosia_shared_log::{Fault, Session};
use tokio::{task::AbortHandle, time::Instant, try_join};
use tokio_postgres::{
    AsyncMessage, Client, Connection, Row, Socket, Statement,
    error::Severity,
    tls::TlsStream,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::{
    barriers::Barriers,
    engine::Parameter,
    error::{PostgresError, ends_conversation, fault_of, said},
    key_statements,
    known::Known,
    place::PostgresPlace,
    schema::FORMAT,
    servers::{self, Connected},
    statements,
    tls::{Connector, PROTOCOL},
};

/// The oldest server whose statements are tried.
const VERSION_MIN: i32 = 150_000;

/// What a commit waits for by default, and by settings that wait for more. By the others it does not wait for a standby, or not for its disk.
const HASTY: [&str; 3] = ["off", "local", "remote_write"];

/// Numbers of sessions of this process.
static LAST_SESSION: AtomicU64 = AtomicU64::new(0);

/// A connection that is asked one statement after the other. Several may be on their way.
pub(crate) struct Conversation {
    session: Session,
    client: Client,
    /// The server has warned of something: what it says of success may not hold.
    is_warned: Arc<AtomicBool>,
    driver: AbortHandle,
    prepared: Prepared,
    barriers: Barriers,
    backend: Backend,
    timeline: Option<u32>,
    pub(crate) known: Known,
    answers: Answers,
    /// Why nothing more is asked there, if that was decided here: then the server is asked to end it, and says no more than that it has.
    left: OnceLock<String>,
}

/// When a server has answered last. It answers the statements of a conversation one after the other, so one that is slow is told from one that
/// stands still.
struct Answers {
    since: Instant,
    /// Milliseconds since then.
    last: AtomicU64,
}

impl Answers {
    fn note(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::SeqCst);
    }

    fn last(&self) -> Instant {
        self.since + Duration::from_millis(self.last.load(Ordering::SeqCst))
    }
}

/// The process of the server that serves a connection. Numbers are used again, so it is known by its begin, too.
#[derive(Clone, Copy)]
pub(crate) struct Backend {
    number: i32,
    /// Microseconds since 1970, by the clock of the server.
    began: i64,
}

/// Statements by their names, which are prepared together.
macro_rules! prepared {
    ($($name:ident: $text:expr,)+) => {
        /// Statements that the server knows already.
        pub(crate) struct Prepared {
            $(pub(crate) $name: Statement,)+
        }

        impl Prepared {
            /// Prepares all of them, which are sent before the first is answered.
            async fn on(client: &Client, schema: &str) -> Result<Prepared, tokio_postgres::Error> {
                let statement = async |text: &str| client.prepare(&text.replace("{s}", schema)).await;
                let ($($name,)+) = try_join!($(statement($text)),+)?;
                Ok(Prepared { $($name),+ })
            }
        }
    };
}

prepared! {
    append: statements::APPEND,
    heads: statements::HEADS,
    raise: statements::RAISE,
    barrier: statements::BARRIER,
    read: statements::READ,
    release: statements::RELEASE,
    beat: statements::BEAT,
    forget: statements::FORGET,
    trim: statements::TRIM,
    create: statements::CREATE,
    remove: statements::REMOVE,
    tell: statements::TELL,
    logs: statements::LOGS,
    lives: statements::LIVES,
    end: statements::END,
    get: key_statements::GET,
    list: key_statements::LIST,
    put: key_statements::PUT,
    delete: key_statements::DELETE,
    changes: key_statements::CHANGES,
    note: key_statements::NOTE,
    notes: key_statements::NOTES,
}

/// The server has only warned that a wait was broken off, or the like.
const WARNED: &str = "the server has warned that a commit may not be on its standby";

/// Why a statement has no rows.
pub(crate) struct Failed {
    pub(crate) fault: Fault,
    /// Nothing more can be asked there.
    pub(crate) is_over: bool,
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Failed {
        Failed { fault: fault_of(&error), is_over: ends_conversation(&error) }
    }
}

/// How servers are connected with, if that is by TLS.
async fn connector(place: &PostgresPlace) -> Result<Option<Connector>, PostgresError> {
    let Some(files) = place.tls.clone() else { return Ok(None) };
    // A disk may be slow, and others go on meanwhile.
    let reading = tokio::task::spawn_blocking(move || files.read(PROTOCOL)).await;
    let connector = reading.map_err(|error| PostgresError::Threads(error.into()))?;
    let connector = connector
        .map_err(|fault| PostgresError::Unreachable { place: place.to_string(), reason: fault.to_string() })?;
    Ok(Some(Connector(connector)))
}

/// Connects with whichever server can be written to, without a look at what is there.
pub(crate) async fn connect(place: &PostgresPlace) -> Result<Connected, PostgresError> {
    let connected = servers::connect(place, connector(place).await?.as_ref()).await;
    connected.map_err(|reason| PostgresError::Unreachable { place: place.to_string(), reason })
}

/// The timeline of a server that can be written to, if that is above this one.
pub(crate) async fn successor(place: &PostgresPlace, of: u32) -> Option<u32> {
    match connector(place).await {
        Ok(connector) => servers::successor(place, connector.as_ref(), of).await,
        Err(error) => {
            tracing::debug!("no other server is looked for: {error}");
            None
        }
    }
}

/// The conversation that was begun last.
pub(crate) fn newest_session() -> Session {
    Session(LAST_SESSION.load(Ordering::SeqCst))
}

/// Has a connection do what its client asks, and hear its warnings.
pub(crate) fn driven<S: TlsStream + Unpin + Send + 'static>(
    client: Client,
    mut connection: Connection<Socket, S>,
) -> (Client, Arc<AtomicBool>, AbortHandle) {
    let is_warned = Arc::<AtomicBool>::default();
    let warned = Arc::clone(&is_warned);
    let driver = tokio::spawn(async move {
        loop {
            match poll_fn(|context| connection.poll_message(context)).await {
                // It comes before the success that it is about, and that is told only behind it.
                Some(Ok(AsyncMessage::Notice(notice))) if notice.parsed_severity() == Some(Severity::Warning) => {
                    warned.store(true, Ordering::SeqCst);
                    tracing::warn!("the database warns: {} ({})", notice.message(), notice.code().code());
                }
                Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!("the database says: {}", notice.message()),
                Some(Ok(_)) => {}
                Some(Err(error)) => break tracing::debug!("a connection with the database ended: {}", said(&error)),
                None => break,
            }
        }
    });
    (client, is_warned, driver.abort_handle())
}

impl Conversation {
    /// Connects, and sees that the server can be used and has the tables.
    pub(crate) async fn begin(place: &PostgresPlace) -> Result<Conversation, PostgresError> {
        let Connected { client, is_warned, driver, timeline } = connect(place).await?;
        let begun = prepare(&client, place).await;
        let (prepared, backend, known) = begun.inspect_err(|_| driver.abort())?;
        let session = Session(LAST_SESSION.fetch_add(1, Ordering::SeqCst) + 1);
        let answers = Answers { since: Instant::now(), last: AtomicU64::new(0) };
        let barriers = Barriers::default();
        let left = OnceLock::new();
        Ok(Conversation {
            session,
            client,
            is_warned,
            driver,
            prepared,
            barriers,
            backend,
            timeline,
            known,
            answers,
            left,
        })
    }

    /// When it has answered last.
    pub(crate) fn last_answer(&self) -> Instant {
        self.answers.last()
    }

    pub(crate) fn session(&self) -> Session {
        self.session
    }

    /// Nothing more is asked there, for that reason, which is that of all who still wait.
    pub(crate) fn give_up(&self, why: &str) {
        // The first one counts.
        let _another = self.left.set(why.to_owned());
    }

    /// Nothing more is asked there; returns what is to be ended.
    pub(crate) fn leave(&self) -> Backend {
        if self.is_warned.load(Ordering::SeqCst) {
            self.give_up(WARNED);
        }
        self.backend
    }

    /// Why nothing more is asked there, if that was decided here.
    pub(crate) fn why_left(&self) -> Option<&str> {
        self.left.get().map(String::as_str)
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    pub(crate) fn barriers(&self) -> &Barriers {
        &self.barriers
    }

    /// The timeline of the server; `None` where there is no other one, or it can't be told.
    pub(crate) fn timeline(&self) -> Option<u32> {
        self.timeline
    }

    /// Ends those of the same user that wait for a standby; what they have committed is not known to be durable, as when the connection itself
    /// had broken. Returns those that are at work: a large commit takes its time on a slow disk, and what is ended would begin anew.
    pub(crate) async fn end(&self, left: &[Backend]) -> Result<Vec<Backend>, tokio_postgres::Error> {
        if left.is_empty() {
            return Ok(Vec::new());
        }
        let (numbers, begins): (Vec<_>, Vec<_>) = left.iter().map(|backend| (backend.number, backend.began)).unzip();
        let rows = self.client.query(&self.prepared.end, &[&numbers, &begins]).await?;
        Ok(rows.iter().map(|row| Backend { number: row.get(0), began: row.get(1) }).collect())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.client.is_closed() || self.is_warned.load(Ordering::SeqCst)
    }

    /// The rows of a statement, behind its commit.
    pub(crate) async fn rows(
        &self,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Failed> {
        let rows = self.client.query(statement, parameters).await;
        self.answers.note();
        let rows = rows?;
        if self.is_warned.load(Ordering::SeqCst) {
            return Err(Failed { fault: Fault::Unknown(WARNED.to_owned()), is_over: true });
        }
        Ok(rows)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // The server sees the connection end, and a statement that is under way there may still happen.
        self.driver.abort();
    }
}

/// Sees that the server can be used, and prepares what it is to be asked: in three round trips, for who waits for this has to wait for each.
async fn prepare(client: &Client, place: &PostgresPlace) -> Result<(Prepared, Backend, Known), PostgresError> {
    let place_text = || place.to_string();
    let failed = |error: tokio_postgres::Error| match error.as_db_error().and_then(|error| error.parsed_severity()) {
        // As that the tables are not to be read by this user.
        Some(Severity::Error) => PostgresError::Unusable { place: place_text(), reason: said(&error) },
        _ => PostgresError::Unreachable { place: place_text(), reason: said(&error) },
    };
    let unusable = |reason: String| PostgresError::Unusable { place: place_text(), reason };
    let schema = place.schema();
    let settings = "select current_setting('server_version_num')::int4, current_setting('server_version'), \
                    current_setting('fsync'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names'), \
                    pid, (extract(epoch from backend_start) * 1000000)::int8 from pg_stat_activity where pid = pg_backend_pid()";
    let meta = format!("{schema}.meta");
    let there: [(Parameter<'_>, Type); 1] = [(&meta, Type::TEXT)];
    let (settings, there) = try_join!(
        client.query_typed_one(settings, &[]),
        client.query_typed_one("select to_regclass($1)::text", &there)
    )
    .map_err(failed)?;
    let (number, version): (i32, String) = (settings.get(0), settings.get(1));
    if number < VERSION_MIN {
        return Err(unusable(format!("it is version {version}: use PostgreSQL 15 or newer")));
    }
    if settings.get::<_, String>(2) != "on" {
        let reason = "its setting fsync is off, so it loses what it has confirmed when its machine fails: switch it on";
        return Err(unusable(reason.to_owned()));
    }
    let backend = Backend { number: settings.get(5), began: settings.get(6) };
    let has_standby = !settings.get::<_, String>(4).trim().is_empty();
    if there.get::<_, Option<String>>(0).is_none() {
        return Err(PostgresError::NoStore { place: place_text(), schema: schema.to_owned() });
    }
    // Roles and databases often have it weaker. What waits for more than that stays.
    let waits = settings.get::<_, String>(3);
    let waits = if HASTY.contains(&waits.as_str()) { "set synchronous_commit = on;" } else { "" };
    let session = format!(
        "{waits} set default_transaction_isolation = 'read committed'; set statement_timeout = 0; \
         set plan_cache_mode = force_generic_plan;"
    );
    let facts = format!("select key, value from {meta} where key in ('format', 'store')");
    let ((), facts) = try_join!(client.batch_execute(&session), client.query_typed(&facts, &[])).map_err(failed)?;
    let fact = |key: &str| facts.iter().find(|row| row.get::<_, &str>(0) == key).map(|row| row.get::<_, String>(1));
    let format = fact("format");
    if format.as_deref() != Some(FORMAT) {
        let format = format.as_deref().unwrap_or("none");
        let reason = format!(
            "schema {schema} has format {format}, and this program reads {FORMAT}: use the version of ambrosia-host that made it"
        );
        return Err(unusable(reason));
    }
    let store = fact("store").and_then(|store| Uuid::parse_str(&store).ok());
    let store = store.ok_or_else(|| unusable(format!("table {schema}.meta does not name its store")))?;
    let prepared = Prepared::on(client, schema).await.map_err(failed)?;
    Ok((prepared, backend, Known { store, has_standby }))
}
