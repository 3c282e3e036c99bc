//! Digest of the replicated state, to compare replicas by.

use crate::{
    Genesis, Outcome, World,
    part::Part,
    state::{Position, State},
};

/// What the digest is taken of.
pub(crate) struct Digested(Vec<u8>);

impl Digested {
    /// Adds bytes with their length, so that two texts that follow each other can't be taken for others.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
}

impl State {
    /// XXH3 with 64 bits: no protection against malice, which is not what replicas are compared for.
    ///
    /// What is left out is named: a field that is new has to be decided upon here, or in its part.
    pub(crate) fn digest(&self) -> u64 {
        let State {
            genesis: Genesis { uuid, module: _, seed: _, limits: _, name: _ }, // of one life of an instance there is one
            code,
            position: Position { lsn, link, epoch: _, time: _ }, // the link is made of these, too
            world: World { name: _, time: _, peers: _, random, configuration }, // as in genesis, position and streams
            streams,
            timers,
            calls,
            requests,
            outgoing,
            promises,
            events,
            crons,
            sessions,
            started,
            outcome,
            void: _, // no digest record is made while there is one
        } = self;
        let (beside, mut digested) = (self.beside(), Digested(Vec::new()));
        digested.bytes(&uuid.0);
        digested.number(lsn.0);
        digested.number(*link);
        digested.number(random.state());
        code.digest(beside, &mut digested);
        streams.digest(beside, &mut digested);
        timers.digest(beside, &mut digested);
        calls.digest(beside, &mut digested);
        requests.digest(beside, &mut digested);
        outgoing.digest(beside, &mut digested);
        promises.digest(beside, &mut digested);
        events.digest(beside, &mut digested);
        crons.digest(beside, &mut digested);
        configuration.digest(beside, &mut digested);
        sessions.digest(beside, &mut digested);
        digested.number(u64::from(*started));
        digested.number(match outcome {
            None => 0,
            // The record that brought it about is the last one: nothing is delivered after the end.
            Some(Outcome::Finished { code, lsn: _ }) => 1 + (u64::from(code.cast_unsigned()) << 2),
            Some(Outcome::Halted { fault: _, lsn: _ }) => 2,
        });
        xxhash_rust::xxh3::xxh3_64(&digested.0)
    }
}

#[cfg(test)]
mod tests;
