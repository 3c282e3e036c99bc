//! The life of one replica on its driver thread: standby, primary, and standby again when it was deposed.
//!
//! **Architecture Invariant:** the driver thread owns the core and the guest; nothing is shared, nothing is locked.

use std::sync::Arc;

use ambrosia_core::{EpochBody, Fault, InstanceName, Lsn, Record, ReplicaIndex, ScheduleOptions};
use ambrosia_engine::{Module, WasmGuest};
use ambrosia_storage::{Checkpoints, FileStore, LogError, LogStore, Outcome, Presence, Role, Roster};

use crate::{
    checkpointer::Keeping,
    clock::SystemClock,
    event::Event,
    mailbox::Mailbox,
    peers::PeerDirectory,
    primary::Primary,
    printer::Printer,
    run::{Ending, RunError},
    standby::{Standby, StoodBy},
    stdin::Stdin,
    vitals::Vitals,
};

/// Longest part of a fault that is written down and shown.
const FAULT_TEXT_BYTES_MAX: usize = 64 << 10;

/// The core with the guest that this crate runs.
pub(crate) type Replica = ambrosia_core::Replica<WasmGuest>;

/// What a replica's driver works with.
pub(crate) struct Driver {
    pub(crate) name: InstanceName,
    pub(crate) replica: ReplicaIndex,
    pub(crate) store: Arc<FileStore>,
    pub(crate) log: Arc<dyn LogStore>,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) roster: Roster,
    /// SHA-256 of the module.
    pub(crate) module_hash: [u8; 32],
    pub(crate) module: Module,
    pub(crate) engine: [u8; 32],
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) mailbox: Arc<Mailbox<Event>>,
    pub(crate) directory: PeerDirectory,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) printer: Arc<Printer>,
    pub(crate) stdin: Option<Arc<Stdin>>,
    pub(crate) clock: SystemClock,
    pub(crate) options: DriverOptions,
}

/// What the operator chose.
#[derive(Clone, Copy)]
pub(crate) struct DriverOptions {
    pub(crate) print_replay: bool,
    pub(crate) from_beginning: bool,
    pub(crate) allow_engine_change: bool,
    /// The record at which this replica may differ from what the log says.
    pub(crate) allow_divergence: Option<Lsn>,
    pub(crate) schedule: ScheduleOptions,
    pub(crate) keeping: Keeping,
    pub(crate) address: std::net::SocketAddr,
}

impl Driver {
    /// Lives until the instance or the operator ends it.
    pub(crate) fn live(&self) -> Result<Ending, RunError> {
        loop {
            let (life, acquired) = match Standby::new(self)?.stand_by() {
                Ok(StoodBy::Elected(life, acquired)) => (*life, acquired),
                Ok(StoodBy::Ended(ending)) => return Ok(ending),
                // It had stopped for so long that nobody waited for it any more; the checkpoints go further than it.
                Err(RunError::Log(LogError::Missing { asked, .. })) if self.checkpoints.newest_published() >= asked => {
                    tracing::warn!(instance = %self.name, %asked, "the log was trimmed meanwhile, beginning anew");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(ending) = Primary::new(life, acquired)?.reign()? {
                return Ok(ending);
            }
            // Deposed: what was executed may not be in the log, so everything is built anew from it.
            tracing::info!(instance = %self.name, replica = %self.replica, "stepped down, following again");
        }
    }

    /// What this replica writes when it becomes primary.
    pub(crate) fn epoch_body(&self) -> EpochBody {
        EpochBody { replica: self.replica, engine: self.engine }
    }

    /// Tells everybody that this replica is primary.
    pub(crate) fn publish(&self, epoch: ambrosia_core::Epoch) {
        self.presence.beat(Role::Primary);
        self.presence.publish_primary(epoch, self.options.address);
    }

    /// Checks that the reign was written by this engine.
    pub(crate) fn check_engine(&self, record: &Record) -> Result<(), RunError> {
        let body = EpochBody::decode(record.body()).map_err(RunError::Genesis)?;
        if body.engine == self.engine {
            return Ok(());
        }
        let epoch = record.header().epoch;
        if self.options.allow_engine_change {
            tracing::warn!(%epoch, lsn = %record.lsn(), "this reign was written by another version of the engine");
            return Ok(());
        }
        Err(RunError::ForeignEngine { epoch, lsn: record.lsn() })
    }

    /// Writes down how the instance ended, for `status` and for whoever starts it again.
    pub(crate) fn write_down_finished(&self, code: i32, lsn: Lsn) -> Result<(), RunError> {
        self.store.set_outcome(&self.name, Outcome::Finished { code, lsn })?;
        tracing::info!(instance = %self.name, code, %lsn, "the instance finished");
        Ok(())
    }

    /// Writes down that the instance stands still. What it failed of is in the log, so that every start fails again.
    pub(crate) fn halted(&self, mut fault: Fault, lsn: Lsn) -> RunError {
        for text in [&mut fault.reason, &mut fault.backtrace, &mut fault.stderr] {
            shorten(text);
        }
        let outcome = Outcome::Halted { lsn, reason: fault.reason.clone(), backtrace: fault.backtrace.clone() };
        if let Err(error) = self.store.set_outcome(&self.name, outcome) {
            tracing::error!(%error, "could not record in the registry that the instance halted");
        }
        RunError::Halted {
            name: self.name.clone(),
            lsn,
            reason: fault.reason,
            backtrace: fault.backtrace,
            stderr: fault.stderr,
        }
    }
}

/// Cuts a text of the guest, which may be of any length, to what a person would read.
fn shorten(text: &mut String) {
    if text.len() > FAULT_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FAULT_TEXT_BYTES_MAX));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_of_a_guest_is_cut_between_two_characters() {
        let mut text = "ä".repeat(FAULT_TEXT_BYTES_MAX);
        shorten(&mut text);
        assert_eq!(text, format!("{}…", "ä".repeat(FAULT_TEXT_BYTES_MAX / 2)));
        let mut short = "short".to_owned();
        shorten(&mut short);
        assert_eq!(short, "short");
    }
}
