//! Values of requests as columns, and rows as answers.

use ambrosia_core::{Epoch, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_shared_log::{Claim, EngineHead, Group, HostId, Position};
use ambrosia_storage::LogId;
use bytes::Bytes;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

pub(crate) fn log_column(log: LogId) -> Uuid {
    Uuid::from_bytes(log.0.0)
}

pub(crate) fn host_column(host: HostId) -> Uuid {
    Uuid::from_bytes(host.0)
}

/// The same 64 bits, with a sign.
pub(crate) fn number_column(number: u64) -> i64 {
    number as i64
}

pub(crate) fn log_in(row: &Row, column: &str) -> Result<LogId, Error> {
    let uuid: Uuid = row.try_get(column)?;
    Ok(LogId(InstanceUuid(uuid.into_bytes())))
}

pub(crate) fn host_in(row: &Row, column: &str) -> Result<HostId, Error> {
    let uuid: Uuid = row.try_get(column)?;
    Ok(HostId(uuid.into_bytes()))
}

pub(crate) fn number_in(row: &Row, column: &str) -> Result<u64, Error> {
    let number: i64 = row.try_get(column)?;
    Ok(number as u64)
}

/// The head row in a row; `None` if there is none, by an outer join.
pub(crate) fn head_in(row: &Row) -> Result<Option<EngineHead>, Error> {
    if row.try_get::<_, Option<Uuid>>("log")?.is_none() {
        return Ok(None);
    }
    Ok(Some(EngineHead {
        log: log_in(row, "log")?,
        epoch: Epoch(number_in(row, "epoch")?),
        claim: Claim { host: host_in(row, "claim_host")?, attempt: number_in(row, "claim_attempt")? },
        replica: ReplicaIndex(row.try_get::<_, i32>("replica")? as u16),
        is_reigned: row.try_get("is_reigned")?,
        is_announced: row.try_get("is_announced")?,
        checkpoint: Lsn(number_in(row, "checkpoint")?),
        first: Lsn(number_in(row, "first")?),
        last: Position { lsn: Lsn(number_in(row, "last")?), link: number_in(row, "link")? },
        bytes: number_in(row, "bytes")?,
    }))
}

/// The group in a row; `None` if there is none.
pub(crate) fn group_in(row: &Row) -> Result<Option<Group>, Error> {
    let Some(body) = row.try_get::<_, Option<&[u8]>>("body")? else { return Ok(None) };
    let position = |lsn, link| Ok::<_, Error>(Position { lsn: Lsn(number_in(row, lsn)?), link: number_in(row, link)? });
    Ok(Some(Group {
        log: log_in(row, "log")?,
        epoch: Epoch(number_in(row, "group_epoch")?),
        after: position("after", "after_link")?,
        last: position("group_last", "group_link")?,
        bytes: Bytes::copy_from_slice(body),
    }))
}
