//! What every engine must do, as checks that run against any of them, and how its tests ask it. A failed check panics.
//!
//! **Architecture Invariant:** the checks know nothing of an engine but [`Engine`], and hold it against [`crate::Rows`].
#![allow(missing_docs, reason = "a check says by its name what it checks")]

mod requests;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, Record, RecordHeader, RecordKind, Timestamp};
use ambrosia_storage::{
    LogId, LogStore,
    conformance::{Handles, genesis_of},
};
use bytes::Bytes;

pub use self::requests::{
    Dice, each_request_does_what_it_does_to_rows_in_memory,
    who_was_deposed_appends_nothing_even_where_the_log_was_trimmed,
};
use super::{Depot, EngineHost, EngineLog, EngineStore};
use crate::engine::{
    Answer, Answered, Engine, Fault, Group, HostId, Lane, LogRead, Position, ReadFrom, Request, Session,
};

/// A log of a test.
pub fn log(number: u8) -> LogId {
    LogId(InstanceUuid([number; 16]))
}

/// Its first record.
pub fn genesis(log: LogId) -> Record {
    genesis_of(log.0)
}

/// Where a record is.
pub fn position(record: &Record) -> Position {
    Position::of(record.header())
}

/// A group of one record behind another one.
pub fn group(log: LogId, epoch: u64, after: Position, body: &[u8]) -> Group {
    let epoch = Epoch(epoch);
    let mut header = RecordHeader::new(RecordKind::Mark, epoch, Lsn(after.lsn.0 + 1), Timestamp(2));
    header.previous = after.link;
    let record = Record::seal(header, body);
    Group { log, epoch, after, last: position(&record), bytes: Bytes::copy_from_slice(record.stored()) }
}

/// Asks and waits.
pub fn ask(engine: &dyn Engine, lane: Lane, request: Request) -> Answer {
    let (tell, told) = mpsc::channel();
    engine.ask(lane, request, Box::new(move |answer| tell.send(answer).expect("somebody waits")));
    told.recv().expect("each request is answered")
}

/// Names a host that none was before.
pub fn new_id() -> HostId {
    static HOSTS: AtomicU64 = AtomicU64::new(1);
    let mut me = [0; 16];
    me[..8].copy_from_slice(&HOSTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    HostId(me)
}

/// A store of a process that none was before.
pub fn open(engine: Arc<dyn Engine>, cache: &Path) -> EngineStore {
    EngineStore::begin(engine, new_id(), cache.to_owned()).expect("there are threads")
}

/// The same, whose large contents lie in a depot.
pub fn open_with(engine: Arc<dyn Engine>, depot: Arc<dyn Depot>, cache: &Path) -> EngineStore {
    EngineStore::begin_with(engine, Some(depot), new_id(), cache.to_owned()).expect("there are threads")
}

/// Makes a log; whether there was none.
pub fn create(engine: &dyn Engine, log: LogId, genesis: &Record) -> bool {
    match ask(engine, Lane::Other, Request::Create { genesis: Group::genesis(log, genesis) }) {
        Ok(Answered::Created(is_new)) => is_new,
        other => panic!("{other:?}"),
    }
}

/// Removes a log; whether there was one.
pub fn remove(engine: &dyn Engine, log: LogId) -> bool {
    match ask(engine, Lane::Other, Request::Remove { log }) {
        Ok(Answered::Removed(was_there)) => was_there,
        other => panic!("{other:?}"),
    }
}

/// Appends groups, and waits.
pub fn append(engine: &dyn Engine, groups: Vec<Group>) -> Answer {
    ask(engine, Lane::Groups(0), Request::Append { groups })
}

/// Reads one log from a record on, and where that was.
///
/// # Errors
/// As the engine answers.
pub fn read(engine: &dyn Engine, log: LogId, from: Lsn, bytes: usize) -> Result<(Session, LogRead), Fault> {
    match ask(engine, Lane::Other, Request::Read { wanted: vec![ReadFrom { log, from, bytes }], bytes })? {
        Answered::Read { session, logs } => {
            let [read] = logs.try_into().expect("an answer for the one log");
            Ok((session, read))
        }
        other => panic!("{other:?}"),
    }
}

/// Handles on a log, each of a host of its own with an engine of its own, as on another machine. With nothing opened the log is made.
pub fn handles(genesis: &Record, engine: impl Fn() -> Arc<dyn Engine> + Send + Sync + 'static) -> Handles {
    let log = log(LOG_OF_HANDLES);
    create(&*engine(), log, genesis);
    Box::new(move || {
        let host = EngineHost::begin(engine(), new_id()).expect("there are threads");
        Arc::new(EngineLog::new(host, log)) as Arc<dyn LogStore>
    })
}

/// The log that the suite of logs runs on.
const LOG_OF_HANDLES: u8 = 7;
