//! A bank for the shop to charge, so that the example needs none on the internet. It is an immortal of its own, which the shop reaches
//! as it would reach any other bank, by HTTP, and it calls back in the same way.

use std::collections::BTreeMap;

use ambrosia::{This, serde};

/// A charge of so many cents takes a person who approves it.
const LARGE_CENTS: u64 = 100_000;

/// The bank.
#[ambrosia::state]
struct Bank {
    /// Cents that were charged, by order.
    charged: BTreeMap<String, u64>,
    /// Where a person says `true` or `false`, by order, for charges that take one.
    to_approve: BTreeMap<String, String>,
}

/// What comes of a charge.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
enum Verdict {
    Paid(Receipt),
    Refused(String),
}

/// What it gives for a charge.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
struct Receipt {
    id: String,
    cents: u64,
}

#[ambrosia::immortal]
impl Bank {
    /// Charges for an order. A charge that comes again with its `Idempotency-Key` is the same one; that is the host's work, and so is it that whoever
    /// does not want to wait for a person is told so with status 202: that one is called back.
    async fn charge(this: This<Self>, order: String, cents: u64, callback: String) -> Verdict {
        if cents < LARGE_CENTS {
            return this.with(|bank| bank.pay(order, cents));
        }
        let (url, approved) = ambrosia::promise::<bool>();
        this.with(|bank| bank.to_approve.insert(order.clone(), url.to_string()));
        let is_approved = approved.await.unwrap_or(false);
        let verdict = this.with(|bank| {
            bank.to_approve.remove(&order);
            if is_approved { bank.pay(order, cents) } else { Verdict::Refused("it is too much".to_string()) }
        });
        if let Err(error) = ambrosia::http::post(callback).json(&verdict).idempotent().send().await {
            println!("can't call back: {error}");
        }
        verdict
    }

    #[ambrosia(helper)]
    fn pay(&mut self, order: String, cents: u64) -> Verdict {
        let sum = self.charged.entry(order.clone()).or_default();
        *sum = sum.saturating_add(cents);
        println!("charged {cents} for order {order}");
        Verdict::Paid(Receipt { id: format!("r-{order}"), cents })
    }

    /// What each order was charged in all.
    #[ambrosia(query)]
    fn charged(&self) -> BTreeMap<String, u64> {
        self.charged.clone()
    }

    /// What a person has to decide, and where: by `POST` of `true` or `false`.
    #[ambrosia(query)]
    fn to_approve(&self) -> BTreeMap<String, String> {
        self.to_approve.clone()
    }
}
