use super::*;

fn name(number: u32) -> InstanceName {
    InstanceName::new(format!("n{number}")).expect("a plain name")
}

#[test]
fn peers_are_numbered_from_one_in_the_order_in_which_they_come_up() {
    let mut peers = Peers::default();
    let attached = [7, 3, 7, 5].map(|number| peers.attach(&name(number)).map(|index| index.0));
    assert_eq!(attached, [Some(1), Some(2), Some(1), Some(3)]);
    assert_eq!(peers.count(), 3);
    assert_eq!((peers.index(&name(3)), peers.index(&name(4))), (Some(PeerIndex(2)), None));
    assert_eq!((peers.name(PeerIndex(3)), peers.name(PeerIndex(4))), (Some(&name(5)), None));
    assert_eq!(peers.name(PeerIndex::OUTSIDE), None, "the outside world has no name");
}

#[test]
fn there_are_so_many_peers_and_no_more() {
    let mut peers = Peers::default();
    for number in 0..limits::PEERS_MAX {
        assert_eq!(peers.attach(&name(number)), Some(PeerIndex(number + 1)));
    }
    assert_eq!(peers.attach(&name(limits::PEERS_MAX)), None);
    assert_eq!(peers.attach(&name(5)), Some(PeerIndex(6)), "a known one is found");
    assert_eq!(peers.count(), limits::PEERS_MAX);
}

#[test]
fn the_generator_is_splitmix64() {
    // The reference values for seed 0 of Vigna's splitmix64.c.
    let mut random = Random::new(0);
    assert_eq!([random.next_u64(), random.next_u64()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
}
