//! The messages of etcd's interface, version 3, that are used; by the numbers of their fields in its file `rpc.proto`.
//!
//! **Architecture Invariant:** every read is linearizable: the field by which a node would answer by what it happens to have is not
//! here.

use bytes::Bytes;

use crate::protobuf::{Malformed, Value, Writer, fields};

/// Keys in their order, or one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Range {
    pub(crate) key: Vec<u8>,
    /// The first key behind it; empty for the one key.
    pub(crate) end: Vec<u8>,
    /// No more than so many; 0 for all.
    pub(crate) limit: u64,
    /// As it was then; 0 for now.
    pub(crate) revision: u64,
    pub(crate) keys_only: bool,
}

impl Range {
    /// One key.
    pub(crate) fn of(key: Vec<u8>) -> Range {
        Range { key, end: Vec::new(), limit: 0, revision: 0, keys_only: false }
    }

    /// All keys from one to before another.
    pub(crate) fn between(key: Vec<u8>, end: Vec<u8>) -> Range {
        Range { end, ..Range::of(key) }
    }

    /// All keys that begin so.
    pub(crate) fn under(prefix: &[u8]) -> Range {
        Range::between(prefix.to_vec(), behind(prefix))
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        out.bytes(1, &self.key);
        out.bytes(2, &self.end);
        out.number(3, self.limit);
        out.number(4, self.revision);
        out.number(8, u64::from(self.keys_only));
        out.finish()
    }
}

/// The first key behind all that begin so.
pub(crate) fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // As etcd has it: all there are.
    vec![0]
}

/// What has to be so that a transaction takes its first branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Compare {
    /// The key has this value.
    Value(Vec<u8>, Bytes),
    /// The key was made by the change with this number; 0 if it is not there.
    Made(Vec<u8>, u64),
    /// The key is there.
    There(Vec<u8>),
    /// The key was last changed by the change with this number.
    Changed(Vec<u8>, u64),
}

impl Compare {
    fn encode(&self) -> Bytes {
        const EQUAL: u64 = 0;
        const GREATER: u64 = 1;
        const CREATE: u64 = 1;
        const MOD: u64 = 2;
        const VALUE: u64 = 3;
        let mut out = Writer::default();
        let mut begin = |result, target, key: &[u8]| {
            out.number(1, result);
            out.number(2, target);
            out.bytes(3, key);
        };
        match self {
            Compare::Value(key, value) => {
                begin(EQUAL, VALUE, key);
                out.message(7, value);
            }
            Compare::Made(key, revision) => {
                begin(EQUAL, CREATE, key);
                out.choice(5, *revision);
            }
            Compare::There(key) => {
                begin(GREATER, CREATE, key);
                out.choice(5, 0);
            }
            Compare::Changed(key, revision) => {
                begin(EQUAL, MOD, key);
                out.choice(6, *revision);
            }
        }
        out.finish()
    }
}

/// A step of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Read(Range),
    Put(Vec<u8>, Bytes),
    /// All keys from one to before another; the one key if that is empty.
    Delete(Vec<u8>, Vec<u8>),
    Transact(Txn),
}

impl Step {
    /// Deletes all keys that begin so.
    pub(crate) fn delete_under(prefix: &[u8]) -> Step {
        Step::Delete(prefix.to_vec(), behind(prefix))
    }

    fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        match self {
            Step::Read(range) => out.message(1, &range.encode()),
            Step::Put(key, value) => {
                let mut put = Writer::default();
                put.bytes(1, key);
                put.bytes(2, value);
                out.message(2, &put.finish());
            }
            Step::Delete(key, end) => {
                let mut delete = Writer::default();
                delete.bytes(1, key);
                delete.bytes(2, end);
                out.message(3, &delete.finish());
            }
            Step::Transact(txn) => out.message(4, &txn.encode()),
        }
        out.finish()
    }
}

/// A transaction: one branch of it happens as a whole, at one moment.
///
/// Those within another one choose their branches each by itself, by what was before all of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Txn {
    pub(crate) compare: Vec<Compare>,
    pub(crate) success: Vec<Step>,
    pub(crate) failure: Vec<Step>,
}

