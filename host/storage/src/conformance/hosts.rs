//! What a store must tell of its hosts.

use ambrosia_core::HostAddress;

use crate::{HostInfo, HostName, Hosts, JoinError, ProcessPlace, Store};

fn name(text: &str) -> HostName {
    HostName::new(text).expect("a name")
}

fn address(port: u16) -> HostAddress {
    HostAddress::named("host-7.hosts.example", port).expect("a name")
}

fn only(hosts: &dyn Hosts) -> HostInfo {
    let mut all = hosts.hosts().expect("works");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

pub fn a_host_is_alive_until_it_ends_and_a_name_has_one_host(store: &dyn Store) {
    let hosts = store.hosts();
    assert_eq!(hosts.hosts().expect("works"), []);
    let first = hosts.join(&name("a.example:7400"), &address(7400)).expect("nobody has the name");
    first.beat();
    let seen = only(hosts);
    assert_eq!((&seen.name, seen.uuid, &seen.address), (&name("a.example:7400"), first.uuid(), &address(7400)));
    assert_eq!((seen.pid, &seen.place), (std::process::id(), ProcessPlace::here()));
    assert!(seen.is_alive);
    let taken = hosts.join(&name("a.example:7400"), &address(7401)).err().expect("it is alive");
    assert!(matches!(taken, JoinError::Taken { .. }), "{taken}");
    assert!(taken.to_string().contains(&std::process::id().to_string()), "{taken}");
    let before = first.uuid();
    drop(first);
    let seen = only(hosts);
    assert_eq!((seen.uuid, seen.is_alive), (before, false), "it is known that there was one");
    let second = hosts.join(&name("a.example:7400"), &address(7402)).expect("it has ended");
    second.beat();
    let seen = only(hosts);
    assert_eq!((seen.uuid, seen.is_alive, seen.address), (second.uuid(), true, address(7402)));
}

pub fn hosts_are_listed_by_name_and_forgotten_when_they_are_gone(store: &dyn Store) {
    let hosts = store.hosts();
    let (c, a) = (name("c"), name("[::1]:7400"));
    let (of_c, of_a) = (hosts.join(&c, &address(1)).expect("free"), hosts.join(&a, &address(2)).expect("free"));
    let all = hosts.hosts().expect("works");
    assert_eq!(all.iter().map(|host| &host.name).collect::<Vec<_>>(), [&a, &c]);
    hosts.forget(&all[1]).expect("works");
    assert_eq!(hosts.hosts().expect("works").len(), 2, "it is alive");
    drop((of_c, of_a));
    let gone = hosts.hosts().expect("works");
    let _again = hosts.join(&c, &address(3)).expect("it has ended");
    gone.iter().for_each(|host| hosts.forget(host).expect("works"));
    assert_eq!(only(hosts).address, address(3), "another life of it");
}
