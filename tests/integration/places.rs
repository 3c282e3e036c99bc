//! Hosts that divide the replicas of a store among themselves: processes on a store on files and on one in PostgreSQL.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Lsn};
use ambrosia_storage::{HostName, Instances, Placing, Role, Store, ranked};
use ambrosia_tests::{Host, PATIENCE, Signal};
use serde_json::{Value, json};

use crate::{
    both_stores::{
        ground::{Ground, Processes},
        on_processes,
    },
    support::{Session, fails, register_with},
};

on_processes! {
    each_host_has_what_is_meant_for_it_whoever_comes_and_dies
    a_host_that_drains_hands_over_all_and_takes_part_again
    a_host_that_stood_still_goes_on_without_harm
    instances_come_and_go_while_they_are_served
}

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

const TWELVE: [&str; 12] = ["i0", "i1", "i2", "i3", "i4", "i5", "i6", "i7", "i8", "i9", "ia", "ib"];

/// Times that are short enough to be waited for.
fn start(ground: &Processes, name: &str) -> Host {
    let arguments = ["serve", "--host-name", name, "--host-grace", "1500ms", "--move-after", "700ms"];
    Host::start(ground.cluster().command(&arguments), |_| {}).expect("the program can be started")
}

fn register(ground: &Processes, instances: &[&str], replicas: &str) {
    instances.iter().for_each(|name| register_with(ground.cluster(), name, "counter", &["--replicas", replicas]));
}

/// Who has replicas of each instance, and who of them is primary.
type Places = BTreeMap<String, (BTreeSet<String>, Option<String>)>;

fn places(store: &dyn Store) -> Places {
    let hosts = store.hosts().hosts().expect("works");
    let mut places = Places::new();
    for entry in store.instances().expect("works") {
        let running = store.members(entry.log()).expect("works").running().expect("works");
        let host_of =
            |address| hosts.iter().find(|host| Some(&host.address) == address).map(|host| host.name.to_string());
        let of = |role: Option<Role>| {
            let members = running.iter().filter(move |member| role.is_none_or(|role| member.role == role));
            members.filter_map(|member| host_of(member.address.as_ref()))
        };
        let (all, primary) = (of(None).collect::<BTreeSet<_>>(), of(Some(Role::Primary)).next());
        places.insert(entry.name.to_string(), (all, primary));
    }
    places
}

/// Where they are meant to be, with these hosts.
fn meant(store: &dyn Store, hosts: &[&str], replicas: usize) -> Places {
    let hosts: Vec<_> = hosts.iter().map(|host| HostName::new(host).expect("a name")).collect();
    let entries = store.instances().expect("works");
    let of = |uuid| {
        let order: Vec<_> = ranked(uuid, &hosts).into_iter().take(replicas).map(ToString::to_string).collect();
        (order.iter().cloned().collect(), order.first().cloned())
    };
    entries.into_iter().map(|entry| (entry.name.to_string(), of(entry.uuid))).collect()
}

