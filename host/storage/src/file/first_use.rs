//! Fills the shared page of a log at its first use after the machine started.
//!
//! **Architecture Invariant:** nobody reads or writes a log before its page was filled since the machine started, so
//! that no process alive can have written what is read here. Whoever may not fill it fills one of its own.

use std::sync::Arc;

use ambrosia_core::Lsn;

use super::{
    control::{CONTROL_BYTES, ControlPage},
    cursor::{Cursor, Stop},
    lock_wait::lock_in_time,
    log_directory::{FIRST_USE_BYTE, LogDirectory, REIGN_BYTES, REPLICA_BYTES},
    log_end::{LogEnd, end_or_damage},
    shared_page::SharedPage,
};
use crate::{IoError, LogError, io_error::IoContext};

/// Opens the shared page, filled. Takes no lock if it is.
pub(crate) fn open_control(directory: &Arc<LogDirectory>) -> Result<ControlPage, LogError> {
    let (machine, boot) = (&directory.machine, directory.machine.boot_id());
    let found = match find_filled(directory, boot)? {
        Found::Filled(control) => return Ok(control),
        Found::Other(found) => found,
    };
    let lock_path = directory.lock_path();
    let action = "take the lock of the first use (byte 2^61) of";
    let first_use = lock_in_time(&**machine, &lock_path, FIRST_USE_BYTE, action);
    match first_use.map_err(LogError::from).and_then(|_held| fill_shared(directory, boot)) {
        Err(LogError::Io(error)) if error.is_refusal_to_write() => from_log(directory, found.as_ref(), boot),
        filled => filled,
    }
}

/// Opens the shared page for whoever only looks. One that is not filled stays as it is.
pub(crate) fn look_at_control(directory: &Arc<LogDirectory>) -> Result<ControlPage, LogError> {
    let boot = directory.machine.boot_id();
    match find_filled(directory, boot)? {
        Found::Filled(control) => Ok(control),
        Found::Other(found) => from_log(directory, found.as_ref(), boot),
    }
}

/// The shared page, as it is found.
enum Found {
    /// It was filled since the machine started.
    Filled(ControlPage),
    /// It was not, or there is none.
    Other(Option<ControlPage>),
}

fn find_filled(directory: &LogDirectory, boot: u64) -> Result<Found, LogError> {
    let path = directory.control_path();
    let found = directory.machine.map_if_there(&path, CONTROL_BYTES).context("map", &path)?.map(ControlPage::new);
    match found {
        Some(control) if control.is_current(boot) || control.has_magic() && is_in_use(directory)? => {
            Ok(Found::Filled(control))
        }
        found => Ok(Found::Other(found)),
    }
}

/// Whether a replica runs, or a primary reigns.
fn is_in_use(directory: &LogDirectory) -> Result<bool, IoError> {
    let lock_path = directory.lock_path();
    for range in [REIGN_BYTES, REPLICA_BYTES] {
        if directory.machine.held_byte(&lock_path, range).context("examine the locks of", &lock_path)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fills the page for everybody. The caller holds the lock of the first use.
fn fill_shared(directory: &Arc<LogDirectory>, boot: u64) -> Result<ControlPage, LogError> {
    let path = directory.control_path();
    let control = ControlPage::new(directory.machine.map(&path, CONTROL_BYTES).context("map", &path)?);
    if control.is_current(boot) {
        return Ok(control);
    }
    if is_in_use(directory)? {
        return if control.has_magic() {
            Ok(control)
        } else {
            Err(LogError::ControlLost { place: path.display().to_string() })
        };
    }
    let known = if control.has_magic() { control.durable() } else { Lsn(0) };
    let mut cursor = Cursor::open_newest(directory.clone())?;
    let end = read_to_end(&mut cursor, known)?;
    warn_of_torn_tail(&cursor, end);
    cursor.file().sync().context("sync", &cursor.path())?;
    fill(directory, &control, boot, &cursor)?;
    Ok(control)
}

/// A page for this process alone, which may only look: what the files tell.
fn from_log(directory: &Arc<LogDirectory>, found: Option<&ControlPage>, boot: u64) -> Result<ControlPage, LogError> {
    let path = directory.control_path();
    if is_in_use(directory)? {
        return Err(LogError::ControlLost { place: path.display().to_string() });
    }
    let known = found.filter(|control| control.has_magic()).map_or(Lsn(0), ControlPage::durable);
    let mut cursor = Cursor::open_newest(directory.clone())?;
    read_to_end(&mut cursor, known)?;
    let page = SharedPage::private(CONTROL_BYTES).context("make memory in place of", &path)?;
    let control = ControlPage::own(Box::new(page));
    fill(directory, &control, boot, &cursor)?;
    Ok(control)
}

fn fill(directory: &LogDirectory, control: &ControlPage, boot: u64, cursor: &Cursor) -> Result<(), LogError> {
    // No other segment has a newer epoch, whoever put it in place: the log is read backwards from the newest one.
    let newest = cursor.segment().epoch;
    control.reset(boot, newest, cursor.last().lsn, directory.checkpoints().chains()?.newest());
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
