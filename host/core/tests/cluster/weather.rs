//! One run: a time of faults, then everything is healed and must come to rest.

use ambrosia_core::{ConnectionId, Input, Outcome};
use bytes::Bytes;

use crate::{cluster::Cluster, counts::Counts, model::EXIT, network::ProcessId};

/// Steps of the time of faults.
const STEPS: u64 = 1500;
/// Rounds after which a healed cluster must have come to rest.
const ROUNDS_MAX: u64 = 3000;

/// Runs one seed from beginning to end. Panics if a property does not hold.
pub(crate) fn run(seed: u64) -> Counts {
    let mut cluster = Cluster::new(seed);
    // Some runs are calm, some stormy.
    let storm = cluster.dice.below(4) * 2;
    for _ in 0..STEPS {
        work(&mut cluster);
        if cluster.dice.below(100) < storm {
            fail(&mut cluster);
        }
    }
    heal(&mut cluster);
    check_end(&mut cluster);
    if cluster.dice.percent(30) {
        check_exit(&mut cluster);
    }
    cluster.witness.counts
}

/// Something ordinary happens.
fn work(cluster: &mut Cluster) {
    let ids: Vec<ProcessId> = cluster.processes.keys().copied().collect();
    let connections: Vec<ConnectionId> = cluster.network.connections.keys().copied().collect();
    let Some(id) = cluster.dice.pick(&ids) else { return restart(cluster) };
    let primary = cluster.processes[&id].is_primary();
    match cluster.dice.below(20) {
        0..=5 => {
            for _ in 0..1 + cluster.dice.below(4) {
                carry_some(cluster, &connections);
            }
        }
        6..=8 if primary => cluster.deliver(id),
        9..=10 if primary => {
            let count = 1 + cluster.dice.below(4);
            if !cluster.land(id, count) && cluster.dice.percent(40) {
                return fence(cluster, id);
            }
            if cluster.dice.percent(60) {
                cluster.notify(id);
            }
        }
        11..=12 if primary => dial_some(cluster, id),
        13..=14 if primary => cluster.ask(id),
        15 => ask_some_again(cluster),
        16 => cluster.now += cluster.dice.below(20),
        17 => restart(cluster),
        18.. if primary => cluster.notify(id),
        _ if !primary => {
            let count = 1 + cluster.dice.below(5);
            cluster.follow(id, count);
        }
        _ => {}
    }
    cluster.witness.counts.held += cluster.processes.values().map(|p| p.held.len() as u64).sum::<u64>();
}

fn carry_some(cluster: &mut Cluster, connections: &[ConnectionId]) {
    let Some(connection) = cluster.dice.pick(connections) else { return };
    if cluster.dice.percent(60) {
        cluster.carry_forth(connection);
    } else {
        cluster.carry_back(connection);
    }
}

fn ask_some_again(cluster: &mut Cluster) {
    let requests = cluster.witness.requests.len() as u64;
    if requests > 0 {
        let at = cluster.dice.below(requests);
        cluster.ask_again(at as usize);
    }
}

/// An instance without a living primary gets one, from its standbys if it has any.
fn restart(cluster: &mut Cluster) {
    let instance = cluster.dice.below(cluster.lives.len() as u64) as usize;
    if cluster.primaries(instance).iter().any(|id| !cluster.is_stale(*id)) {
        return;
    }
    take_over(cluster, instance);
}

fn take_over(cluster: &mut Cluster, instance: usize) {
    let mut standbys = cluster.standbys();
    standbys.retain(|id| cluster.processes[id].instance == instance);
    match cluster.dice.pick(&standbys) {
        Some(standby) => cluster.elect(standby),
        None => cluster.elect_anew(instance),
    }
}

/// A deposed primary learns of it: it is dropped as a whole and comes back as a standby.
fn fence(cluster: &mut Cluster, id: ProcessId) {
    let instance = cluster.processes[&id].instance;
    cluster.network.close_all(id, false);
    cluster.processes.remove(&id);
    cluster.start(instance);
    cluster.witness.counts.fenced += 1;
}

