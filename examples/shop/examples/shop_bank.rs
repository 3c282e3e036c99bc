//! A bank for the shop to charge, so that the example needs none on the internet. It is an immortal of its own, which the shop reaches
//! as it would reach any other bank: by HTTP.

use std::collections::BTreeMap;

use ambrosia::serde;

/// The bank.
#[ambrosia::state]
struct Bank {
    /// Cents that were charged, by order.
    charged: BTreeMap<String, u64>,
}

/// What it gives for a charge.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
struct Receipt {
    id: String,
    cents: u64,
}

#[ambrosia::immortal]
impl Bank {
    /// Charges for an order. A charge that comes again with its `Idempotency-Key` is the same one; that is the host's work. This bank
    /// never has to think, so nobody is called back.
    fn charge(&mut self, order: String, cents: u64, callback: String) -> Receipt {
        drop(callback);
        let sum = self.charged.entry(order.clone()).or_default();
        *sum = sum.saturating_add(cents);
        println!("charged {cents} for order {order}");
        Receipt { id: format!("r-{order}"), cents }
    }

    /// What each order was charged in all.
    #[ambrosia(query)]
    fn charged(&self) -> BTreeMap<String, u64> {
        self.charged.clone()
    }
}
