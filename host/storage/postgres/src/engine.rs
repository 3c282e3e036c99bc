//! The engine: which connection a request takes, and how long it may take.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    time::Duration,
};

use ambrosia_shared_log::{
    ANSWER_TIME, Answer, Answered, Answering, AppendFault, Depot, DepotError, Engine, EngineFacts, EngineHead, Fault,
    Group, HostId, Lane, LogRead, News, Raise, RaiseFault, ReadFrom, Request, SLOW_ANSWER_TIME, Seen, Session,
};
use ambrosia_storage::LogId;
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use crate::{
    conversation::{Conversation, Failed, connect},
    error::{PostgresError, said},
    keys,
    known::{Known, Last, caution},
    line::Line,
    place::PostgresPlace,
    rows::{group_in, head_in, host_column, host_in, log_column, log_in, number_column, number_in},
    schema,
    servers::Connected,
    succession::Succession,
};

/// Connections for groups: an append waits for the standby's disk, and the next ones of other logs need not.
const LANES: u8 = 2;

/// Lives of hosts that are long over are removed each time that this one has said so often that it is alive.
const BEATS_BEFORE_FORGETTING: u64 = 1000;

/// A server that stands still keeps its connections alive; whoever opens a store hears of it after that time.
const OPENING_TIME: Duration = Duration::from_secs(10);

/// Threads of the connections.
const THREADS: usize = 2;

/// Above the largest record; PostgreSQL takes 1 GiB.
const GROUP_BYTES_MAX: usize = 128 << 20;

/// Logs in a schema of a PostgreSQL database.
pub struct PostgresEngine {
    office: Arc<Office>,
    known: Known,
    depot: Option<Arc<dyn Depot>>,
    threads: Threads,
}

/// A value of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// What requests share.
struct Office {
    place: PostgresPlace,
    groups: [Line; LANES as usize],
    /// Heads and groups are read here, and barriers belong to what was read.
    reads: Line,
    /// Keys may be large, and heads are not to wait for them.
    keys: Line,
    /// All else that is written waits for a standby, and reads do not.
    changes: Line,
    /// A host that is late to say that it lives is taken for dead, so nothing stands before that.
    beats: Line,
    /// Others ask for these, too, and no barrier stands before them: who takes long to answer would seem to have been away.
    lives: Line,
    succession: Succession,
}

impl PostgresEngine {
    /// Makes the tables, where they are not there, and the depot if the URL has one. Blocks.
    ///
    /// # Errors
    /// If the database or the depot can't be reached, or does not let its user do that.
    pub fn create(place: &PostgresPlace) -> Result<(), PostgresError> {
        let (runtime, there) = (Threads::begin()?, place.clone());
        runtime.wait_for(place, async move {
            let Connected { client, driver, .. } = connect(&there).await?;
            let made = client.batch_execute(&schema::statements(there.schema())).await;
            drop(client);
            driver.abort();
            made.map_err(|error| PostgresError::Unusable { place: there.to_string(), reason: said(&error) })
        })?;
        if let Some(blobs) = &place.blobs {
            let store = PostgresEngine::open(PostgresPlace { blobs: None, ..place.clone() })?.store();
            blobs.depot(store)?.make()?;
        }
        Ok(())
    }

    /// Connects. Blocks.
    ///
    /// # Errors
    /// If the database can't be reached, has no tables of this version, or would lose what it confirms; or if the depot is not that of the store.
    pub fn open(place: PostgresPlace) -> Result<PostgresEngine, PostgresError> {
        let threads = Threads::begin()?;
        let last = Arc::<Last>::default();
        let [reads, keys, changes, beats, lives] = std::array::from_fn(|_| Line::new(&last));
        let (groups, succession) = (std::array::from_fn(|_| Line::new(&last)), Succession::default());
        let office = Arc::new(Office { place, groups, reads, keys, changes, beats, lives, succession });
        let there = Arc::clone(&office);
        // Errors that no repetition mends are told here and not as an engine that is away.
        let begin = async move {
            let known = Conversation::begin(&there.place).await?.known;
            last.see(known, &there.place).map(|()| known)
        };
        let known = threads.wait_for(&office.place, begin)?;
        let depot = office.place.blobs.as_ref().map(|blobs| blobs.depot(known.store)).transpose()?;
        match depot.as_ref().map_or(Ok(()), |depot| depot.check()) {
            // It has said so itself. What is not in it, or in the cache, can be had all the same.
            Err(DepotError::Away { .. }) => {}
            checked => checked?,
        }
        Ok(PostgresEngine { office, known, depot, threads })
    }