impl Txn {
    /// Steps without a condition.
    pub(crate) fn of(steps: Vec<Step>) -> Txn {
        Txn { success: steps, ..Txn::default() }
    }

    /// Whether it can change nothing, so that it may be asked again.
    pub(crate) fn is_reading(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|step| match step {
            Step::Read(_) => true,
            Step::Transact(txn) => txn.is_reading(),
            Step::Put(..) | Step::Delete(..) => false,
        })
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Writer::default();
        self.compare.iter().for_each(|compare| out.message(1, &compare.encode()));
        self.success.iter().for_each(|step| out.message(2, &step.encode()));
        self.failure.iter().for_each(|step| out.message(3, &step.encode()));
        out.finish()
    }
}

/// What each answer begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Header {
    pub(crate) cluster: u64,
    /// How many changes there were by then.
    pub(crate) revision: u64,
}

impl Header {
    fn decode(message: Bytes) -> Result<Header, Malformed> {
        let mut header = Header::default();
        for field in fields(message) {
            match field? {
                (1, value) => header.cluster = value.number()?,
                (3, value) => header.revision = value.number()?,
                _ => {}
            }
        }
        Ok(header)
    }
}

/// A key with its value.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Entry {
    pub(crate) key: Bytes,
    pub(crate) made: u64,
    pub(crate) changed: u64,
    /// How often it was put since it was made.
    pub(crate) version: u64,
    pub(crate) value: Bytes,
}

impl Entry {
    fn decode(message: Bytes) -> Result<Entry, Malformed> {
        let mut entry = Entry::default();
        for field in fields(message) {
            match field? {
                (1, value) => entry.key = value.bytes()?,
                (2, value) => entry.made = value.number()?,
                (3, value) => entry.changed = value.number()?,
                (4, value) => entry.version = value.number()?,
                (5, value) => entry.value = value.bytes()?,
                _ => {}
            }
        }
        Ok(entry)
    }
}

/// Keys that were found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) header: Header,
    pub(crate) entries: Vec<Entry>,
    /// There are more than the limit.
    pub(crate) has_more: bool,
}

impl Found {
    pub(crate) fn decode(message: Bytes) -> Result<Found, Malformed> {
        let mut found = Found::default();
        for field in fields(message) {
            match field? {
                (1, value) => found.header = Header::decode(value.bytes()?)?,
                (2, value) => found.entries.push(Entry::decode(value.bytes()?)?),
                (3, value) => found.has_more = value.number()? != 0,
                _ => {}
            }
        }
        Ok(found)
    }

    /// The first one, or the only one.
    pub(crate) fn one(self) -> Option<Entry> {
        self.entries.into_iter().next()
    }
}

/// What a step of a transaction has brought.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Brought {
    Read(Found),
    /// Put or deleted.
    Changed,
    Transacted(Outcome),
}

