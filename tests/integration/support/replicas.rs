//! The replicas of one instance, and which of them reigns.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, Sender, channel},
};

use ambrosia_tests::{Cluster, Host, PATIENCE, Reign, Signal};

/// All processes that run, or have run, an instance.
pub(crate) struct Replicas<'a> {
    cluster: &'a Cluster,
    instance: &'static str,
    more: Vec<&'static str>,
    hosts: BTreeMap<u16, Host>,
    news: (Sender<Reign>, Receiver<Reign>),
    newest: Option<Reign>,
    /// What processes that are gone had printed, by the epoch of their first reign.
    past: Vec<(u64, Vec<String>)>,
}

impl<'a> Replicas<'a> {
    /// None runs yet.
    pub(crate) fn none(cluster: &'a Cluster, instance: &'static str, more: &[&'static str]) -> Self {
        let more = more.to_vec();
        Replicas { cluster, instance, more, hosts: BTreeMap::new(), news: channel(), newest: None, past: Vec::new() }
    }

    /// Registers `instance` with `guest` and starts its replicas: 0 is primary, the others have caught up.
    pub(crate) fn of(cluster: &'a Cluster, instance: &'static str, guest: &str, count: u16) -> Self {
        Replicas::of_with(cluster, instance, guest, count, &[])
    }

    /// The same, with further arguments for `run`.
    pub(crate) fn of_with(
        cluster: &'a Cluster,
        instance: &'static str,
        guest: &str,
        count: u16,
        more: &[&'static str],
    ) -> Self {
        cluster.register(instance, guest, count);
        let mut replicas = Replicas::none(cluster, instance, more);
        replicas.start_all(count);
        replicas
    }

    /// Starts replicas 0 to `count`: the first is primary, the others have caught up.
    pub(crate) fn start_all(&mut self, count: u16) {
        self.start(0);
        assert_eq!(self.next_reign().replica, 0, "nobody else is there");
        for replica in 1..count {
            self.start(replica);
        }
        for replica in 1..count {
            self.host(replica).wait_until_caught_up();
        }
    }

    /// Starts a replica.
    pub(crate) fn start(&mut self, replica: u16) {
        self.start_with(replica, &[]);
    }

    /// Adds one more replica and starts it, with further arguments for `run`. Returns its number.
    pub(crate) fn add(&mut self, more: &[&str]) -> u16 {
        let replicas = self.cluster.status(self.instance)["replicas"].as_array().map_or(0, Vec::len);
        let replica = u16::try_from(replicas).expect("there are few");
        self.cluster.must(&["add-replica", "--instance", self.instance, "--replica", &replica.to_string()]);
        self.start_with(replica, more);
        replica
    }

    fn start_with(&mut self, replica: u16, more: &[&str]) {
        let news = self.news.0.clone();
        let hear = move |line: &str| {
            if let Some(reign) = Reign::parse(line) {
                // It fails only when the test is over.
                let _over = news.send(reign);
            }
        };
        let more = [&self.more[..], more].concat();
        let host = self.cluster.start_heard(self.instance, replica, &more, hear);
        assert!(self.hosts.insert(replica, host).is_none(), "replica {replica} is not running");
    }

    /// Starts a replica and waits until it follows.
    pub(crate) fn start_standby(&mut self, replica: u16) {
        self.start(replica);
        self.host(replica).wait_until_caught_up();
    }

    /// A running replica.
    pub(crate) fn host(&self, replica: u16) -> &Host {
        &self.hosts[&replica]
    }

    /// A running replica.
    pub(crate) fn host_mut(&mut self, replica: u16) -> &mut Host {
        self.hosts.get_mut(&replica).expect("it was started")
    }

    /// The newest reign known.
    pub(crate) fn reign(&mut self) -> Reign {
        while let Ok(reign) = self.news.1.try_recv() {
            self.note(reign);
        }
        self.newest.expect("one replica became primary")
    }

    /// The replica that reigns.
    pub(crate) fn primary(&mut self) -> u16 {
        self.reign().replica
    }

    /// Waits for a reign newer than the newest known.
    pub(crate) fn next_reign(&mut self) -> Reign {
        let before = self.newest.map_or(0, |reign| reign.epoch);
        while self.newest.map_or(0, |reign| reign.epoch) == before {
            let Ok(reign) = self.news.1.recv_timeout(PATIENCE) else {
                panic!("nobody became primary:\n{}", self.said())
            };
            self.note(reign);
        }
        self.newest.expect("noted just above")
    }

    /// Waits until that reign is known.
    pub(crate) fn wait_for_reign(&mut self, epoch: u64) -> Reign {
        while self.newest.is_none_or(|newest| newest.epoch < epoch) {
            self.next_reign();
        }
        self.reign()
    }

    fn note(&mut self, reign: Reign) {
        let newest = self.newest.map_or(0, |reign| reign.epoch);
        assert_ne!(reign.epoch, newest, "an epoch has one primary");
        if reign.epoch > newest {
            self.newest = Some(reign);
        }
    }

    /// SIGKILL to one replica.
    pub(crate) fn kill(&mut self, replica: u16) {
        let mut host = self.hosts.remove(&replica).expect("it runs");
        host.kill();
        self.bury(host);
    }

    /// SIGKILL to one replica, which is started again.
    pub(crate) fn restart(&mut self, replica: u16) {
        self.kill(replica);
        self.start(replica);
    }

    fn bury(&mut self, host: Host) {
        let epoch = host.stderr.all().iter().find_map(|line| Reign::parse(line)).map_or(u64::MAX, |reign| reign.epoch);
        self.past.push((epoch, host.printed()));
    }

    /// SIGKILL to the primary; another takes over. Returns which one is dead.
    pub(crate) fn kill_primary(&mut self) -> u16 {
        let primary = self.primary();
        self.kill(primary);
        let next = self.next_reign();
        assert_ne!(next.replica, primary);
        primary
    }

    /// SIGKILL to the standbys, and then to the primary, so that only `survivor` is left.
    pub(crate) fn kill_all_but(&mut self, survivor: u16) {
        let primary = self.primary();
        let standbys: Vec<u16> = self.hosts.keys().copied().filter(|replica| *replica != primary).collect();
        standbys
            .into_iter()
            .chain([primary])
            .filter(|replica| *replica != survivor)
            .for_each(|replica| self.kill(replica));
    }

    /// SIGKILL to all, without waiting for one to be gone before the next is hit.
    pub(crate) fn kill_all(&mut self) {
        self.hosts.values().for_each(|host| host.signal(Signal::Kill));
        while let Some((_, mut host)) = self.hosts.pop_first() {
            host.kill();
            self.bury(host);
        }
        while let Ok(reign) = self.news.1.try_recv() {
            self.note(reign);
        }
    }

    /// Waits until a replica has ended by itself; returns its exit code and what it said.
    pub(crate) fn wait_for_end(&mut self, replica: u16) -> (i32, String) {
        let mut host = self.hosts.remove(&replica).expect("it runs");
        let code = host.exit_code();
        let said = host.said();
        self.bury(host);
        (code, said)
    }

    /// All that all of them have printed, in the order of their reigns.
    pub(crate) fn printed(&self) -> Vec<String> {
        let mut all = self.past.clone();
        for host in self.hosts.values() {
            let epoch = host.stderr.all().iter().find_map(|line| Reign::parse(line));
            all.push((epoch.map_or(u64::MAX, |reign| reign.epoch), host.printed()));
        }
        all.sort_by_key(|(epoch, _)| *epoch);
        all.into_iter().flat_map(|(_, lines)| lines).collect()
    }

    fn said(&self) -> String {
        let said = self.hosts.iter().map(|(replica, host)| format!("-- replica {replica}\n{}", host.said()));
        said.collect::<Vec<_>>().join("\n")
    }
}
