//! What the host offers to the guest, one function each. Natively the test harness is the host.

/// Longest name of an instance.
const NAME_BYTES_MAX: usize = 64;

/// Whether an instance can have that name, by the same rule as the host's.
pub(crate) fn is_instance_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.len() <= NAME_BYTES_MAX && name.chars().all(plain)
}

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::ambrosia::runtime::host::{attach, instance_name, peer_name, random};

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::{
    configured::ambrosia::runtime::configuration::{get as configured, public_url},
    promising::ambrosia::runtime::promises::token as promise_token,
};

/// Nanoseconds since 1970.
#[cfg(target_arch = "wasm32")]
pub(crate) fn now() -> u64 {
    let time = crate::bindings::ambrosia::runtime::host::now();
    time.seconds * 1_000_000_000 + u64::from(time.nanoseconds)
}

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::*;

/// The world of an immortal that runs natively.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod native {
    use std::collections::BTreeMap;

    use crate::runtime;

    /// The configured value that the host is reached by from outside.
    const PUBLIC_URL: &str = "ambrosia.public-url";

    /// All that an immortal can learn besides its messages.
    #[derive(Clone, Debug)]
    pub(crate) struct World {
        pub(crate) instance_name: String,
        pub(crate) now: u64,
        /// MessagePack.
        pub(crate) configured: BTreeMap<String, Vec<u8>>,
        peers: Vec<String>,
        random_state: u64,
    }

    impl World {
        pub(crate) fn new(instance_name: &str, seed: u64, now: u64) -> Self {
            World {
                instance_name: checked_name(instance_name),
                now,
                configured: BTreeMap::new(),
                peers: Vec::new(),
                random_state: seed,
            }
        }

        pub(crate) fn attach(&mut self, name: &str) -> u32 {
            let known = self.peers.iter().position(|peer| peer == name);
            let at = known.unwrap_or_else(|| {
                self.peers.push(checked_name(name));
                self.peers.len() - 1
            });
            at as u32 + 1
        }

        /// What changes when a random number is drawn, or an instance attached that was not known.
        pub(crate) fn drawn(&self) -> (u64, usize) {
            (self.random_state, self.peers.len())
        }

        pub(crate) fn peer_name(&self, peer: u32) -> String {
            let at = (peer as usize).checked_sub(1);
            at.and_then(|at| self.peers.get(at)).cloned().unwrap_or_default()
        }

        /// The generator of the host: SplitMix64.
        fn random(&mut self) -> u64 {
            self.random_state = self.random_state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.random_state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }

    fn checked_name(name: &str) -> String {
        assert!(super::is_instance_name(name), "{name:?} is not an instance name");
        name.to_string()
    }

    pub(crate) fn instance_name() -> String {
        runtime::with(|runtime| runtime.world.borrow().instance_name.clone())
    }

    pub(crate) fn attach(name: &str) -> u32 {
        runtime::with(|runtime| runtime.world.borrow_mut().attach(name))
    }

    pub(crate) fn peer_name(peer: u32) -> String {
        runtime::with(|runtime| runtime.world.borrow().peer_name(peer))
    }

    pub(crate) fn now() -> u64 {
        runtime::with(|runtime| runtime.world.borrow().now)
    }

    /// What can be guessed, since a test has nobody to hide it from.
    pub(crate) fn token(id: u64) -> String {
        format!("{:032x}", u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    pub(crate) fn promise_token(id: u64) -> String {
        token(id)
    }

    pub(crate) fn configured(name: &str) -> Option<Vec<u8>> {
        runtime::with(|runtime| runtime.world.borrow().configured.get(name).cloned())
    }

    pub(crate) fn public_url() -> String {
        let value = configured(PUBLIC_URL).and_then(|value| crate::codec::decode_value::<String>(&value).ok());
        value.unwrap_or_default().trim_end_matches('/').to_string()
    }

    pub(crate) fn random() -> u64 {
        runtime::with(|runtime| runtime.world.borrow_mut().random())
    }
}
