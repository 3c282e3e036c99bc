//! Logs of which a host has found that the store lost what was durable in them.
//!
//! ```text
//! rollback/{log}     what was found, and how often that was accepted: the generation of the log
//! given-up/{log}     the epoch above which nothing was given up by that
//! ```
//! A log that was copied from another store may have been here before, and have had more: it begins with a generation above all before,
//! and all of them are given up.
//!
//! Whoever finds it writes it down for all others, and no replica of the log begins to run, or becomes primary, until an operator
//! accepts that. Who reigns already, for it could not know it, is deposed by a new epoch, which needs no look at what was found. The
//! store forgets with the rest how often that was done, if it goes back once more: so the next generation is one that no host that has
//! told has seen.
//!
//! Whoever stood still meanwhile knows an earlier generation. What it misses is told only if it is of a reign since then.
//!
//! **Architecture Invariant:** nothing is accepted by itself.

use std::{collections::BTreeMap, io, sync::Arc};

use ambrosia_core::{Epoch, InstanceUuid, Lsn, ReplicaIndex};
use ambrosia_storage::{EnterError, IoError, LogError, LogId, ProcessPlace, Revision, Rollback};
use serde::{Deserialize, Serialize};

use super::{
    Inner, checkpoints,
    desk::Desk,
    stored,
    witness::{Durable, Witness},
};
use crate::{
    engine::{Answered, Raise, Request},
    fault::LogFault,
    keys::{KeyEntry, PutRefused, Space},
    shell::host::{EngineHost, io_error, log_error},
};

const PREFIX: &str = "rollback/";

/// What stands there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// How often it was accepted, as far as is known.
    generation: u64,
    found: Option<Found>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Found {
    log: [u8; 16],
    had: u64,
    epoch: u64,
    found_by: String,
    reason: String,
}

impl Found {
    fn of(log: LogId, fault: &LogFault, known: &Durable) -> Found {
        let had = match fault {
            LogFault::WentBack { had, .. } => *had,
            LogFault::Rewritten { lsn, .. } => *lsn,
            _ => Lsn(0),
        };
        let epoch = if let LogFault::WentBack { epoch, .. } = fault { *epoch } else { Epoch(0) };
        Found {
            log: log.0.0,
            had: had.0,
            epoch: epoch.max(known.epoch()).0,
            found_by: ProcessPlace::here().host.clone(),
            reason: fault.to_string(),
        }
    }

    fn rollback(self) -> Rollback {
        let Found { log, had, epoch, found_by, reason } = self;
        Rollback { log: LogId(InstanceUuid(log)), had: Lsn(had), epoch: Epoch(epoch), found_by, reason }
    }
}

fn key(log: LogId) -> String {
    format!("{PREFIX}{log}")
}

fn given_up_key(log: LogId) -> String {
    format!("given-up/{log}")
}

/// Up to which epoch something was given up, if that is known: records of later ones have come since.
fn given_up(desk: &Desk, log: LogId) -> Result<Option<Epoch>, IoError> {
    let Some(entry) = desk.get(Space::Store, &given_up_key(log))? else { return Ok(None) };
    let damaged = || {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it is not what it was");
        IoError { action: "read", place: given_up_key(log), source }
    };
    Ok(Some(Epoch(stored::decode(&entry.value).ok_or_else(damaged)?)))
}

/// Has it known up to which epoch something is given up.
fn give_up(desk: &Desk, log: LogId, epoch: Epoch) -> Result<Revision, LogError> {
    put_over(desk, log, &given_up_key(log), &epoch.0)
}

/// What a log of that name had before counts no more: another store's log begins here. Its generation is a revision of the store, and so
/// above those of all its lives before, each of which has had revisions of its own since it began.
pub(super) fn begin_anew(desk: &Desk, log: LogId) -> Result<(), LogError> {
    let revision = give_up(desk, log, Epoch(u64::MAX))?;
    put_over(desk, log, &key(log), &Kept { generation: revision.0, found: None })?;
    Ok(())
}

/// Puts a value beside the log, whatever stands there.
fn put_over(desk: &Desk, log: LogId, key: &str, value: &impl Serialize) -> Result<Revision, LogError> {
    loop {
        let stands = desk.get(Space::Store, key)?.map(|entry| entry.revision);
        match desk.put(Space::Store, key, stands, stored::encode(value), Some(log))? {
            Ok(revision) => return Ok(revision),
            Err(PutRefused::NoLog) => return Err(log_error(LogFault::Gone { log })),
            Err(PutRefused::Stands(_)) => {}
        }
    }
}

fn read(desk: &Desk, log: LogId) -> Result<(Option<KeyEntry>, Kept), IoError> {
    let entry = desk.get(Space::Store, &key(log))?;
    let kept = entry.as_ref().map(|entry| decode(&entry.value, || key(log))).transpose()?;
    Ok((entry, kept.unwrap_or_default()))
}

fn decode(value: &[u8], place: impl Fn() -> String) -> Result<Kept, IoError> {
    let damaged = || {
        let source = io::Error::new(io::ErrorKind::InvalidData, "it is not what it was");
        IoError { action: "read", place: place(), source }
    };
    stored::decode(value).ok_or_else(damaged)
}

