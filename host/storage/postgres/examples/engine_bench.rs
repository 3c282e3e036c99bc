//! Records a second in logs in PostgreSQL, by how many wait at once and in how many logs, beside one plain commit of the same server.
//!
//! `cargo run --release -p ambrosia-postgres --example engine_bench -- URL`: the URL names a database in which a schema may be made, such as
//! `postgres://me@127.0.0.1/test?schema=bench`. Whether a commit waits for a standby is up to the server.

use std::{
    error::Error,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use ambrosia_core::{
    Epoch, EpochBody, Genesis, InstanceName, InstanceUuid, Limits, Lsn, Record, RecordHeader, RecordKind, ReplicaIndex,
    Timestamp,
};
use ambrosia_postgres::{PostgresEngine, PostgresPlace};
use ambrosia_shared_log::{Engine, EngineHost, EngineLog, Group, HostId, Lane, Request};
use ambrosia_storage::{Acquired, LOG_QUEUE_BYTES_MAX, LogEvent, LogId, LogStore, LogWriter};
use tokio_postgres::NoTls;

const RUN: Duration = Duration::from_secs(3);
const BODY: [u8; 36] = [7; 36]; // a record of 100 bytes
const COMMITS: usize = 1000;

type Failed = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let url = std::env::args().nth(1).ok_or("give the URL of a database")?;
    let place = PostgresPlace::read(&url)?;
    PostgresEngine::create(&place)?;
    let commit = commits(url.split('?').next().unwrap_or(&url), place.schema())?;
    println!(
        "plain commit, p50 / p99: {:.2} / {:.2} ms",
        millis(commit[COMMITS / 2]),
        millis(commit[COMMITS * 99 / 100])
    );
    let engine = Arc::new(PostgresEngine::open(place)?);
    let me: [u8; 16] = std::array::from_fn(|_| std::process::id() as u8);
    let host = EngineHost::begin(Arc::clone(&engine) as _, HostId(me))?;
    println!("logs  window  records/s  p50 ms  of a commit  takeover p50 ms");
    for (logs, window) in [(1, 1), (1, 64), (1, 4096), (100, 1), (1000, 1)] {
        run(&engine, &host, (logs, window), commit[COMMITS / 2])?;
    }
    Ok(())
}

/// How long plain commits of one row took, in order.
fn commits(url: &str, schema: &str) -> Result<Vec<Duration>, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let driver = tokio::spawn(connection);
        client.batch_execute(&format!("create table if not exists {schema}.plain (body bytea)")).await?;
        let statement = client.prepare(&format!("insert into {schema}.plain values ($1)")).await?;
        let mut took = Vec::with_capacity(COMMITS);
        for _ in 0..COMMITS {
            let began = Instant::now();
            client.execute(&statement, &[&&[7_u8; 100][..]]).await?;
            took.push(began.elapsed());
        }
        client.batch_execute(&format!("drop table {schema}.plain")).await?;
        drop(client);
        driver.await??;
        took.sort();
        Ok(took)
    })
}

/// A writer, and what it has appended.
struct Writing {
    writer: Box<dyn LogWriter>,
    last: RecordHeader,
    durable: Lsn,
    /// When the record was appended that is waited for, with a window of one.
    began: Instant,
}

fn run(
    engine: &PostgresEngine,
    host: &Arc<EngineHost>,
    (logs, window): (usize, u64),
    commit: Duration,
) -> Result<(), Failed> {
    let (tell, events) = mpsc::channel();
    let (mut writings, mut takeovers) = (Vec::new(), Vec::new());
    for number in 0..logs {
        let log = new_log(engine, (logs, window, number))?;
        let tail = EngineLog::new(Arc::clone(host), log).tail(Lsn(2))?;
        let tell = tell.clone();
        let began = Instant::now();
        let me = EpochBody { replica: ReplicaIndex(0), engine: [0; 32] };
        // Whoever measures may have ended.
        let events = Box::new(move |_: Epoch, event| drop(tell.send((number, event))));
        let Acquired { records, writer, .. } = tail.acquire(Epoch(0), me, Timestamp(0), events)?;
        takeovers.push(began.elapsed());
        let last = *records.last().ok_or("a reign begins with a record")?.header();
        writings.push(Writing { writer, last, durable: last.lsn, began });
    }
    let (began, mut done, mut took) = (Instant::now(), 0, Vec::new());
    writings.iter_mut().try_for_each(|writing| fill(writing, window))?;
    while began.elapsed() < RUN {
        let (number, event) = events.recv()?;
        let writing = &mut writings[number];
        match event {
            LogEvent::Durable(lsn) => {
                done += lsn.0 - writing.durable.0;
                writing.durable = lsn;
                took.push(writing.began.elapsed());
            }
            LogEvent::Room | LogEvent::Stalled { .. } | LogEvent::Resumed | LogEvent::Looked { .. } => {}
            LogEvent::Stopped(cause) => return Err(format!("a writer has stopped: {cause}").into()),
        }
        fill(writing, window)?;
    }
    let seconds = began.elapsed().as_secs_f64();
    took.sort();
    takeovers.sort();
    let p50 = took.get(took.len() / 2).copied().unwrap_or_default();
    println!(
        "{logs:4}  {window:6}  {:9.0}  {:6.2}  {:10.2}x  {:15.2}",
        done as f64 / seconds,
        millis(p50),
        p50.as_secs_f64() / commit.as_secs_f64(),
        millis(takeovers[logs / 2]),
    );
    Ok(())
}

/// Appends until so many records wait.
fn fill(writing: &mut Writing, window: u64) -> Result<(), Failed> {
    while writing.last.lsn.0 - writing.durable.0 < window && writing.writer.queued_bytes() < LOG_QUEUE_BYTES_MAX {
        let mut header = RecordHeader::new(RecordKind::Mark, writing.last.epoch, writing.last.lsn.next(), Timestamp(0));
        header.previous = writing.last.link();
        let record = Record::seal(header, &BODY);
        writing.last = *record.header();
        writing.began = Instant::now();
        writing.writer.append(record)?;
    }
    Ok(())
}

/// Asks and waits.
fn ask(engine: &PostgresEngine, request: Request) -> Result<(), Failed> {
    let (tell, told) = mpsc::channel();
    engine.ask(Lane::Other, request, Box::new(move |answer| drop(tell.send(answer))));
    told.recv()??;
    Ok(())
}

/// A log that was not there before.
fn new_log(engine: &PostgresEngine, (logs, window, number): (usize, u64, usize)) -> Result<LogId, Failed> {
    let mut uuid = [0; 16];
    uuid[..4].copy_from_slice(&(number as u32).to_le_bytes());
    uuid[4..6].copy_from_slice(&(logs as u16).to_le_bytes());
    uuid[6..8].copy_from_slice(&(window as u16).to_le_bytes());
    let log = LogId(InstanceUuid(uuid));
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    let genesis = Genesis { uuid: log.0, module: [0; 32], seed: 1, limits, name: InstanceName::new("bench")? };
    ask(engine, Request::Remove { log })?;
    ask(engine, Request::Create { genesis: Group::genesis(log, &genesis.record(Timestamp(0))) })?;
    Ok(log)
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
