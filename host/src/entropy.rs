//! The only place that draws on the machine's randomness: identities, seeds and request ids.

use ambrosia_core::{InstanceUuid, RequestId};

/// A fresh identity for an instance.
pub fn fresh_uuid() -> InstanceUuid {
    InstanceUuid(uuid::Uuid::new_v4().into_bytes())
}

/// A fresh request id for a client that was not given one.
pub fn fresh_request_id() -> RequestId {
    RequestId::new(uuid::Uuid::new_v4().to_string()).expect("36 characters are within the limit")
}

/// 256 random bits, for a secret.
pub fn entropy_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_exact_mut(8) {
        part.copy_from_slice(&entropy_u64().to_le_bytes());
    }
    bytes
}

/// 64 random bits, for a seed.
pub fn entropy_u64() -> u64 {
    let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
    high ^ low.rotate_left(32)
}
