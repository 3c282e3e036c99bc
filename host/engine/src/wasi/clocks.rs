//! `wasi:clocks`: both clocks show the time of the record.
//!
//! **Architecture Invariant:** no clock of the machine is read, and none is waited for.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sync::{
    clocks::{
        monotonic_clock,
        wall_clock::{self, Datetime},
    },
    io::poll::Pollable,
};

use super::Whole;
use crate::{offers::Offers, refusal::Refusal, state::GuestState};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let functions = &["now", "resolution", "subscribe-instant", "subscribe-duration"];
    offers.wasi("clocks/monotonic-clock", functions, monotonic_clock::add_to_linker::<_, Whole>)?;
    offers.wasi("clocks/wall-clock", &["now", "resolution"], wall_clock::add_to_linker::<_, Whole>)
}

impl monotonic_clock::Host for GuestState {
    fn now(&mut self) -> Result<u64, wasmtime::Error> {
        Ok(self.world.time.0)
    }

    fn resolution(&mut self) -> Result<u64, wasmtime::Error> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, _: u64) -> Result<Resource<Pollable>, wasmtime::Error> {
        Err(Refusal::Sleep.into())
    }

    fn subscribe_duration(&mut self, _: u64) -> Result<Resource<Pollable>, wasmtime::Error> {
        Err(Refusal::Sleep.into())
    }
}

impl wall_clock::Host for GuestState {
    fn now(&mut self) -> Result<Datetime, wasmtime::Error> {
        Ok(datetime(self.world.time.0))
    }

    fn resolution(&mut self) -> Result<Datetime, wasmtime::Error> {
        Ok(datetime(1))
    }
}

fn datetime(nanoseconds: u64) -> Datetime {
    Datetime {
        seconds: nanoseconds / NANOSECONDS_PER_SECOND,
        nanoseconds: (nanoseconds % NANOSECONDS_PER_SECOND) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::datetime;

    #[test]
    fn nanoseconds_become_seconds_and_a_rest() {
        let time = datetime(1_700_000_000_123_456_789);
        assert_eq!((time.seconds, time.nanoseconds), (1_700_000_000, 123_456_789));
    }
}
