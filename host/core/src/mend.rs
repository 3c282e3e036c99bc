//! How an instance that stands at a record which its guest can't handle goes on.
//!
//! The record stays in the log, and is *void*: it brought about nothing. What it holds is delivered with the mend record
//! behind it instead, to other code or without some of its messages. Only records that begin reigns stand between the two.

use crate::{
    DeliverBody, MESSAGE_HEADER_BYTES, Message, MessageKind, Messages, PeerIndex, Record, RecordError, RecordKind, Run,
    RunError, Runs, Upgrade, begin_run, bytes_reader::BytesReader, finish_run, ids::Lsn, limits::RECORD_MESSAGES_MAX,
    push_effect, push_message,
};

/// Body of a mend record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mend {
    /// The record that is void.
    pub lsn: Lsn,
    /// Its chain value ([`crate::RecordHeader::link`]).
    pub link: u64,
    /// How its messages can be delivered all the same.
    pub remedy: Remedy,
}

/// How messages that a guest can't handle are delivered all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Remedy {
    /// To other code, or with other limits.
    Upgrade(Upgrade),
    /// Without some of them.
    Skip(Skip),
}

/// Messages of a record that are not delivered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skip {
    /// The wish that it fulfils: higher than those before it.
    pub attempt: u64,
    /// Their positions in the record, from 0, all runs counted through; each is above the one before.
    pub messages: Vec<u32>,
}

const OF_UPGRADE: u8 = 0;
const OF_SKIP: u8 = 1;

/// [`SKIPPED`] as a MessagePack string.
const SKIPPED_ENCODED: &[u8] = b"\xb6skipped by an operator";
const _: () = assert!(SKIPPED_ENCODED.len() == 1 + 0x16);

/// What a caller is told whose message is skipped, and a handler whose answer is.
pub const SKIPPED: &str = match str::from_utf8(SKIPPED_ENCODED.split_at(1).1) {
    Ok(text) => text,
    Err(_) => panic!("it is text"),
};

impl Mend {
    /// The mend that the record is of; `None` if it is of another kind.
    ///
    /// # Errors
    /// If the body can't be one.
    pub fn of(record: &Record) -> Result<Option<Mend>, RecordError> {
        (record.header().kind == RecordKind::Mend).then(|| Mend::decode(record.body())).transpose()
    }

    /// The wish that it fulfils.
    pub fn attempt(&self) -> u64 {
        self.remedy.attempt()
    }

    /// Appends the body to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Mend { lsn, link, remedy } = self;
        out.extend_from_slice(&lsn.0.to_le_bytes());
        out.extend_from_slice(&link.to_le_bytes());
        match remedy {
            Remedy::Upgrade(upgrade) => {
                out.push(OF_UPGRADE);
                upgrade.encode(out);
            }
            Remedy::Skip(Skip { attempt, messages }) => {
                out.push(OF_SKIP);
                out.extend_from_slice(&attempt.to_le_bytes());
                for position in messages {
                    out.extend_from_slice(&position.to_le_bytes());
                }
            }
        }
    }

    /// Decodes the body of a mend record.
    pub fn decode(body: &[u8]) -> Result<Mend, RecordError> {
        let mut fields = BytesReader(body);
        let mut read = || {
            let (lsn, link) = (Lsn(fields.u64()?), fields.u64()?);
            let remedy = match fields.u8()? {
                OF_UPGRADE => Remedy::Upgrade(Upgrade::decode(fields.0).ok()?),
                OF_SKIP => Remedy::Skip(read_skip(&mut fields)?),
                _ => return None,
            };
            Some(Mend { lsn, link, remedy })
        };
        read().ok_or(RecordError::Shape)
    }
}

fn read_skip(fields: &mut BytesReader<'_>) -> Option<Skip> {
    let (attempt, mut messages) = (fields.u64()?, Vec::new());
    while !fields.0.is_empty() {
        messages.push(fields.u32()?);
    }
    let rises = messages.is_sorted_by(|one, next| one < next) && messages.last() < Some(&RECORD_MESSAGES_MAX);
    (rises && !messages.is_empty()).then_some(Skip { attempt, messages })
}

