//! Machines with a switch between them, as far as their network says, and their clocks.

use std::{path::Path, process::Command};

use anyhow::{Context, bail};

use super::super::{
    namespace::{NetworkNamespace, is_root},
    tool::{need_tool, run_tool},
};
use super::clocks::{Clocks, Wrong};

/// Network namespaces that reach each other by addresses that are no loopback addresses.
pub struct Machines {
    switch: NetworkNamespace,
    each: Vec<NetworkNamespace>,
    /// If they can be set.
    clocks: Option<Clocks>,
}

/// One of them, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine(pub usize);

impl Machine {
    /// By which it is reached from the others.
    pub fn address(self) -> String {
        format!("10.77.0.{}", self.0 + 1)
    }

    /// Where its cable ends.
    fn port(self) -> String {
        format!("port{}", self.0)
    }
}

impl Machines {
    /// Why there can be none here, if so.
    pub(crate) fn impossible() -> Option<String> {
        let tools = || need_tool("ip", "-V").and_then(|()| need_tool("tc", "-V"));
        if !is_root() { Some("network namespaces need root".to_owned()) } else { tools().err() }
    }

    /// Sets up so many.
    ///
    /// # Errors
    /// If there can be none here.
    pub fn begin(count: usize) -> anyhow::Result<Machines> {
        if !is_root() {
            bail!("network namespaces need root");
        }
        if let Err(reason) = need_tool("ip", "-V") {
            bail!(reason);
        }
        let each = (0..count).map(|_| NetworkNamespace::new()).collect::<anyhow::Result<_>>()?;
        let machines = Machines { switch: NetworkNamespace::new()?, each, clocks: None };
        machines.switch.within(|| -> anyhow::Result<()> {
            run_tool("ip", &["link", "add", "dev", "switch", "type", "bridge"])?;
            run_tool("ip", &["link", "set", "dev", "switch", "up"])
        })??;
        let switch = machines.switch.path().display().to_string();
        for machine in (0..count).map(Machine) {
            let (address, port) = (format!("{}/24", machine.address()), machine.port());
            machines.each[machine.0].within(|| -> anyhow::Result<()> {
                let pair = ["link", "add", "dev", "cable", "type", "veth", "peer", "name", &port, "netns", &switch];
                run_tool("ip", &pair)?;
                run_tool("ip", &["address", "add", &address, "dev", "cable"])?;
                run_tool("ip", &["link", "set", "dev", "cable", "up"])
            })??;
            let joined = || run_tool("ip", &["link", "set", "dev", &port, "master", "switch"]);
            machines.switch.within(joined)??;
            machines.plug(machine)?;
        }
        Ok(machines)
    }

    /// Their clocks can be set wrong from now on, where that is possible; how wrong they are stands in files there.
    pub(crate) fn with_clocks(mut self, directory: &Path) -> anyhow::Result<Machines> {
        self.clocks = Clocks::begin(directory, self.each.len())?;
        Ok(self)
    }

    /// Sets the clock of one of them; `None` is right.
    pub(crate) fn set_clock(&self, machine: Machine, wrong: Option<Wrong>) -> anyhow::Result<()> {
        self.clocks.as_ref().context("clocks can be set here")?.set(machine, wrong)
    }

    /// A process that is started by that command has the clock of the machine.
    pub(crate) fn equip<'a>(&self, machine: Machine, command: &'a mut Command) -> &'a mut Command {
        self.clocks.iter().for_each(|clocks| clocks.equip(machine, command));
        command
    }

    /// Does something on one of them. Processes that are started there stay there.
    ///
    /// # Panics
    /// If this thread may not go there.
    pub fn on<T>(&self, machine: Machine, work: impl FnOnce() -> T) -> T {
        self.each[machine.0].within(work).expect("whoever has made a namespace may enter it")
    }

    /// Pulls its cable: for the others it is as if it were gone, and nobody is told.
    ///
    /// # Errors
    /// If the system does not do that.
    pub fn cut(&self, machine: Machine) -> anyhow::Result<()> {
        self.switch.within(|| run_tool("ip", &["link", "set", "dev", &machine.port(), "down"]))?
    }

    /// Plugs its cable in.
    ///
    /// # Errors
    /// If the system does not do that.
    pub fn plug(&self, machine: Machine) -> anyhow::Result<()> {
        self.switch.within(|| run_tool("ip", &["link", "set", "dev", &machine.port(), "up"]))?
    }

    /// Nothing that it sends arrives anywhere, while it hears all.
    ///
    /// # Errors
    /// If the system does not do that.
    pub fn mute(&self, machine: Machine) -> anyhow::Result<()> {
        self.on(machine, || run_tool("tc", &["qdisc", "replace", "dev", "cable", "root", "blackhole"]))
    }

    /// Nothing that is sent to it arrives, while all hear it.
    ///
    /// # Errors
    /// If the system does not do that.
    pub fn deafen(&self, machine: Machine) -> anyhow::Result<()> {
        let tool = || run_tool("tc", &["qdisc", "replace", "dev", &machine.port(), "root", "blackhole"]);
        self.switch.within(tool)?
    }

    /// Ends [`Machines::mute`].
    ///
    /// # Errors
    /// If the system does not do that.
    pub fn unmute(&self, machine: Machine) -> anyhow::Result<()> {
        self.on(machine, || run_tool("tc", &["qdisc", "delete", "dev", "cable", "root"]))
    }

    /// Ends [`Machines::deafen`].
    ///
    /// # Errors
    /// If the system does not do that.
    pub fn undeafen(&self, machine: Machine) -> anyhow::Result<()> {
        self.switch.within(|| run_tool("tc", &["qdisc", "delete", "dev", &machine.port(), "root"]))?
    }
}
