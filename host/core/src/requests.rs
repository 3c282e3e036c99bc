//! Requests of clients: which impulse each became, and its result, so that a repeated request is done once.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_64_with_seed};

use crate::{
    CallId, Lsn, MethodId, RequestId, Retention, Timestamp,
    digest::Digested,
    hash_index::HashIndex,
    limits::RETENTION_COUNT_MAX,
    part::{Beside, Broken, Part, StateReader, holds, rises},
    results::{Answered, Place, Results},
    shared_state::SharedState,
};

/// What a request came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// False if the method could not be run: the bytes then hold a text (MessagePack string).
    pub success: bool,
    /// The value that the method returned, as it encoded it.
    pub value: Bytes,
}

/// State of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    /// Record that holds the impulse.
    pub(crate) accepted: Lsn,
    /// Hash of what was asked for; 0 if that is not known any more.
    pub(crate) content: u64,
    /// Result, and the record that brought it about.
    pub(crate) answer: Option<(Lsn, Answer)>,
}

/// A request without a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pending {
    pub(crate) id: RequestId,
    /// Record that holds the impulse.
    pub(crate) accepted: Lsn,
    /// Hash of what was asked for; 0 if that is not known any more.
    pub(crate) content: u64,
}

/// Hash of what a request asks for, so that an id that is used for something else is noticed. Never 0.
pub(crate) fn content_hash(method: MethodId, arguments: &[u8]) -> u64 {
    xxh3_64_with_seed(arguments, u64::from(method.0)).max(1)
}

/// Where a request is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Held {
    Pending(CallId),
    Answered(Place),
}

/// All requests that are remembered. The oldest results are forgotten first; a request without a result never is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests {
    /// Each request by the hash of its id.
    by_hash: HashIndex<Held>,
    /// Keeps clients from choosing ids of one hash.
    hash_seed: u64,
    pending: BTreeMap<CallId, Pending>,
    results: Results,
    /// How many of them are remembered.
    retention: Retention,
    /// Number of the last impulse that got one: those that belong to a request do.
    last_impulse: CallId,
    /// Sum of the digests of all requests: looking at each of them anew would take too long.
    digest: u64,
}

impl Requests {
    /// None yet. Nobody outside should know the seed.
    pub(crate) fn new(hash_seed: u64) -> Requests {
        Requests { hash_seed, ..Requests::default() }
    }

    fn hash(&self, id: &[u8]) -> u64 {
        let hash = xxh3_64_with_seed(id, self.hash_seed);
        // Tests meet what else nobody would live to see: hashes that are equal.
        if cfg!(test) { hash & 0xffff } else { hash }
    }

    fn find(&self, id: &[u8]) -> Option<Held> {
        self.by_hash.find(self.hash(id), |held| self.id_of(held) == id)
    }

    fn id_of(&self, held: Held) -> &[u8] {
        id_of(&self.pending, &self.results, held)
    }

    pub(crate) fn get(&self, id: &RequestId) -> Option<Request> {
        Some(match self.find(id.as_bytes())? {
            Held::Pending(call) => {
                let Pending { id: _, accepted, content } = self.pending[&call];
                Request { accepted, content, answer: None }
            }
            Held::Answered(place) => {
                let Answered { accepted, content, lsn, .. } = self.results.at(place);
                Request { accepted, content, answer: Some((lsn, self.results.answer_at(place))) }
            }
        })
    }

    /// Number of the last impulse that got one.
    pub(crate) fn last_impulse(&self) -> CallId {
        self.last_impulse
    }

    /// An impulse was delivered; its number is 0 if it has none.
    pub(crate) fn note_impulse(&mut self, call: CallId) {
        self.last_impulse = self.last_impulse.max(call);
    }

    /// The impulse `call` of the record `lsn`, which asks for that, belongs to the request `id`.
    pub(crate) fn accept(&mut self, id: RequestId, call: CallId, lsn: Lsn, content: u64) {
        self.add_pending(call, Pending { id, accepted: lsn, content }).expect("a request is accepted once");
    }

    /// `None` if the request, or the impulse, is known already.
    fn add_pending(&mut self, call: CallId, added: Pending) -> Option<()> {
        if self.pending.contains_key(&call) {
            return None;
        }
        let id = added.id.as_bytes();
        let same = |held| id_of(&self.pending, &self.results, held) == id;
        self.by_hash.insert(self.hash(id), Held::Pending(call), same).then_some(())?;
        self.digest = self.digest.wrapping_add(added.digest());
        self.pending.insert(call, added);
        assert_eq!(self.by_hash.len(), self.pending.len() + self.results.len(), "each request is found by its id");
        Some(())
    }