/// Whether what is known of a log is of what was given up since: then it says nothing of what there is now.
fn is_given_up(desk: &Desk, log: LogId, known: &Durable, generation: u64) -> Result<bool, IoError> {
    // An older program does not say up to where.
    Ok(known.generation < generation && given_up(desk, log)?.is_none_or(|upto| known.epoch() <= upto))
}

/// Writes down that the store has lost what was durable, if nobody has, and has nobody reign any more.
fn tell(desk: &Desk, host: &EngineHost, log: LogId, known: &Durable, fault: &LogFault) -> Result<(), IoError> {
    loop {
        let (entry, kept) = read(desk, log)?;
        if kept.found.is_some() {
            return depose(desk, host, log);
        }
        let found = Found::of(log, fault, known);
        // Whoever stood still while it was accepted finds what was given up: that concerns nobody else, and its replica begins anew.
        if known.generation < kept.generation && given_up(desk, log)?.is_some_and(|upto| Epoch(found.epoch) <= upto) {
            return Ok(());
        }
        let kept = Kept { generation: kept.generation.max(known.generation), found: Some(found) };
        let expected = entry.map(|entry| entry.revision);
        match desk.put(Space::Store, &key(log), expected, stored::encode(&kept), Some(log))? {
            Err(PutRefused::NoLog) => return Ok(()),
            // Whoever has written it may have died before it deposed anybody.
            Ok(_) | Err(PutRefused::Stands(_)) => {}
        }
    }
}

/// Ends the reign that there is. Where it stands that something was lost, nobody begins another one.
pub(super) fn depose(desk: &Desk, host: &EngineHost, log: LogId) -> Result<(), IoError> {
    let deposed = match host.head(log) {
        Ok(head) if head.is_reigned => raise_above(desk, host, log, head.epoch).map(drop),
        found => found.map(drop).map_err(log_error),
    };
    match deposed {
        Ok(()) | Err(LogError::Gone { .. }) => Ok(()),
        Err(LogError::Io(error)) => Err(error),
        Err(error) => Err(IoError { action: "write", place: key(log), source: io::Error::other(error.to_string()) }),
    }
}

/// Whether a replica may begin to run: the log has what this machine knows to have been durable, and nobody has found otherwise.
pub(super) fn check(inner: &Arc<Inner>, log: LogId) -> Result<(), EnterError> {
    let (_, kept) = read(&inner.desk, log)?;
    if let Some(found) = kept.found {
        depose(&inner.desk, &inner.host, log)?;
        return Err(refused(inner, found.rollback()));
    }
    inner.witness.take(|| inner.host.take_durable());
    let mut known = inner.witness.read(log)?;
    if known.generation < kept.generation {
        // What is in the cache may be of what was given up, and have the names of what has come since.
        checkpoints::remove_cached(inner, log)?;
    }
    if !is_given_up(&inner.desk, log, &known, kept.generation)? {
        if let Err(fault) = compare(inner, log, &known)? {
            tell(&inner.desk, &inner.host, log, &known, &fault)?;
            return Err(EnterError::Lost { reason: fault.to_string() });
        }
        // A replica that ran on while that was accepted has seen what came since.
        known.generation = known.generation.max(kept.generation);
    }
    // Given up, or brought back.
    inner.host.forgive(log);
    inner.witness.begin(log, known, kept.generation)?;
    Ok(())
}

fn refused(inner: &Inner, rollback: Rollback) -> EnterError {
    let Rollback { reason, found_by, .. } = rollback;
    if found_by == ProcessPlace::here().host {
        return EnterError::Lost { reason };
    }
    EnterError::Lost {
        reason: format!("{reason} (that was found by {found_by}, and stands in {})", inner.desk.place()),
    }
}

/// Sees whether the log has what this process knows to have been durable; if not, nothing more is read of it.
pub(super) fn compare_now(inner: &Inner, log: LogId) -> Result<(), LogError> {
    inner.witness.take(|| inner.host.take_durable());
    let known = inner.witness.read(log)?;
    compare(inner, log, &known)?.map_err(|fault| {
        inner.host.lose(&fault);
        log_error(fault)
    })
}

/// Compares the log with what was durable in it.
fn compare(inner: &Inner, log: LogId, known: &Durable) -> Result<Result<(), LogFault>, IoError> {
    let Some(at) = known.position() else { return Ok(Ok(())) };
    match inner.host.find(log, at.lsn.next()) {
        Ok(standing) if standing.last == at => Ok(Ok(())),
        Ok(_) => Ok(Err(LogFault::Rewritten { log, lsn: at.lsn })),
        // It was trimmed: the log has gone on.
        Err(LogFault::Missing { first, .. }) if at.lsn.next() < first => Ok(Ok(())),
        Err(LogFault::Missing { last, .. }) => {
            let last_epoch = inner.host.head(log).map_err(|fault| io_error(&fault))?.epoch;
            Ok(Err(LogFault::WentBack { log, had: at.lsn, epoch: known.epoch(), last, last_epoch }))
        }
        Err(fault) => Err(io_error(&fault)),
    }
}

