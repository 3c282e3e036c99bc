//! Requests of the guest to the world outside that have no outcome yet.
//!
//! The primary performs each of them once its record is durable, and what comes of it is logged. After a takeover the next
//! primary performs those that are still here, so each happens at least once outside, and its outcome is once inside.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    CallId, Lsn,
    digest::Digested,
    limits::{OUTGOING_BYTES_MAX, OUTGOING_MAX},
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// A request that waits for its outcome.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct OutgoingRequest {
    /// What is to be done, as the guest has encoded it. Nothing here looks into it.
    pub(crate) body: Bytes,
    /// The record that brought it about.
    pub(crate) since: Lsn,
}

/// All requests that wait, by the numbers that the guest gave them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outgoing {
    pending: BTreeMap<CallId, OutgoingRequest>,
    /// Bytes of all bodies.
    bytes: usize,
    /// Sum of the digests of all requests, of which there may be many.
    digest: u64,
}

impl Outgoing {
    /// The guest wants something done outside.
    ///
    /// # Errors
    /// Why that is its fault.
    pub(crate) fn begin(&mut self, id: CallId, body: Bytes, since: Lsn) -> Result<(), String> {
        if id == CallId(0) {
            return Err("the guest made an outgoing request without an id".to_owned());
        }
        if self.pending.contains_key(&id) {
            return Err(format!("the guest made two outgoing requests with the id {id}"));
        }
        if self.pending.len() >= OUTGOING_MAX || self.bytes + body.len() > OUTGOING_BYTES_MAX {
            return Err(format!(
                "the guest has more than {OUTGOING_MAX} outgoing requests, or more than {OUTGOING_BYTES_MAX} bytes of them"
            ));
        }
        self.add(id, OutgoingRequest { body, since });
        Ok(())
    }

    fn add(&mut self, id: CallId, request: OutgoingRequest) {
        self.bytes += request.body.len();
        self.digest = self.digest.wrapping_add(digest(id, &request));
        let before = self.pending.insert(id, request);
        assert!(before.is_none(), "each request has an id of its own");
    }

    /// The request has its outcome, or nobody waits for it any more. False if it is not known.
    pub(crate) fn settle(&mut self, id: CallId) -> bool {
        let Some(request) = self.pending.remove(&id) else { return false };
        assert!(self.bytes >= request.body.len(), "the bytes are those of all bodies");
        self.bytes -= request.body.len();
        self.digest = self.digest.wrapping_sub(digest(id, &request));
        true
    }

    pub(crate) fn get(&self, id: CallId) -> Option<&OutgoingRequest> {
        self.pending.get(&id)
    }

    /// All that wait, in the order of their ids.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = (CallId, &OutgoingRequest)> {
        self.pending.iter().map(|(id, request)| (*id, request))
    }

    /// Bytes of all bodies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Part for Outgoing {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Outgoing { pending, bytes: _, digest: _ } = self; // the others follow from the first
        out.put_count(pending.len());
        for (id, OutgoingRequest { body, since }) in pending {
            out.put_u64(id.0);
            out.put_u64(since.0);
            out.put_count(body.len());
            out.share(body);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Outgoing> {
        let (mut outgoing, mut before) = (Outgoing::default(), None);
        for _ in 0..reader.u32()? {
            let id = CallId(reader.u64()?);
            let since = Lsn(reader.u64()?);
            let length = reader.u32()? as usize;
            rises(&mut before, id)?;
            let body = reader.bytes(length)?;
            outgoing.begin(id, body, since).ok()?;
        }
        Some(outgoing)
    }

    /// Of an instance that has none nothing is added, so that the digests in logs from before there were any still hold.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Outgoing { pending, bytes: _, digest } = self;
        if !pending.is_empty() {
            digested.bytes(b"outgoing");
            digested.number(*digest);
        }
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        let Outgoing { pending, bytes, digest } = self;
        holds!(pending.len() <= OUTGOING_MAX, "there are no more outgoing requests than the limit");
        holds!(*bytes <= OUTGOING_BYTES_MAX, "outgoing requests have no more bytes than the limit");
        holds!(!pending.is_empty() || (*bytes, *digest) == (0, 0), "without outgoing requests their sums are zero");
        let (first, last) = (pending.values().next(), pending.values().next_back());
        for request in [first, last].into_iter().flatten() {
            holds!(request.since <= beside.position.lsn, "an outgoing request is of a record that was applied");
        }
        Ok(())
    }
}

fn digest(id: CallId, request: &OutgoingRequest) -> u64 {
    let OutgoingRequest { body, since } = request;
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(&id.0.to_le_bytes());
    hasher.update(&since.0.to_le_bytes());
    hasher.update(body);
    hasher.digest()
}
