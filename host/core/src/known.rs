//! Whether this program knows all that a record of the log holds.
//!
//! A record with right checksums may have been written by a later version. It is checked when it is read, for whoever
//! applies it can't go on without it: [`crate::Replica::step`] panics where this gives an error.

use crate::{
    Bind, Configuration, DeliverBody, DigestBody, EpochBody, Genesis, Mend, Message, MessageKind, Messages,
    OpenSession, PeerIndex, Record, RecordError, RecordKind, Run, Runs, Upgrade,
};

impl Record {
    /// Reads the body as that of its kind, down to its messages.
    ///
    /// # Errors
    /// What this program does not know, or what no program writes.
    pub fn check_body(&self) -> Result<(), RecordError> {
        let body = self.body();
        match self.header().kind {
            RecordKind::Genesis => Genesis::decode(body).map(|_| ()),
            RecordKind::Epoch => EpochBody::decode(body).map(|_| ()),
            RecordKind::Bind => Bind::decode(body).map(|_| ()),
            RecordKind::Digest => DigestBody::decode(body).map(|_| ()),
            RecordKind::Upgrade => Upgrade::decode(body).map(|_| ()),
            RecordKind::Mend => Mend::decode(body).map(|_| ()),
            RecordKind::Session => OpenSession::decode(body).map(|_| ()),
            RecordKind::Configuration => Configuration::decode(body).map(|_| ()),
            RecordKind::Mark if body.is_empty() => Ok(()),
            RecordKind::Mark => Err(RecordError::Shape),
            RecordKind::Deliver => {
                let body = DeliverBody::decode(body)?;
                Runs::new(body.runs).try_for_each(|run| check_run(run?))
            }
        }
    }
}

fn check_run(run: Run<'_>) -> Result<(), RecordError> {
    run.check()?;
    let may_come = if run.peer == PeerIndex::OUTSIDE { MessageKind::comes_from_outside } else { MessageKind::travels };
    let is_due =
        |message: &Message<'_>| message.kind != MessageKind::Cron || message.arguments.len() == size_of::<u64>();
    let mut messages = Messages::new(run.messages).flatten();
    let is_known = messages.all(|message| may_come(message.kind) && is_due(&message));
    if is_known { Ok(()) } else { Err(RecordError::Shape) }
}