/// Looks until all is as wanted.
fn wait_for(store: &dyn Store, what: &str, wanted: impl Fn(&Places) -> bool) -> Places {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let places = places(store);
        if wanted(&places) {
            return places;
        }
        assert!(Instant::now() < deadline, "{what}: {places:#?}");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// Waits until each instance has its replicas, and its primary, where they are meant to be.
fn wait_until_as_meant(store: &dyn Store, hosts: &[&str], replicas: usize) {
    let meant = meant(store, hosts, replicas);
    wait_for(store, &format!("not divided among {hosts:?} as {meant:#?}"), |places| *places == meant);
}

fn wait_for_primaries(store: &dyn Store) {
    wait_for(store, "some have no primary", |places| places.values().all(|(_, primary)| primary.is_some()));
}

/// Clients that call in a loop, one an instance. Each answer says how many calls were done, so that one which was lost, or done twice, is
/// seen at once.
struct Callers {
    is_over: Arc<AtomicBool>,
    /// How many calls of each were answered.
    answered: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<u64>>,
}

impl Callers {
    fn begin(ground: &Processes, instances: &[&str]) -> Callers {
        let is_over = Arc::new(AtomicBool::new(false));
        let answered: Vec<_> = instances.iter().map(|_| Arc::<AtomicU64>::default()).collect();
        let begin = |(instance, answered): (&&str, &Arc<AtomicU64>)| {
            let answered = Arc::clone(answered);
            let (store, is_over, instance) = (ground.store(), Arc::clone(&is_over), (*instance).to_owned());
            std::thread::spawn(move || {
                let mut session = Session::on(store, &instance);
                let mut count = 0;
                while !is_over.load(Ordering::SeqCst) {
                    count += 1;
                    assert_eq!(session.call("add", json!([1])), count, "of {instance}");
                    answered.store(count, Ordering::SeqCst);
                }
                count
            })
        };
        let threads = instances.iter().zip(&answered).map(begin).collect();
        let callers = Callers { is_over, answered, threads };
        callers.go_on();
        callers
    }

    /// Waits until each has had ten more answers.
    fn go_on(&self) {
        let deadline = Instant::now() + PATIENCE;
        let before: Vec<_> = self.answered.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        let go_on = |(count, before): (&Arc<AtomicU64>, &u64)| count.load(Ordering::SeqCst) >= before + 10;
        while !self.answered.iter().zip(&before).all(go_on) {
            assert!(Instant::now() < deadline, "nothing is answered any more: {:?}, before {before:?}", self.answered);
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    /// Sees that every call was done once.
    fn end(self, ground: &Processes, instances: &[&str]) {
        self.go_on();
        self.is_over.store(true, Ordering::SeqCst);
        for (thread, instance) in self.threads.into_iter().zip(instances) {
            let count = thread.join().expect("its calls were answered as they should be");
            assert_eq!(Session::on(ground.store(), instance).call("total", json!([])), count, "of {instance}");
        }
    }
}

fn each_host_has_what_is_meant_for_it_whoever_comes_and_dies(ground: &Processes) {
    register(ground, &TWELVE, "2");
    let store = ground.store();
    // One alone has one replica of each, and `status` says what is missing.
    let a = start(ground, "a");
    wait_until_as_meant(&*store, &["a"], 2);
    let status = ground.cluster().status("i0");
    let unclaimed = json!({"replicas": status["unclaimed"]["replicas"],
        "reason": "1 of 2 replicas: only 1 host is alive and takes places"});
    assert_eq!(status["unclaimed"], unclaimed);
    fails(ground.cluster(), &["serve", "--host-name", "a"], &["a host a runs already", "--host-name"]);
    let called = &TWELVE[..4];
    let callers = Callers::begin(ground, called);
    let mut b = start(ground, "b");
    let c = start(ground, "c");
    wait_until_as_meant(&*store, &["a", "b", "c"], 2);
    // Standbys become primaries at once, and what was meant for it others take when the grace is over.
    let of_b = meant(&*store, &["a", "b", "c"], 2).into_values().filter(|(_, first)| first.as_deref() == Some("b"));
    let (killed, of_b) = (Instant::now(), of_b.count());
    b.kill();
    wait_for_primaries(&*store);
    let without_b = |places: &Places| places.values().all(|(_, primary)| primary.as_deref() != Some("b"));
    wait_for(&*store, "b is still primary", |places| {
        without_b(places) && places.values().all(|(_, primary)| primary.is_some())
    });
    let taken_over = killed.elapsed();
    wait_for(&*store, "others have not taken its places", |places| {
        places.values().all(|(all, _)| *all == ["a", "c"].map(str::to_owned).into())
    });
    assert!(killed.elapsed() >= Duration::from_millis(1500), "nothing moves when a host is only started again");
    wait_until_as_meant(&*store, &["a", "c"], 2);
    eprintln!("{of_b} primaries of the host that was killed had successors after {taken_over:?}");
    // It comes back under its name, and has what it had.
    let b = start(ground, "b");
    wait_until_as_meant(&*store, &["a", "b", "c"], 2);
    callers.end(ground, called);
    let hosts = status_of_hosts(ground);
    let count = |field: &str| hosts.iter().map(|host| host[field].as_u64().expect("a number")).sum::<u64>();
    assert_eq!((count("primaries"), count("standbys")), (12, 12), "{hosts:?}");
    assert!(hosts.iter().all(|host| host["state"] == "alive" && host["draining"] == false), "{hosts:?}");
    for mut host in [a, b, c] {
        host.signal(Signal::Terminate);
        assert_eq!(host.exit_code(), 0, "{}", host.said());
        // On a machine that is busy a replica may stand still, and say so.
        let said = host.said();
        let is_wrong = |line: &&str| line.contains("ERROR") && !line.contains("this replica stands still");
        assert_eq!(said.lines().find(is_wrong), None, "{said}");
    }
}

fn status_of_hosts(ground: &Processes) -> Vec<Value> {
    let printed = ground.cluster().must(&["status", "--json"]);
    let status: Value = serde_json::from_str(&printed).expect("status prints JSON");
    status["hosts"].as_array().expect("a list").clone()
}

fn a_host_that_drains_hands_over_all_and_takes_part_again(ground: &Processes) {
    register(ground, &TWELVE[..6], "2");
    // It has only one place, so who drains ends before another begins.
    register(ground, &["z"], "1");
    let store = ground.store();
    let _a = start(ground, "a");
    let _b = start(ground, "b");
    let without_z = |places: &Places| places.iter().all(|(name, (all, _))| name == "z" || all.len() == 2);
    wait_for(&*store, "two hosts have all", |places| {
        without_z(places) && places.values().all(|(_, primary)| primary.is_some())
    });
    let called = ["i0", "i1", "z"];
    let callers = Callers::begin(ground, &called);
    let printed = ground.cluster().must(&["drain", "--host", "a"]);
    assert!(printed.contains("host a has no replicas any more"), "{printed}");
    assert!(printed.contains("are left: "), "{printed}");
    let all_on_b = |places: &Places| {
        places.values().all(|(all, primary)| *all == ["b".to_owned()].into() && primary.as_deref() == Some("b"))
    };
    wait_for(&*store, "b has all", all_on_b);
    let hosts = status_of_hosts(ground);
    let a = hosts.iter().find(|host| host["name"] == "a").expect("it runs");
    let seen = (&a["state"], &a["draining"], &a["primaries"], &a["standbys"]);
    assert_eq!(seen, (&json!("alive"), &json!(true), &json!(0), &json!(0)));
    fails(ground.cluster(), &["drain", "--host", "nobody"], &["no host takes places under the name nobody", "a, b"]);
    assert_eq!(ground.cluster().must(&["drain", "--host", "a", "--undo"]), "host a takes part again\n");
    wait_for(&*store, "a has its share again", without_z);
    callers.end(ground, &called);
}

fn a_host_that_stood_still_goes_on_without_harm(ground: &Processes) {
    register(ground, &TWELVE[..6], "2");
    let store = ground.store();
    let hosts = [start(ground, "a"), start(ground, "b"), start(ground, "c")];
    wait_until_as_meant(&*store, &["a", "b", "c"], 2);
    let called = &TWELVE[..6];
    let callers = Callers::begin(ground, called);
    // Of one in 729 sets of instances none is meant for it.
    let had_any = places(&*store).values().any(|(all, _)| all.contains("a"));
    hosts[0].signal(Signal::Stop);
    let others_reign =
        |places: &Places| places.values().all(|(_, primary)| primary.as_deref().is_some_and(|primary| primary != "a"));
    wait_for(&*store, "others have not taken over", others_reign);
    // Until others have taken what it had, where its places are not held by a lock that it has.
    let others_have_all = |places: &Places| {
        places.values().all(|(all, _)| all.iter().filter(|host| *host != "a").count() == 2) || is_on_files(ground)
    };
    wait_for(&*store, "others have not taken its places", others_have_all);
    hosts[0].signal(Signal::Continue);
    wait_until_as_meant(&*store, &["a", "b", "c"], 2);
    callers.end(ground, called);
    if had_any && !is_on_files(ground) {
        assert!(hosts[0].said().contains("another host has it by now"), "{}", hosts[0].said());
    }
    // What was written is one history, whoever wrote it.
    for entry in store.instances().expect("works") {
        let records = store.scan(entry.log(), Lsn(1)).expect("works").map(|found| found.expect("whole").record);
        let epochs: Vec<_> = records.map(|record| record.header().epoch).collect();
        assert!(epochs.is_sorted(), "of {}: {epochs:?}", entry.name);
    }
}

fn is_on_files(ground: &Processes) -> bool {
    ground.cluster().store().is_dir()
}

fn instances_come_and_go_while_they_are_served(ground: &Processes) {
    register(ground, &["early"], "2");
    register_with(ground.cluster(), "fails", "faulty", &["--replicas", "2"]);
    let store = ground.store();
    let hosts = [start(ground, "a"), start(ground, "b")];
    wait_for(&*store, "served", |places| places.values().all(|(all, _)| all.len() == 2));
    register(ground, &["late"], "2");
    wait_for(&*store, "the late one is served", |places| places.len() == 3 && places["late"].0.len() == 2);
    assert_eq!(Session::on(ground.store(), "late").call("add", json!([1])), 1);
    // One that halts is not begun again and again, and what others do goes on.
    wait_for_primaries(&*store);
    fails(ground.cluster(), &["send", "--instance", "fails", "--method", "trap"], &["instance fails halted at lsn"]);
    for host in &hosts {
        host.wait_for_word("of instance fails ended: instance fails halted at lsn");
    }
    // Whoever removes an instance need not end the hosts.
    ground.cluster().must(&["deregister-instance", "early", "--yes"]);
    ground.cluster().must(&["deregister-instance", "fails", "--yes"]);
    let name = InstanceName::new("early").expect("plain");
    assert!(store.instance(&name).is_err());
    assert_eq!(Session::on(ground.store(), "late").call("add", json!([1])), 2);
    register(ground, &["early"], "2");
    wait_for(&*store, "it is served anew", |places| places["early"].0.len() == 2);
    assert_eq!(Session::on(ground.store(), "early").call("add", json!([1])), 1, "it starts afresh");
    for host in &hosts {
        let said = host.said();
        let count = said.matches("of instance fails ended").count();
        assert_eq!(count, 1, "it is said once: {said}");
    }
}

#[test]
fn what_does_not_fit_is_not_taken_and_said_once() {
    let ground = Processes::on_files();
    for instance in ["x", "y"] {
        register_with(ground.cluster(), instance, "counter", &["--memory-mib", "64"]);
    }
    let arguments = ["serve", "--host-name", "a", "--process-memory", "127MiB"];
    let host = Host::start(ground.cluster().command(&arguments), |_| {}).expect("the program can be started");
    host.wait_for_word("the guests of 2 instances may take 128 MiB of memory together");
    let one = |places: &Places| places.values().filter(|(all, _)| all.len() == 1).count() == 1;
    wait_for(&*ground.store(), "one of them is served", one);
    // It is tried again, and not said again.
    ground.cluster().must(&["deregister-instance", "x", "--yes"]);
    let other = |places: &Places| places.len() == 1 && places["y"].0.len() == 1;
    wait_for(&*ground.store(), "there is room for the other one", other);
    assert_eq!(host.said().matches("may take 128 MiB").count(), 1, "{}", host.said());
}

#[test]
fn a_host_that_drains_keeps_the_only_replica_while_nobody_lives_who_could_take_it() {
    let ground = Processes::on_files();
    register(&ground, &["z"], "1");
    let store = ground.store();
    let (a, b) = (start(&ground, "a"), start(&ground, "b"));
    wait_for_primaries(&*store);
    let name = if places(&*store)["z"].1.as_deref() == Some("a") { "a" } else { "b" };
    let (keeper, mut other) = if name == "a" { (a, b) } else { (b, a) };
    other.kill();
    let drain = Host::start(ground.cluster().command(&["drain", "--host", name]), |_| {}).expect("it can be started");
    drain.wait_for_print("no other replica runs of z");
    // Until the dead one counts as gone, and beyond.
    let until = Instant::now() + Duration::from_secs(3);
    let mut session = Session::on(ground.store(), "z");
    let mut count = 0;
    while Instant::now() < until {
        count += 1;
        assert_eq!(session.call("add", json!([1])), count);
    }
    assert!(!keeper.said().contains("gives its place up"), "{}", keeper.said());
}

#[test]
fn a_host_that_drains_keeps_the_only_replica_that_is_meant_for_a_host_which_has_died() {
    let ground = Processes::on_files();
    register(&ground, &TWELVE, "1");
    let store = ground.store();
    let start = |name| {
        let arguments = ["serve", "--host-name", name, "--host-grace", "60min", "--move-after", "60min"];
        Host::start(ground.cluster().command(&arguments), |_| {}).expect("the program can be started")
    };
    let _keeper = start("a");
    wait_until_as_meant(&*store, &["a"], 1);
    let (_heir, mut dead) = (start("b"), start("d"));
    // Hosts look twice a second, and each look here has 20 ms to it.
    let wait_until_alive = |count: usize| {
        let looks = AtomicU64::new(0);
        wait_for(&*store, "others see it, too", |_| {
            let alive = store.hosts().hosts().expect("works").iter().filter(|host| host.is_alive).count();
            alive == count && looks.fetch_add(1, Ordering::SeqCst) >= 75
        });
    };
    wait_until_alive(3);
    dead.kill();
    wait_until_alive(2);
    let drain = Host::start(ground.cluster().command(&["drain", "--host", "a"]), |_| {}).expect("it can be started");
    let mut divided = meant(&*store, &["b", "d"], 1);
    for (all, primary) in divided.values_mut().filter(|(_, primary)| primary.as_deref() == Some("d")) {
        (*all, *primary) = (BTreeSet::from(["a".to_owned()]), Some("a".to_owned()));
    }
    assert!(divided.values().any(|(all, _)| all.contains("a")), "one of twelve is meant for it: {divided:#?}");
    wait_for(&*store, "what the living one is meant to have has gone there", |places| *places == divided);
    drain.wait_for_print("no other replica runs of");
    for name in divided.iter().filter(|(_, (all, _))| all.contains("a")).map(|(name, _)| name) {
        assert_eq!(Session::on(ground.store(), name).call("add", json!([1])), 1, "{name} is served");
    }
}

#[test]
fn a_deregistration_that_is_interrupted_or_killed_leaves_an_instance_that_can_be_served() {
    let ground = Processes::on_files();
    register(&ground, &["kept"], "1");
    let (store, name) = (ground.store(), InstanceName::new("kept").expect("plain"));
    let uuid = store.instance(&name).expect("it is there").uuid;
    let host = start(&ground, "a");
    wait_for_primaries(&*store);
    let begin = || {
        // It ends nothing meanwhile.
        host.signal(Signal::Stop);
        let arguments = ["deregister-instance", "kept", "--yes"];
        let verb = Host::start(ground.cluster().command(&arguments), |_| {}).expect("it can be started");
        wait_for(&*store, "it waits for the host", |_| store.retiring().expect("works").contains(&uuid));
        verb
    };
    let mut verb = begin();
    verb.signal(Signal::Interrupt);
    assert_eq!(verb.exit_code(), 1);
    assert!(verb.said().contains("nothing was deleted"), "{}", verb.said());
    assert!(store.retiring().expect("works").is_empty());
    host.signal(Signal::Continue);
    assert_eq!(Session::on(ground.store(), "kept").call("add", json!([1])), 1);

    let mut verb = begin();
    verb.kill();
    host.signal(Signal::Continue);
    wait_for(&*store, "the host ends it", |places| places["kept"].0.is_empty());
    let said = ground.cluster().must(&["deregister-instance", "kept", "--undo"]);
    assert!(said.contains("instance kept is served again"), "{said}");
    wait_for_primaries(&*store);
    assert_eq!(Session::on(ground.store(), "kept").call("add", json!([1])), 2);
}