fn dial_some(cluster: &mut Cluster, id: ProcessId) {
    let wanted: Vec<_> = cluster.processes[&id].wanted.keys().copied().collect();
    if let Some(peer) = cluster.dice.pick(&wanted) {
        cluster.dial(id, peer);
    }
}

/// Something breaks.
fn fail(cluster: &mut Cluster) {
    let ids: Vec<ProcessId> = cluster.processes.keys().copied().collect();
    let connections: Vec<ConnectionId> = cluster.network.connections.keys().copied().collect();
    let instance = cluster.dice.below(cluster.lives.len() as u64) as usize;
    match cluster.dice.below(12) {
        0..=2 => {
            if let Some(id) = cluster.dice.pick(&ids) {
                cluster.crash(id);
            }
        }
        3..=4 => take_over(cluster, instance),
        5 => {
            cluster.start(instance);
        }
        6..=8 => {
            if let Some(connection) = cluster.dice.pick(&connections) {
                cut(cluster, connection);
            }
        }
        9 if cluster.lives[instance] < 4 => cluster.register_anew(instance),
        _ => {
            if let Some(id) = cluster.dice.pick(&ids) {
                let skew = cluster.dice.below(400) as i64 - 200;
                cluster.process(id).skew = skew;
                cluster.witness.counts.clock_jumps += 1;
            }
        }
    }
}

/// A connection breaks; each end notices in its time, one of them now.
fn cut(cluster: &mut Cluster, connection: ConnectionId) {
    let Some(c) = cluster.network.connections.get(&connection) else { return };
    let ends = [(c.from.process, c.from.open), (c.to.process, c.to.open)];
    let (lost, side) = (cluster.dice.percent(70), cluster.dice.below(2) as usize);
    let (process, open) = ends[side];
    if open {
        cluster.network.close(connection, process, lost);
        cluster.step(process, Input::Disconnected(connection));
        cluster.witness.counts.cuts += 1;
    }
}

/// No more faults, until nothing moves.
fn heal(cluster: &mut Cluster) {
    cluster.faults = false;
    for id in cluster.processes.keys().copied().collect::<Vec<_>>() {
        cluster.process(id).skew = 0;
        if cluster.processes[&id].is_primary() && cluster.is_stale(id) {
            fence(cluster, id);
        }
    }
    for instance in 0..cluster.lives.len() {
        if cluster.primaries(instance).is_empty() {
            take_over(cluster, instance);
        }
    }
    for _ in 0..ROUNDS_MAX {
        if !round(cluster) {
            return;
        }
    }
    panic!("a healed cluster does not come to rest");
}

/// Everything that can happen happens. False if that was nothing.
fn round(cluster: &mut Cluster) -> bool {
    let mut moved = false;
    cluster.now += 25;
    for at in 0..cluster.witness.requests.len() {
        let request = &cluster.witness.requests[at];
        if request.answer.is_none() && request.uuid == cluster.logs[request.instance].uuid {
            cluster.ask_again(at);
            moved = true;
        }
    }
    for id in cluster.processes.keys().copied().collect::<Vec<_>>() {
        let before = cluster.processes[&id].links.len();
        if cluster.processes[&id].is_primary() {
            for peer in cluster.processes[&id].wanted.keys().copied().collect::<Vec<_>>() {
                moved |= cluster.dial(id, peer);
            }
            cluster.deliver(id);
            moved |= cluster.processes[&id].writer.as_ref().is_some_and(|writer| !writer.queue.is_empty());
            assert!(cluster.land(id, u64::MAX), "nobody is fenced in fair weather");
            cluster.notify(id);
            moved |= cluster.processes[&id].replica.wake_at().is_some();
        } else {
            cluster.follow(id, u64::MAX);
        }
        moved |= cluster.processes[&id].links.len() != before || !cluster.processes[&id].held.is_empty();
    }
    for connection in cluster.network.connections.keys().copied().collect::<Vec<_>>() {
        while cluster.carry_forth(connection) || cluster.carry_back(connection) {
            moved = true;
        }
    }
    cluster.network.sweep();
    moved
}

