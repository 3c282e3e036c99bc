//! Two machines with a cable between them, as far as their network says.

use anyhow::bail;

use super::{
    namespace::{NetworkNamespace, is_root},
    tool::{need_tool, run_tool},
};

/// Two network namespaces that reach each other by an address that is no loopback address.
pub struct Machines([NetworkNamespace; 2]);

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// One.
    Left,
    /// The other one.
    Right,
}

impl Machine {
    /// By which it is reached from the other one.
    pub fn address(self) -> &'static str {
        ["10.77.0.1", "10.77.0.2"][self as usize]
    }
}

impl Machines {
    /// Sets them up.
    ///
    /// # Errors
    /// If there can be none here.
    pub fn begin() -> anyhow::Result<Machines> {
        if !is_root() {
            bail!("network namespaces need root");
        }
        if let Err(reason) = need_tool("ip", "-V") {
            bail!(reason);
        }
        let machines = Machines([NetworkNamespace::new()?, NetworkNamespace::new()?]);
        let path = machines.0[1].path().display().to_string();
        let pair = ["link", "add", "dev", "cable", "type", "veth", "peer", "name", "cable", "netns", &path];
        machines.0[0].within(|| run_tool("ip", &pair))??;
        for machine in [Machine::Left, Machine::Right] {
            let address = format!("{}/24", machine.address());
            machines.0[machine as usize].within(|| -> anyhow::Result<()> {
                run_tool("ip", &["address", "add", &address, "dev", "cable"])?;
                run_tool("ip", &["link", "set", "dev", "cable", "up"])
            })??;
        }
        Ok(machines)
    }

    /// Does something on one of them. Processes that are started there stay there.
    ///
    /// # Panics
    /// If this thread may not go there.
    pub fn on<T>(&self, machine: Machine, work: impl FnOnce() -> T) -> T {
        self.0[machine as usize].within(work).expect("whoever has made a namespace may enter it")
    }
}
