//! The second build of the ledger of `one.rs`: the totals are signed, and there is a limit.

mod fate;

use std::collections::BTreeMap;

use ambrosia::This;
use fate::Fate;

#[ambrosia::interface]
trait Account {
    fn add(n: u64) -> u64;
}

#[ambrosia::state(version = 2, from = LedgerOne)]
struct Ledger {
    totals: BTreeMap<String, i64>,
    handled: u64,
    ticks: u64,
    fate: Fate,
    peers: Vec<Account>,
    limit: Option<u32>,
    upgrades: u32,
}

/// As in `one.rs`.
#[ambrosia::state]
struct LedgerOne {
    totals: BTreeMap<String, u64>,
    handled: u64,
    ticks: u64,
    fate: Fate,
    peers: Vec<Account>,
}

impl From<LedgerOne> for Ledger {
    fn from(old: LedgerOne) -> Self {
        let LedgerOne { totals, handled, ticks, fate, peers } = old;
        let totals = totals.into_iter().map(|(name, total)| (name, total as i64)).collect();
        Ledger { totals, handled, ticks, fate, peers, ..Ledger::default() }
    }
}

#[ambrosia::immortal]
impl Ledger {
    fn on_upgrade(&mut self) {
        self.upgrades += 1;
        println!("upgrade {} with {} totals", self.upgrades, self.totals.len());
        for peer in &self.peers {
            peer.fork().add(1);
        }
    }

    fn add(&mut self, name: String, n: i64) -> (u32, i64) {
        self.handled += 1;
        let total = self.totals.entry(name).or_default();
        *total += n;
        (2, *total)
    }

    #[ambrosia(update)]
    fn report(&self) -> (u32, u64, i64) {
        (2, self.handled, self.totals.values().sum())
    }

    /// How often the code was upgraded to this one.
    #[ambrosia(update)]
    fn upgrades(&self) -> u32 {
        self.upgrades
    }

    async fn add_there(_this: This<Self>, name: String, n: u64) -> Result<(u32, u64), String> {
        let total = Account::attach(&name).add(n).await.map_err(|error| error.to_string())?;
        Ok((2, total))
    }

    #[ambrosia(restart)]
    async fn ask_there(_this: This<Self>, name: String, n: u64) -> Result<(u32, u64), String> {
        let total = Account::attach(&name).add(n).await.map_err(|error| error.to_string())?;
        Ok((2, total))
    }

    #[ambrosia(update)]
    fn ticks(&self) -> u64 {
        self.ticks
    }
}
