//! Hands one delivery to a guest that a debugger of the machine can follow, such as gdb: the module is compiled once more, with
//! debug information and without optimisation, and the guest is made of what it was before that record.
//!
//! **Architecture Invariant:** whatever somebody does to that guest, the replica beside it goes the usual way, and the two are
//! compared afterwards. What is compiled here is nowhere but in this process.

use ambrosia_core::{Guest, Lsn, RecordKind};
use ambrosia_engine::Engine;
use ambrosia_storage::BlobHash;

use super::{error::TravelError, observed::Execution, stretch::Stretch, traveller::Traveller};
use crate::run::RunError;

/// Records before a place among which the last delivery is looked for.
const NEARBY_RECORDS: u64 = 10_000;

/// Why a debugger can't look into a record.
#[derive(Debug, thiserror::Error)]
pub enum NativeError {
    /// The way there fails.
    #[error(transparent)]
    Travel(#[from] TravelError),
    /// The guest has nothing to do with it.
    #[error(
        "record {lsn} is of kind {kind}, and it is in deliveries only that a debugger can follow the guest{}",
        .before.map_or_else(String::new, |before| format!("; the one before it is record {before}"))
    )]
    NoDelivery {
        /// The record.
        lsn: Lsn,
        /// What it is.
        kind: String,
        /// The last delivery before it.
        before: Option<Lsn>,
    },
    /// The guest gets it later.
    #[error(
        "record {0} delivers nothing: the mend behind it delivers what it holds, and in that a debugger can't follow the guest"
    )]
    Void(Lsn),
    /// A debugger would know no line of the source.
    #[error(
        "the module {} carries no debug information, so a debugger would know no line of its source: build it with `debug = true` \
         and without `strip` in its profile, as `cargo build` without --release does, and run that",
        BlobHash(*.0)
    )]
    NoDebugInformation([u8; 32]),
    /// The guest can't be made a second time.
    #[error(
        "what the guest is before record {0} can't be given to other code: its state is not its memory alone, or the instance has \
         ended (`status` says which)"
    )]
    NotCaptured(Lsn),
}

/// A replica that stands before a delivery which a debugger can look into.
pub struct Native<'a> {
    traveller: &'a mut Traveller,
    lsn: Lsn,
}

/// The same, and its guest once more, compiled for the debugger.
pub struct NativeGuest<'a> {
    traveller: &'a mut Traveller,
    twin: Stretch,
}

impl Native<'_> {
    /// Goes before record `lsn`, and sees whether a debugger can look into that. Nothing is compiled for it yet.
    ///
    /// # Errors
    /// Any [`NativeError`] but that of a guest that can't be made a second time.
    pub fn before(traveller: &mut Traveller, lsn: Lsn) -> Result<Native<'_>, NativeError> {
        let (first, last) = traveller.range();
        // What the guest was before the first place is not known.
        let (first, last) = (first.next(), last.max(first.next()));
        if lsn < first || lsn > last {
            return Err(TravelError::Outside { asked: lsn, first, last }.into());
        }
        let (mut kind, mut before) = (None, None);
        traveller.find(first.max(Lsn(lsn.0.saturating_sub(NEARBY_RECORDS))), lsn, |record| {
            if record.lsn() == lsn {
                kind = Some(record.header().kind);
            } else if record.header().kind == RecordKind::Deliver {
                before = Some(record.lsn());
            }
            false
        })?;
        let kind = kind.ok_or(TravelError::Ends(lsn))?;
        if kind != RecordKind::Deliver {
            return Err(NativeError::NoDelivery { lsn, kind: format!("{kind:?}").to_lowercase(), before });
        }
        traveller.seek(Lsn(lsn.0 - 1))?;
        if traveller.is_next_void()? {
            return Err(NativeError::Void(lsn));
        }
        let hash = traveller.replica().module();
        let module = traveller.modules().module(hash).map_err(TravelError::from)?;
        if !module.has_debug_information() {
            return Err(NativeError::NoDebugInformation(hash));
        }
        Ok(Native { traveller, lsn })
    }

    /// The record that comes next.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }
}

