//! What becomes of what a host wants of its logs.

use ambrosia_core::{Epoch, Record};
use ambrosia_storage::LogEvent;

use crate::fault::LogFault;

/// Something that has become of a task. What belongs to a reign has its epoch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// The candidate is the writer.
    Reigns {
        /// The epoch of its reign.
        epoch: Epoch,
        /// All records behind those that it had read; its epoch record is the last. All of them are durable.
        records: Vec<Record>,
    },
    /// The candidate did not become the writer. Nothing more comes of the task.
    NotReigning(NotReigning),
    /// The log of a reign. Nothing more comes of the task after [`LogEvent::Stopped`]: it is to be given up, or closed.
    Log(Epoch, LogEvent),
    /// The writer, or the candidate, has waited for long and goes on waiting: this was the last reason.
    Stalled(String),
    /// It waits no more.
    Resumed,
    /// The reign has ended in order. Nothing more comes of the task.
    Closed,
    /// What was to be read, all of it durable; none if nothing more is known to be. Nothing more comes of the task.
    Read(Result<Vec<Record>, LogFault>),
    /// Whether a reign is still the newest, found out after it was asked, or which one is. Nothing more comes of the task.
    Fence(Result<(), FenceFault>),
}

/// A reign was not found to be the newest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FenceFault {
    /// Another one is, or the log went back to it.
    #[error("the newest reign is {by}")]
    Fenced {
        /// Its epoch.
        by: Epoch,
    },
    /// That can't be found out.
    #[error(transparent)]
    Log(LogFault),
}

/// A candidate did not become the writer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotReigning {
    /// Another one has become it, or tries to.
    #[error("another replica becomes primary with epoch {epoch}")]
    Contended {
        /// The newest epoch known.
        epoch: Epoch,
    },
    /// The log can't be read or written on.
    #[error(transparent)]
    Fault(LogFault),
}
