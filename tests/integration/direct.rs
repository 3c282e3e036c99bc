//! Requests over HTTP to a primary that lives in the process of the door: no socket is between the two of them, and nobody can tell by anything
//! but the time.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Limits, Lsn, ReplicaIndex};
use ambrosia_host::{Clock, Embedded, EmbeddedOptions, MemberOptions, Modules, SystemClock, entropy_u64, fresh_uuid};
use ambrosia_storage::{Instances, MemoryStore, Store};
use ambrosia_tests::{Cluster, Host, PATIENCE, Signal};

use crate::{
    serving::serve,
    support::{Response, cluster, curl, http_address, post, role, try_post, wait_for_status},
};

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        thread::park_timeout(LOOK_INTERVAL);
    }
}

/// Open connections with that address, as the kernel counts their ends there.
fn connections_with(address: SocketAddr) -> usize {
    /// As the kernel writes that a connection is open.
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux tells its sockets");
    let port = format!(":{:04X}", address.port());
    let is_one = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1).is_some_and(|local| local.ends_with(&port)) && fields.get(3) == Some(&ESTABLISHED)
    };
    table.lines().filter(is_one).count()
}

/// Where the primary of `instance` takes connections.
fn primary_address(cluster: &Cluster, instance: &str) -> SocketAddr {
    let status = cluster.status(instance);
    let address = status["primary"]["address"].as_str().expect("it has a primary");
    address.parse().expect("an address")
}

#[test]
fn a_primary_in_the_process_of_the_door_is_reached_without_a_socket() {
    let cluster = cluster();
    cluster.register("counter", "asked", 1);
    let host = serve(&cluster, &["--all", "--http", "127.0.0.1:0"]);
    wait_for_status(&cluster, "counter", |status| role(status, 0) == "primary");
    let (door, address) = (http_address(&host), primary_address(&cluster, "counter"));
    assert_eq!(post(door, "/v1/counter/add", Some("a"), "[2]").body, "2");
    assert_eq!(curl(door, "/v1/counter/total", &[]).body, "2");
    assert_eq!(post(door, "/v1/counter/add", Some("a"), "[2]").body, "2", "its key makes it one");
    assert_eq!(post(door, "/v1/counter/add", Some("a"), "[3]").status, 422, "and belongs to what it was given for");
    assert_eq!(connections_with(address), 0, "the door speaks to the member itself");
    // Another door has to connect, and keeps that.
    cluster.register("porter", "counter", 1);
    let other = serve(&cluster, &["--instance", "porter", "--http", "127.0.0.1:0"]);
    let elsewhere = http_address(&other);
    assert_eq!(post(elsewhere, "/v1/counter/add", Some("a"), "[2]").body, "2");
    assert_eq!(connections_with(address), 1);
}

/// Those who post `add(1)` again and again, each with keys of its own.
struct Posters {
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<u64>>>,
}

impl Posters {
    /// Each posts at the first of these doors that answers, and repeats with the same key what was not answered.
    fn start(doors: Vec<SocketAddr>) -> Posters {
        const POSTERS: usize = 6;
        let (done, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let threads = (0..POSTERS).map(|poster| {
            let (doors, done, stop) = (doors.clone(), Arc::clone(&done), Arc::clone(&stop));
            thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    let key = format!("poster-{poster}-{}", answers.len());
                    let response = post_somewhere(&doors, &key);
                    assert_eq!(response.status, 200, "{response:?}");
                    answers.push(response.json().as_u64().expect("a number"));
                    done.fetch_add(1, Ordering::AcqRel);
                }
                answers
            })
        });
        Posters { threads: threads.collect(), done, stop }
    }

    fn wait_for(&self, more: u64) {
        let wanted = self.done.load(Ordering::Acquire) + more;
        wait_until("requests are answered", || self.done.load(Ordering::Acquire) >= wanted);
    }

    /// Sees that each was done, and once.
    fn check(self, door: SocketAddr) {
        self.stop.store(true, Ordering::Release);
        let answers = self.threads.into_iter().flat_map(|thread| thread.join().expect("no request failed"));
        let answers: Vec<u64> = answers.collect();
        let count = answers.len() as u64;
        assert_eq!(answers.into_iter().collect::<BTreeSet<_>>(), (1..=count).collect(), "each was done once");
        assert_eq!(post(door, "/v1/counter/total", None, "[]").json(), count);
    }
}

fn post_somewhere(doors: &[SocketAddr], key: &str) -> Response {
    let deadline = Instant::now() + PATIENCE;
    loop {
        for door in doors {
            if let Some(response) = try_post(*door, "/v1/counter/add", key, "[1]") {
                return response;
            }
        }
        assert!(Instant::now() < deadline, "no door answers");
    }
}