impl Brought {
    fn decode(message: Bytes) -> Result<Brought, Malformed> {
        match fields(message).next().ok_or(Malformed)?? {
            (1, Value::Bytes(read)) => Ok(Brought::Read(Found::decode(read)?)),
            (2 | 3, Value::Bytes(_)) => Ok(Brought::Changed),
            (4, Value::Bytes(outcome)) => Ok(Brought::Transacted(Outcome::decode(outcome)?)),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn found(self) -> Result<Found, Malformed> {
        match self {
            Brought::Read(found) => Ok(found),
            _ => Err(Malformed),
        }
    }

    pub(crate) fn outcome(self) -> Result<Outcome, Malformed> {
        match self {
            Brought::Transacted(outcome) => Ok(outcome),
            _ => Err(Malformed),
        }
    }
}

/// What a transaction has brought.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) header: Header,
    /// Whether it took its first branch.
    pub(crate) succeeded: bool,
    /// One for each step of the branch.
    pub(crate) brought: Vec<Brought>,
}

impl Outcome {
    pub(crate) fn decode(message: Bytes) -> Result<Outcome, Malformed> {
        let mut outcome = Outcome::default();
        for field in fields(message) {
            match field? {
                (1, value) => outcome.header = Header::decode(value.bytes()?)?,
                (2, value) => outcome.succeeded = value.number()? != 0,
                (3, value) => outcome.brought.push(Brought::decode(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(outcome)
    }

    /// What its steps have found, which are so many.
    pub(crate) fn brought<const STEPS: usize>(self) -> Result<[Brought; STEPS], Malformed> {
        self.brought.try_into().map_err(|_| Malformed)
    }
}

/// How a member is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Status {
    pub(crate) header: Header,
    pub(crate) version: String,
    /// Bytes of the file of its database.
    pub(crate) size: u64,
    /// What it says is wrong, such as an alarm.
    pub(crate) errors: Vec<String>,
    /// Bytes that the file may have; 0 from one that does not say.
    pub(crate) quota: u64,
}

impl Status {
    pub(crate) fn decode(message: Bytes) -> Result<Status, Malformed> {
        let mut status = Status::default();
        let text = |value: Value| Ok::<_, Malformed>(String::from_utf8_lossy(&value.bytes()?).into_owned());
        for field in fields(message) {
            match field? {
                (1, value) => status.header = Header::decode(value.bytes()?)?,
                (2, value) => status.version = text(value)?,
                (3, value) => status.size = value.number()?,
                (8, value) => status.errors.push(text(value)?),
                (12, value) => status.quota = value.number()?,
                _ => {}
            }
        }
        Ok(status)
    }
}

/// A question for what a majority knows, where it is not that by default.
pub(crate) fn linearizable() -> Bytes {
    let mut out = Writer::default();
    out.number(1, 1);
    out.finish()
}

/// How many members vote.
pub(crate) fn voters(message: Bytes) -> Result<usize, Malformed> {
    let mut voters = 0;
    for field in fields(message) {
        if let (2, value) = field? {
            let is_learner = |field: &Result<(u32, Value), Malformed>| matches!(field, Ok((5, Value::Number(1..))));
            let member = value.bytes()?;
            voters += usize::from(!fields(member).any(|field| is_learner(&field)));
        }
    }
    Ok(voters)
}

/// Who asks.
pub(crate) fn credentials(user: &str, password: &str) -> Bytes {
    let mut out = Writer::default();
    out.bytes(1, user.as_bytes());
    out.bytes(2, password.as_bytes());
    out.finish()
}

/// What is to be shown for that with each request.
pub(crate) fn token(message: Bytes) -> Result<String, Malformed> {
    let mut token = String::new();
    for field in fields(message) {
        if let (2, value) = field? {
            token = String::from_utf8(value.bytes()?.to_vec()).map_err(|_| Malformed)?;
        }
    }
    Ok(token)
}

/// Forgets what was before a change.
pub(crate) fn compaction(revision: u64) -> Bytes {
    let mut out = Writer::default();
    out.number(1, revision);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_behind_a_prefix_is_the_next_one_of_its_length_or_shorter() {
        assert_eq!(behind(b"a/"), b"a0");
        assert_eq!(behind(b"a\xff\xff"), b"b");
        assert_eq!(behind(b"\xff"), b"\0");
    }

    #[test]
    fn a_transaction_that_puts_anywhere_is_not_reading() {
        let read = Step::Read(Range::of(b"a".to_vec()));
        let put = Step::Put(b"a".to_vec(), Bytes::new());
        assert!(Txn::of(vec![read.clone(), Step::Transact(Txn::of(vec![read.clone()]))]).is_reading());
        let inner = Txn { failure: vec![put], ..Txn::default() };
        assert!(!Txn::of(vec![read, Step::Transact(inner)]).is_reading());
    }

    #[test]
    fn a_condition_on_what_is_not_there_says_so() {
        let made = Compare::Made(b"k".to_vec(), 0).encode();
        assert_eq!(made[..], *b"\x10\x01\x1a\x01k\x28\x00");
    }
}
