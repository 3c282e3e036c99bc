//! Bodies of the kinds of records (`docs/formats.md`).
//!
//! **Architecture Invariant:** a body knows nothing of the record around it.

use crate::{
    CallId, Epoch, InstanceName, InstanceNumber, InstanceUuid, Lsn, OpeningId, PeerIndex, Record, RecordError,
    RecordHeader, RecordKind, ReplicaIndex, RequestId, Seq, SessionId, Ticket, Timestamp, TraceContext,
    bytes_reader::BytesReader,
    limits::{RECORD_BODY_BYTES_MAX, SESSION_REASON_BYTES_MAX},
};

/// What a guest may use. Equal on all replicas, because running out of it is an outcome.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Fuel of one delivery, in wasmtime's units (about one an instruction).
    pub fuel: u64,
    /// Bytes of linear memory.
    pub memory_bytes: u64,
}

/// Body of the first record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// Identity of this life of the instance.
    pub uuid: InstanceUuid,
    /// SHA-256 of the module.
    pub module: [u8; 32],
    /// Seed of the guest's randomness.
    pub seed: u64,
    /// What the guest may use.
    pub limits: Limits,
    /// The name registered.
    pub name: InstanceName,
}

impl Genesis {
    /// Makes the first record of a log.
    pub fn record(&self, time: Timestamp) -> Record {
        let mut body = Vec::new();
        self.encode(&mut body);
        let header = RecordHeader::new(RecordKind::Genesis, Epoch(0), Lsn(1), time);
        Record::seal(header, &body)
    }

    /// Appends the body to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.uuid.0);
        out.extend_from_slice(&self.module);
        out.extend_from_slice(&self.seed.to_le_bytes());
        out.extend_from_slice(&self.limits.fuel.to_le_bytes());
        out.extend_from_slice(&self.limits.memory_bytes.to_le_bytes());
        out.extend_from_slice(self.name.as_str().as_bytes());
    }

    /// Decodes the body of a genesis record.
    pub fn decode(body: &[u8]) -> Result<Genesis, RecordError> {
        let mut fields = BytesReader(body);
        let mut read = || {
            let uuid = InstanceUuid(fields.array()?);
            let module = fields.array()?;
            let seed = fields.u64()?;
            let limits = Limits { fuel: fields.u64()?, memory_bytes: fields.u64()? };
            let name = InstanceName::new(std::str::from_utf8(fields.0).ok()?).ok()?;
            Some(Genesis { uuid, module, seed, limits, name })
        };
        read().ok_or(RecordError::Shape)
    }
}

/// Body of an epoch record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochBody {
    /// The replica that became primary.
    pub replica: ReplicaIndex,
    /// Hash of engine version, configuration and target: replicas that differ in it may not share a log.
    pub engine: [u8; 32],
}

impl EpochBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.replica.0.to_le_bytes());
        out.extend_from_slice(&self.engine);
    }

    /// Decodes the body of an epoch record.
    pub fn decode(body: &[u8]) -> Result<EpochBody, RecordError> {
        let mut fields = BytesReader(body);
        let replica = ReplicaIndex(fields.u16().ok_or(RecordError::Shape)?);
        let engine = fields.array().ok_or(RecordError::Shape)?;
        if fields.0.is_empty() { Ok(EpochBody { replica, engine }) } else { Err(RecordError::Shape) }
    }
}

/// Body of a bind record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bind {
    /// The index that the peer has or gets.
    pub peer: PeerIndex,
    /// The instance that the name stands for from here on.
    pub uuid: InstanceUuid,
    /// The peer's name.
    pub name: InstanceName,
}

