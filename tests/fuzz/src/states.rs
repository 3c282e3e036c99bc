//! The replicated state of a checkpoint, as any bytes: what is taken for a state is one that a replica can go on from.

use ambrosia_core::{CheckpointState, Delivered, Fault, Guest, Lsn, Replica, StateError, World};
use ambrosia_test_allocations::within;
use bytes::Bytes;

use crate::corpus::Seed;

/// Collections around what takes a few bytes, in two replicas, and the state written again.
const MEMORY_PER_BYTE: usize = 64;
const MEMORY_SLACK: usize = 64 << 10;

/// Reads the bytes as a state, resumes a replica from it, and writes that again.
pub fn target(bytes: &[u8]) {
    within(MEMORY_PER_BYTE * bytes.len() + MEMORY_SLACK, || {
        let state = match CheckpointState::decode(&Bytes::copy_from_slice(bytes)) {
            Ok(state) => state,
            Err(StateError::Version(found)) => return assert_eq!(bytes[..4], found.to_le_bytes()),
            Err(StateError::Shape) => return,
        };
        let (lsn, link, genesis) = (state.lsn(), state.link(), state.genesis().clone());
        assert!(lsn >= Lsn(1), "genesis is part of every state");
        let peers: Vec<_> = state.peers().map(|(peer, name)| (peer, name.clone())).collect();
        let resumed = Replica::resume(state, Deaf);
        resumed.validate();
        assert_eq!(resumed.applied(), lsn);
        let again = resumed.checkpoint().to_vec();
        // One of an earlier version is written in that of today.
        if bytes[..4] == again[..4] {
            assert_eq!(again, bytes, "a state is written in one way only");
        }
        let state = CheckpointState::decode(&again.into()).expect("it was just written");
        assert_eq!((state.lsn(), state.link(), state.genesis()), (lsn, link, &genesis));
        assert!(state.peers().eq(peers.iter().map(|(peer, name)| (*peer, name))));
        assert_eq!(Replica::resume(state, Deaf).digest(), resumed.digest());
    });
}

/// Golden files of states.
pub fn seeds() -> Vec<Seed> {
    macro_rules! golden {
        ($name:literal) => {
            include_bytes!(concat!("../../../host/core/tests/golden/state-", $name, ".bin")).to_vec()
        };
    }
    vec![
        ("seed-rich".to_owned(), golden!("v1-rich")),
        ("seed-rebound".to_owned(), golden!("v1-rebound")),
        ("seed-rich-2".to_owned(), golden!("v2-rich")),
        ("seed-upgraded".to_owned(), golden!("v2-upgraded")),
    ]
}

/// A guest that is given nothing.
struct Deaf;

impl Guest for Deaf {
    fn deliver(&mut self, _: &[u8], _: &mut World, _: &mut Delivered) -> Result<(), Fault> {
        unreachable!("nothing is delivered here")
    }

    fn digest(&mut self) -> u64 {
        0
    }
}
