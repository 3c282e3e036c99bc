//! Fills the shared page of a log at its first use after the machine started.
//!
//! **Architecture Invariant:** nobody reads or writes a log before its page was filled since the machine started, so
//! that no process alive can have written what is read here.

use std::sync::Arc;

use ambrosia_core::{Epoch, Lsn};

use super::{
    checkpoints,
    control::{CONTROL_BYTES, Control},
    cursor::{Cursor, Stop},
    log_directory::{FIRST_USE_BYTE, LogDirectory, REIGN_BYTES, REPLICA_BYTES},
    log_end::{LogEnd, end_or_damage},
};
use crate::{LogError, io_error::IoContext};

/// Opens the shared page, filled.
pub(crate) fn open_control(directory: &Arc<LogDirectory>) -> Result<Control, LogError> {
    let (machine, lock_path) = (&directory.machine, directory.lock_path());
    let _first_use = machine.lock(&lock_path, FIRST_USE_BYTE).context("lock", &lock_path)?;
    let path = directory.control_path();
    let control = Control::new(machine.map(&path, CONTROL_BYTES).context("map", &path)?);
    let boot = machine.boot_id();
    if control.is_current(boot) {
        return Ok(control);
    }
    for range in [REIGN_BYTES, REPLICA_BYTES] {
        if machine.held_byte(&lock_path, range).context("examine the locks of", &lock_path)?.is_some() {
            return if control.has_magic() { Ok(control) } else { Err(LogError::ControlLost { path }) };
        }
    }
    fill(directory, &control, boot)?;
    Ok(control)
}

fn fill(directory: &Arc<LogDirectory>, control: &Control, boot: u64) -> Result<(), LogError> {
    let known = if control.has_magic() { control.durable() } else { Lsn(0) };
    let mut cursor = Cursor::open_newest(directory.clone())?;
    let end = read_to_end(&mut cursor, known)?;
    warn_of_torn_tail(&cursor, end);
    cursor.file().sync().context("sync", &cursor.path())?;
    let newest = directory.segments()?.iter().map(|name| name.epoch).max().unwrap_or(Epoch(0));
    control.reset(boot, newest, cursor.last().lsn);
    control.publish_checkpoint(checkpoints::newest(directory)?);
    Ok(())
}

fn read_to_end(cursor: &mut Cursor, known: Lsn) -> Result<LogEnd, LogError> {
    match cursor.read(Lsn(u64::MAX), usize::MAX, |_, _| ())? {
        Stop::Satisfied => unreachable!("no log holds that many records"),
        Stop::Fault(fault) => end_or_damage(cursor, &fault, known),
    }
}

/// Says what is cut off, if anything is.
pub(crate) fn warn_of_torn_tail(cursor: &Cursor, end: LogEnd) {
    if end.torn_bytes > 0 {
        tracing::warn!(
            file = %cursor.path().display(),
            offset = cursor.offset(),
            bytes = end.torn_bytes,
            lsn = cursor.next_lsn().0,
            "the last write was cut short before it was acknowledged: the log ends before it",
        );
    }
}