/// Whether the log may be read for more than a look at it: as for a replica that begins to run, but nothing here is changed.
pub(super) fn check_kept(inner: &Inner, log: LogId) -> Result<(), LogError> {
    let generation = generation_kept(&inner.desk, log)?;
    if is_given_up(&inner.desk, log, &inner.witness.read(log)?, generation)? {
        return Ok(());
    }
    // The clerk tells others of what that finds.
    compare_now(inner, log)
}

/// Ends the reign that a candidate of this host has begun by an epoch above that one, and then found a loss: nobody else would see that it is over.
pub(super) fn depose_candidate(desk: &Desk, host: &EngineHost, log: LogId, over: Epoch) -> Result<(), IoError> {
    match host.head(log) {
        Ok(head) if head.is_reigned && head.claim.host == desk.me && head.epoch > over => depose(desk, host, log),
        Ok(_) | Err(LogFault::Gone { .. }) => Ok(()),
        Err(fault) => Err(io_error(&fault)),
    }
}

/// Whether a replica that runs may become primary, and its checkpoints may come to count.
pub(super) fn check_none_found(desk: &Desk, log: LogId) -> Result<(), LogError> {
    generation_kept(desk, log).map(drop)
}

/// The generation of a log of which nothing was found to be lost.
fn generation_kept(desk: &Desk, log: LogId) -> Result<u64, LogError> {
    let Kept { generation, found } = read(desk, log)?.1;
    found.map_or(Ok(generation), |found| Err(LogError::Lost { reason: found.reason }))
}

/// Has others know of the logs that were found to have lost something. Those that could not be told are told of next time.
pub(super) fn tell_all(
    desk: &Desk,
    witness: &Witness,
    host: &EngineHost,
    told: &mut BTreeMap<LogId, LogFault>,
) -> Result<(), IoError> {
    let lost = host.lost();
    told.retain(|log, fault| lost.get(log) == Some(fault));
    for (log, fault) in lost {
        if told.get(&log) == Some(&fault) {
            continue;
        }
        let known = witness.read(log)?;
        // It may have been accepted since, and a replica have begun here: first that is forgiven, and then another generation known.
        if host.lost().get(&log) != Some(&fault) {
            continue;
        }
        tell(desk, host, log, &known, &fault)?;
        told.insert(log, fault);
    }
    Ok(())
}

pub(super) fn list(desk: &Desk) -> Result<Vec<Rollback>, IoError> {
    let mut found = Vec::new();
    for entry in desk.list(Space::Store, PREFIX, true)? {
        found.extend(decode(&entry.value, || entry.key.clone())?.found.map(Found::rollback));
    }
    Ok(found)
}

/// Has a log go on with what the store has of it; what was lost, if that was found.
pub(super) fn accept(inner: &Arc<Inner>, log: LogId) -> Result<Option<Rollback>, LogError> {
    loop {
        let (entry, kept) = read(&inner.desk, log)?;
        let (Some(entry), Some(found)) = (entry, kept.found) else { return Ok(None) };
        // Nobody that knows what is given up writes on, and no epoch that somebody knows names another reign.
        let known = raise_above(&inner.desk, &inner.host, log, Epoch(found.epoch))?;
        give_up(&inner.desk, log, known)?;
        checkpoints::forget_lost(inner, log)?;
        let accepted = Kept { generation: kept.generation + 1, found: None };
        let put =
            inner.desk.put(Space::Store, &key(log), Some(entry.revision), stored::encode(&accepted), Some(log))?;
        match put {
            Ok(_) => return Ok(Some(found.rollback())),
            Err(PutRefused::NoLog) => return Err(log_error(LogFault::Gone { log })),
            // Somebody else has accepted it, or has it found once more.
            Err(PutRefused::Stands(_)) => {}
        }
    }
}

/// The epoch above which all that comes is: at least that one, and that of the log.
fn raise_above(desk: &Desk, host: &EngineHost, log: LogId, known: Epoch) -> Result<Epoch, LogError> {
    let epoch_now = || host.head(log).map(|head| head.epoch).map_err(log_error);
    let mut over = epoch_now()?;
    let known = known.max(over);
    while over <= known {
        let claim = host.new_claim();
        let raise = Raise { log, over, claim, replica: ReplicaIndex(0) };
        let raised = match desk.ask(Request::Raise { wanted: vec![raise] })? {
            Answered::Raised(answers) => answers.into_iter().next().and_then(Result::ok),
            other => return Err(desk.unfit(&other).into()),
        };
        over = match raised {
            Some(head) => {
                // Nobody is to wait for a primary that there is not.
                match desk.ask(Request::Release { log, epoch: head.epoch, claim })? {
                    Answered::Released => head.epoch,
                    other => return Err(desk.unfit(&other).into()),
                }
            }
            // Somebody else is faster.
            None => epoch_now()?,
        };
    }
    Ok(known)
}

/// The log is gone.
pub(super) fn forget(inner: &Inner, log: LogId) -> Result<(), IoError> {
    inner.desk.remove(&key(log))?;
    inner.desk.remove(&given_up_key(log))?;
    inner.witness.forget(log)
}
