use crate::{Epoch, InstanceName, InstanceUuid, Limits, Lsn, Timestamp};

use super::*;

/// The part as a checkpoint holds it, read back. Every record has happened.
pub(crate) fn read_back<P: Part>(part: &P) -> Option<P> {
    let name = InstanceName::new("me").expect("a plain name");
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    let genesis = Genesis { uuid: InstanceUuid([1; 16]), module: [2; 32], seed: 0, limits, name };
    let position = Position { lsn: Lsn(u64::MAX), link: 0, epoch: Epoch(1), time: Timestamp(1) };
    let mut out = SharedState::default();
    part.encode(Beside { genesis: &genesis, position: &position, peers: &Peers::default() }, &mut out);
    let whole = Bytes::from(out);
    let mut reader = StateReader {
        rest: BytesReader(&whole),
        whole: &whole,
        genesis: &genesis,
        position,
        has_door: true,
        peers: Peers::default(),
    };
    let read = P::decode(&mut reader)?;
    assert_eq!(reader.rest.0, b"", "a part takes all that it wrote");
    Some(read)
}
