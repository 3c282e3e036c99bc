//! Runs: consecutive messages of one source inside a record (`wit/LAYOUT.md`).

use crate::{InstanceNumber, MessageError, Messages, PeerIndex, Seq, bytes_reader::BytesReader};

const PEER_AT: usize = 0;
const COUNT_AT: usize = PEER_AT + size_of::<u32>();
const FIRST_SEQ_AT: usize = COUNT_AT + size_of::<u32>();
const BYTES_AT: usize = FIRST_SEQ_AT + size_of::<u64>();
/// Which instance of the log the run is for. Today a log carries one, and another number is refused.
const INSTANCE_AT: usize = BYTES_AT + size_of::<u32>();
/// Bytes of a run before its messages.
pub const RUN_HEADER_BYTES: usize = INSTANCE_AT + size_of::<u32>();
const _: () = assert!(RUN_HEADER_BYTES == 24);

/// A run, borrowed from the bytes that hold it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run<'a> {
    /// Where the messages come from.
    pub peer: PeerIndex,
    /// How many messages there are.
    pub count: u32,
    /// Number of the first in the stream of the peer; 0 for the outside world.
    pub first_seq: Seq,
    /// The messages themselves.
    pub messages: &'a [u8],
}

/// Why some bytes are not a sequence of runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RunError {
    /// The bytes end inside a run.
    #[error("a run is cut off")]
    CutOff,
    /// The run is for another instance than the only one that this program knows of in a log.
    #[error(
        "the run is for instance number {0} of the log: this program is too old for a log with several instances. Use \
         the version that wrote it, or a newer one"
    )]
    Instance(InstanceNumber),
    /// The number of messages differs from the header.
    #[error("a run announces {announced} messages and holds {found}")]
    Count {
        /// As the header says.
        announced: u32,
        /// As counted.
        found: u32,
    },
    /// A message of the run is not one.
    #[error(transparent)]
    Message(#[from] MessageError),
}

impl<'a> Run<'a> {
    /// Counts and checks the messages of the run.
    pub fn check(&self) -> Result<(), RunError> {
        let mut found = 0;
        for message in Messages::new(self.messages) {
            message?;
            found += 1;
        }
        if found != self.count || found == 0 {
            return Err(RunError::Count { announced: self.count, found });
        }
        Ok(())
    }
}

/// Writes the header of a run to `out` and returns where it stands; the messages are to be appended after it, then
/// [`finish_run`] fills it in.
pub fn begin_run(out: &mut Vec<u8>, peer: PeerIndex, first_seq: Seq) -> usize {
    let at = out.len();
    out.extend_from_slice(&peer.0.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&first_seq.0.to_le_bytes());
    out.extend_from_slice(&0_u32.to_le_bytes());
    out.extend_from_slice(&InstanceNumber::ONLY.0.to_le_bytes());
    debug_assert_eq!(out.len(), at + RUN_HEADER_BYTES, "the header is written as a whole");
    at
}

/// Fills in the header at `at` for `count` messages that have been appended since [`begin_run`].
pub fn finish_run(out: &mut [u8], at: usize, count: u32) {
    assert!(out.len() >= at + RUN_HEADER_BYTES, "the run was begun there");
    let bytes = u32::try_from(out.len() - at - RUN_HEADER_BYTES).expect("whoever gathers a run keeps to the limit");
    out[at + COUNT_AT..at + FIRST_SEQ_AT].copy_from_slice(&count.to_le_bytes());
    out[at + BYTES_AT..at + INSTANCE_AT].copy_from_slice(&bytes.to_le_bytes());
}

/// Walks a sequence of runs. The messages inside are not walked: see [`Run::check`]. Ends after the first error.
#[derive(Clone)]
pub struct Runs<'a> {
    rest: BytesReader<'a>,
}

impl<'a> Runs<'a> {
    /// The runs in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Runs { rest: BytesReader(bytes) }
    }

    fn read(&mut self) -> Option<Result<Run<'a>, RunError>> {
        let peer = PeerIndex(self.rest.u32()?);
        let count = self.rest.u32()?;
        let first_seq = Seq(self.rest.u64()?);
        let bytes = self.rest.u32()? as usize;
        let instance = InstanceNumber(self.rest.u32()?);
        let messages = self.rest.take(bytes)?;
        let run = Run { peer, count, first_seq, messages };
        Some(if instance == InstanceNumber::ONLY { Ok(run) } else { Err(RunError::Instance(instance)) })
    }
}

impl<'a> Iterator for Runs<'a> {
    type Item = Result<Run<'a>, RunError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.0.is_empty() {
            return None;
        }
        let run = self.read().unwrap_or(Err(RunError::CutOff));
        if run.is_err() {
            self.rest = BytesReader(&[]);
        }
        Some(run)
    }
}
