//! Digest of the replicated state, to compare replicas by.

use crate::{
    Genesis, Outcome, World,
    state::{Position, State},
    stream::Stream,
};

/// What the digest is taken of.
struct Digested(Vec<u8>);

impl Digested {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }
}

impl State {
    /// XXH3 with 64 bits: no protection against malice, which is not what replicas are compared for.
    ///
    /// What is left out is named: a field that is new has to be decided upon here. What a peer has acknowledged is left
    /// out since the primary knows it before the log does.
    pub(crate) fn digest(&self) -> u64 {
        let State {
            genesis: Genesis { uuid, module: _, seed: _, limits: _, name: _ }, // of one life of an instance there is one
            position: Position { lsn, link, epoch: _, time: _ },               // the link is made of these, too
            world: World { name: _, time: _, peers, random },                  // as in genesis and position
            streams,
            timers,
            calls,
            failed_calls,
            requests,
            last_impulse,
            started,
            outcome,
        } = self;
        let mut digested = Digested(Vec::new());
        digested.bytes(&uuid.0);
        digested.number(lsn.0);
        digested.number(*link);
        digested.number(random.state());
        for (peer, Stream { uuid, received, outbox }) in streams.iter() {
            digested.bytes(peers.name(peer).map_or(&[], |name| name.as_str().as_bytes()));
            digested.bytes(uuid.as_ref().map_or(&[], |uuid| &uuid.0));
            digested.number(received.0);
            digested.number(outbox.last_seq().0);
        }
        digested.number(timers.digest());
        for (call, peer) in calls {
            digested.number(call.0);
            digested.number(u64::from(peer.0));
        }
        for call in failed_calls {
            digested.number(call.0);
        }
        digested.number(requests.digest());
        digested.number(last_impulse.0);
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
