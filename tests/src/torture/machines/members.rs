//! Three members of etcd, each on a machine of its own, and what goes wrong with them.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use ambrosia_test_database::{Apart, Etcd};
use anyhow::{Context, ensure};

use super::super::{disk::Disk, namespace::bind_to_this_thread};
use super::{
    network::{Machine, Machines},
    plan::EtcdFault,
    site::Papers,
};
use crate::{Cluster, PATIENCE};

const MEMBERS: [Machine; 3] = [Machine(0), Machine(1), Machine(2)];

/// As docs/etcd.md wants them on a quick network, and few files that are kept without being needed, since disks are small.
const SETTINGS: [&str; 5] = [
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--quota-backend-bytes=2147483648",
    "--max-wals=1",
    "--max-snapshots=1",
];

/// Between two looks at what nothing announces.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

pub(crate) struct Members {
    /// Gone before the disks that they use.
    etcd: Etcd,
    /// A small one of each, where disks can be mounted.
    disks: Option<Vec<Disk>>,
    /// For what is large: a directory that all hosts see.
    blobs: PathBuf,
    /// Whom the fault has hit.
    hit: Vec<usize>,
}

impl Members {
    /// Begins all of them.
    pub(crate) fn begin(cluster: &Cluster, papers: &Papers, machines: &Machines) -> anyhow::Result<Members> {
        let apart = MEMBERS.map(|machine| {
            let address = machine.address();
            let (certificate, key) = papers.of(&address);
            Apart { address, certificate, key }
        });
        let etcd = Etcd::apart(cluster.directory(), &apart, &SETTINGS).context("etcd is not there")?;
        let blobs = cluster.file("blobs");
        std::fs::create_dir(&blobs)?;
        let mount = |number: usize| Disk::mount(&etcd.data(number), &cluster.file(&format!("disk-{number}.image")));
        let disks = match Disk::impossible() {
            None => Some((0..MEMBERS.len()).map(mount).collect::<anyhow::Result<_>>()?),
            Some(_) => None,
        };
        let mut members = Members { etcd, disks, blobs, hit: Vec::new() };
        members.start(machines, &[0, 1, 2]);
        Ok(members)
    }

    /// Where they are, for who asks by TLS.
    pub(crate) fn url(&self, papers: &Papers) -> String {
        let url = self.etcd.url_with("torture", &format!("file:{}", self.blobs.display()));
        format!("{url}&sslrootcert={}", papers.ca().display())
    }

    /// Why that can't go wrong here, if so.
    pub(crate) fn impossible(&self, fault: EtcdFault) -> Option<String> {
        match fault {
            EtcdFault::LeaderFull | EtcdFault::LeaderSlow if self.disks.is_none() => Disk::impossible(),
            EtcdFault::LeaderSlow => Disk::slow_impossible(),
            _ => None,
        }
    }

    pub(crate) fn begin_fault(&mut self, machines: &Machines, fault: EtcdFault) -> anyhow::Result<()> {
        let leader = self.leader(machines)?;
        let (next, last) = ((leader + 1) % MEMBERS.len(), (leader + 2) % MEMBERS.len());
        self.hit = match fault {
            EtcdFault::FollowerKilled => vec![next],
            EtcdFault::MajorityKilled => vec![leader, last],
            _ => vec![leader],
        };
        match fault {
            EtcdFault::LeaderKilled | EtcdFault::FollowerKilled | EtcdFault::MajorityKilled => {
                self.hit.iter().for_each(|member| self.etcd.kill(*member));
            }
            EtcdFault::LeaderCut => machines.cut(MEMBERS[leader])?,
            EtcdFault::LeaderStopped => self.etcd.signal(leader, "STOP"),
            EtcdFault::LeaderSlow => self.disk(leader)?.slow_down(true)?,
            EtcdFault::LeaderFull => self.disk(leader)?.fill(0)?,
        }
        Ok(())
    }

    pub(crate) fn end_fault(&mut self, machines: &Machines, fault: EtcdFault) -> anyhow::Result<()> {
        let hit = std::mem::take(&mut self.hit);
        match fault {
            EtcdFault::LeaderKilled | EtcdFault::FollowerKilled | EtcdFault::MajorityKilled => {
                self.start(machines, &hit);
            }
            EtcdFault::LeaderCut => hit.iter().try_for_each(|member| machines.plug(MEMBERS[*member]))?,
            EtcdFault::LeaderStopped => hit.iter().for_each(|member| self.etcd.signal(*member, "CONT")),
            EtcdFault::LeaderSlow => hit.iter().try_for_each(|member| self.disk(*member)?.slow_down(false))?,
            EtcdFault::LeaderFull => {
                for member in &hit {
                    self.disk(*member)?.free()?;
                    // What can't write gives itself up, and somebody has to start it.
                    if self.etcd.has_ended(*member) {
                        self.etcd.kill(*member);
                        self.start(machines, &[*member]);
                    }
                }
            }
        }
        // The next fault is to find all of them.
        hit.iter().for_each(|member| machines.on(MEMBERS[*member], || self.etcd.wait(*member)));
        Ok(())
    }

    fn disk(&self, member: usize) -> anyhow::Result<&Disk> {
        self.disks.as_ref().map(|disks| &disks[member]).context("disks can be mounted here")
    }

    /// None ends by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for (number, machine) in MEMBERS.iter().enumerate() {
            ensure!(!self.etcd.has_ended(number), "the member on {machine:?} ended by itself: see its log");
        }
        Ok(())
    }

    /// Starts members, and waits until they answer.
    fn start(&mut self, machines: &Machines, members: &[usize]) {
        for member in members {
            let spawn = |command: &mut Command| machines.on(MEMBERS[*member], || bind_to_this_thread(command).spawn());
            self.etcd.launch_by(*member, spawn);
        }
        members.iter().for_each(|member| machines.on(MEMBERS[*member], || self.etcd.wait(*member)));
    }

    fn leader(&self, machines: &Machines) -> anyhow::Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        let leads = |member: &usize| machines.on(MEMBERS[*member], || self.etcd.leads(*member));
        loop {
            if let Some(leader) = (0..MEMBERS.len()).find(leads) {
                return Ok(leader);
            }
            ensure!(Instant::now() < deadline, "no member of etcd leads");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    }
}
