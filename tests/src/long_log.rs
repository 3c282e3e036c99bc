//! A long log in a moment: what a primary would write, without a process, a client and a wait for each message.

use std::{
    path::Path,
    sync::mpsc::{RecvTimeoutError, channel},
};

use ambrosia_core::{
    Epoch, EpochBody, Genesis, Input, InstanceName, Limits, Lsn, Replica, ReplicaIndex, RequestId, Timestamp, Traffic,
    limits, member::LogEvent,
};
use ambrosia_host::{Modules, encode_arguments, fresh_uuid};
use ambrosia_storage::{Instances, LOG_QUEUE_BYTES_MAX, LogWriter, StorePlace};
use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;

use crate::PATIENCE;

/// When the first record is made, in nanoseconds since 1970.
const BEGINNING: u64 = 1_700_000_000_000_000_000;
/// Between two records.
const INTERVAL: u64 = 1_000_000;

/// A message from outside.
pub struct LongMessage {
    /// The method.
    pub method: &'static str,
    /// Its arguments, as a JSON array.
    pub arguments: Value,
    /// Names the request, if the result is wanted.
    pub request: Option<String>,
}

/// Registers an instance in a store, and gives it a log with one record for each of `messages`.
/// Returns the last record. The guest really runs.
///
/// # Errors
/// If the store can't be written, or the module does not run.
pub fn write_long_log(
    store: &Path,
    instance: &str,
    module: &Path,
    messages: impl Iterator<Item = LongMessage>,
) -> anyhow::Result<Lsn> {
    let store = StorePlace::from(store).create_or_open()?;
    let name = InstanceName::new(instance)?;
    let limits = Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
    let module = std::fs::read(module)?;
    store.register(&name, &module, 1, fresh_uuid(), limits, Timestamp(BEGINNING))?;
    let entry = store.instance(&name)?;
    let modules = Modules::new(store.clone());
    let methods = modules.methods(entry.module)?;
    let mut tail = store.log(entry.log())?.tail(Lsn(1))?;
    let genesis = tail.read()?.remove(0);
    let guest = modules.module(entry.module)?.instantiate(&Genesis::decode(genesis.body())?)?;
    let mut replica = Replica::new(&genesis, guest)?;
    let (send, events) = channel();
    let me = EpochBody { replica: ReplicaIndex(0), engine: modules.engine()?.hash() };
    let mut now = BEGINNING;
    let events_of = Box::new(move |_, event| drop(send.send(event)));
    let acquired = tail.acquire(Epoch(0), me, Timestamp(now), events_of)?;
    let (mut writer, mut outputs) = (acquired.writer, Vec::new());
    for record in acquired.records {
        replica.step(Input::Record(record), &mut outputs);
    }
    replica.step(Input::Elected, &mut outputs);
    for LongMessage { method, arguments, request } in messages {
        now += INTERVAL;
        let method = methods.find(method)?;
        let request = request.map(|id| RequestId::new(id.into_bytes())).transpose()?;
        let arguments = Bytes::from(encode_arguments(&arguments.to_string(), method.message_pack())?);
        let traffic = Traffic::Impulse { method: method.id, arguments, request, from: None, trace: None };
        replica.step(Input::Traffic { traffic, now: Timestamp(now) }, &mut outputs);
        let append = |record| writer.append(record).expect("the reign goes on");
        replica.deliver(Timestamp(now), append, &mut outputs);
        outputs.clear();
        while writer.queued_bytes() > LOG_QUEUE_BYTES_MAX {
            wait(&events, |event| *event == LogEvent::Room)?;
        }
    }
    let last = replica.applied();
    wait(&events, |event| matches!(event, LogEvent::Durable(lsn) if *lsn >= last))?;
    LogWriter::close(writer);
    Ok(last)
}

fn wait(events: &std::sync::mpsc::Receiver<LogEvent>, wanted: impl Fn(&LogEvent) -> bool) -> anyhow::Result<()> {
    loop {
        match events.recv_timeout(PATIENCE) {
            Ok(LogEvent::Stopped(cause)) => anyhow::bail!("the log stopped: {cause}"),
            Ok(event) if wanted(&event) => return Ok(()),
            Ok(_) => {}
            Err(error @ (RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected)) => {
                return Err(error).context("the log says nothing");
            }
        }
    }
}
