//! A database and its standby, each on a machine of its own, and what goes wrong with them.

use std::{process::Command, time::Duration};

use ambrosia_test_database::Node;
use anyhow::{Context, ensure};

use super::super::{disk::Disk, interrupt::Interrupt, namespace::bind_to_this_thread};
use super::{
    clocks::Clocks,
    network::{Machine, Machines},
    plan::PostgresFault,
    site::Papers,
    slow_disk::SlowDisk,
};
use crate::Cluster;

/// Where they are, whichever is which.
const NODES: [Machine; 2] = [Machine(0), Machine(1)];

/// Of the database's administrator; nobody may tell it.
pub(super) const PASSWORD: &str = "hush";

/// On what disks the data are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disks {
    /// Each on a small one of its own, that can be full, where such can be mounted.
    Small,
    /// That of the temporary directory.
    Shared,
}

/// A database that is promoted while the old one is cut off goes on beside it for so long, once that is back.
const BOTH_IN_OFFICE: Duration = Duration::from_millis(800);

/// The database and its standby.
pub struct Databases {
    /// Gone before the disks that they use.
    nodes: [Node; 2],
    /// Which node is primary.
    primary: usize,
    /// A small one of each, where disks can be mounted.
    disks: Option<[Disk; 2]>,
    slow: Option<SlowDisk>,
}

impl Databases {
    /// Begins both, of which one follows the other.
    pub(crate) fn begin(
        cluster: &Cluster,
        papers: &Papers,
        machines: &Machines,
        wanted: Disks,
    ) -> anyhow::Result<Databases> {
        let mount = |machine: Machine| {
            let file = |ending: &str| cluster.file(&format!("disk-{}{ending}", machine.0));
            Disk::mount(&file(""), &file(".image"))
        };
        let disks = match wanted {
            Disks::Small if Disk::impossible().is_none() => Some([mount(NODES[0])?, mount(NODES[1])?]),
            Disks::Small | Disks::Shared => None,
        };
        let node = |number: usize| -> anyhow::Result<Node> {
            let address = NODES[number].address();
            let (certificate, key) = papers.of(&address);
            let directory = cluster.file(&format!("database-{number}"));
            let node = Node::new(&directory, &address, &certificate, &key)?.context("PostgreSQL is not installed")?;
            Ok(match &disks {
                Some(disks) => node.on_disk(disks[number].mounted())?,
                None => node,
            })
        };
        let nodes = [node(0)?, node(1)?];
        nodes[0].make(PASSWORD)?;
        let mut databases = Databases { nodes, primary: 0, disks, slow: None };
        databases.start(machines, 0)?;
        databases.follow(machines, 1)?;
        Ok(databases)
    }

    /// Where both are, for who asks by TLS.
    pub(crate) fn url(&self, papers: &Papers) -> String {
        let (addresses, ca) = (NODES.map(Machine::address).join(","), papers.ca());
        format!("postgres://ambrosia:{PASSWORD}@{addresses}/postgres?sslrootcert={}", ca.display())
    }

    /// Why that can't go wrong here, if so.
    pub(crate) fn impossible(&self, fault: PostgresFault) -> Option<String> {
        match fault {
            PostgresFault::Slow => SlowDisk::impossible(),
            PostgresFault::Full if self.disks.is_none() => Disk::impossible(),
            PostgresFault::WrongClock(_) => Clocks::impossible(),
            _ => None,
        }
    }

    pub(crate) fn begin_fault(&mut self, machines: &Machines, fault: PostgresFault) -> anyhow::Result<()> {
        let primary = self.primary;
        match fault {
            PostgresFault::Killed => self.fail_over()?,
            PostgresFault::Cut => {
                machines.cut(NODES[primary])?;
                self.promote();
            }
            PostgresFault::Stopped => self.nodes[primary].freeze(true)?,
            PostgresFault::Restarted => {
                self.nodes[primary].kill()?;
                self.start(machines, primary)?;
                self.nodes[primary].wait_until_followed();
            }
            PostgresFault::StandbyCut => machines.cut(NODES[1 - primary])?,
            PostgresFault::Slow => self.slow = Some(SlowDisk::begin(&self.nodes[primary].processes()?)?),
            PostgresFault::Full => self.disk(primary)?.fill(0)?,
            PostgresFault::WrongClock(wrong) => machines.set_clock(NODES[primary], Some(wrong))?,
        }
        Ok(())
    }

