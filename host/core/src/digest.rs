//! Digest of the replicated state, to compare replicas by.

use crate::{Outcome, state::State};

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
    /// XXH3 with 64 bits: no protection against malice, which is not what replicas are compared for. What a peer has
    /// acknowledged is left out: the primary knows it before the log does.
    pub(crate) fn digest(&self) -> u64 {
        let mut digested = Digested(Vec::new());
        digested.bytes(&self.genesis.uuid.0);
        digested.number(self.position.lsn.0);
        digested.number(self.position.link);
        digested.number(self.world.random.state());
        for (peer, stream) in self.streams() {
            digested.bytes(self.world.peers.name(peer).map_or(&[], |name| name.as_str().as_bytes()));
            digested.bytes(stream.uuid.as_ref().map_or(&[], |uuid| &uuid.0));
            digested.number(stream.received.0);
            digested.number(stream.outbox.last_seq().0);
        }
        digested.number(self.timers.digest());
        for (call, peer) in &self.calls {
            digested.number(call.0);
            digested.number(u64::from(peer.0));
        }
        for call in &self.failed_calls {
            digested.number(call.0);
        }
        digested.number(self.requests.digest());
        digested.number(self.last_impulse.0);
        digested.number(u64::from(self.started));
        digested.number(match &self.outcome {
            None => 0,
            Some(Outcome::Finished { code, .. }) => 1 + (u64::from(code.cast_unsigned()) << 2),
            Some(Outcome::Halted { .. }) => 2,
        });
        xxhash_rust::xxh3::xxh3_64(&digested.0)
    }
}