impl Bind {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.peer.0.to_le_bytes());
        out.extend_from_slice(&self.uuid.0);
        out.extend_from_slice(self.name.as_str().as_bytes());
    }

    /// Decodes the body of a bind record.
    pub fn decode(body: &[u8]) -> Result<Bind, RecordError> {
        let mut fields = BytesReader(body);
        let mut read = || {
            let peer = PeerIndex(fields.u32()?);
            let uuid = InstanceUuid(fields.array()?);
            let name = InstanceName::new(std::str::from_utf8(fields.0).ok()?).ok()?;
            Some(Bind { peer, uuid, name })
        };
        read().ok_or(RecordError::Shape)
    }
}

/// Body of a session record: a client opens a session, anew or again. Its ticket is the number of the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenSession {
    /// Which one.
    pub session: SessionId,
    /// What its client calls the opening.
    pub opening: OpeningId,
}

impl OpenSession {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.session.0);
        out.extend_from_slice(&self.opening.0);
    }

    /// Decodes the body of a session record.
    pub fn decode(body: &[u8]) -> Result<OpenSession, RecordError> {
        let mut fields = BytesReader(body);
        let mut read = || {
            let (session, opening) = (SessionId(fields.array()?), OpeningId(fields.array()?));
            fields.0.is_empty().then_some(OpenSession { session, opening })
        };
        read().ok_or(RecordError::Shape)
    }
}

/// Body of a digest record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestBody {
    /// [`crate::Replica::digest`] as it was before the record.
    pub state: u64,
    /// [`crate::Guest::digest`] as it was before the record; 0 if it can't be told.
    pub memory: u64,
    /// The replica that is to take a checkpoint of what it is after the record, if one is.
    pub checkpoint_by: Option<ReplicaIndex>,
}

/// Stands for nobody: replicas have lower numbers.
const NOBODY: u16 = u16::MAX;

impl DigestBody {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert_ne!(self.checkpoint_by, Some(ReplicaIndex(NOBODY)), "that number stands for nobody");
        out.extend_from_slice(&self.state.to_le_bytes());
        out.extend_from_slice(&self.memory.to_le_bytes());
        out.extend_from_slice(&self.checkpoint_by.map_or(NOBODY, |replica| replica.0).to_le_bytes());
    }

    /// Decodes the body of a digest record.
    pub fn decode(body: &[u8]) -> Result<DigestBody, RecordError> {
        let mut fields = BytesReader(body);
        let mut read = || {
            let (state, memory, by) = (fields.u64()?, fields.u64()?, fields.u16()?);
            let checkpoint_by = (by != NOBODY).then_some(ReplicaIndex(by));
            fields.0.is_empty().then_some(DigestBody { state, memory, checkpoint_by })
        };
        read().ok_or(RecordError::Shape)
    }
}

/// A peer has made durable all messages of our stream up to `seq`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermark {
    /// The peer.
    pub peer: PeerIndex,
    /// Last message that it acknowledged.
    pub seq: Seq,
}

/// The impulse with that call id belongs to that request of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestEntry {
    /// Of the impulse, as in its message.
    pub call_id: CallId,
    /// Chosen by the client.
    pub request: RequestId,
}

/// The impulse with that call id belongs to that trace of its caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceEntry {
    /// Of the impulse, as in its message.
    pub call_id: CallId,
    /// As the caller said it.
    pub context: TraceContext,
}

/// What a record holds of one session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRun {
    /// Which one.
    pub ticket: Ticket,
    /// All results up to this one have reached its client.
    pub confirmed: Seq,
    /// What was asked.
    pub part: SessionPart,
}

/// Requests of one session in a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SessionPart {
    /// None: results are confirmed.
    Confirmed,
    /// Consecutive ones, which are consecutive impulses.
    Delivered {
        /// Number of the first.
        first_seq: Seq,
        /// The first impulse.
        first_call: CallId,
        /// How many there are, at least one.
        count: u32,
    },
    /// One that can't be done. That is its result.
    Failed {
        /// Its number.
        seq: Seq,
        /// Hash of what it asked for.
        content: u64,
        /// Why, at most [`SESSION_REASON_BYTES_MAX`] bytes.
        reason: String,
    },
}

