//! What an instance runs at the end of its log.
//!
//! **Architecture Invariant:** it is told by the log and by its checkpoints, never by what the registry notes.

use ambrosia_core::{CheckpointState, Genesis, Limits, Lsn, Mend, Record, RecordError, Remedy, Skip, Upgrade};
use ambrosia_storage::{InstanceEntry, LogError, LogTail, Store};

use crate::run::RunError;

/// The log may be trimmed while it is read; more often than that it is not.
const TRIES_MAX: u32 = 5;

/// What an instance runs at the end of its log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RunningCode {
    /// SHA-256 of the module.
    pub module: [u8; 32],
    /// What a delivery may use.
    pub limits: Limits,
    /// The last attempt at an upgrade that is in the log; 0 if there is none.
    pub attempt: u64,
}

/// Reads what an instance runs at the end of its log: from the newest checkpoint that can be read on, or from the beginning.
///
/// # Errors
/// If the log, or what tells what it begins with, can't be read.
pub fn running_code(store: &dyn Store, entry: &InstanceEntry) -> Result<RunningCode, RunError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match read(store, entry) {
            Err(RunError::Log(LogError::Missing { .. })) if tries < TRIES_MAX => {}
            read => return read,
        }
    }
}

fn read(store: &dyn Store, entry: &InstanceEntry) -> Result<RunningCode, RunError> {
    let (log, checkpoints) = (store.log(entry.log())?, store.checkpoints(entry.log())?);
    let infos = checkpoints.list().map_err(LogError::from)?;
    let decoded = |lsn| CheckpointState::decode(&checkpoints.load(lsn).ok()?.state).ok();
    let newest = infos.iter().rev().find_map(|info| decoded(info.lsn));
    match newest {
        Some(state) => {
            let code = RunningCode { module: state.module(), limits: state.limits(), attempt: state.attempt() };
            follow(&mut *log.tail(state.lsn().next())?, code)
        }
        None => {
            let mut tail = log.tail(Lsn(1))?;
            let first = tail.read()?;
            let genesis = first.first().ok_or(RunError::NoGenesis)?;
            let Genesis { module, limits, .. } = Genesis::decode(genesis.body()).map_err(RunError::Genesis)?;
            let code = changed(RunningCode { module, limits, attempt: 0 }, &first)?;
            follow(&mut *tail, code)
        }
    }
}

/// What it is at the end of the log.
fn follow(tail: &mut dyn LogTail, mut code: RunningCode) -> Result<RunningCode, RunError> {
    loop {
        let records = tail.read()?;
        if records.is_empty() {
            return Ok(code);
        }
        code = changed(code, &records)?;
    }
}

/// What it is behind these records.
fn changed(code: RunningCode, records: &[Record]) -> Result<RunningCode, RunError> {
    records.iter().try_fold(code, |code, record| {
        let change = change_by(record).map_err(|error| RunError::Record { lsn: record.lsn(), error })?;
        Ok(match change {
            None => code,
            Some(Remedy::Upgrade(Upgrade { attempt, to, limits, .. })) => RunningCode { module: to, limits, attempt },
            Some(Remedy::Skip(Skip { attempt, .. })) => RunningCode { attempt, ..code },
        })
    })
}

/// The wish that a record fulfils: by an upgrade between two deliveries, or by a mend.
pub(crate) fn change_by(record: &Record) -> Result<Option<Remedy>, RecordError> {
    match Upgrade::of(record)? {
        Some(upgrade) => Ok(Some(Remedy::Upgrade(upgrade))),
        None => Ok(Mend::of(record)?.map(|mend| mend.remedy)),
    }
}
