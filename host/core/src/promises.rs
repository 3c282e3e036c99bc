//! Promises: futures of the guest that somebody outside fulfils who was given their token.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::{
    CallId,
    digest::Digested,
    limits::PROMISES_MAX,
    part::{Beside, Broken, Part, StateReader, holds, rises},
    shared_state::SharedState,
};

/// Bytes of the key by which the tokens of an instance are made.
pub const PROMISE_KEY_BYTES: usize = 32;

/// What names a promise to the outside so that nobody can guess it.
pub type PromiseToken = [u8; 16];

/// The token of the promise `id`. Who knows it may fulfil the promise.
///
/// SHA-256 of the key and the id, which have one length always, cut to half: nobody finds the key, or the token of another
/// promise, by it.
pub fn promise_token(key: &[u8; PROMISE_KEY_BYTES], id: CallId) -> PromiseToken {
    let hash: [u8; 32] = Sha256::new().chain_update(key).chain_update(id.0.to_le_bytes()).finalize().into();
    *hash.first_chunk().expect("half of a hash")
}

/// The promises that nobody has fulfilled yet, by the numbers that the guest gave them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Promises {
    pending: BTreeSet<CallId>,
    /// Sum of the digests of all promises, of which there may be many.
    digest: u64,
}

impl Promises {
    /// The guest promises.
    ///
    /// # Errors
    /// Why that is its fault.
    pub(crate) fn begin(&mut self, id: CallId) -> Result<(), String> {
        if id == CallId(0) {
            return Err("the guest made a promise without an id".to_owned());
        }
        if self.pending.len() >= PROMISES_MAX {
            return Err(format!("the guest has more than {PROMISES_MAX} promises that nobody has fulfilled"));
        }
        if !self.pending.insert(id) {
            return Err(format!("the guest made two promises with the id {id}"));
        }
        self.digest = self.digest.wrapping_add(digest(id));
        Ok(())
    }

    /// The promise was fulfilled, or nobody waits for it any more.
    pub(crate) fn settle(&mut self, id: CallId) {
        if self.pending.remove(&id) {
            self.digest = self.digest.wrapping_sub(digest(id));
        }
    }

    /// Whether somebody waits for it.
    pub(crate) fn is_pending(&self, id: CallId) -> bool {
        self.pending.contains(&id)
    }
}

impl Part for Promises {
    fn encode(&self, _: Beside<'_>, out: &mut SharedState) {
        let Promises { pending, digest: _ } = self; // it follows from the first
        out.put_count(pending.len());
        for id in pending {
            out.put_u64(id.0);
        }
    }

    fn decode(reader: &mut StateReader<'_>) -> Option<Promises> {
        let (mut promises, mut before) = (Promises::default(), None);
        for _ in 0..reader.u32()? {
            let id = CallId(reader.u64()?);
            rises(&mut before, id)?;
            promises.begin(id).ok()?;
        }
        Some(promises)
    }

    /// Of an instance that has none nothing is added, so that the digests in logs from before there were any still hold.
    fn digest(&self, _: Beside<'_>, digested: &mut Digested) {
        let Promises { pending, digest } = self;
        if !pending.is_empty() {
            digested.bytes(b"promises");
            digested.number(*digest);
        }
    }

    fn validate(&self, _: Beside<'_>) -> Result<(), Broken> {
        let Promises { pending, digest } = self;
        holds!(pending.len() <= PROMISES_MAX, "there are no more promises than the limit");
        holds!(!pending.is_empty() || *digest == 0, "without promises their sum is zero");
        Ok(())
    }
}

fn digest(id: CallId) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&id.0.to_le_bytes())
}
