//! What the tests ask of an engine on a server of their own.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use ambrosia_core::{InstanceUuid, Lsn, Record, RecordHeader, RecordKind, Timestamp};
use ambrosia_etcd::{EtcdEngine, EtcdPlace};
use ambrosia_shared_log::{Answer, Answered, Engine, EngineStore, Group, HostId, Lane, Position, Request};
use ambrosia_storage::{LogId, conformance::genesis_of};
use ambrosia_test_database::Etcd;
use bytes::Bytes;

pub(crate) fn place(server: &Etcd) -> EtcdPlace {
    EtcdPlace::read(&server.url("shop")).expect("it is a URL")
}

/// An engine, with its store.
pub(crate) fn engine(server: &Etcd) -> EtcdEngine {
    EtcdEngine::create(&place(server)).expect("a store can be made");
    EtcdEngine::open(place(server)).expect("it is there")
}

pub(crate) fn log(number: u8) -> LogId {
    LogId(InstanceUuid([number; 16]))
}

pub(crate) fn genesis(log: LogId) -> Record {
    genesis_of(log.0)
}

pub(crate) fn position(record: &Record) -> Position {
    Position::of(record.header())
}

/// A group of one record behind another one.
pub(crate) fn group(log: LogId, epoch: u64, after: Position, body: &[u8]) -> Group {
    let epoch = ambrosia_core::Epoch(epoch);
    let mut header = RecordHeader::new(RecordKind::Mark, epoch, Lsn(after.lsn.0 + 1), Timestamp(2));
    header.previous = after.link;
    let record = Record::seal(header, body);
    Group { log, epoch, after, last: position(&record), bytes: Bytes::copy_from_slice(record.stored()) }
}

/// Asks and waits.
pub(crate) fn ask(engine: &EtcdEngine, lane: Lane, request: Request) -> Answer {
    let (tell, told) = mpsc::channel();
    engine.ask(lane, request, Box::new(move |answer| tell.send(answer).expect("somebody waits")));
    told.recv().expect("each request is answered")
}

/// Names a host that none was before.
pub(crate) fn new_id() -> HostId {
    static HOSTS: AtomicU64 = AtomicU64::new(1);
    let mut me = [0; 16];
    me[..8].copy_from_slice(&HOSTS.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    HostId(me)
}

pub(crate) fn open(engine: Arc<dyn Engine>, cache: &Path) -> EngineStore {
    EngineStore::begin(engine, new_id(), cache.to_owned()).expect("there are threads")
}

/// Makes a log; whether there was none.
pub(crate) fn create(engine: &EtcdEngine, log: LogId, genesis: &Record) -> bool {
    match ask(engine, Lane::Other, Request::Create { genesis: Group::genesis(log, genesis) }) {
        Ok(Answered::Created(is_new)) => is_new,
        other => panic!("{other:?}"),
    }
}

/// Removes a log; whether there was one.
pub(crate) fn remove(engine: &EtcdEngine, log: LogId) -> bool {
    match ask(engine, Lane::Other, Request::Remove { log }) {
        Ok(Answered::Removed(was_there)) => was_there,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn append(engine: &EtcdEngine, groups: Vec<Group>) -> Answer {
    ask(engine, Lane::Groups(0), Request::Append { groups })
}