impl<'a> Native<'a> {
    /// Compiles the module for a debugger, which may take seconds, and makes the guest again by that. This, and what follows,
    /// belongs on a thread with [`NATIVE_THREAD_STACK_BYTES_MIN`](ambrosia_engine::NATIVE_THREAD_STACK_BYTES_MIN) of stack.
    ///
    /// # Errors
    /// If the module can't be compiled, or the guest not be made again.
    pub fn compile(self) -> Result<NativeGuest<'a>, NativeError> {
        let Native { traveller, lsn } = self;
        let failed = |error: RunError| NativeError::Travel(error.into());
        let component = traveller.modules().component(traveller.replica().module()).map_err(failed)?;
        let engine = Engine::native().map_err(|error| failed(error.into()))?;
        // Not by `Modules`: what this engine compiles is kept nowhere.
        let module = engine.load(&component).map_err(|error| failed(error.into()))?;
        let twin = traveller.twin_by(&module)?.ok_or(NativeError::NotCaptured(lsn))?;
        Ok(NativeGuest { traveller, twin })
    }
}

/// How what the guest did under the debugger differs from what it does otherwise.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NativeDifference {
    /// It failed in another way, in one of them only, or not for the same reason.
    Fault {
        /// Why under the debugger, if it did.
        native: Option<String>,
        /// Why otherwise, if it did.
        usual: Option<String>,
    },
    /// It brought about or printed something else, or took other fuel.
    Execution,
    /// The replicated state behind the record is another.
    State,
    /// The memory of the guest behind the record is another.
    Memory,
}

impl std::fmt::Display for NativeDifference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        fn end(reason: Option<&String>) -> &str {
            reason.map_or("it went well", String::as_str)
        }
        match self {
            NativeDifference::Fault { native, usual } => {
                write!(f, "how it ended: {}; otherwise: {}", end(native.as_ref()), end(usual.as_ref()))
            }
            NativeDifference::Execution => {
                f.write_str("what it brought about, what it printed, or the fuel that it took")
            }
            NativeDifference::State => f.write_str("the replicated state behind the record"),
            NativeDifference::Memory => f.write_str("the memory of the guest behind the record"),
        }
    }
}

impl NativeGuest<'_> {
    /// Hands the delivery over, to the guest for the debugger and to the usual one. Returns what the latter did, and in what the
    /// first one differed: in nothing, unless somebody has meddled with it.
    ///
    /// # Errors
    /// If the record can't be read.
    pub fn deliver(mut self) -> Result<(Option<Execution>, Vec<NativeDifference>), NativeError> {
        guest_is_loaded();
        self.twin.replica.guest_mut().is_observed = true;
        self.twin.step()?;
        let native = self.twin.replica.guest_mut().execution.take();
        self.traveller.step()?;
        let usual = self.traveller.moment().execution.clone();
        let digests = (self.twin.replica.digest(), self.twin.replica.guest_mut().digest());
        let differences = differences(native.as_ref(), usual.as_ref(), digests, self.traveller.digests());
        Ok((usual, differences))
    }
}

/// Where a debugger stops before the delivery: all code of the guest is loaded, so places in it can be named. By its name, which
/// `scripts/ambrosia-gdb.py` has too.
#[inline(never)]
fn guest_is_loaded() {
    std::hint::black_box(());
}

fn differences(
    native: Option<&Execution>,
    usual: Option<&Execution>,
    (native_state, native_memory): (u64, u64),
    (state, memory): (u64, u64),
) -> Vec<NativeDifference> {
    let reason = |execution: Option<&Execution>| Some(execution?.fault.as_ref()?.reason.clone());
    let (native_fault, usual_fault) = (reason(native), reason(usual));
    let mut differences = Vec::new();
    if native_fault != usual_fault {
        differences.push(NativeDifference::Fault { native: native_fault, usual: usual_fault });
    } else if native.map(without_fault) != usual.map(without_fault) {
        differences.push(NativeDifference::Execution);
    }
    if native_state != state {
        differences.push(NativeDifference::State);
    }
    if native_memory != memory {
        differences.push(NativeDifference::Memory);
    }
    differences
}

/// What is the same whoever compiles. Where the code failed is told by the code, and what was counted until then by where it is
/// counted.
fn without_fault(execution: &Execution) -> Execution {
    let fuel = if execution.fault.is_some() { 0 } else { execution.fuel };
    Execution { fault: None, fuel, ..execution.clone() }
}