    pub(crate) fn end_fault(
        &mut self,
        machines: &Machines,
        fault: PostgresFault,
        interrupt: &Interrupt,
    ) -> anyhow::Result<()> {
        let primary = self.primary;
        match fault {
            PostgresFault::Killed => self.mend(machines)?,
            PostgresFault::Cut => {
                // It takes itself for the primary, and nothing that it is told comes to be durable.
                machines.plug(NODES[1 - primary])?;
                ensure!(!interrupt.wait(BOTH_IN_OFFICE), "interrupted");
                self.nodes[1 - primary].kill()?;
                self.follow(machines, 1 - primary)?;
            }
            PostgresFault::Stopped => self.nodes[primary].freeze(false)?,
            PostgresFault::Restarted => {}
            PostgresFault::StandbyCut => {
                machines.plug(NODES[1 - primary])?;
                self.nodes[primary].wait_until_followed();
            }
            PostgresFault::Slow => self.slow = None,
            PostgresFault::WrongClock(_) => {
                machines.set_clock(NODES[primary], None)?;
                self.nodes[primary].wait_until_followed();
            }
            PostgresFault::Full => {
                self.disk(primary)?.free()?;
                // Without room for its own log it gives itself up, and somebody has to start it.
                if self.nodes[primary].has_ended()? {
                    self.nodes[primary].kill()?;
                    self.start(machines, primary)?;
                }
                self.nodes[primary].wait_until_followed();
            }
        }
        Ok(())
    }

    /// None ends by itself.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        for (number, node) in self.nodes.iter_mut().enumerate() {
            ensure!(!node.has_ended()?, "the database on {:?} ended by itself: see its log", NODES[number]);
        }
        Ok(())
    }

    /// All processes of the database die, and its standby is primary when this returns.
    ///
    /// # Errors
    /// If they can't be killed.
    ///
    /// # Panics
    /// If the standby does not become primary.
    pub fn fail_over(&mut self) -> anyhow::Result<()> {
        self.nodes[self.primary].kill()?;
        self.promote();
        Ok(())
    }

    /// What was primary before is the standby of what is.
    ///
    /// # Errors
    /// If it can't be copied or started.
    pub fn mend(&mut self, machines: &Machines) -> anyhow::Result<()> {
        self.follow(machines, 1 - self.primary)
    }

    /// The server that is primary, and its machine.
    pub fn in_office(&self) -> (&Node, Machine) {
        (&self.nodes[self.primary], NODES[self.primary])
    }

    /// The password of its administrator.
    pub fn password(&self) -> &'static str {
        PASSWORD
    }

    fn disk(&self, node: usize) -> anyhow::Result<&Disk> {
        self.disks.as_ref().map(|disks| &disks[node]).context("disks can be mounted here")
    }

    /// Starts the server of a node.
    fn start(&mut self, machines: &Machines, node: usize) -> anyhow::Result<()> {
        let spawn = |command: &mut Command| {
            machines.on(NODES[node], || bind_to_this_thread(machines.equip(NODES[node], command)).spawn())
        };
        Ok(self.nodes[node].start(spawn)?)
    }

    /// Has a node follow the primary, with a fresh copy; commits wait for it from then on.
    fn follow(&mut self, machines: &Machines, node: usize) -> anyhow::Result<()> {
        let primary = &self.nodes[self.primary];
        machines.on(NODES[node], || self.nodes[node].copy(primary))?;
        self.start(machines, node)?;
        self.nodes[self.primary].wait_for_standby(true);
        self.nodes[self.primary].wait_until_followed();
        Ok(())
    }

    /// The standby is primary from here on, and its commits wait for nobody until the other one follows it.
    fn promote(&mut self) {
        let next = 1 - self.primary;
        // What the old one has confirmed it has: that waited for it.
        self.nodes[next].promote();
        self.primary = next;
    }
}
