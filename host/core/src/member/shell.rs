//! What surrounds a member.

use super::{Command, StopCause};
use crate::{Epoch, Record, RecordHeader, Replica};

/// What surrounds a member, and carries out what it decides.
///
/// It is called in the middle of a step, so it can't step the member: what it has to answer it keeps until the step is over.
pub trait Shell<G> {
    /// Hands a record of this reign to the log, which writes it while the guest works. It must not block.
    ///
    /// # Errors
    /// Why the reign is over. Nothing of the record is seen then.
    fn append(&mut self, record: Record) -> Result<(), StopCause>;

    /// Looks whether the log of this reign is still the one in force. It must not block: what can't be seen at once is told by
    /// [`super::LogEvent::Looked`], and until then no other look is begun.
    ///
    /// # Errors
    /// The later reign.
    fn look_at_fence(&mut self, number: u64) -> Result<FenceLook, Epoch>;

    /// The replica has just applied this record, which it made itself or read. Returns for how many nanoseconds the guest
    /// has worked for it.
    fn applied(&mut self, header: &RecordHeader, replica: &mut Replica<G>) -> u64;

    /// Takes a command, to be carried out after those before it.
    fn carry(&mut self, command: Command);
}

/// How far a look at the fence is that shows no later reign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FenceLook {
    /// It was made: the reign is the newest.
    Done,
    /// It was begun, and is made at some moment after this.
    Begun,
}
