//! What will happen in a round, drawn from its seed before it begins.

use std::time::Duration;

use clap::ValueEnum;

use super::{
    draw::Draw,
    fault::Fault,
    faults::{kill::Kill, restart::Restart, stop::Stop},
};

/// A kind of round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kind {
    /// `kill -9` of any processes
    Kill,
    /// SIGSTOP and SIGCONT, 0.1 to 10 s apart
    Stop,
    /// All end or are killed, and start again in any order
    Restart,
}

/// How much happens in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// A few seconds, for the tests.
    Short,
    /// Some ten seconds.
    Full,
}

/// One after the other.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
}

/// Faults that happen together.
#[derive(Debug)]
pub(crate) struct Step {
    /// All is well for so long.
    pub(crate) pause: Duration,
    pub(crate) faults: Vec<Box<dyn Fault>>,
    /// Until the faults end.
    pub(crate) lasts: Duration,
    /// All that died is started again then, and not only what is needed.
    pub(crate) start_all: bool,
}

impl Kind {
    /// All of them.
    pub fn all() -> &'static [Kind] {
        Kind::value_variants()
    }

    /// As it is given on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Why it can't be played on this machine, if so.
    pub fn impossible(self) -> Option<String> {
        None
    }

    fn fault(self, draw: &mut Draw, _extent: Extent) -> Box<dyn Fault> {
        match self {
            Kind::Kill => Kill::draw(draw),
            Kind::Stop => Stop::draw(draw),
            Kind::Restart => Restart::draw(draw),
        }
    }

    /// Milliseconds for which a fault of this kind lasts.
    fn lasts(self, draw: &mut Draw, extent: Extent) -> Duration {
        let longest = match (self, extent) {
            (Kind::Stop, Extent::Full) => 10_000,
            (Kind::Stop, Extent::Short) => 1500,
            _ => 800,
        };
        let shortest = if self == Kind::Stop { 100 } else { 1 };
        Duration::from_millis(draw.magnitude(shortest..=longest))
    }
}

impl Plan {
    /// The plan for a kind and a seed is always the same one.
    pub(crate) fn draw(kind: Kind, seed: u64, extent: Extent) -> Plan {
        let mut draw = Draw::new(seed);
        let steps = match extent {
            Extent::Short => 3,
            Extent::Full => draw.number(5..=9),
        };
        let step = |_| {
            let faults = vec![kind.fault(&mut draw, extent)];
            let lasts = kind.lasts(&mut draw, extent);
            let pause = Duration::from_millis(draw.magnitude(1..=800));
            Step { pause, faults, lasts, start_all: draw.percent(75) }
        };
        Plan { steps: (0..steps).map(step).collect() }
    }
}
