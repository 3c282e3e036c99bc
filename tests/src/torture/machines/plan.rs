//! What will happen to the machines in a round, drawn from its seed before it begins.

use std::time::Duration;

use super::super::draw::Draw;
use super::super::plan::Extent;
use super::{clocks::Wrong, site::INSTANCES};

/// What keeps the store of a round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum EngineKind {
    /// PostgreSQL with a synchronous standby
    Postgres,
    /// Three members of etcd
    Etcd,
}

/// From what a plan is drawn.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Where all draws come from.
    pub seed: u64,
    /// What keeps the store.
    pub engine: EngineKind,
    /// How much happens.
    pub extent: Extent,
    /// Only faults with one of these words in their names happen, if there are any.
    pub only: Vec<String>,
}

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
    Host(HostFault),
    Postgres(PostgresFault),
    Etcd(EtcdFault),
}

/// What can go wrong with a host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum HostFault {
    /// SIGKILL to its process, whose machine lives.
    Killed,
    /// The cable of its machine is pulled.
    Cut,
    /// Nothing that its machine sends arrives.
    Mute,
    /// Nothing that is sent to its machine arrives.
    Deaf,
    /// It stands still.
    Stopped,
    /// It is told to hand over all that it has.
    Drained,
    /// It is killed, and started again with what its machine had when the round began.
    SetBack,
    /// It is killed, and started again with a certificate that nobody believes.
    Disbelieved(Paper),
    /// The clock of its machine is wrong.
    WrongClock(Wrong),
}

/// A certificate that is not good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Paper {
    /// It was good long ago.
    Expired,
    /// It is that of a host of another name.
    Misnamed,
    /// Another CA has signed it.
    Foreign,
}

/// What can go wrong with a database and its standby.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum PostgresFault {
    /// All its processes die, and its standby becomes primary.
    Killed,
    /// Its machine is cut off, its standby becomes primary, and the old one, which knows nothing of it, is plugged in again.
    Cut,
    /// All its processes stand still, and go on.
    Stopped,
    /// All its processes die and are started again.
    Restarted,
    /// The machine of the standby is cut off, and commits wait.
    StandbyCut,
    /// Each sync of its disk takes long.
    Slow,
    /// Its disk is full.
    Full,
    /// Its clock is wrong, and that of its standby is right.
    WrongClock(Wrong),
}

/// What can go wrong with the members of etcd.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum EtcdFault {
    /// The process of the leader dies, and is started again.
    LeaderKilled,
    /// The machine of the leader is cut off.
    LeaderCut,
    /// The leader stands still.
    LeaderStopped,
    /// The process of a member dies that does not lead.
    FollowerKilled,
    /// Two of three die.
    MajorityKilled,
    /// Each sync of the leader's disk takes long.
    LeaderSlow,
    /// The leader's disk is full.
    LeaderFull,
}

impl HostFault {
    const ALL: [HostFault; 12] = [
        HostFault::Killed,
        HostFault::Cut,
        HostFault::Mute,
        HostFault::Deaf,
        HostFault::Stopped,
        HostFault::Drained,
        HostFault::SetBack,
        HostFault::Disbelieved(Paper::Expired),
        HostFault::Disbelieved(Paper::Misnamed),
        HostFault::Disbelieved(Paper::Foreign),
        HostFault::WrongClock(Wrong::Ahead),
        HostFault::WrongClock(Wrong::Behind),
    ];
}

impl PostgresFault {
    const ALL: [PostgresFault; 9] = [
        PostgresFault::Killed,
        PostgresFault::Cut,
        PostgresFault::Stopped,
        PostgresFault::Restarted,
        PostgresFault::StandbyCut,
        PostgresFault::Slow,
        PostgresFault::Full,
        PostgresFault::WrongClock(Wrong::Ahead),
        PostgresFault::WrongClock(Wrong::Behind),
    ];
}

impl EtcdFault {
    const ALL: [EtcdFault; 7] = [
        EtcdFault::LeaderKilled,
        EtcdFault::LeaderCut,
        EtcdFault::LeaderStopped,
        EtcdFault::FollowerKilled,
        EtcdFault::MajorityKilled,
        EtcdFault::LeaderSlow,
        EtcdFault::LeaderFull,
    ];
}