const OF_CONFIRMED: u8 = 0;
const OF_DELIVERED: u8 = 1;
const OF_FAILED: u8 = 2;

impl SessionRun {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ticket.0.to_le_bytes());
        out.extend_from_slice(&self.confirmed.0.to_le_bytes());
        match &self.part {
            SessionPart::Confirmed => out.push(OF_CONFIRMED),
            SessionPart::Delivered { first_seq, first_call, count } => {
                out.push(OF_DELIVERED);
                out.extend_from_slice(&first_seq.0.to_le_bytes());
                out.extend_from_slice(&first_call.0.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
            SessionPart::Failed { seq, content, reason } => {
                assert!(reason.len() <= SESSION_REASON_BYTES_MAX, "whoever says a reason keeps it short");
                out.push(OF_FAILED);
                out.extend_from_slice(&seq.0.to_le_bytes());
                out.extend_from_slice(&content.to_le_bytes());
                out.extend_from_slice(&(reason.len() as u16).to_le_bytes());
                out.extend_from_slice(reason.as_bytes());
            }
        }
    }

    fn read(fields: &mut BytesReader<'_>) -> Option<SessionRun> {
        let (ticket, confirmed) = (Ticket(fields.u64()?), Seq(fields.u64()?));
        let part = match fields.u8()? {
            OF_CONFIRMED => SessionPart::Confirmed,
            OF_DELIVERED => {
                let (first_seq, first_call, count) = (Seq(fields.u64()?), CallId(fields.u64()?), fields.u32()?);
                let is_sound = first_seq > Seq(0) && first_call > CallId(0) && count > 0;
                is_sound.then_some(SessionPart::Delivered { first_seq, first_call, count })?
            }
            OF_FAILED => {
                let (seq, content, bytes) = (Seq(fields.u64()?), fields.u64()?, fields.u16()? as usize);
                (seq > Seq(0) && bytes <= SESSION_REASON_BYTES_MAX).then_some(())?;
                let reason = std::str::from_utf8(fields.take(bytes)?).ok()?.to_owned();
                SessionPart::Failed { seq, content, reason }
            }
            _ => return None,
        };
        Some(SessionRun { ticket, confirmed, part })
    }
}

/// Body of a deliver record, borrowed from the record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DeliverBody<'a> {
    /// The runs as the guest gets them.
    pub runs: &'a [u8],
    /// What peers have acknowledged since the record before.
    pub acknowledged: Vec<Watermark>,
    /// Requests among the impulses.
    pub requests: Vec<RequestEntry>,
    /// What it holds of sessions: their requests among the impulses, and what their clients have confirmed.
    pub sessions: Vec<SessionRun>,
    /// Traces that impulses belong to, in the order of these. They change nothing of the state.
    pub traces: Vec<TraceEntry>,
}

const RUNS_BYTES_AT: usize = 0;
const ACKNOWLEDGED_AT: usize = RUNS_BYTES_AT + size_of::<u32>();
const REQUESTS_AT: usize = ACKNOWLEDGED_AT + size_of::<u32>();
/// Which instance of the log the record is for. Today a log carries one, and another number is refused.
const INSTANCE_AT: usize = REQUESTS_AT + size_of::<u32>();
/// Bytes of a deliver body before its runs.
const DELIVER_PREFIX_BYTES: usize = INSTANCE_AT + size_of::<u32>();
const _: () = assert!(DELIVER_PREFIX_BYTES == 16);

/// Leaves room at the end of `out` for what a deliver body has before its runs, and returns where the runs begin; they are
/// to be appended, then [`finish_deliver`] writes the rest.
pub(crate) fn begin_deliver(out: &mut Vec<u8>) -> usize {
    out.resize(out.len() + DELIVER_PREFIX_BYTES, 0);
    out.len()
}

