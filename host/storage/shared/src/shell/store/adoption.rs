//! Takes the records of another store's log.
//!
//! **Architecture Invariant:** it knows of no registration: what it has made is of use to nobody who does not know its name.

use std::{thread, time::Instant};

use ambrosia_core::{Epoch, Record};
use ambrosia_storage::{IoError, LogError, LogId};
use bytes::{Bytes, BytesMut};

use super::{desk::Desk, rollbacks};
use crate::{
    engine::{Answered, AppendFault, Group, Position, Request, Seen},
    limits::{GROUP_BYTES_MAX, KEYS_TIME, retry_after},
};

/// Makes a log that has these records, and that nobody has written since that epoch.
pub(super) fn adopt(
    desk: &Desk,
    log: LogId,
    epoch: Epoch,
    records: &mut dyn Iterator<Item = Result<Record, LogError>>,
) -> Result<(), LogError> {
    let Some(first) = records.next().transpose()? else { return Ok(()) };
    // The head row has the newest epoch from the begin; those of the records are in the records.
    let first = Group { epoch, ..Group::genesis(log, &first) };
    let mut last = first.last;
    match desk.ask(Request::Create { genesis: first })? {
        Answered::Created(true) => {}
        // By a try that was not answered, or by somebody else, who may run it by now: what comes next does not follow that.
        Answered::Created(false) if !is_untouched(desk, log, last)? => return Err(written_meanwhile(desk, log).into()),
        Answered::Created(false) => {}
        other => return Err(desk.unfit(&other).into()),
    }
    rollbacks::begin_anew(desk, log)?;
    let mut gathered = BytesMut::new();
    let mut end = last;
    for record in records {
        let record = record?;
        if !gathered.is_empty() && gathered.len() + record.stored().len() > GROUP_BYTES_MAX {
            append(desk, Group { log, epoch, after: last, last: end, bytes: gathered.split().freeze() })?;
            last = end;
        }
        gathered.extend_from_slice(record.stored());
        end = Position::of(record.header());
    }
    let bytes: Bytes = gathered.freeze();
    if bytes.is_empty() { Ok(()) } else { append(desk, Group { log, epoch, after: last, last: end, bytes }) }
}

/// Whether a log ends with its first group, and nobody has it.
fn is_untouched(desk: &Desk, log: LogId, first: Position) -> Result<bool, IoError> {
    match desk.ask(Request::Heads { logs: vec![Seen { log, known: None }] })? {
        Answered::Heads { heads, .. } => Ok(heads.iter().all(|head| head.last == first && !head.is_reigned)),
        other => Err(desk.unfit(&other)),
    }
}

fn written_meanwhile(desk: &Desk, log: LogId) -> IoError {
    let source = std::io::Error::other("somebody else has written it meanwhile");
    IoError { action: "copy", place: format!("log {log} of {}", desk.place()), source }
}

/// Asks again while the engine can't be reached for that log.
fn ask_patiently(desk: &Desk, group: Group) -> Result<Answered, IoError> {
    let since = Instant::now();
    for tries in 0.. {
        match desk.ask(Request::Append { groups: vec![group.clone()] })? {
            Answered::Appended(answers) if since.elapsed() < KEYS_TIME => match answers.as_slice() {
                [Err(AppendFault::Failed(_))] => thread::park_timeout(retry_after(tries)),
                _ => return Ok(Answered::Appended(answers)),
            },
            other => return Ok(other),
        }
    }
    unreachable!("time passes before numbers end")
}

fn append(desk: &Desk, group: Group) -> Result<(), LogError> {
    let (log, wanted) = (group.log, group.last);
    match ask_patiently(desk, group)? {
        Answered::Appended(answers) => match answers.as_slice() {
            [Ok(())] => Ok(()),
            // By a try that was not answered. Whether it is durable shows when it is read back.
            [Err(AppendFault::Refused(Some(head)))] if head.last == wanted => Ok(()),
            [Err(AppendFault::Refused(_))] => Err(written_meanwhile(desk, log).into()),
            other => Err(desk.unfit(&Answered::Appended(other.to_vec())).into()),
        },
        other => Err(desk.unfit(&other).into()),
    }
}
