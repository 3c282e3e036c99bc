//! `wasi:clocks`: both clocks show the time of the record.
//!
//! **Architecture Invariant:** no clock of the machine is read, and none is waited for.

use wasmtime::component::{ComponentType, Lift, Lower, Resource};

use super::io::Pollable;
use crate::{offers::Offers, refusal::Refusal};

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Record `datetime`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl Datetime {
    fn from_nanoseconds(time: u64) -> Datetime {
        let nanoseconds = (time % NANOSECONDS_PER_SECOND) as u32;
        Datetime { seconds: time / NANOSECONDS_PER_SECOND, nanoseconds }
    }
}

pub(super) fn add_to(offers: &mut Offers) -> Result<(), wasmtime::Error> {
    let mut monotonic = offers.interface("wasi:clocks/monotonic-clock@0.2.0")?;
    monotonic.resource::<Pollable>("pollable")?;
    monotonic.function("now", |state, (): ()| Ok((state.world.time.0,)))?;
    monotonic.function("resolution", |_, (): ()| Ok((1_u64,)))?;
    for name in ["subscribe-instant", "subscribe-duration"] {
        monotonic.function(name, |_, _: (u64,)| -> Result<(Resource<Pollable>,), _> { Err(Refusal::Sleep) })?;
    }

    let mut wall = offers.interface("wasi:clocks/wall-clock@0.2.0")?;
    wall.function("now", |state, (): ()| Ok((Datetime::from_nanoseconds(state.world.time.0),)))?;
    wall.function("resolution", |_, (): ()| Ok((Datetime::from_nanoseconds(1),)))
}

#[cfg(test)]
mod tests {
    use super::Datetime;

    #[test]
    fn nanoseconds_become_seconds_and_a_rest() {
        let expected = Datetime { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
        assert_eq!(Datetime::from_nanoseconds(1_700_000_000_123_456_789), expected);
    }
}