/// Ends the deliver body whose runs, which begin at `runs_at`, have been appended to `out`.
pub(crate) fn finish_deliver(
    out: &mut Vec<u8>,
    runs_at: usize,
    acknowledged: &[Watermark],
    requests: &[RequestEntry],
    sessions: &[SessionRun],
    traces: &[TraceEntry],
) {
    let runs_bytes = out.len() - runs_at;
    assert!(runs_bytes <= RECORD_BODY_BYTES_MAX, "whoever gathers the runs keeps to the limit");
    let prefix = &mut out[runs_at - DELIVER_PREFIX_BYTES..runs_at];
    prefix[RUNS_BYTES_AT..ACKNOWLEDGED_AT].copy_from_slice(&(runs_bytes as u32).to_le_bytes());
    prefix[ACKNOWLEDGED_AT..REQUESTS_AT].copy_from_slice(&(acknowledged.len() as u32).to_le_bytes());
    prefix[REQUESTS_AT..INSTANCE_AT].copy_from_slice(&(requests.len() as u32).to_le_bytes());
    prefix[INSTANCE_AT..].copy_from_slice(&InstanceNumber::ONLY.0.to_le_bytes());
    for watermark in acknowledged {
        out.extend_from_slice(&watermark.peer.0.to_le_bytes());
        out.extend_from_slice(&watermark.seq.0.to_le_bytes());
    }
    for entry in requests {
        out.extend_from_slice(&entry.call_id.0.to_le_bytes());
        out.push(entry.request.as_bytes().len() as u8);
        out.extend_from_slice(entry.request.as_bytes());
    }
    // Records without any are as they were before there were sessions, and those without traces as before there were these.
    if !sessions.is_empty() || !traces.is_empty() {
        out.extend_from_slice(&(sessions.len() as u32).to_le_bytes());
        sessions.iter().for_each(|run| run.encode(out));
    }
    if !traces.is_empty() {
        out.extend_from_slice(&(traces.len() as u32).to_le_bytes());
    }
    for entry in traces {
        out.extend_from_slice(&entry.call_id.0.to_le_bytes());
        out.extend_from_slice(&entry.context.to_bytes());
    }
}