    /// The impulse `call` has a result by the record `lsn` of that time. Returns its request; `None` if it belongs to
    /// none.
    pub(crate) fn answer(&mut self, call: CallId, lsn: Lsn, time: Timestamp, answer: &Answer) -> Option<RequestId> {
        let pending = self.pending.remove(&call)?;
        let Pending { id, accepted, content } = &pending;
        assert!(*accepted <= lsn, "a request is accepted before it is answered");
        let hash = self.hash(id.as_bytes());
        self.digest = self.digest.wrapping_sub(pending.digest());
        let Answer { success, value } = answer;
        let (accepted, content) = (*accepted, *content);
        let answered = Answered { id: id.as_bytes(), accepted, time, lsn, content, success: *success, value };
        self.digest = self.digest.wrapping_add(answered.digest());
        let place = self.results.push(&answered);
        self.by_hash.replace(hash, Held::Answered(place), |held| held == Held::Pending(call));
        self.forget_oldest(time);
        assert!(self.results.len() as u64 <= self.retention.count, "there are no more results than the limit");
        assert_eq!(self.by_hash.len(), self.pending.len() + self.results.len(), "each request is found by its id");
        Some(pending.id)
    }

    /// From now on so much is remembered.
    pub(crate) fn retain(&mut self, retention: Retention, now: Timestamp) {
        self.retention = retention;
        self.forget_oldest(now);
    }

    /// The same as before, of a state that was read: whatever it holds was kept by that.
    pub(crate) fn with_retention(self, retention: Retention) -> Requests {
        Requests { retention, ..self }
    }

    /// How many results are remembered, the bytes of their values, and how many requests have none yet.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        (self.results.len() as u64, self.results.value_bytes() as u64, self.pending.len() as u64)
    }

    /// The latest result is always kept, however large.
    fn forget_oldest(&mut self, now: Timestamp) {
        while self.results.len() > 1 {
            let (place, oldest) = self.results.oldest().expect("there is more than one");
            let Retention { count, bytes, .. } = self.retention;
            let too_old = now.0.saturating_sub(oldest.time.0) > self.retention.age_ns();
            let too_many = self.results.len() as u64 > count || self.results.value_bytes() as u64 > bytes;
            if !too_old && !too_many {
                return;
            }
            let (hash, digest) = (self.hash(oldest.id), oldest.digest());
            self.digest = self.digest.wrapping_sub(digest);
            self.by_hash.remove(hash, |held| held == Held::Answered(place));
            self.results.forget_oldest();
        }
    }

    /// Those that have none yet, each with its impulse.
    pub(crate) fn pending(&self) -> impl ExactSizeIterator<Item = (CallId, &Pending)> {
        self.pending.iter().map(|(call, pending)| (*call, pending))
    }

    /// Takes `count` results off the front of `reader`. `None` if they are not there, or are not those of one instance
    /// up to its record of now.
    fn read_answered(&mut self, reader: &mut StateReader<'_>, count: u32) -> Option<()> {
        self.results = if reader.has_door {
            Results::read(&mut reader.rest, reader.whole, count)?
        } else {
            Results::read_without_content(&mut reader.rest, count)?
        };
        // Whether these are too many is checked once it is known how many there may be.
        (self.results.len() as u64 <= RETENTION_COUNT_MAX).then_some(())?;
        let now = reader.position.lsn;
        let (mut by_hash, mut digest) = (HashIndex::with_room(self.results.len()), 0_u64);
        for (place, answered) in self.results.iter() {
            (answered.accepted <= now && answered.lsn <= now).then_some(())?;
            let same = |held| self.id_of(held) == answered.id;
            by_hash.insert(self.hash(answered.id), Held::Answered(place), same).then_some(())?;
            digest = digest.wrapping_add(answered.digest());
        }
        (self.by_hash, self.digest) = (by_hash, digest);
        Some(())
    }

    /// Differs if any request or result does.
    #[cfg(test)]
    pub(crate) fn sum(&self) -> u64 {
        self.digest
    }

    pub(crate) fn check(&self) -> Result<(), Broken> {
        let Requests { by_hash, hash_seed: _, pending, results, retention, last_impulse: _, digest } = self;
        holds!(by_hash.len() == pending.len() + results.len(), "each request is found by its id");
        holds!(results.len() as u64 <= retention.count, "there are no more results than the limit");
        holds!(by_hash.len() > 0 || *digest == 0, "without requests their sum is zero");
        results.check()
    }
}

