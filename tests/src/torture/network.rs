//! The network between the banks and their clients: that of the machine, or one that can be broken.
//!
//! Hosts listen on loopback addresses only. A loopback address means another place in each network namespace, and that
//! is used in two ways. With *wires*, each place has an address of its own in 127.0.0.0/8, and pairs of virtual Ethernet
//! devices lead from each to each; on them packets can vanish without a word. With a *proxy*, what answers at a host's
//! address everywhere else is a proxy, which passes everything on as it likes.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};

use super::{
    namespace::{NetworkNamespace, is_root},
    proxy::Proxy,
    tool::{need_tool, run_tool},
    world::REPLICAS,
};

/// Who is in one namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Left,
    Right,
    Clients,
}

impl Place {
    pub(crate) const ALL: [Place; 3] = [Place::Left, Place::Right, Place::Clients];

    fn name(self) -> &'static str {
        ["left", "right", "clients"][self as usize]
    }

    fn address(self) -> String {
        format!("127.0.{}.1", self as usize + 1)
    }

    /// Of the device that leads to another place.
    fn hardware_address(self, to: Place) -> String {
        format!("02:00:00:00:{:02x}:{:02x}", self as usize + 1, to as usize + 1)
    }
}

/// A hardware address that nobody has: what is sent there vanishes.
const NOWHERE: &str = "02:00:00:00:00:00";

/// Where instances and clients are.
pub(crate) enum Network {
    /// The loopback device of the machine.
    Plain,
    /// A namespace for each place, with wires between them.
    Wired([Arc<NetworkNamespace>; 3]),
    /// A namespace for each place, with a proxy between them.
    Proxied([Arc<NetworkNamespace>; 3], Proxy),
}

impl Network {
    /// Why there can be no networks of our own here, if so.
    pub(crate) fn impossible() -> Option<String> {
        if !is_root() {
            return Some("network namespaces need root".to_owned());
        }
        if let Err(reason) = need_tool("ip", "-V") {
            return Some(reason);
        }
        NetworkNamespace::new().err().map(|error| format!("{error:#}"))
    }

    /// Three places with wires between them.
    pub(crate) fn wired() -> anyhow::Result<Network> {
        let places = namespaces()?;
        for place in Place::ALL {
            let address = format!("{}/32", place.address());
            places[place as usize].within(|| -> anyhow::Result<()> {
                // It has only its own address; the others are elsewhere.
                run_tool("ip", &["address", "delete", "127.0.0.1/8", "dev", "lo"])?;
                run_tool("ip", &["address", "add", &address, "dev", "lo"])
            })??;
        }
        for (one, other) in [(Place::Left, Place::Right), (Place::Left, Place::Clients), (Place::Right, Place::Clients)]
        {
            let (there, back) = (device(other), device(one));
            let path = places[other as usize].path().display().to_string();
            let pair = ["link", "add", "dev", &there, "type", "veth", "peer", "name", &back, "netns", &path];
            places[one as usize].within(|| run_tool("ip", &pair))??;
            for (from, to) in [(one, other), (other, one)] {
                places[from as usize].within(|| connect(from, to))??;
            }
        }
        Ok(Network::Wired(places))
    }

    /// Three places with a proxy between them.
    pub(crate) fn proxied(seed: u64) -> anyhow::Result<Network> {
        let places = namespaces()?;
        let mut routes = Vec::new();
        for host in [Place::Left, Place::Right] {
            for port in (0..REPLICAS[host as usize]).map(|replica| port(host as usize, replica)) {
                let elsewhere = Place::ALL.into_iter().filter(|place| *place != host);
                routes.extend(elsewhere.map(|place| (place as usize, host as usize, port)));
            }
        }
        let proxy = Proxy::start(&places, &routes, seed)?;
        Ok(Network::Proxied(places, proxy))
    }

    fn places(&self) -> Option<&[Arc<NetworkNamespace>; 3]> {
        match self {
            Network::Plain => None,
            Network::Wired(places) | Network::Proxied(places, _) => Some(places),
        }
    }

    /// Longer than this nothing may be silent: an older kernel can't be told how soon to try again, and a silence that was
    /// longer would be followed by one that is not ours.
    pub(crate) fn longest_fault(&self) -> Duration {
        let can_be_told = Path::new("/proc/sys/net/ipv4/tcp_rto_max_ms").exists();
        if matches!(self, Network::Wired(_)) && !can_be_told { Duration::from_secs(1) } else { Duration::MAX }
    }

    /// Does something where an instance is.
    pub(crate) fn within<T>(&self, instance: usize, work: impl FnOnce() -> T) -> anyhow::Result<T> {
        match self.places() {
            None => Ok(work()),
            Some(places) => places[instance].within(work),
        }
    }

    /// Where the clients are, if that is not where this thread is.
    pub(crate) fn of_clients(&self) -> Option<Arc<NetworkNamespace>> {
        self.places().map(|places| Arc::clone(&places[Place::Clients as usize]))
    }

    /// The address on which a replica must listen, if that matters.
    pub(crate) fn listen(&self, instance: usize, replica: u16) -> Option<String> {
        match self {
            Network::Plain => None,
            Network::Wired(_) => Some(format!("{}:0", Place::ALL[instance].address())),
            Network::Proxied(..) => Some(format!("127.0.0.1:{}", port(instance, replica))),
        }
    }

    /// From now on nothing that one place sends arrives at another; or it does again.
    pub(crate) fn silence(&self, from: Place, to: Place, silent: bool) -> anyhow::Result<()> {
        let Network::Wired(places) = self else { bail!("only wires can be cut") };
        let real = to.hardware_address(from);
        let neighbour = if silent { NOWHERE } else { &real };
        places[from as usize].within(|| set_neighbour(from, to, neighbour))?
    }

    /// The proxy.
    pub(crate) fn proxy(&self) -> anyhow::Result<&Proxy> {
        match self {
            Network::Proxied(_, proxy) => Ok(proxy),
            _ => bail!("there is no proxy in this round"),
        }
    }
}

fn namespaces() -> anyhow::Result<[Arc<NetworkNamespace>; 3]> {
    let made: anyhow::Result<Vec<_>> = Place::ALL.iter().map(|_| NetworkNamespace::new().map(Arc::new)).collect();
    made?.try_into().ok().context("three were made")
}

/// A fixed port, since what listens there elsewhere must be known. Each namespace has its own.
fn port(instance: usize, replica: u16) -> u16 {
    7000 + 100 * instance as u16 + replica
}

fn device(to: Place) -> String {
    format!("to-{}", to.name())
}

/// Sets up the end of a wire in the place `from`.
fn connect(from: Place, to: Place) -> anyhow::Result<()> {
    let (device, target) = (device(to), format!("{}/32", to.address()));
    run_tool("ip", &["link", "set", "dev", &device, "address", &from.hardware_address(to), "up"])?;
    // Else the kernel takes what comes from a loopback address for an attack.
    let setting = format!("/proc/sys/net/ipv4/conf/{device}/route_localnet");
    std::fs::write(&setting, "1").with_context(|| format!("write {setting}"))?;
    run_tool("ip", &["route", "add", &target, "dev", &device, "src", &from.address()])?;
    set_neighbour(from, to, &to.hardware_address(from))
}

fn set_neighbour(_from: Place, to: Place, hardware: &str) -> anyhow::Result<()> {
    let (device, address) = (device(to), to.address());
    run_tool("ip", &["neighbour", "replace", &address, "lladdr", hardware, "dev", &device, "nud", "permanent"])
}