impl Remedy {
    /// The wish that it fulfils.
    pub fn attempt(&self) -> u64 {
        match self {
            Remedy::Upgrade(upgrade) => upgrade.attempt,
            Remedy::Skip(skip) => skip.attempt,
        }
    }
}

/// Whether `record` is void: whether a mend of it is among the records that follow it in the log. Those that were read
/// suffice if they go on to the first that does not begin a reign.
pub fn is_void<'a>(record: &Record, following: impl IntoIterator<Item = &'a Record>) -> bool {
    is_mended(record.lsn(), record.header().link(), following)
}

/// The same of the record with that number and chain value.
pub fn is_mended<'a>(lsn: Lsn, link: u64, following: impl IntoIterator<Item = &'a Record>) -> bool {
    let next = following.into_iter().find(|next| next.header().kind != RecordKind::Epoch);
    let mend = next.and_then(|next| Mend::of(next).ok().flatten());
    mend.is_some_and(|mend| (mend.lsn, mend.link) == (lsn, link))
}

/// What is left of runs without some messages.
pub(crate) struct Rest {
    /// The runs as the guest gets them. A skipped answer became an error in its place.
    pub(crate) runs: Vec<u8>,
    /// Effects that answer the skipped calls and requests with an error.
    pub(crate) answers: Vec<u8>,
}

impl Rest {
    /// What is left of a record without the messages of `skip`.
    ///
    /// # Errors
    /// If it has not so many messages; says how many it has.
    pub(crate) fn of(body: &DeliverBody<'_>, skip: &Skip) -> Result<Rest, u32> {
        let mut rest = Rest { runs: Vec::with_capacity(body.runs.len()), answers: Vec::new() };
        let (mut position, mut skipped) = (0, skip.messages.iter().copied().peekable());
        for run in Runs::new(body.runs) {
            let run = run.expect("a record that was applied was checked");
            let begun = begin_run(&mut rest.runs, run.peer, run.first_seq);
            let mut count = 0;
            for message in Messages::new(run.messages) {
                let message = message.map_err(RunError::from).expect("a record that was applied was checked");
                let is_skipped = skipped.next_if_eq(&position).is_some();
                let kept = if is_skipped { rest.skip(run, position, message) } else { Some(message) };
                if let Some(message) = kept {
                    push_message(&mut rest.runs, message);
                    count += 1;
                }
                position += 1;
            }
            if count > 0 {
                finish_run(&mut rest.runs, begun, count);
            } else {
                rest.runs.truncate(begun);
            }
        }
        if skipped.peek().is_some() { Err(position) } else { Ok(rest) }
    }

    /// Leaves out one message. Returns what the guest gets in its place.
    fn skip<'a>(&mut self, run: Run<'_>, position: u32, message: Message<'a>) -> Option<Message<'a>> {
        let error = Message { kind: MessageKind::Error, arguments: SKIPPED_ENCODED, ..message };
        match message.kind {
            MessageKind::Call => self.answer(run.peer, position, message),
            MessageKind::Impulse => self.answer(PeerIndex::OUTSIDE, position, message),
            // The guest waits for it.
            MessageKind::Reply | MessageKind::Error | MessageKind::Outcome | MessageKind::Resolved => {
                return Some(error);
            }
            MessageKind::Fork | MessageKind::Timer | MessageKind::Start | MessageKind::Primary | MessageKind::Cron => {}
            MessageKind::Exit
            | MessageKind::SetTimer
            | MessageKind::CancelTimer
            | MessageKind::Waiting
            | MessageKind::Request
            | MessageKind::CancelRequest
            | MessageKind::Promise
            | MessageKind::CancelPromise
            | MessageKind::Emit
            | MessageKind::Log => {
                unreachable!("a record holds no {:?}", message.kind)
            }
        }
        None
    }

    fn answer(&mut self, caller: PeerIndex, position: u32, message: Message<'_>) {
        let error =
            Message { kind: MessageKind::Error, arguments: SKIPPED_ENCODED, method: crate::MethodId(0), ..message };
        self.answers.reserve(2 * MESSAGE_HEADER_BYTES + SKIPPED_ENCODED.len());
        push_effect(&mut self.answers, position, caller, error);
    }
}
