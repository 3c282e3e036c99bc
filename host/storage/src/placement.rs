//! Which hosts an instance is meant for: each host finds that out by itself, and all come to the same.
//!
//! Every pair of instance and host has a weight, and an instance with *n* replicas is meant for the *n* hosts with the highest ones
//! (rendezvous hashing). So when a host comes or goes nothing moves but what is meant for it, and nobody has to assign anything.
//!
//! **Architecture Invariant:** nothing here has a clock or reads anything. Whoever follows a wrong picture of the hosts costs a standby,
//! and never a record: who may write the log decides.

use std::{collections::BTreeMap, time::Duration};

use ambrosia_core::InstanceUuid;

use crate::{BlobHash, HostInfo, HostName, HostUuid};

/// What an instance and a host are to each other. All programs that serve one store must come to the same: it is the beginning of the
/// SHA-256 of the uuid and the name, as a number of big endian.
pub fn weight(instance: InstanceUuid, host: &HostName) -> u64 {
    let hash = BlobHash::of(&[&instance.0[..], host.as_str().as_bytes()].concat()).0;
    u64::from_be_bytes(*hash.first_chunk().expect("a hash is longer"))
}

/// Orders hosts for an instance: the higher, the sooner. Equal weights are told apart by the names.
fn order(instance: InstanceUuid, host: &HostName) -> (u64, &HostName) {
    (weight(instance, host), host)
}

/// At which place of the order for an instance a host is, the first being 0. `hosts` are all those that take part.
pub fn rank<'a>(instance: InstanceUuid, me: &HostName, hosts: impl IntoIterator<Item = &'a HostName>) -> usize {
    let own = order(instance, me);
    hosts.into_iter().filter(|host| *host != me && order(instance, host) > own).count()
}

/// The hosts in the order for an instance.
pub fn ranked<'a>(instance: InstanceUuid, hosts: impl IntoIterator<Item = &'a HostName>) -> Vec<&'a HostName> {
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    hosts.sort_by_cached_key(|host| std::cmp::Reverse(order(instance, host)));
    hosts
}

/// Which hosts take part, as one of them sees it over time: one that has gone silent does for a while, so that nothing moves when it is
/// only started again.
///
/// Silence counts only as it is looked at: whoever stood still himself has seen nobody.
#[derive(Debug)]
pub struct Sightings {
    grace: Duration,
    looked: Option<Duration>,
    silent: BTreeMap<HostName, Duration>,
}

/// Of the time between two looks no more counts.
pub const LOOK_COUNTS_MAX: Duration = Duration::from_secs(1);

impl Sightings {
    /// Whoever is silent for longer than `grace` takes part no more.
    pub fn new(grace: Duration) -> Sightings {
        Sightings { grace, looked: None, silent: BTreeMap::new() }
    }

    /// The hosts are so at `now`, a time that only rises.
    pub fn look(&mut self, hosts: &[HostInfo], now: Duration) {
        let passed = self.looked.map_or(Duration::ZERO, |looked| now.saturating_sub(looked)).min(LOOK_COUNTS_MAX);
        self.looked = Some(now);
        let before = std::mem::take(&mut self.silent);
        for host in hosts.iter().filter(|host| !host.is_alive) {
            let silent = before.get(&host.name).map_or(Duration::ZERO, |silent| *silent + passed);
            self.silent.insert(host.name.clone(), silent);
        }
    }

    /// For how long that host was seen to be silent.
    pub fn silence(&self, host: &HostName) -> Duration {
        self.silent.get(host).copied().unwrap_or_default()
    }

    /// Whether it takes part, as far as it is alive or may come back soon.
    pub fn takes_part(&self, host: &HostName) -> bool {
        self.silence(host) < self.grace || !self.silent.contains_key(host)
    }
}

/// Whose a replica is, the one that stays longest being the highest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Keeper {
    /// Of a host that hands over all it has.
    Draining,
    /// Of a host that takes places, and how much the instance is meant for it.
    Host(u64),
    /// Placed by hand.
    Hand,
}

/// A replica that runs, as whoever runs another one sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OtherReplica {
    /// Whose it is.
    pub keeper: Keeper,
    /// Which life of a host; it tells apart those that are equal otherwise.
    pub uuid: HostUuid,
    /// Whether it is alive and has all that matters of the log.
    pub is_caught_up: bool,
}

