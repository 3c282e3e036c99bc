//! Runs the real `ambrosia-host` in processes of its own: for the integration tests, the demo, the benchmarks and
//! the torture.
//!
//! **Architecture Invariant:** what a process does is seen from outside only: its output, its exit code, `status`,
//! `send` and `log`.

mod caller;
mod cluster;
mod figures;
mod host;
mod integer;
mod lines;
mod locked;
mod long_log;
mod measure;
mod pipes;
mod reign;
mod signals;
mod stub;
pub mod torture;

pub use ambrosia_test_database::skip;
pub use caller::{Answer, Caller};
pub use cluster::{Cluster, Ran, client};
pub use figures::{at_most, headline, line, note};
pub use host::Host;
pub use integer::integer;
pub use lines::Lines;
pub use locked::LockedBytes;
pub use long_log::{LongMessage, write_long_log};
pub use measure::{Sample, disk_sync_times, ms, processor_time};
pub use pipes::{make_nonblocking, shrink_pipe};
pub use reign::Reign;
pub use signals::{Signal, signal};
pub use stub::{Asked, Stub};

use std::time::Duration;

/// Everything that is waited for comes within this time, on a slow machine too, or it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);
