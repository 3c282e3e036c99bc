//! A shop: it reserves what is ordered, has a bank charge for it over HTTP, and gives the goods back if the bank does not.
//!
//! However often an order is placed, and whatever dies meanwhile, it is charged once. A bank that has to think calls back when it has. Each morning the shop makes a report of
//! what was sold.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use ambrosia::{OnceMap, Saga, This, Timestamp, serde};

/// A bank that has not called back by then is taken to have refused.
const BANK_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// So long the bank may take to answer at once; then it is to say that it has to think.
const PATIENCE_SECONDS: u64 = 1;

/// So many reports are kept.
const REPORTS_MAX: usize = 31;

/// The shop.
#[ambrosia::state]
pub struct Shop {
    /// Pieces of each item that are there.
    stock: BTreeMap<String, u64>,
    /// Cents for a piece of it.
    prices: BTreeMap<String, u64>,
    /// Receipts of the bank, by order.
    placed: OnceMap<String, Receipt>,
    /// Where the bank takes charges; empty where the operator has set that (`bank`).
    bank: String,
    /// What was sold since the last report.
    since: Sales,
    /// The newest reports, the newest of them last.
    reports: VecDeque<Report>,
}

/// What was sold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
pub struct Sales {
    /// How many orders were charged.
    pub orders: u64,
    /// For how much in all.
    pub cents: u64,
}

/// What was sold between two mornings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
pub struct Report {
    /// The morning, in nanoseconds since 1970.
    pub until: Timestamp,
    /// What was sold before it, and not in the report before.
    pub sales: Sales,
}

/// What a customer wants.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
pub struct Order {
    /// Names the order: placed again, it is the same one.
    pub number: String,
    /// What is ordered.
    pub item: String,
    /// How many of it.
    pub pieces: u64,
}

/// What the shop asks the bank for.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
pub struct Charge {
    /// The order that is paid.
    pub order: String,
    /// How much.
    pub cents: u64,
    /// Where the bank says by `POST` what has come of it, if it has to think: with status 202 it promises to.
    pub callback: String,
}

/// What the bank says, at once or when it calls back.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
pub enum Verdict {
    /// It has charged.
    Paid(Receipt),
    /// It does not; why.
    Refused(String),
}

/// What the bank gives for it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
pub struct Receipt {
    /// Names it at the bank.
    pub id: String,
    /// How much was charged.
    pub cents: u64,
}

#[ambrosia::immortal]
impl Shop {
    /// Says where the bank takes charges: a URL, in place of that of the operator.
    pub fn set_bank(&mut self, url: String) {
        self.bank = url;
    }

    /// Puts so many pieces more of `item` on the shelf, at that price in cents.
    #[ambrosia(put = "/items/{item}")]
    pub fn stock_up(&mut self, item: String, pieces: u64, cents: u64) {
        let there = self.stock.entry(item.clone()).or_default();
        *there = there.saturating_add(pieces);
        self.prices.insert(item, cents);
    }

    /// How many pieces of `item` there are.
    #[ambrosia(query, get = "/items/{item}")]
    pub fn in_stock(&self, item: String) -> u64 {
        self.stock.get(&item).copied().unwrap_or(0)
    }

    /// The newest reports, the newest of them last.
    #[ambrosia(query, get = "/reports")]
    pub fn reports(&self) -> VecDeque<Report> {
        self.reports.clone()
    }

    /// Makes a report, each morning. Days on which nobody ran the shop are in the next one.
    #[ambrosia(cron = "0 6 * * *", zone = "Europe/Berlin", missed = "one")]
    pub fn report(&mut self, due: Timestamp) {
        if self.reports.len() == REPORTS_MAX {
            self.reports.pop_front();
        }
        self.reports.push_back(Report { until: due, sales: std::mem::take(&mut self.since) });
    }

    /// Places an order. The receipt of one that was placed before is given again.
    #[ambrosia(post = "/orders")]
    pub async fn place(this: This<Self>, order: Order) -> Result<Receipt, String> {
        let placed = this.with(|shop| shop.placed.clone());
        placed.try_once(order.number.clone(), || Shop::sell(this, order)).await
    }

    #[ambrosia(helper)]
    async fn sell(this: This<Self>, order: Order) -> Result<Receipt, String> {
        let Order { number, item, pieces } = order;
        let mut saga = Saga::new();
        let reserve = async { this.with(|shop| shop.reserve(&item, pieces)) };
        let reserved = item.clone();
        let give_back = move |_| async move { this.with(|shop| shop.give_back(reserved, pieces)) };
        let cents = saga.step(reserve, give_back).await?;
        let receipt = saga.last_step(Shop::charge(this, number, cents)).await?;
        this.with(|shop| {
            shop.since.orders += 1;
            shop.since.cents = shop.since.cents.saturating_add(receipt.cents);
        });
        Ok(receipt)
    }

    #[ambrosia(helper)]
    async fn charge(this: This<Self>, order: String, cents: u64) -> Result<Receipt, String> {
        let (callback, verdict) = ambrosia::promise::<Verdict>();
        let charge = Charge { order, cents, callback: callback.to_string() };
        let response = ambrosia::http::post(this.with(|shop| shop.bank())?)
            .header("authorization", &format!("Bearer {}", ambrosia::secret("BANK")))
            .header("prefer", &format!("respond-async, wait={PATIENCE_SECONDS}"))
            .json(&charge)
            .idempotent()
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let verdict = match response.status {
            202 => match ambrosia::timeout(BANK_WAIT, verdict).await {
                Ok(called_back) => called_back.map_err(|error| error.to_string())?,
                Err(_) => return Err("the bank has not called back".to_string()),
            },
            200..=299 => response.json().map_err(|error| error.to_string())?,
            status => return Err(format!("the bank refuses it, with status {status}: {}", response.text())),
        };
        match verdict {
            Verdict::Paid(receipt) => Ok(receipt),
            Verdict::Refused(why) => Err(format!("the bank refuses it: {why}")),
        }
    }

    /// Where it takes charges.
    #[ambrosia(helper)]
    fn bank(&self) -> Result<String, String> {
        if !self.bank.is_empty() {
            return Ok(self.bank.clone());
        }
        let set = ambrosia::config("bank").map_err(|error| error.to_string())?;
        set.ok_or_else(|| "the shop has no bank: set `bank` in its [config], or call set_bank".to_string())
    }

    /// Takes pieces off the shelf, and says what they cost.
    #[ambrosia(helper)]
    fn reserve(&mut self, item: &str, pieces: u64) -> Result<u64, String> {
        let there = self.stock.get_mut(item).ok_or_else(|| format!("there is no {item} in this shop"))?;
        let left = there.checked_sub(pieces).ok_or_else(|| format!("only {there} of {item} are left"))?;
        let price = self.prices.get(item).copied().unwrap_or(0);
        let cents = price.checked_mul(pieces).ok_or_else(|| format!("{pieces} of {item} cost too much"))?;
        *there = left;
        Ok(cents)
    }

    #[ambrosia(helper)]
    fn give_back(&mut self, item: String, pieces: u64) {
        *self.stock.entry(item).or_default() += pieces;
    }
}