/// Whether a replica may end without leaving the instance to nobody: another one can go on that stays longer. Of several that want to
/// end at once the one that stays longest finds none, and stays.
pub fn may_leave(keeper: Keeper, uuid: HostUuid, others: &[OtherReplica]) -> bool {
    others.iter().any(|other| other.is_caught_up && (other.keeper, other.uuid) > (keeper, uuid))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ProcessPlace;

    fn name(number: u8) -> HostName {
        HostName::new(&format!("host-{number}")).expect("a name")
    }

    fn names(numbers: &BTreeSet<u8>) -> Vec<HostName> {
        numbers.iter().map(|number| name(*number)).collect()
    }

    fn info(number: u8, is_alive: bool) -> HostInfo {
        HostInfo {
            name: name(number),
            uuid: HostUuid([number; 16]),
            address: "a.example:1".parse().expect("an address"),
            pid: 1,
            place: ProcessPlace::default(),
            is_alive,
            silence: Duration::ZERO,
        }
    }

    /// Another one would have hosts of two versions disagree for ever.
    #[test]
    fn weights_never_change() {
        let weight = |byte, host| weight(InstanceUuid([byte; 16]), &HostName::new(host).expect("a name"));
        assert_eq!(weight(1, "a.example:7400"), 0x1fe7_ebd5_1fa3_5119);
        assert_eq!(weight(2, "[::1]:1"), 0x3a80_c72e_317e_5fe2);
    }

    #[test]
    fn instances_are_spread_evenly() {
        let hosts = names(&(0..3).collect());
        let mut counts = [[0_u32; 3]; 3];
        for n in 0..3000_u32 {
            let uuid = InstanceUuid([n.to_be_bytes(), [7; 4], [0; 4], [1; 4]].concat().try_into().expect("16 bytes"));
            for (host, of) in hosts.iter().zip(&mut counts) {
                of[rank(uuid, host, &hosts)] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|count| (900..1100).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_host_that_goes_silent_takes_part_until_the_grace_is_over() {
        let mut seen = Sightings::new(Duration::from_secs(10));
        let mut look = |at: u64, is_alive| {
            seen.look(&[info(1, is_alive), info(2, true)], Duration::from_millis(at));
            (seen.takes_part(&name(1)), seen.takes_part(&name(2)))
        };
        assert_eq!(look(0, false), (true, true), "it may have been so for long, and who looks has just begun");
        for second in 1..10 {
            assert_eq!(look(second * 1000, false), (true, true));
        }
        assert_eq!(look(10_000, false), (false, true));
        assert_eq!(look(10_100, true), (true, true));
        assert_eq!(look(10_200, false), (true, true), "it begins anew");
        // Whoever stood still has seen nothing.
        assert_eq!(look(3_600_000, false), (true, true));
    }

    fn keepers() -> impl Strategy<Value = Keeper> {
        prop_oneof![Just(Keeper::Draining), (0..3_u64).prop_map(Keeper::Host), Just(Keeper::Hand)]
    }

    proptest! {
        #[test]
        fn each_instance_is_meant_for_as_many_hosts_as_it_has_replicas(
            uuid: [u8; 16], hosts in proptest::collection::btree_set(any::<u8>(), 1..12), count in 1..5_usize,
        ) {
            let (uuid, hosts) = (InstanceUuid(uuid), names(&hosts));
            let wanted: Vec<_> = hosts.iter().filter(|host| rank(uuid, host, &hosts) < count).collect();
            prop_assert_eq!(wanted.len(), count.min(hosts.len()));
            let ranks: BTreeSet<_> = hosts.iter().map(|host| rank(uuid, host, &hosts)).collect();
            prop_assert_eq!(ranks, (0..hosts.len()).collect());
            let ranked = ranked(uuid, &hosts);
            prop_assert!(ranked.iter().enumerate().all(|(at, host)| rank(uuid, host, &hosts) == at));
        }

        /// And only that much moves when one comes, which is the same seen backwards.
        #[test]
        fn when_a_host_goes_only_what_was_meant_for_it_moves(
            uuid: [u8; 16], hosts in proptest::collection::btree_set(any::<u8>(), 2..12), count in 1..5_usize,
        ) {
            let (uuid, hosts) = (InstanceUuid(uuid), names(&hosts));
            let (gone, rest) = hosts.split_first().expect("there are two");
            let of = |hosts: &[HostName]| -> BTreeSet<HostName> {
                ranked(uuid, hosts).into_iter().take(count).cloned().collect()
            };
            let (before, after) = (of(&hosts), of(rest));
            let lost: Vec<_> = before.difference(&after).collect();
            prop_assert!(lost.iter().all(|host| *host == gone), "{lost:?}");
            prop_assert!(after.difference(&before).count() <= usize::from(before.contains(gone)));
        }

        /// Also if all who run it want to end at once, and each decides by itself.
        #[test]
        fn whoever_leaves_leaves_somebody_behind_who_can_go_on(
            replicas in proptest::collection::vec((keepers(), any::<bool>()), 1..6),
        ) {
            let replicas: Vec<_> = replicas.into_iter().enumerate().map(|(n, (keeper, is_caught_up))| OtherReplica {
                keeper, uuid: HostUuid([n as u8; 16]), is_caught_up,
            }).collect();
            let others = |of: &OtherReplica| -> Vec<_> {
                replicas.iter().filter(|other| other.uuid != of.uuid).copied().collect()
            };
            let stay: Vec<_> =
                replicas.iter().filter(|one| !may_leave(one.keeper, one.uuid, &others(one))).collect();
            prop_assert!(!stay.is_empty());
            let has_good = replicas.iter().any(|one| one.is_caught_up);
            prop_assert!(!has_good || stay.iter().any(|one| one.is_caught_up), "{replicas:?}");
        }
    }
}