    /// Names the store, whichever way it is reached.
    pub fn store(&self) -> Uuid {
        self.known.store
    }

    /// Where large contents of the store lie, if not in the database.
    pub fn depot(&self) -> Option<Arc<dyn Depot>> {
        self.depot.clone()
    }
}

/// The threads of the connections.
struct Threads {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Threads {
    fn begin() -> Result<Threads, PostgresError> {
        let building = Builder::new_multi_thread().worker_threads(THREADS).thread_name("database").enable_all().build();
        Ok(Threads { runtime: Some(building.map_err(PostgresError::Threads)?) })
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it goes when this does")
    }

    /// Waits as any thread may, also one of a runtime, for what is asked of the database there.
    fn wait_for<T: Send + 'static>(
        &self,
        place: &PostgresPlace,
        what: impl Future<Output = Result<T, PostgresError>> + Send + 'static,
    ) -> Result<T, PostgresError> {
        let (sender, receiver) = mpsc::channel();
        // Somebody waits for it.
        self.runtime().spawn(async move { drop(sender.send(timeout(OPENING_TIME, what).await)) });
        let ended = || Err(PostgresError::Threads(std::io::Error::other("they have ended")));
        let late = |_| PostgresError::Unreachable {
            place: place.to_string(),
            reason: format!("it has not answered within {OPENING_TIME:?}"),
        };
        receiver.recv().map_or_else(|_| ended(), |answer| answer.unwrap_or_else(|elapsed| Err(late(elapsed))))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped by a thread of a runtime, where nobody may wait. What is under way is answered by its dropped question.
            runtime.shutdown_background();
        }
    }
}

impl Engine for PostgresEngine {
    fn ask(&self, lane: Lane, request: Request, answer: Answering) {
        let office = Arc::clone(&self.office);
        if let Request::Beat { .. } = &request {
            self.threads.runtime().spawn(Arc::clone(&office).get_ready());
        }
        self.threads.runtime().spawn(async move { answer(office.answer(lane, &request).await) });
    }

    fn facts(&self) -> EngineFacts {
        let place = self.office.place.to_string();
        let caution = (!self.known.has_standby).then(|| caution(&self.office.place));
        EngineFacts { group_bytes_max: GROUP_BYTES_MAX, lanes: LANES, place, caution }
    }
}

impl Office {
    async fn answer(&self, lane: Lane, request: &Request) -> Answer {
        if let Request::Barrier { session } = request {
            return self.barrier(*session, request).await;
        }
        let line = match (lane, request) {
            (Lane::Groups(number), _) => &self.groups[usize::from(number) % self.groups.len()],
            (Lane::Other, Request::Heads { .. } | Request::Read { .. } | Request::Logs) => &self.reads,
            (Lane::Other, Request::Lives { .. }) => &self.lives,
            (Lane::Other, Request::Beat { .. }) => &self.beats,
            (Lane::Other, Request::Keys(_)) => &self.keys,
            (Lane::Other, _) => &self.changes,
        };
        self.within_time(line, async |conversation| perform(conversation, request).await).await
    }

    /// Has the connections that a host needs, and the server what it needs for their first statements: whoever takes over first would wait for
    /// 20 ms and more until these are there.
    async fn get_ready(self: Arc<Self>) {
        // What each of them is asked first says nothing and changes nothing.
        let (append, raise) = (Request::Append { groups: Vec::new() }, Request::Raise { wanted: Vec::new() });
        let others = [&self.changes, &self.reads, &self.keys].map(|line| (line, &raise));
        for (line, first) in self.groups.iter().map(|line| (line, &append)).chain(others) {
            let begin = async {
                if let Some(conversation) = line.begin(&self.place).await? {
                    let asked = perform(&conversation, first).await;
                    return asked.map(drop).map_err(|failed| failed.fault);
                }
                Ok(())
            };
            // Whoever asks for something is told; and it is tried again with the next beat.
            if let Ok(Err(fault)) = timeout(ANSWER_TIME, begin).await {
                tracing::debug!("a connection with the database is not there yet: {fault}");
            }
        }
    }