/// What must be so when all is at rest.
fn check_end(cluster: &mut Cluster) {
    let living: Vec<_> = cluster.logs.iter().map(|log| log.uuid).collect();
    cluster.witness.streams.check_all_arrived(&living);
    for request in &cluster.witness.requests {
        assert!(request.answer.is_some() || !living.contains(&request.uuid), "every request is answered");
    }
    for instance in 0..cluster.lives.len() {
        check_primary(cluster, instance);
        check_replicas(cluster, instance);
        for other in 0..cluster.lives.len() {
            check_tokens(cluster, instance, other);
        }
    }
}

fn check_primary(cluster: &mut Cluster, instance: usize) {
    let id = cluster.primaries(instance)[0];
    let process = &cluster.processes[&id];
    let guest = process.replica.guest();
    assert!(guest.started);
    assert!(guest.pending.is_empty(), "every call is answered: {:?}", guest.pending);
    assert!(guest.timers.is_empty(), "every timer fires");
    assert!(guest.strays == 0 || cluster.lives[instance] > 1, "nobody answers what was not asked");
    assert_eq!(process.replica.blocked(), None);
    cluster.witness.counts.timers += guest.timers_fired;
}

/// Every replica, and one that replays the log from the start, is equal to the primary.
fn check_replicas(cluster: &mut Cluster, instance: usize) {
    let fresh = cluster.start(instance);
    cluster.follow(fresh, u64::MAX);
    let primary = cluster.primaries(instance)[0];
    let expected = &cluster.processes[&primary];
    for process in cluster.processes.values().filter(|process| process.instance == instance) {
        assert_eq!(process.replica.guest(), expected.replica.guest(), "guests are equal");
        assert_eq!(process.replica.digest(), expected.replica.digest(), "states are equal");
        assert_eq!(process.replica.applied(), cluster.head(instance).0);
        assert_eq!(process.replica.epoch(), expected.replica.epoch());
        assert_eq!(process.replica.outcome(), expected.replica.outcome());
    }
}

/// What the guest of `to` received from that of `from` is what that sent, in order and nothing twice.
fn check_tokens(cluster: &Cluster, from: usize, to: usize) {
    let replica = |instance: usize| &cluster.processes[&cluster.primaries(instance)[0]];
    let peer = |at: usize, of: usize| replica(at).replica.guest().names.get(&format!("i{of}")).copied();
    let sent = peer(from, to).and_then(|peer| replica(from).replica.guest().sent.get(&peer));
    let received = peer(to, from).and_then(|peer| replica(to).replica.guest().received.get(&peer));
    let sent = sent.map_or(&[][..], |sent| sent);
    let segment = received.and_then(|segments| segments.last()).map_or(&[][..], |segment| segment);
    if from == to || (cluster.lives[to] == 1 && cluster.lives[from] == 1) {
        assert_eq!(segment, sent, "all that was sent arrives once and in order");
        assert!(received.is_none_or(|segments| segments.len() == 1), "a stream starts afresh with a new life only");
    } else if cluster.lives[to] == 1 && !sent.is_empty() {
        assert_eq!(segment, sent, "a new life is heard from its first message on");
    } else if cluster.lives[from] == 1 {
        assert!(sent.ends_with(segment), "a new life hears the rest of the stream");
    }
}

/// One instance finishes: on every replica, with the same code, and it takes no more messages.
fn check_exit(cluster: &mut Cluster) {
    let before = cluster.witness.counts.exits;
    let id = cluster.primaries(0)[0];
    cluster.step(id, Input::Impulse { method: EXIT, arguments: Bytes::new(), request: None });
    heal(cluster);
    let replicas = cluster.processes.values().filter(|process| process.instance == 0);
    let finished = replicas.clone().filter(|p| matches!(p.replica.outcome(), Some(Outcome::Finished { code: 7, .. })));
    assert_eq!(finished.count(), replicas.clone().count(), "every replica finishes");
    assert_eq!(cluster.witness.counts.exits - before, replicas.count() as u64, "every replica says so once");
    let head = cluster.head(0).0;
    cluster.ask(id);
    cluster.deliver(id);
    assert_eq!(cluster.head(0).0, head, "a finished instance makes no records");
}
