//! What will happen to the machines in a round, drawn from its seed before it begins.

use std::time::Duration;

use super::super::draw::Draw;
use super::super::plan::Extent;
use super::site::INSTANCES;

/// One after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
}

/// Faults that happen together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    /// All is well for so long.
    pub(crate) pause: Duration,
    pub(crate) faults: Vec<Fault>,
    /// Until the faults end.
    pub(crate) lasts: Duration,
}

/// What goes wrong, and whom it hits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// Of faults of hosts: that on which this instance has its primary then.
    pub(crate) primary_of: usize,
}

/// What can go wrong with machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum FaultKind {
    /// SIGKILL to the process of a host, whose machine lives.
    HostKilled,
    /// The cable of a host's machine is pulled.
    HostCut,
    /// Nothing that a host's machine sends arrives.
    HostMute,
    /// Nothing that is sent to a host's machine arrives.
    HostDeaf,
    /// A host stands still.
    HostStopped,
    /// A host is told to hand over all that it has.
    HostDrained,
    /// All processes of the database die, and its standby becomes primary.
    DatabaseKilled,
    /// The machine of the database is cut off, its standby becomes primary, and the old one, which knows nothing of it, is plugged in again.
    DatabaseCut,
    /// All processes of the database stand still, and go on.
    DatabaseStopped,
    /// All processes of the database die and are started again.
    DatabaseRestarted,
    /// The machine of the standby is cut off, and commits wait.
    StandbyCut,
}

impl FaultKind {
    const OF_HOSTS: [FaultKind; 6] = [
        FaultKind::HostKilled,
        FaultKind::HostCut,
        FaultKind::HostMute,
        FaultKind::HostDeaf,
        FaultKind::HostStopped,
        FaultKind::HostDrained,
    ];
    const OF_DATABASES: [FaultKind; 5] = [
        FaultKind::DatabaseKilled,
        FaultKind::DatabaseCut,
        FaultKind::DatabaseStopped,
        FaultKind::DatabaseRestarted,
        FaultKind::StandbyCut,
    ];

    /// As it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::HostKilled => "a host is killed",
            FaultKind::HostCut => "a host's machine is cut off",
            FaultKind::HostMute => "nothing of a host's machine arrives",
            FaultKind::HostDeaf => "nothing arrives at a host's machine",
            FaultKind::HostStopped => "a host stands still",
            FaultKind::HostDrained => "a host is drained",
            FaultKind::DatabaseKilled => "the database dies, its standby is promoted",
            FaultKind::DatabaseCut => "the database is cut off, its standby is promoted",
            FaultKind::DatabaseStopped => "the database stands still",
            FaultKind::DatabaseRestarted => "the database is restarted",
            FaultKind::StandbyCut => "the standby of the database is cut off",
        }
    }

    pub(crate) fn is_of_host(self) -> bool {
        FaultKind::OF_HOSTS.contains(&self)
    }

    /// Whether nobody can serve as long as it lasts.
    pub(crate) fn obstructs(self) -> bool {
        matches!(self, FaultKind::DatabaseStopped | FaultKind::StandbyCut)
    }

    /// What the issue of machines wants of the gap: the median, and the worst.
    pub(crate) fn goal(self) -> Option<(Duration, Duration)> {
        let goal = |median, worst| Some((Duration::from_millis(median), Duration::from_millis(worst)));
        match self {
            FaultKind::HostKilled | FaultKind::HostDrained => goal(50, 50),
            FaultKind::HostCut | FaultKind::HostMute | FaultKind::HostDeaf | FaultKind::HostStopped => goal(700, 1000),
            FaultKind::DatabaseKilled | FaultKind::DatabaseCut => goal(1000, 1000),
            FaultKind::DatabaseStopped | FaultKind::DatabaseRestarted | FaultKind::StandbyCut => None,
        }
    }
}

impl Plan {
    /// The plan for a seed is always the same one.
    pub(crate) fn draw(seed: u64, extent: Extent) -> Plan {
        let mut draw = Draw::new(seed);
        let (steps, lasts) = match extent {
            Extent::Short => (6, 300..=1500),
            Extent::Full => (16, 300..=5000),
        };
        // The first ones are the two that matter most, whatever else there is time for.
        let first = [FaultKind::HostKilled, FaultKind::DatabaseKilled];
        let step = |number: usize| {
            let faults = match first.get(number) {
                Some(kind) => vec![Fault { kind: *kind, primary_of: draw.index(INSTANCES.len()) }],
                None => faults(&mut draw),
            };
            let pause = Duration::from_millis(draw.magnitude(50..=800));
            Step { pause, faults, lasts: Duration::from_millis(draw.magnitude(lasts.clone())) }
        };
        Plan { steps: (0..steps).map(step).collect() }
    }
}

/// One, or one of a host and one of the database.
fn faults(draw: &mut Draw) -> Vec<Fault> {
    let primary_of = draw.index(INSTANCES.len());
    let of_host = *draw.one_of(&FaultKind::OF_HOSTS);
    let of_database = *draw.one_of(&FaultKind::OF_DATABASES);
    let both = draw.percent(20);
    let mut faults = Vec::new();
    if both || draw.percent(60) {
        faults.push(Fault { kind: of_host, primary_of });
    }
    if both || faults.is_empty() {
        faults.push(Fault { kind: of_database, primary_of });
    }
    // While the database is away nobody can be told to hand over.
    if both {
        faults.retain(|fault| fault.kind != FaultKind::HostDrained);
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_all_kinds_are_in_some() {
        assert_eq!(Plan::draw(1, Extent::Full), Plan::draw(1, Extent::Full));
        assert_ne!(Plan::draw(1, Extent::Full), Plan::draw(2, Extent::Full));
        let plans = (0..50).flat_map(|seed| Plan::draw(seed, Extent::Full).steps);
        let drawn: BTreeSet<_> = plans.flat_map(|step| step.faults).map(|fault| fault.kind).collect();
        let all: BTreeSet<_> = FaultKind::OF_HOSTS.into_iter().chain(FaultKind::OF_DATABASES).collect();
        assert_eq!(drawn, all);
    }
}