    /// Over the connection by which was read what is to be durable; another one may be with another server. Beats and takeovers are not to stand
    /// behind what somebody elsewhere, who may only read, has waited for.
    async fn barrier(&self, session: Session, request: &Request) -> Answer {
        for line in [&self.reads, &self.keys] {
            if let Some(conversation) = line.of_session(session) {
                let ask = async |conversation: &Conversation| perform(conversation, request).await;
                return self.ask_in_time(line, &conversation, Instant::now() + ANSWER_TIME, ask).await;
            }
        }
        Err(Fault::Unavailable("the connection with the database by which that was read is over".to_owned()))
    }

    /// Asks over the conversation of a line, all in the time that a request may take.
    async fn within_time<T>(
        &self,
        line: &Line,
        ask: impl AsyncFnOnce(&Conversation) -> Result<T, Failed>,
    ) -> Result<T, Fault> {
        let place = &self.place;
        let late = || Fault::Unavailable(format!("no database at {place} has answered within {ANSWER_TIME:?}"));
        let until = Instant::now() + ANSWER_TIME;
        let conversation = timeout_at(until, line.conversation(place)).await.map_err(|_| late())??;
        self.ask_in_time(line, &conversation, until, ask).await
    }

    /// Asks, and gives the conversation up if there is no answer: a server that stands still keeps its connections alive. One that still answers
    /// what was asked before is slow, and is not helped by being asked everything anew.
    async fn ask_in_time<T>(
        &self,
        line: &Line,
        conversation: &Conversation,
        until: Instant,
        ask: impl AsyncFnOnce(&Conversation) -> Result<T, Failed>,
    ) -> Result<T, Fault> {
        let latest = until - ANSWER_TIME + SLOW_ANSWER_TIME;
        let (asked, succeeded) = (ask(conversation), self.succession.wait(&self.place, conversation));
        tokio::pin!(asked, succeeded);
        let mut until = until;
        let Failed { fault, is_over } = loop {
            tokio::select! {
                biased;
                answer = &mut asked => match answer {
                    Ok(answer) => return Ok(answer),
                    Err(failed) => break failed,
                },
                () = &mut succeeded => {
                    let fault = Fault::Unknown("another server has the office of the database by now".to_owned());
                    break Failed { fault, is_over: true };
                }
                () = sleep_until(until) => {}
            }
            let next = (conversation.last_answer() + ANSWER_TIME).min(latest);
            if next <= until {
                let words = "see whether it is overloaded, or waits for a standby that is gone";
                let fault = Fault::Unknown(format!("the database has not answered within {ANSWER_TIME:?}: {words}"));
                break Failed { fault, is_over: true };
            }
            until = next;
        };
        if !is_over {
            return Err(fault);
        }
        let fault = match (fault, conversation.why_left()) {
            (Fault::Unknown(_), Some(why)) => Fault::Unknown(why.to_owned()),
            (fault, _) => fault,
        };
        if let Fault::Unknown(why) = &fault {
            conversation.give_up(why);
        }
        line.give_up(conversation.session());
        Err(fault)
    }
}