impl FaultKind {
    /// All that can go wrong with an engine.
    fn of_engine(engine: EngineKind) -> Vec<FaultKind> {
        match engine {
            EngineKind::Postgres => PostgresFault::ALL.map(FaultKind::Postgres).to_vec(),
            EngineKind::Etcd => EtcdFault::ALL.map(FaultKind::Etcd).to_vec(),
        }
    }

    /// As it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            FaultKind::Host(fault) => match fault {
                HostFault::Killed => "a host is killed",
                HostFault::Cut => "a host's machine is cut off",
                HostFault::Mute => "nothing of a host's machine arrives",
                HostFault::Deaf => "nothing arrives at a host's machine",
                HostFault::Stopped => "a host stands still",
                HostFault::Drained => "a host is drained",
                HostFault::SetBack => "a host is killed, and back from an old image",
                HostFault::Disbelieved(Paper::Expired) => "a host is killed, and back with an expired certificate",
                HostFault::Disbelieved(Paper::Misnamed) => "a host is killed, and back with the certificate of another",
                HostFault::Disbelieved(Paper::Foreign) => "a host is killed, and back with a certificate of another CA",
                HostFault::WrongClock(Wrong::Ahead) => "the clock of a host is ahead",
                HostFault::WrongClock(Wrong::Behind) => "the clock of a host is behind",
            },
            FaultKind::Postgres(fault) => match fault {
                PostgresFault::Killed => "the database dies, its standby is promoted",
                PostgresFault::Cut => "the database is cut off, its standby is promoted",
                PostgresFault::Stopped => "the database stands still",
                PostgresFault::Restarted => "the database is restarted",
                PostgresFault::StandbyCut => "the standby of the database is cut off",
                PostgresFault::Slow => "the disk of the database is slow",
                PostgresFault::Full => "the disk of the database is full",
                PostgresFault::WrongClock(Wrong::Ahead) => "the clock of the database is ahead",
                PostgresFault::WrongClock(Wrong::Behind) => "the clock of the database is behind",
            },
            FaultKind::Etcd(fault) => match fault {
                EtcdFault::LeaderKilled => "the leader of etcd is killed",
                EtcdFault::LeaderCut => "the machine of etcd's leader is cut off",
                EtcdFault::LeaderStopped => "the leader of etcd stands still",
                EtcdFault::FollowerKilled => "a member of etcd is killed that does not lead",
                EtcdFault::MajorityKilled => "two of three members of etcd are killed",
                EtcdFault::LeaderSlow => "the disk of etcd's leader is slow",
                EtcdFault::LeaderFull => "the disk of etcd's leader is full",
            },
        }
    }

    pub(crate) fn is_of_host(self) -> bool {
        matches!(self, FaultKind::Host(_))
    }

    /// Whether nobody can serve as long as it lasts.
    pub(crate) fn obstructs(self) -> bool {
        match self {
            FaultKind::Host(_) => false,
            FaultKind::Postgres(fault) => {
                matches!(fault, PostgresFault::Stopped | PostgresFault::StandbyCut | PostgresFault::Full)
            }
            FaultKind::Etcd(fault) => fault == EtcdFault::MajorityKilled,
        }
    }

    /// Whether somebody has to do something, which is part of the fault, before there can be service.
    pub(crate) fn is_mended_by_hand(self) -> bool {
        matches!(self, FaultKind::Postgres(_))
    }

    /// What the issue of machines wants of the gap: the median, and the worst.
    pub(crate) fn goal(self) -> Option<(Duration, Duration)> {
        let goal = |median, worst| Some((Duration::from_millis(median), Duration::from_millis(worst)));
        match self {
            FaultKind::Host(HostFault::Killed | HostFault::Drained | HostFault::WrongClock(_)) => goal(50, 50),
            FaultKind::Host(HostFault::Cut | HostFault::Mute | HostFault::Deaf | HostFault::Stopped) => goal(700, 1000),
            FaultKind::Host(HostFault::SetBack | HostFault::Disbelieved(_)) => None,
            FaultKind::Postgres(PostgresFault::Killed | PostgresFault::Cut) => goal(1000, 1000),
            FaultKind::Postgres(_) => None,
            FaultKind::Etcd(EtcdFault::MajorityKilled | EtcdFault::LeaderSlow) => None,
            FaultKind::Etcd(_) => goal(1000, 1000),
        }
    }
}

