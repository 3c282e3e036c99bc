//! What will happen in a round, drawn from its seed before it begins.

use std::time::Duration;

use clap::ValueEnum;

use super::{
    disk::Disk,
    draw::Draw,
    fault::Fault,
    faults::{
        damage::Damage, full::Full, kill::Kill, partition::Partition, power_cut::PowerCut, proxy, restart::Restart,
        stop::Stop, trace::Trace,
    },
    network::Network,
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
    /// A tracer kills a replica at its Nth system call
    Crash,
    /// A tracer lets the Nth write or sync of a replica fail
    Eio,
    /// The disk of the store is full for a while
    Full,
    /// Packets between the hosts and clients vanish, both ways or one way
    Partition,
    /// A proxy delays and resets connections
    Proxy,
    /// The store is copied mid-write and opened elsewhere
    PowerCut,
    /// A bit flips in the log
    Flip,
    /// A segment of the log is cut short
    Cut,
    /// All that can happen on one machine, also at the same time
    Mixed,
}

/// How much happens in a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extent {
    /// A few seconds, for the tests.
    Short,
    /// Some twenty seconds.
    Full,
}

/// What a round is played on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ground {
    /// The machine as it is.
    Plain,
    /// A small disk.
    Disk,
    /// Network namespaces with wires.
    Wired,
    /// Network namespaces with a proxy.
    Proxied,
}

/// One after the other.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) ground: Ground,
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
        match self {
            Kind::Crash | Kind::Eio => Trace::impossible(),
            Kind::Full => Disk::impossible(),
            Kind::Partition | Kind::Proxy => Network::impossible(),
            Kind::Mixed => Trace::impossible().or_else(Network::impossible),
            Kind::Kill | Kind::Stop | Kind::Restart | Kind::PowerCut | Kind::Flip | Kind::Cut => None,
        }
    }

    fn ground(self, draw: &mut Draw) -> Ground {
        match self {
            Kind::Full => Ground::Disk,
            Kind::Partition => Ground::Wired,
            Kind::Proxy => Ground::Proxied,
            Kind::Mixed => *draw.one_of(&[Ground::Wired, Ground::Proxied]),
            _ => Ground::Plain,
        }
    }

    fn fault(self, draw: &mut Draw) -> Box<dyn Fault> {
        match self {
            Kind::Kill => Kill::draw(draw),
            Kind::Stop => Stop::draw(draw),
            Kind::Restart => Restart::draw(draw),
            Kind::Crash => Trace::draw_crash(draw),
            Kind::Eio => Trace::draw_disk_error(draw),
            Kind::Full => Full::draw(draw),
            Kind::Partition => Partition::draw(draw),
            Kind::Proxy => proxy::draw(draw),
            Kind::PowerCut => PowerCut::draw(draw),
            Kind::Flip => Damage::draw_flip(draw),
            Kind::Cut => Damage::draw_cut(draw),
            Kind::Mixed => unreachable!("it is made of the others"),
        }
    }

    /// How long a fault of this kind lasts, from its beginning; some end by themselves.
    fn lasts(self, draw: &mut Draw, extent: Extent) -> Duration {
        let millis = match (self, extent) {
            (Kind::Stop, Extent::Full) => 100..=10_000,
            (Kind::Stop, Extent::Short) => 100..=1500,
            // TCP tries at 0.2, 0.6, 1.4 and 3 s, and then left alone at 6.2 s: long after the wires are whole again.
            (Kind::Partition, _) if draw.percent(40) => 3200..=4000,
            (Kind::Partition, Extent::Full) => 100..=10_000,
            (Kind::Proxy, Extent::Full) => 100..=5000,
            (Kind::Partition | Kind::Proxy, Extent::Short) => 100..=1000,
            _ => 1..=800,
        };
        Duration::from_millis(draw.magnitude(millis))
    }
}

impl Plan {
    /// The plan for a kind and a seed is always the same one.
    pub(crate) fn draw(kind: Kind, seed: u64, extent: Extent) -> Plan {
        let mut draw = Draw::new(seed);
        let steps = match extent {
            Extent::Short => 3,
            Extent::Full => draw.number(4..=8),
        };
        let ground = kind.ground(&mut draw);
        let step = |_| {
            let kinds = if kind == Kind::Mixed { mixed(ground, &mut draw) } else { vec![kind] };
            let faults = kinds.iter().map(|kind| kind.fault(&mut draw)).collect();
            let lasts = kinds.iter().map(|kind| kind.lasts(&mut draw, extent)).max().unwrap_or_default();
            let pause = Duration::from_millis(draw.magnitude(1..=800));
            Step { pause, faults, lasts, start_all: draw.percent(75) }
        };
        Plan { ground, steps: (0..steps).map(step).collect() }
    }
}

/// What happens together. Some faults want to see what they alone have done.
fn mixed(ground: Ground, draw: &mut Draw) -> Vec<Kind> {
    let network = if ground == Ground::Wired { Kind::Partition } else { Kind::Proxy };
    if draw.percent(40) {
        let alone = [Kind::Restart, Kind::Crash, Kind::Crash, Kind::Eio, Kind::PowerCut, Kind::Flip, Kind::Cut];
        return vec![*draw.one_of(&alone)];
    }
    let mut together = [Kind::Kill, Kind::Kill, Kind::Stop, network];
    draw.shuffle(&mut together);
    together[..draw.number(1..=3) as usize].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_kind_and_seed_give_the_same_plan_and_others_do_not() {
        for kind in Kind::all() {
            let plan = |seed| format!("{:?}", Plan::draw(*kind, seed, Extent::Full));
            assert_eq!(plan(1), plan(1));
            assert_ne!(plan(1), plan(2));
        }
    }
}