#[test]
fn requests_are_held_while_the_member_beside_the_door_is_deposed_and_becomes_primary_again() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let host = cluster.start_with("counter", 0, &["--http", "127.0.0.1:0"], |_| {});
    host.wait_until_primary();
    let door = http_address(&host);
    let is = |replica, wanted: &str| {
        wait_for_status(&cluster, "counter", |status| role(status, replica) == wanted);
    };
    let posters = Posters::start(vec![door]);
    for _ in 0..3 {
        let mut other: Host = cluster.start("counter", 1);
        other.wait_until_caught_up();
        posters.wait_for(30);
        // What the member has taken, and what it has answered and may not show any more, is under way now.
        host.signal(Signal::Stop);
        is(1, "primary");
        host.signal(Signal::Continue);
        is(0, "standby");
        posters.wait_for(30);
        other.kill();
        is(0, "primary");
        posters.wait_for(30);
    }
    posters.check(door);
}

#[test]
fn requests_are_done_once_although_primaries_are_killed_with_their_doors() {
    let cluster = cluster();
    cluster.register("counter", "counter", 2);
    let start = |replica| {
        let host = cluster.start_with("counter", replica, &["--http", "127.0.0.1:0"], |_| {});
        host.wait_until_caught_up();
        let door = http_address(&host);
        (host, door)
    };
    let again = |replica, door: SocketAddr| {
        let host = cluster.start_with("counter", replica, &["--http", &door.to_string()], |_| {});
        host.wait_until_caught_up();
        host
    };
    let ((first, door), (second, other)) = (start(0), start(1));
    let (mut hosts, doors) = ([first, second], [door, other]);
    let posters = Posters::start(doors.to_vec());
    for round in 0..4 {
        let primary = round % 2;
        wait_for_status(&cluster, "counter", |status| role(status, primary as u16) == "primary");
        posters.wait_for(30);
        hosts[primary].kill();
        posters.wait_for(30);
        hosts[primary] = again(primary as u16, doors[primary]);
    }
    posters.wait_for(30);
    posters.check(door);
}

#[test]
fn nothing_is_answered_before_it_is_durable() {
    let cluster = cluster();
    let (store, name) = (MemoryStore::default(), InstanceName::new("counter").expect("a plain name"));
    let guest = std::fs::read(cluster.guest("asked")).expect("the guest was built");
    let limits = Limits { fuel: 1 << 40, memory_bytes: 256 << 20 };
    let now = SystemClock::check().expect("the clock is right").now();
    store.register(&name, &guest, entropy_u64(), fresh_uuid(), limits, now).expect("it can be registered");
    let log = store.log_of(&name).expect("it was registered");
    let (disk, members) = (store.memory_log(log).expect("there is one"), store.members(log).expect("there are some"));
    let there: Arc<dyn Store> = Arc::new(store);
    let options = EmbeddedOptions {
        instance: name,
        replica: ReplicaIndex(0),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)).into(),
        http: Some(([127, 0, 0, 1], 0).into()),
        member: MemberOptions::default(),
        print: Arc::new(|_, _| {}),
    };
    let modules = Arc::new(Modules::new(Arc::clone(&there)));
    let embedded = Embedded::start(there, modules, options).expect("it can be started");
    let door = embedded.http().expect("it was asked for");
    let applied = || members.running().expect("it can be read").first().map_or(Lsn(0), |member| member.applied);
    assert_eq!(post(door, "/v1/counter/add", None, "[1]").body, "1");

    disk.hold();
    let before = applied();
    let asked =
        ["POST", "POST", "POST"].map(|_| thread::spawn(move || post(door, "/v1/counter/add", None, "[1]").body));
    wait_until("the guest has handled it", || applied() > before);
    // It sees what is not durable, so it waits too.
    let query = thread::spawn(move || curl(door, "/v1/counter/total", &[]).body);
    for _ in 0..20 {
        assert_eq!(curl(door, "/healthz", &[]).status, 200, "the door itself waits for nobody");
    }
    assert!(asked.iter().all(|asked| !asked.is_finished()) && !query.is_finished(), "nothing of it is durable");
    disk.release();
    let answers: BTreeSet<_> = asked.into_iter().map(|asked| asked.join().expect("it is answered")).collect();
    assert_eq!(answers, ["2", "3", "4"].map(str::to_owned).into());
    assert!(["2", "3", "4"].contains(&query.join().expect("it is answered").as_str()));
    embedded.stop();
    embedded.wait().expect("it ends well");
}
