//! What the driver of a replica works with.

use std::sync::Arc;

use ambrosia_client::Primary;
use ambrosia_core::{
    Epoch, EpochBody, Fault, HostAddress, InstanceName, InstanceUuid, Lsn, ReplicaIndex,
    member::{MemberSettings, Other, OtherRole},
};
use ambrosia_engine::WasmGuest;
use ambrosia_outgoing::Sender;
use ambrosia_storage::{
    BlobError, Checkpoints, InstanceError, Instances, IoError, LogError, LogStore, Member, Members, Presence,
    RecordedOutcome, Role, Store,
};

use crate::{
    clock::SystemClock,
    elsewhere::Elsewhere,
    event::Event,
    guest_log::GuestLog,
    mailbox::Mailbox,
    modules::{CurrentMethods, Modules},
    peers::PeerDirectory,
    prints::Prints,
    run::RunError,
    stall::Stall,
    stdin::Stdin,
    trunks::Trunks,
    vitals::Vitals,
    wishes::Notary,
};

/// Longest part of a fault that is written down and shown.
const FAULT_TEXT_BYTES_MAX: usize = 64 << 10;

/// The core with the guest that this crate runs.
pub(crate) type Replica = ambrosia_core::Replica<WasmGuest>;

/// What a replica's driver works with.
pub(crate) struct Driver {
    pub(crate) name: InstanceName,
    pub(crate) uuid: InstanceUuid,
    pub(crate) replica: ReplicaIndex,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) log: Arc<dyn LogStore>,
    pub(crate) checkpoints: Arc<dyn Checkpoints>,
    pub(crate) members: Arc<dyn Members>,
    pub(crate) modules: Arc<Modules>,
    /// Those of the module that the replica runs.
    pub(crate) methods: Arc<CurrentMethods>,
    pub(crate) engine: [u8; 32],
    pub(crate) vitals: Arc<Vitals>,
    pub(crate) stall: Arc<Stall>,
    pub(crate) presence: Arc<dyn Presence>,
    pub(crate) mailbox: Arc<Mailbox<Event>>,
    pub(crate) directory: Arc<PeerDirectory>,
    /// Where this replica answers.
    pub(crate) address: HostAddress,
    pub(crate) trunks: Arc<Trunks>,
    /// The way out into the world.
    pub(crate) sender: Arc<Sender>,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) printer: Prints,
    /// Where what the guest logs goes, if anywhere.
    pub(crate) guest_log: Option<Arc<GuestLog>>,
    pub(crate) stdin: Option<Arc<Stdin>>,
    /// Has what becomes of wishes written down.
    pub(crate) notary: Notary,
    pub(crate) clock: SystemClock,
    pub(crate) settings: MemberSettings,
    pub(crate) options: DriverOptions,
    pub(crate) elsewhere: Elsewhere,
    /// Says whose the messages are, if the process has several members.
    pub(crate) span: tracing::Span,
}

/// What was seen of the others.
pub(crate) struct Others {
    /// All replicas that run; `None` if that can't be found out.
    pub(crate) running: Option<Vec<Other>>,
    /// The newest reign that the log knows, or one that is over.
    pub(crate) fence: Epoch,
}

/// What the operator chose, and what a member does not decide by.
#[derive(Clone, Copy)]
pub(crate) struct DriverOptions {
    pub(crate) print_replay: bool,
}

impl Driver {
    /// What this replica writes when it becomes primary.
    pub(crate) fn epoch_body(&self) -> EpochBody {
        EpochBody { replica: self.replica, engine: self.engine }
    }

    /// Which instance has the name now; `None` too if that can't be read, which is told.
    pub(crate) fn registered(&self, name: &InstanceName) -> Option<InstanceUuid> {
        match self.store.instance(name) {
            Ok(entry) => Some(entry.uuid),
            Err(InstanceError::Unknown { .. }) => None,
            Err(error) => {
                tracing::warn!(peer = %name, "the peer is refused until the registry can be read: {error}");
                None
            }
        }
    }