/// So many steps are drawn for each that has a fault that is wanted.
const STEPS_PER_WANTED_MAX: usize = 200;

impl Plan {
    /// The plan for a draft is always the same one.
    pub(crate) fn draw(draft: &Draft) -> Plan {
        let Draft { seed, engine, extent, ref only } = *draft;
        let mut draw = Draw::new(seed);
        let (steps, lasts) = match extent {
            Extent::Short => (6, 300..=1500),
            Extent::Full => (16, 300..=5000),
        };
        // The first ones are the two that matter most, whatever else there is time for.
        let dies = match engine {
            EngineKind::Postgres => FaultKind::Postgres(PostgresFault::Killed),
            EngineKind::Etcd => FaultKind::Etcd(EtcdFault::LeaderKilled),
        };
        let first = [FaultKind::Host(HostFault::Killed), dies];
        let step = |number: usize| {
            let faults = match first.get(number) {
                Some(kind) => vec![Fault { kind: *kind, primary_of: draw.index(INSTANCES.len()) }],
                None => faults(&mut draw, engine),
            };
            let pause = Duration::from_millis(draw.magnitude(50..=800));
            Step { pause, faults, lasts: Duration::from_millis(draw.magnitude(lasts.clone())) }
        };
        let is_wanted = |fault: &Fault| only.is_empty() || only.iter().any(|word| fault.kind.name().contains(word));
        let wanted = |mut step: Step| {
            step.faults.retain(is_wanted);
            (!step.faults.is_empty()).then_some(step)
        };
        Plan { steps: (0..steps * STEPS_PER_WANTED_MAX).map(step).filter_map(wanted).take(steps).collect() }
    }
}

/// One, or one of a host and one of the engine.
fn faults(draw: &mut Draw, engine: EngineKind) -> Vec<Fault> {
    let primary_of = draw.index(INSTANCES.len());
    let of_host = FaultKind::Host(*draw.one_of(&HostFault::ALL));
    let of_engine = *draw.one_of(&FaultKind::of_engine(engine));
    let both = draw.percent(20);
    let mut faults = Vec::new();
    if both || draw.percent(60) {
        faults.push(Fault { kind: of_host, primary_of });
    }
    if both || faults.is_empty() {
        faults.push(Fault { kind: of_engine, primary_of });
    }
    // While the engine is away nobody can be told to hand over.
    if both {
        faults.retain(|fault| fault.kind != FaultKind::Host(HostFault::Drained));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_all_kinds_are_in_some() {
        for engine in [EngineKind::Postgres, EngineKind::Etcd] {
            let draft = |seed| Draft { seed, engine, extent: Extent::Full, only: Vec::new() };
            let plan = |seed| Plan::draw(&draft(seed));
            let kills = Plan::draw(&Draft { only: vec!["is killed".to_owned()], ..draft(1) });
            assert!(
                kills.steps.iter().flat_map(|step| &step.faults).all(|fault| fault.kind.name().contains("is killed"))
            );
            assert_eq!(kills.steps.len(), plan(1).steps.len());
            assert_eq!(plan(1), plan(1));
            assert_ne!(plan(1), plan(2));
            let drawn: BTreeSet<_> = (0..50)
                .flat_map(|seed| plan(seed).steps)
                .flat_map(|step| step.faults)
                .map(|fault| fault.kind)
                .collect();
            let of_hosts = HostFault::ALL.map(FaultKind::Host);
            let all: BTreeSet<_> = of_hosts.into_iter().chain(FaultKind::of_engine(engine)).collect();
            assert_eq!(drawn, all);
        }
    }
}