async fn perform(conversation: &Conversation, request: &Request) -> Result<Answered, Failed> {
    let (session, prepared) = (conversation.session(), conversation.prepared());
    match request {
        Request::Append { groups } => append(conversation, groups).await,
        Request::Heads { logs } => heads(conversation, logs).await,
        Request::Raise { wanted } => raise(conversation, wanted).await,
        Request::Barrier { .. } => {
            let make = async || conversation.rows(&prepared.barrier, &[]).await.map(drop);
            conversation.barriers().wait(make).await?;
            Ok(Answered::Barred)
        }
        Request::Read { wanted, bytes } => read(conversation, wanted, *bytes).await,
        Request::Release { log, epoch, claim } => {
            let (epoch, attempt) = (number_column(epoch.0), number_column(claim.attempt));
            let parameters: [Parameter<'_>; 4] = [&log_column(*log), &epoch, &host_column(claim.host), &attempt];
            conversation.rows(&prepared.release, &parameters).await?;
            Ok(Answered::Released)
        }
        Request::Beat { host, beats, of } => beat(conversation, *host, *beats, of).await,
        Request::Tell { news } => tell(conversation, news).await,
        Request::Create { genesis } => {
            let Group { log, epoch, after, last, bytes } = genesis;
            let (epoch, lsn) = (number_column(epoch.0), number_column(last.lsn.0));
            let (link, previous) = (number_column(last.link), number_column(after.link));
            let parameters: [Parameter<'_>; 7] =
                [&log_column(*log), &epoch, &Uuid::nil(), &lsn, &link, &previous, &&bytes[..]];
            let rows = conversation.rows(&prepared.create, &parameters).await?;
            Ok(Answered::Created(!rows.is_empty()))
        }
        Request::Remove { log } => {
            let rows = conversation.rows(&prepared.remove, &[&log_column(*log)]).await?;
            Ok(Answered::Removed(!rows.is_empty()))
        }
        Request::Logs => {
            let rows = conversation.rows(&prepared.logs, &[]).await?;
            let logs = rows.iter().map(|row| log_in(row, "log")).collect::<Result<_, _>>()?;
            Ok(Answered::Logs { session, logs })
        }
        Request::Lives { of } => {
            let of: Vec<_> = of.iter().map(|host| host_column(*host)).collect();
            let rows = conversation.rows(&prepared.lives, &[&of]).await?;
            let told = |row: &Row| Ok::<_, tokio_postgres::Error>((host_in(row, "id")?, number_in(row, "beats")?));
            Ok(Answered::Beats { session, beats: rows.iter().map(told).collect::<Result<_, _>>()? })
        }
        Request::Keys(request) => keys::perform(conversation, request).await,
        Request::Trim { log, before } => {
            let before = number_column(before.0);
            loop {
                let rows = conversation.rows(&prepared.trim, &[&log_column(*log), &before]).await?;
                let gone = rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?;
                if gone == 0 {
                    return Ok(Answered::Trimmed);
                }
            }
        }
    }
}

async fn tell(conversation: &Conversation, news: &[News]) -> Result<Answered, Failed> {
    let (mut logs, mut epochs, mut hosts, mut counted, mut records) =
        <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
    for news in news {
        match *news {
            News::Announced { log, epoch, host } => {
                logs.push(log_column(log));
                epochs.push(number_column(epoch.0));
                hosts.push(host_column(host));
            }
            News::Checkpoint { log, lsn } => {
                counted.push(log_column(log));
                records.push(number_column(lsn.0));
            }
        }
    }
    let parameters: [Parameter<'_>; 5] = [&logs, &epochs, &hosts, &counted, &records];
    conversation.rows(&conversation.prepared().tell, &parameters).await?;
    Ok(Answered::Told)
}

async fn append(conversation: &Conversation, groups: &[Group]) -> Result<Answered, Failed> {
    let column = |of: fn(&Group) -> u64| groups.iter().map(|group| number_column(of(group))).collect::<Vec<_>>();
    let logs: Vec<_> = groups.iter().map(|group| log_column(group.log)).collect();
    let bodies: Vec<&[u8]> = groups.iter().map(|group| &group.bytes[..]).collect();
    let (epochs, after, after_link) =
        (column(|group| group.epoch.0), column(|group| group.after.lsn.0), column(|group| group.after.link));
    let (last, link) = (column(|group| group.last.lsn.0), column(|group| group.last.link));
    let parameters: [Parameter<'_>; 7] = [&logs, &epochs, &after, &after_link, &last, &link, &bodies];
    let rows = conversation.rows(&conversation.prepared().append, &parameters).await?;
    let rows = by_log(&rows)?;
    let answer = |group: &Group| -> Result<Result<(), AppendFault>, Failed> {
        let row = row_of(&rows, group.log)?;
        if row.try_get("is_done")? { Ok(Ok(())) } else { Ok(Err(AppendFault::Refused(head_in(row)?))) }
    };
    Ok(Answered::Appended(groups.iter().map(answer).collect::<Result<_, _>>()?))
}

async fn raise(conversation: &Conversation, wanted: &[Raise]) -> Result<Answered, Failed> {
    let logs: Vec<_> = wanted.iter().map(|raise| log_column(raise.log)).collect();
    let deposed: Vec<_> = wanted.iter().map(|raise| number_column(raise.over.0)).collect();
    let hosts: Vec<_> = wanted.iter().map(|raise| host_column(raise.claim.host)).collect();
    let attempts: Vec<_> = wanted.iter().map(|raise| number_column(raise.claim.attempt)).collect();
    let replicas: Vec<_> = wanted.iter().map(|raise| i32::from(raise.replica.0)).collect();
    let parameters: [Parameter<'_>; 5] = [&logs, &deposed, &hosts, &attempts, &replicas];
    let rows = conversation.rows(&conversation.prepared().raise, &parameters).await?;
    let rows = by_log(&rows)?;
    let answer = |raise: &Raise| -> Result<Result<EngineHead, RaiseFault>, Failed> {
        let row = row_of(&rows, raise.log)?;
        let is_done: bool = row.try_get("is_done")?;
        Ok(match head_in(row)? {
            Some(head) if is_done => Ok(head),
            Some(head) => Err(RaiseFault::Contended(head)),
            None => Err(RaiseFault::Gone),
        })
    };
    Ok(Answered::Raised(wanted.iter().map(answer).collect::<Result<_, _>>()?))
}

async fn read(conversation: &Conversation, wanted: &[ReadFrom], bytes: usize) -> Result<Answered, Failed> {
    let logs: Vec<_> = wanted.iter().map(|wanted| log_column(wanted.log)).collect();
    let from: Vec<_> = wanted.iter().map(|wanted| number_column(wanted.from.0)).collect();
    let number = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    let of_each: Vec<_> = wanted.iter().map(|wanted| number(wanted.bytes)).collect();
    let parameters: [Parameter<'_>; 4] = [&logs, &from, &of_each, &number(bytes)];
    let rows = conversation.rows(&conversation.prepared().read, &parameters).await?;
    let mut read = Vec::new();
    for rows in rows.chunk_by(|one, other| one.get::<_, i64>("number") == other.get::<_, i64>("number")) {
        let head = rows.first().map(head_in).transpose()?.flatten();
        let groups = rows.iter().filter_map(|row| group_in(row).transpose()).collect::<Result<_, _>>()?;
        read.push(LogRead { head, groups });
    }
    Ok(Answered::Read { session: conversation.session(), logs: read })
}

async fn heads(conversation: &Conversation, logs: &[Seen]) -> Result<Answered, Failed> {
    let asked: Vec<_> = logs.iter().map(|seen| log_column(seen.log)).collect();
    let number = |of: fn(&ambrosia_shared_log::Known) -> u64| {
        logs.iter().map(|seen| seen.known.as_ref().map(|known| number_column(of(known)))).collect::<Vec<_>>()
    };
    let hosts: Vec<_> = logs.iter().map(|seen| seen.known.map(|known| host_column(known.claim.host))).collect();
    let reigned: Vec<_> = logs.iter().map(|seen| seen.known.map(|known| known.is_reigned)).collect();
    let (epochs, attempts) = (number(|known| known.epoch.0), number(|known| known.claim.attempt));
    let (last, links) = (number(|known| known.last.lsn.0), number(|known| known.last.link));
    let announced: Vec<_> = logs.iter().map(|seen| seen.known.map(|known| known.is_announced)).collect();
    let checkpoints = number(|known| known.checkpoint.0);
    let parameters: [Parameter<'_>; 9] =
        [&asked, &epochs, &hosts, &attempts, &reigned, &last, &links, &announced, &checkpoints];
    let rows = conversation.rows(&conversation.prepared().heads, &parameters).await?;
    let (mut heads, mut gone) = (Vec::new(), Vec::new());
    for row in &rows {
        match head_in(row)? {
            Some(head) => heads.push(head),
            None => gone.push(log_in(row, "wanted")?),
        }
    }
    Ok(Answered::Heads { session: conversation.session(), heads, gone })
}

async fn beat(conversation: &Conversation, host: HostId, beats: u64, of: &[HostId]) -> Result<Answered, Failed> {
    let others: Vec<_> = of.iter().filter(|other| **other != host).map(|other| host_column(*other)).collect();
    let parameters: [Parameter<'_>; 3] = [&host_column(host), &number_column(beats), &others];
    let rows = conversation.rows(&conversation.prepared().beat, &parameters).await?;
    if beats.is_multiple_of(BEATS_BEFORE_FORGETTING) {
        conversation.rows(&conversation.prepared().forget, &[]).await?;
    }
    let told = |row: &Row| Ok::<_, tokio_postgres::Error>((host_in(row, "id")?, number_in(row, "beats")?));
    let mut told = rows.iter().map(told).collect::<Result<Vec<_>, _>>()?;
    // The statement reads what was there before it.
    told.extend(of.contains(&host).then_some((host, beats)));
    Ok(Answered::Beats { session: conversation.session(), beats: told })
}

/// The rows that answer for logs.
fn by_log(rows: &[Row]) -> Result<HashMap<LogId, &Row>, tokio_postgres::Error> {
    rows.iter().map(|row| Ok((log_in(row, "wanted")?, row))).collect()
}

fn row_of<'a>(rows: &HashMap<LogId, &'a Row>, log: LogId) -> Result<&'a Row, Failed> {
    let fault = || Fault::Unknown(format!("the database has answered nothing for log {log}"));
    rows.get(&log).copied().ok_or_else(|| Failed { fault: fault(), is_over: true })
}