impl<'a> DeliverBody<'a> {
    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(DELIVER_PREFIX_BYTES + self.runs.len());
        let at = begin_deliver(out);
        out.extend_from_slice(self.runs);
        finish_deliver(out, at, &self.acknowledged, &self.requests, &self.sessions, &self.traces);
    }

    /// Decodes the body of a deliver record. The runs are not walked.
    pub fn decode(body: &'a [u8]) -> Result<DeliverBody<'a>, RecordError> {
        let instance = body.get(INSTANCE_AT..).and_then(|rest| BytesReader(rest).u32()).map(InstanceNumber);
        match instance {
            None => Err(RecordError::Shape),
            Some(InstanceNumber::ONLY) => Self::read(&mut BytesReader(body)).ok_or(RecordError::Shape),
            Some(other) => Err(RecordError::Instance(other)),
        }
    }

    fn read(fields: &mut BytesReader<'a>) -> Option<DeliverBody<'a>> {
        let runs_bytes = fields.u32()? as usize;
        let acknowledged_count = fields.u32()?;
        let request_count = fields.u32()?;
        let _instance = fields.u32()?; // looked at before
        let runs = fields.take(runs_bytes)?;
        let mut acknowledged = Vec::new();
        for _ in 0..acknowledged_count {
            acknowledged.push(Watermark { peer: PeerIndex(fields.u32()?), seq: Seq(fields.u64()?) });
        }
        let mut requests = Vec::new();
        for _ in 0..request_count {
            let call_id = CallId(fields.u64()?);
            let bytes = fields.u8()? as usize;
            requests.push(RequestEntry { call_id, request: RequestId::new(fields.take(bytes)?).ok()? });
        }
        let (mut sessions, mut traces) = (Vec::new(), Vec::new());
        if !fields.0.is_empty() {
            for _ in 0..fields.u32()? {
                sessions.push(SessionRun::read(fields)?);
            }
            // None of both is written in one way only.
            (!sessions.is_empty() || !fields.0.is_empty()).then_some(())?;
        }
        if !fields.0.is_empty() {
            for _ in 0..fields.u32()? {
                let (call_id, context) = (CallId(fields.u64()?), TraceContext::from_bytes(fields.array()?)?);
                traces.push(TraceEntry { call_id, context });
            }
            let is_sound = !traces.is_empty() && traces.is_sorted_by(|one, next| one.call_id < next.call_id);
            is_sound.then_some(())?;
        }
        fields.0.is_empty().then_some(DeliverBody { runs, acknowledged, requests, sessions, traces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deliver_body_reads_back() {
        let request = RequestId::new("r-1").expect("short");
        let body = DeliverBody {
            runs: b"some runs",
            acknowledged: vec![Watermark { peer: PeerIndex(4), seq: Seq(77) }],
            requests: vec![RequestEntry { call_id: CallId(5), request }],
            sessions: Vec::new(),
            traces: Vec::new(),
        };
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        assert_eq!(DeliverBody::decode(&bytes), Ok(body));
        bytes.push(0);
        assert_eq!(DeliverBody::decode(&bytes), Err(RecordError::Shape));
    }

    #[test]
    fn what_a_deliver_body_holds_of_sessions_reads_back() {
        let run = |part| SessionRun { ticket: Ticket(3), confirmed: Seq(8), part };
        let (delivered, failed) = (
            SessionPart::Delivered { first_seq: Seq(9), first_call: CallId(4), count: 2 },
            SessionPart::Failed { seq: Seq(11), content: 5, reason: "no method of that name".to_owned() },
        );
        let sessions = vec![run(SessionPart::Confirmed), run(delivered), run(failed)];
        let traces = Vec::new();
        let body = DeliverBody { runs: b"runs", acknowledged: Vec::new(), requests: Vec::new(), sessions, traces };
        let mut bytes = Vec::new();
        body.encode(&mut bytes);
        assert_eq!(DeliverBody::decode(&bytes), Ok(body.clone()));
        let without = DeliverBody { sessions: Vec::new(), ..body };
        let mut short = Vec::new();
        without.encode(&mut short);
        for length in short.len() + 1..bytes.len() {
            assert_eq!(DeliverBody::decode(&bytes[..length]), Err(RecordError::Shape), "{length} bytes");
        }
        // None is written in one way only.
        short.extend_from_slice(&[0; 4]);
        assert_eq!(DeliverBody::decode(&short), Err(RecordError::Shape));
    }

    #[test]
    fn traces_read_back_with_sessions_and_without() {
        let entry = |call| TraceEntry { call_id: CallId(call), context: TraceContext::new(7, 8, 1).expect("not 0") };
        let run = SessionRun { ticket: Ticket(3), confirmed: Seq(8), part: SessionPart::Confirmed };
        for sessions in [Vec::new(), vec![run]] {
            let mut body = DeliverBody {
                runs: b"runs",
                acknowledged: Vec::new(),
                requests: Vec::new(),
                sessions,
                traces: Vec::new(),
            };
            let encoded = |body: &DeliverBody<'_>| {
                let mut bytes = Vec::new();
                body.encode(&mut bytes);
                bytes
            };
            let without = encoded(&body).len();
            body.traces = vec![entry(4), entry(6)];
            let bytes = encoded(&body);
            assert_eq!(DeliverBody::decode(&bytes), Ok(body.clone()));
            for length in without + 1..bytes.len() {
                assert_eq!(DeliverBody::decode(&bytes[..length]), Err(RecordError::Shape), "{length} bytes");
            }
            body.traces = vec![entry(6), entry(4)];
            assert_eq!(DeliverBody::decode(&encoded(&body)), Err(RecordError::Shape), "they are in order");
            let mut zeros = bytes.clone();
            zeros[bytes.len() - TraceContext::BYTES..].fill(0);
            assert_eq!(DeliverBody::decode(&zeros), Err(RecordError::Shape), "that is no trace");
        }
    }
}