impl Part for Requests {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        // The index and the sum follow from what it finds, the seed from genesis, and what is remembered from the configuration.
        let Requests { by_hash: _, hash_seed: _, pending, results, retention: _, last_impulse, digest: _ } = self;
        out.put_count(results.len());
        results.share(out);
        out.put_count(pending.len());
        for (call, Pending { id, accepted, content }) in pending {
            out.put_u8(id.as_bytes().len() as u8);
            out.put(id.as_bytes());
            out.put_u64(accepted.0);
            out.put_u64(call.0);
            out.put_u64(*content);
        }
        out.put_u64(last_impulse.0);
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Requests> {
        let mut requests = Requests::new(reader.genesis.seed);
        let answered = reader.u32()?;
        requests.read_answered(reader, answered)?;
        let mut before = None;
        for _ in 0..reader.u32()? {
            let bytes = reader.u8()? as usize;
            let id = RequestId::new(reader.rest.take(bytes)?).ok()?;
            let accepted = Lsn(reader.u64()?);
            let call = CallId(reader.u64()?);
            rises(&mut before, call)?;
            let content = if reader.has_door { reader.u64()? } else { 0 };
            requests.add_pending(call, Pending { id, accepted, content })?;
        }
        requests.last_impulse = CallId(reader.u64()?);
        Some(requests)
    }

    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        // The sum is that of all requests.
        let Requests { by_hash: _, hash_seed: _, pending: _, results: _, retention: _, last_impulse, digest } = self;
        digested.number(*digest);
        digested.number(last_impulse.0);
    }

    fn validate(&self, beside: Beside<'_>) -> Result<(), Broken> {
        for (call, pending) in self.pending() {
            holds!(call <= self.last_impulse, "the impulse of a request was delivered");
            holds!(pending.accepted <= beside.position.lsn, "a request is accepted by a record that was applied");
        }
        self.check()
    }
}

fn id_of<'a>(pending: &'a BTreeMap<CallId, Pending>, results: &'a Results, held: Held) -> &'a [u8] {
    match held {
        Held::Pending(call) => pending[&call].id.as_bytes(),
        Held::Answered(place) => results.at(place).id,
    }
}

/// Where the results are cut into blocks does not matter.
impl PartialEq for Requests {
    fn eq(&self, other: &Requests) -> bool {
        // The index and the sum follow from the others, the seed decides only where a request is found, and what is remembered
        // follows from the configuration.
        let Requests { by_hash: _, hash_seed: _, pending, results, retention: _, last_impulse, digest: _ } = self;
        let answered = |(_, answered)| answered;
        *pending == other.pending
            && results.iter().map(answered).eq(other.results.iter().map(answered))
            && *last_impulse == other.last_impulse
    }
}

impl Eq for Requests {}

/// Most of what a digest of a request is taken of fits in here.
const DIGESTED_BYTES: usize = 240;

impl Pending {
    /// Without the hash of what was asked for, as in digests of before there was one.
    fn digest(&self) -> u64 {
        xxh3_of(&[self.id.as_bytes(), &self.accepted.0.to_le_bytes()])
    }
}

impl Answered<'_> {
    /// The time is left out: it is that of the record. So is the hash of what was asked for, as in digests of before there
    /// was one.
    fn digest(&self) -> u64 {
        let Answered { id, accepted, time: _, lsn, content: _, success, value } = self;
        xxh3_of(&[id, &accepted.0.to_le_bytes(), &lsn.0.to_le_bytes(), &[u8::from(*success)], value])
    }
}

/// XXH3 of the parts, one behind the other.
fn xxh3_of(parts: &[&[u8]]) -> u64 {
    let mut together = [0; DIGESTED_BYTES];
    let mut taken = 0;
    for part in parts {
        let Some(room) = together.get_mut(taken..taken + part.len()) else {
            let mut hasher = Xxh3::new();
            parts.iter().for_each(|part| hasher.update(part));
            return hasher.digest();
        };
        room.copy_from_slice(part);
        taken += part.len();
    }
    xxh3_64(&together[..taken])
}

#[cfg(test)]
mod tests;