    /// Whether that means that the store is elsewhere and can't be reached, or not just now, which ends by itself. Of a disk that has failed it
    /// is not known what it has.
    pub(crate) fn is_away(&self, error: &RunError) -> bool {
        match error {
            RunError::Log(error) => self.is_log_away(error),
            RunError::Blob(BlobError::Io(error)) | RunError::Instance(InstanceError::Io(error)) => {
                self.is_of_store_away(error)
            }
            _ => false,
        }
    }

    /// The same of a log.
    pub(crate) fn is_log_away(&self, error: &LogError) -> bool {
        matches!(error, LogError::Io(error) if self.is_of_store_away(error))
    }

    /// The same of what a store says; the system itself says it with a number.
    pub(crate) fn is_of_store_away(&self, error: &IoError) -> bool {
        !self.store.sees_processes() && error.source.raw_os_error().is_none()
    }

    /// Looks which replicas run. Blocks.
    pub(crate) fn look(&self) -> Result<Others, LogError> {
        let unseen = |error: &dyn std::error::Error| tracing::warn!(%error, "the other replicas can't be looked at");
        let running = self.members.running().map(|members| members.iter().filter_map(other).collect());
        let running = running.inspect_err(|error| unseen(error)).ok();
        match self.log.head() {
            Ok(head) => Ok(Others { running, fence: head.epoch }),
            // A store that is away is no reason to end.
            Err(LogError::Io(error)) => {
                unseen(&error);
                Ok(Others { running: None, fence: Epoch(0) })
            }
            Err(error) => Err(error),
        }
    }

    /// Who is primary, if it is another replica and that is known. Blocks.
    pub(crate) fn primary_elsewhere(&self) -> Option<Primary> {
        let primary =
            self.members.primary_seen().inspect_err(|error| tracing::debug!(%error, "who is primary can't be read"));
        let info = primary.ok()?.filter(|info| info.replica != self.replica)?;
        Some(Primary { epoch: info.epoch, address: info.address })
    }

    /// Tells everybody that this replica is primary.
    pub(crate) fn publish(&self, epoch: ambrosia_core::Epoch) {
        self.presence.publish_primary(epoch);
        self.directory.reigns_here(&self.name, Primary { epoch, address: self.address.clone() });
    }

    /// Writes down how the instance ended, for `status` and for whoever starts it again.
    pub(crate) fn write_down(&self, outcome: ambrosia_core::Outcome) -> Result<(), RunError> {
        match outcome {
            ambrosia_core::Outcome::Finished { code, lsn } => {
                self.store.set_outcome(&self.name, RecordedOutcome::Finished { code, lsn })?;
                tracing::info!(code, %lsn, "the instance finished");
            }
            // What it failed of is in the log, so that every start fails again, written down or not.
            ambrosia_core::Outcome::Halted { fault, lsn } => {
                let Fault { reason, backtrace, .. } = shortened(fault);
                if let Err(error) =
                    self.store.set_outcome(&self.name, RecordedOutcome::Halted { lsn, reason, backtrace })
                {
                    tracing::error!(%error, "could not record in the registry that the instance halted");
                }
            }
        }
        Ok(())
    }

    /// What is said of an instance that stands still.
    pub(crate) fn halted(&self, fault: Fault, lsn: Lsn) -> RunError {
        let Fault { reason, backtrace, stderr } = shortened(fault);
        RunError::Halted { name: self.name.clone(), lsn, reason, backtrace, stderr }
    }
}

/// A fault with no more text than a person would read.
fn shortened(mut fault: Fault) -> Fault {
    for text in [&mut fault.reason, &mut fault.backtrace, &mut fault.stderr] {
        shorten(text);
    }
    fault
}

/// Cuts a text of the guest, which may be of any length, to what a person would read.
pub(crate) fn shorten(text: &mut String) {
    if text.len() > FAULT_TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FAULT_TEXT_BYTES_MAX));
        text.push('…');
    }
}

/// A replica that runs, as the core knows it.
fn other(member: &Member) -> Option<Other> {
    let role = match member.role {
        Role::Standby => OtherRole::Standby,
        Role::Primary => OtherRole::Primary,
        Role::Down => return None,
    };
    let (replica, applied, heartbeat_age) = (member.replica, member.applied, member.heartbeat_age);
    Some(Other { replica, role, applied, ready: member.ready.unwrap_or(0), heartbeat_age })
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
