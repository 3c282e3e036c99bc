//! What becomes of what a host wants of its logs.

use ambrosia_core::{Epoch, Record};
use ambrosia_storage::{LogEvent, Vacancy};

use crate::{engine::EngineHead, fault::LogFault, reader::Standing};

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
    /// The candidate did not become the writer. Nothing more comes of the task; if it may seem to reign, others are told later that
    /// it does not.
    NotReigning(NotReigning),
    /// The log of a reign. Nothing more comes of the task after [`LogEvent::Stopped`]: it is to be given up, or closed.
    Log(Epoch, LogEvent),
    /// The candidate has waited for long and goes on waiting: this was the last reason. Of a reign
    /// [`LogEvent::Stalled`] tells the same.
    Stalled(String),
    /// It waits no more.
    Resumed,
    /// The reign has ended in order. Nothing more comes of the task; if the engine is away, others are told of it later.
    Closed,
    /// What was to be read, all of it durable; none if nothing more is known to be. Nothing more comes of the task.
    Read(Result<Vec<Record>, LogFault>),
    /// The head row, as it was at some moment after it was asked for. Nothing more comes of the task.
    Head(Result<EngineHead, LogFault>),
    /// The record that was to be found, and what follows it. Nothing more comes of the task.
    Found(Result<Standing, LogFault>),
    /// The head row of a log that is followed looks otherwise than it did. That is a hint, and may be the view of a node that has
    /// lost its office.
    Changed(EngineHead),
    /// There seems to be no log any more that is followed: a hint, as well.
    Gone,
    /// Nobody seems to be primary. Nothing more comes of the task.
    Vacant(Vacancy),
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
