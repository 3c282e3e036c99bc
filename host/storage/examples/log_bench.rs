//! Appends a second to a log on files, by size of the record and by how many wait for the disk at once.
//!
//! `cargo run --release -p ambrosia-storage --example log_bench [DIRECTORY [WINDOW]]`; the figures depend on the disk that
//! holds the directory, so the median of its flushes stands beside them.

use std::{
    error::Error,
    sync::mpsc,
    time::{Duration, Instant},
};

use ambrosia_core::{
    EpochBody, InstanceName, InstanceUuid, Limits, Lsn, Record, RecordHeader, RecordKind, ReplicaIndex, Timestamp,
};
use ambrosia_storage::{Acquired, FileStore, Instances, LOG_QUEUE_BYTES_MAX, LogEvent, LogStore};

const RUN: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let parent = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = std::path::Path::new(&parent).join(format!("log-bench-{}", std::process::id()));
    let store = FileStore::create_or_open(&directory)?;
    println!("body B  window  appends/s    MB/s  flush p50 ms  p99 ms  records/flush  acquire ms");
    let only: Option<u64> = std::env::args().nth(2).and_then(|text| text.parse().ok());
    for body_bytes in [64, 1024] {
        for window in [1, 16, 256, 4096].into_iter().filter(|window| only.is_none_or(|only| only == *window)) {
            run(&store, body_bytes, window)?;
        }
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

fn run(store: &FileStore, body_bytes: usize, window: u64) -> Result<(), Box<dyn Error>> {
    let name = InstanceName::new(format!("bench-{body_bytes}-{window}"))?;
    let mut uuid = [0; 16];
    uuid[..8].copy_from_slice(&window.to_le_bytes());
    uuid[8..].copy_from_slice(&(body_bytes as u64).to_le_bytes());
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    store.register(&name, b"module", 0, InstanceUuid(uuid), limits, Timestamp(0))?;
    let log = store.file_log(&name)?;
    let (sender, events) = mpsc::channel();
    let me = EpochBody { replica: ReplicaIndex(0), engine: [0; 32] };
    let send = move |_, event| drop(sender.send(event));
    let begin = Instant::now();
    let Acquired { records, epoch, mut writer } =
        log.tail(Lsn(1))?.acquire(log.head()?.epoch, me, Timestamp(0), Box::new(send))?;
    let acquire_millis = begin.elapsed().as_secs_f64() * 1e3;
    let mut last = *records.last().ok_or("no epoch record")?.header();
    let mut durable = last.lsn;
    let body = vec![7; body_bytes];
    let begin = Instant::now();
    let first = last.lsn;
    while begin.elapsed() < RUN {
        while last.lsn.0 - durable.0 < window && writer.queued_bytes() < LOG_QUEUE_BYTES_MAX {
            let mut header = RecordHeader::new(RecordKind::Deliver, epoch, last.lsn.next(), Timestamp(0));
            header.previous = last.link();
            header.durable = durable;
            let record = Record::seal(header, &body);
            last = *record.header();
            writer.append(record)?;
        }
        match events.recv()? {
            LogEvent::Durable(lsn) => durable = lsn,
            LogEvent::Room | LogEvent::Stalled { .. } | LogEvent::Resumed | LogEvent::Looked { .. } => {}
            LogEvent::Stopped(cause) => return Err(cause.into()),
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let appends = (durable.0 - first.0) as f64;
    let stats = writer.stats();
    let millis = |part| stats.sync_times.quantile(part).as_secs_f64() * 1e3;
    println!(
        "{body_bytes:6}  {window:6}  {:9.0}  {:6.1}  {:12.2}  {:6.2}  {:13.1}  {acquire_millis:10.1}",
        appends / seconds,
        stats.bytes as f64 / seconds / 1e6,
        millis(0.5),
        millis(0.99),
        stats.records as f64 / stats.flushes as f64,
    );
    writer.close();
    Ok(())
}
