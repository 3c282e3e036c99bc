//! `wasi:random`: the generator of the world.
//!
//! **Architecture Invariant:** no entropy of the machine is used; the values are not secret.

use ambrosia_core::Random;

use crate::{offers::Offers, refusal::Refusal, state::GuestState};

/// Random bytes that a guest gets in one call.
pub(crate) const RANDOM_BYTES_MAX: u64 = 16 << 20;

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut random = offers.interface("wasi:random/random@0.2.0")?;
    random.function("get-random-bytes", |state, (count,): (u64,)| random_bytes(state, count))?;
    random.function("get-random-u64", |state, (): ()| Ok((state.world.random.next_u64(),)))?;

    let mut insecure = offers.interface("wasi:random/insecure@0.2.0")?;
    insecure.function("get-insecure-random-bytes", |state, (count,): (u64,)| random_bytes(state, count))?;
    insecure.function("get-insecure-random-u64", |state, (): ()| Ok((state.world.random.next_u64(),)))?;

    let mut seed = offers.interface("wasi:random/insecure-seed@0.2.0")?;
    seed.function("insecure-seed", |state, (): ()| Ok((state.insecure_seed,)))
}

fn random_bytes(state: &mut GuestState, count: u64) -> Result<(Vec<u8>,), Refusal> {
    if count > RANDOM_BYTES_MAX {
        return Err(Refusal::RandomLimit(count));
    }
    Ok((fill(&mut state.world.random, count as usize),))
}

/// Whole values in little-endian order; what is left of the last one is dropped.
fn fill(random: &mut Random, count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count.next_multiple_of(size_of::<u64>()));
    while bytes.len() < count {
        bytes.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_generator() {
        let first = Random::new(7).next_u64().to_le_bytes();
        let bytes = fill(&mut Random::new(7), 11);
        assert_eq!(bytes.len(), 11);
        assert_eq!(bytes[..8], first);
    }
}
