//! The first build of a ledger, whose code is upgraded: to `two.rs`, or to `faulty.rs`, where it fails as the state says.
//! Every answer says which build gave it.

mod fate;

use std::{collections::BTreeMap, time::Duration};

use ambrosia::This;
use fate::Fate;

#[ambrosia::interface]
trait Account {
    fn add(n: u64) -> u64;
}

#[ambrosia::state]
struct Ledger {
    totals: BTreeMap<String, u64>,
    handled: u64,
    ticks: u64,
    fate: Fate,
    peers: Vec<Account>,
}

#[ambrosia::immortal]
impl Ledger {
    /// Adds to a total, and answers with the build and what the total is.
    fn add(&mut self, name: String, n: u64) -> (u32, u64) {
        self.handled += 1;
        let total = self.totals.entry(name).or_default();
        *total += n;
        (1, *total)
    }

    /// The build, how many were handled, and the sum of all totals.
    #[ambrosia(update)]
    fn report(&self) -> (u32, u64, u64) {
        (1, self.handled, self.totals.values().sum())
    }

    /// Makes that many totals of 1.
    fn fill(&mut self, count: u64) {
        self.totals.extend((0..count).map(|number| (format!("total number {number:012}"), 1)));
    }

    /// What is to go wrong in an upgrade: `save-` or `load-`, and `trap`, `loop` or `eat`; or `load-refuse`, `load-stranger`,
    /// `load-exit`. With `handle-trap` the faulty build fails at this very message.
    fn set_fate(&mut self, word: String) {
        self.fate = Fate(word);
    }

    fn attach_one(&mut self, name: String) {
        self.peers.push(Account::attach(&name));
    }

    /// Adds there, and awaits the answer: an upgrade waits for it.
    async fn add_there(_this: This<Self>, name: String, n: u64) -> Result<(u32, u64), String> {
        let total = Account::attach(&name).add(n).await.map_err(|error| error.to_string())?;
        Ok((1, total))
    }

    /// The same, which the second build begins again.
    async fn ask_there(_this: This<Self>, name: String, n: u64) -> Result<(u32, u64), String> {
        let total = Account::attach(&name).add(n).await.map_err(|error| error.to_string())?;
        Ok((1, total))
    }

    /// Ticks until the code is upgraded.
    fn tick(this: This<Self>, ms: u64) {
        ambrosia::spawn(async move {
            loop {
                ambrosia::sleep(Duration::from_millis(ms)).await;
                this.with(|ledger| ledger.ticks += 1);
            }
        })
        .until_upgrade();
    }

    #[ambrosia(update)]
    fn ticks(&self) -> u64 {
        self.ticks
    }

    /// Is gone in the second build.
    #[ambrosia(update)]
    fn only_in_one(&self) -> u32 {
        1
    }
}
