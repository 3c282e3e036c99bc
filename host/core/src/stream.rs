//! The two streams between this instance and one peer.

use crate::{
    InstanceUuid, Seq,
    digest::Digested,
    outbox::Outbox,
    part::{Beside, Broken, Part, StateReader, holds},
    shared_state::SharedState,
};

/// What this instance knows of one peer. It belongs to one life of the peer: see [`Stream::bind`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Stream {
    /// The instance that the name stands for; unknown until the first contact.
    pub(crate) uuid: Option<InstanceUuid>,
    /// Last message of the peer that is in the log.
    pub(crate) received: Seq,
    /// Messages to the peer.
    pub(crate) outbox: Outbox,
}

impl Stream {
    /// The name stands for `uuid` from here on. If it stood for another instance, both streams start afresh; returns
    /// how many messages to the old one were dropped.
    pub(crate) fn bind(&mut self, uuid: InstanceUuid) -> u64 {
        assert!(self.uuid.is_some() || self.received == Seq(0), "nobody unknown was listened to");
        let known = self.uuid.replace(uuid);
        if known.is_none_or(|known| known == uuid) {
            return 0;
        }
        self.received = Seq(0);
        self.outbox.restart()
    }
}

impl Part for Stream {
    fn encode(&self, beside: Beside<'_>, out: &mut SharedState) {
        let Stream { uuid, received, outbox } = self;
        out.put_u8(u8::from(uuid.is_some()));
        out.put(&uuid.unwrap_or(UNKNOWN).0);
        out.put_u64(received.0);
        outbox.encode(beside, out);
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Stream> {
        let is_known = reader.boolean()?;
        let uuid = InstanceUuid(reader.rest.array()?);
        (is_known || uuid == UNKNOWN).then_some(())?;
        let received = Seq(reader.u64()?);
        Some(Stream { uuid: is_known.then_some(uuid), received, outbox: Outbox::decode(reader)? })
    }

    fn digest(&self, beside: Beside<'_>, digested: &mut Digested) {
        let Stream { uuid, received, outbox } = self;
        digested.bytes(uuid.as_ref().map_or(&[], |uuid| &uuid.0));
        digested.number(received.0);
        outbox.digest(beside, digested);
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Stream { uuid, received, outbox } = self;
        holds!(uuid.is_some() || *received == Seq(0), "nobody unknown was listened to");
        outbox.validate(beside)
    }
}

/// What a checkpoint holds in place of a uuid that is not known.
const UNKNOWN: InstanceUuid = InstanceUuid([0; 16]);
