//! `wasi:random`: the generator of the world.
//!
//! **Architecture Invariant:** no entropy of the machine is used; the values are not secret.

use ambrosia_core::Random;
use wasmtime_wasi::p2::bindings::sync::random::{insecure, insecure_seed, random};

use super::Whole;
use crate::{offers::Offers, refusal::Refusal, state::GuestState};

/// Random bytes that a guest gets in one call.
pub(crate) const RANDOM_BYTES_MAX: u64 = 16 << 20;

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let functions = &["get-random-bytes", "get-random-u64"];
    offers.wasi("random/random", functions, random::add_to_linker::<_, Whole>)?;
    let functions = &["get-insecure-random-bytes", "get-insecure-random-u64"];
    offers.wasi("random/insecure", functions, insecure::add_to_linker::<_, Whole>)?;
    offers.wasi("random/insecure-seed", &["insecure-seed"], insecure_seed::add_to_linker::<_, Whole>)
}

impl random::Host for GuestState {
    fn get_random_bytes(&mut self, count: u64) -> Result<Vec<u8>, wasmtime::Error> {
        Ok(random_bytes(self, count)?)
    }

    fn get_random_u64(&mut self) -> Result<u64, wasmtime::Error> {
        Ok(self.random()?.next_u64())
    }
}

impl insecure::Host for GuestState {
    fn get_insecure_random_bytes(&mut self, count: u64) -> Result<Vec<u8>, wasmtime::Error> {
        Ok(random_bytes(self, count)?)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64, wasmtime::Error> {
        Ok(self.random()?.next_u64())
    }
}

impl insecure_seed::Host for GuestState {
    fn insecure_seed(&mut self) -> Result<(u64, u64), wasmtime::Error> {
        Ok(self.insecure_seed)
    }
}

/// The next bytes of the generator of the world.
pub(crate) fn random_bytes(state: &mut GuestState, count: u64) -> Result<Vec<u8>, Refusal> {
    if count > RANDOM_BYTES_MAX {
        return Err(Refusal::RandomLimit(count));
    }
    Ok(fill(state.random()?, count as usize))
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
