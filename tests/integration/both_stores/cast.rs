//! The replicas of one instance, on any ground.

use std::{
    collections::BTreeMap,
    sync::{Arc, mpsc::channel},
    time::{Duration, Instant},
};

use ambrosia_core::{InstanceName, Limits, Lsn, ReplicaIndex};
use ambrosia_host::{Clock, SystemClock, client_of, entropy_u64, follow_checkpoints, fresh_uuid};
use ambrosia_storage::{Checkpoints, Instances, LogStore, Member, PrimaryInfo, Registered, Role, Store};
use ambrosia_tests::PATIENCE;

use super::ground::{Ground, Running};

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The replicas of one instance.
pub(crate) struct Cast<'a> {
    ground: &'a dyn Ground,
    store: Arc<dyn Store>,
    name: InstanceName,
    running: BTreeMap<u16, Box<dyn Running>>,
}

/// Registers an instance with a guest, and with so many replicas.
pub(crate) fn register(ground: &dyn Ground, name: &str, guest: &str, replicas: u16) {
    let (store, name) = (ground.store(), InstanceName::new(name).expect("a plain name"));
    let limits = Limits { fuel: 1 << 40, memory_bytes: 256 << 20 };
    let now = SystemClock::check().expect("the clock is right").now();
    let done = store.register(&name, &ground.guest(guest), entropy_u64(), fresh_uuid(), limits, now);
    assert_eq!(done.expect("it can be registered"), Registered::New);
    (1..replicas).for_each(|replica| store.add_replica(&name, ReplicaIndex(replica)).expect("it was registered"));
}

impl<'a> Cast<'a> {
    /// Registers an instance and starts so many replicas, the first of which is primary.
    pub(crate) fn of(ground: &'a dyn Ground, name: &str, guest: &str, replicas: u16) -> Cast<'a> {
        register(ground, name, guest, replicas);
        let mut cast = Cast::new(ground, name);
        cast.start(0);
        cast.wait_for_primary(|primary| primary.replica == ReplicaIndex(0));
        (1..replicas).for_each(|replica| cast.start_standby(replica));
        cast
    }

    /// An instance that was registered; nothing runs.
    pub(crate) fn new(ground: &'a dyn Ground, name: &str) -> Cast<'a> {
        let name = InstanceName::new(name).expect("a plain name");
        Cast { ground, store: ground.store(), name, running: BTreeMap::new() }
    }

    pub(crate) fn start(&mut self, replica: u16) {
        let running = self.ground.start(self.name.as_str(), replica);
        assert!(self.running.insert(replica, running).is_none(), "a replica runs once");
    }

    /// Starts a replica and waits until it is ready to take over.
    pub(crate) fn start_standby(&mut self, replica: u16) {
        self.start(replica);
        let durable = self.log().head().expect("it can be read").durable;
        self.wait_for_member(replica, |member| member.role == Role::Standby && member.applied >= durable);
    }

    pub(crate) fn kill(&mut self, replica: u16) -> Vec<String> {
        self.running.remove(&replica).expect("it runs").kill()
    }

    pub(crate) fn stop(&mut self, replica: u16) {
        self.running.remove(&replica).expect("it runs").stop();
    }

    /// Kills the primary; another one takes over.
    pub(crate) fn kill_primary(&mut self) -> (u16, Vec<String>) {
        let before = self.primary();
        let printed = self.kill(before.replica.0);
        let next = self.wait_for_primary(|next| next.epoch > before.epoch);
        assert_ne!(next.replica, before.replica);
        (before.replica.0, printed)
    }

    /// Waits until the guest of a replica has printed so many lines; returns all that it has.
    pub(crate) fn wait_for_lines(&self, replica: u16, count: usize) -> Vec<String> {
        let lines = self.running[&replica].stdout();
        let enough = lines.wait_for(count - 1, PATIENCE, |_| true).is_some();
        assert!(enough, "the guest has not printed {count} lines but {:#?}", lines.all());
        lines.all()
    }

    /// The primary, as soon as there is one.
    pub(crate) fn primary(&self) -> PrimaryInfo {
        self.wait_for_primary(|_| true)
    }

    /// Waits for a primary as it is wanted.
    pub(crate) fn wait_for_primary(&self, wanted: impl Fn(&PrimaryInfo) -> bool) -> PrimaryInfo {
        let members = self.store.members_of(&self.name).expect("it was registered");
        let (sender, news) = channel();
        let tell = move || {
            // The last news may come when they are not wanted any more.
            let _unwanted = sender.send(());
        };
        let _subscription = members.subscribe(Box::new(tell)).expect("there are threads");
        loop {
            let primary = members.primary().expect("it can be read");
            if let Some(primary) = primary.filter(&wanted) {
                return primary;
            }
            news.recv_timeout(PATIENCE).expect("there is another primary in time");
        }
    }

    /// Waits until what a replica tells of itself is as wanted.
    pub(crate) fn wait_for_member(&self, replica: u16, wanted: impl Fn(&Member) -> bool) -> Member {
        let members = self.store.members_of(&self.name).expect("it was registered");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let member = members.members(&[ReplicaIndex(replica)]).expect("they can be read").remove(0);
            if wanted(&member) {
                return member;
            }
            assert!(Instant::now() < deadline, "it did not become as wanted: {member:?}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }

    pub(crate) fn log(&self) -> Arc<dyn LogStore> {
        self.store.log(self.store.log_of(&self.name).expect("it was registered")).expect("it is there")
    }

    pub(crate) fn checkpoints(&self) -> Arc<dyn Checkpoints> {
        self.store.checkpoints(self.store.log_of(&self.name).expect("it was registered")).expect("they are there")
    }

    /// Has a checkpoint taken; at which record it is.
    pub(crate) fn take_checkpoint(&self) -> Lsn {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made");
        let taken = runtime.block_on(async {
            let (published, _subscription) = follow_checkpoints(&self.checkpoints()).expect("there are threads");
            let mut client = client_of(Arc::clone(&self.store), self.name.clone()).expect("it was registered");
            client.checkpoint(published, PATIENCE).await
        });
        taken.expect("one is taken").lsn
    }

    /// Kills all of them, and removes the instance.
    pub(crate) fn deregister(mut self) {
        let running: Vec<_> = self.running.keys().copied().collect();
        running.into_iter().for_each(|replica| drop(self.kill(replica)));
        self.store.deregister(&self.name).expect("nothing runs");
    }
}
