//! Digest of the replicated state, to compare replicas by.

use crate::{Outcome, state::State};

/// FNV-1a with 64 bits: no protection against malice, which is not what replicas are compared for.
struct Digest(u64);

impl Digest {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl State {
    /// What a peer has acknowledged is left out: the primary knows it before the log does.
    pub(crate) fn digest(&self) -> u64 {
        let mut digest = Digest(0xcbf2_9ce4_8422_2325);
        digest.bytes(&self.genesis.uuid.0);
        digest.number(self.position.lsn.0);
        digest.number(self.position.link);
        digest.number(self.world.random.clone().next_u64());
        for (peer, stream) in self.streams() {
            digest.bytes(self.world.peers.name(peer).map_or(&[], |name| name.as_str().as_bytes()));
            digest.bytes(stream.uuid.as_ref().map_or(&[], |uuid| &uuid.0));
            digest.number(stream.received.0);
            digest.number(stream.outbox.last_seq().0);
        }
        for (due, timer) in self.timers.iter() {
            digest.number(due.0);
            digest.number(timer.0);
        }
        for (call, peer) in &self.calls {
            digest.number(call.0);
            digest.number(u64::from(peer.0));
        }
        for call in &self.failed_calls {
            digest.number(call.0);
        }
        for (id, request) in self.requests.iter() {
            digest.bytes(id.as_bytes());
            digest.number(request.accepted.0);
            if let Some((lsn, answer)) = &request.answer {
                digest.number(lsn.0);
                digest.number(u64::from(answer.success));
                digest.bytes(&answer.value);
            }
        }
        digest.number(self.last_impulse.0);
        digest.number(match &self.outcome {
            None => 0,
            Some(Outcome::Finished { code, .. }) => 1 + (u64::from(code.cast_unsigned()) << 2),
            Some(Outcome::Halted { .. }) => 2,
        });
        digest.0
    }
}
