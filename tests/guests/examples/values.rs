//! Gives back what it was given, of types that JSON has no word for; and calls others.

use std::collections::BTreeMap;

use ambrosia::{This, serde};

#[ambrosia::interface]
trait Counter {
    fn add(n: u64) -> u64;
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(crate = "ambrosia::serde")]
enum Order {
    Nothing,
    Buy { item: String, price: Option<f64> },
}

#[ambrosia::state]
struct Values;

#[ambrosia::immortal]
impl Values {
    #[ambrosia(raw)]
    fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    #[ambrosia(update)]
    fn keyed(&self, map: BTreeMap<u64, BTreeMap<i8, bool>>) -> BTreeMap<u64, BTreeMap<i8, bool>> {
        map
    }

    #[ambrosia(update)]
    fn wide(&self, unsigned: u128, signed: i128) -> (u128, i128) {
        (unsigned, signed)
    }

    #[ambrosia(update)]
    fn long(&self, unsigned: u64, signed: i64) -> (u64, i64) {
        (unsigned, signed)
    }

    #[ambrosia(update)]
    fn floats(&self, values: Vec<f64>) -> Vec<f64> {
        values
    }

    /// Gives back an order as it was placed.
    ///
    /// Even one of nothing.
    #[ambrosia(query, formerly = "order")]
    fn place(&self, order: Order) -> Result<Order, String> {
        Ok(order)
    }

    #[ambrosia(update)]
    fn bytes(&self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        Some(bytes)
    }

    #[ambrosia(update)]
    fn text(&self, text: String) -> String {
        text
    }

    #[ambrosia(update)]
    fn length(&self, text: String) -> usize {
        text.len()
    }

    /// A list in a list in a list, that many levels deep, as it would be encoded.
    #[ambrosia(raw)]
    fn nested(&self, levels: &[u8]) -> Vec<u8> {
        let levels = std::str::from_utf8(levels).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        vec![0x91; levels]
    }

    /// Calls `add(1)` of `target` and waits for the answer.
    async fn call(_this: This<Self>, target: String) -> u64 {
        Counter::attach(&target).add(1).await.unwrap_or(0)
    }

    /// Begins such a call, and waits for nothing.
    fn begin_call(&self, target: String) {
        let counter = Counter::attach(&target);
        ambrosia::spawn(async move {
            // Whatever comes of it, it was the waiting that counts.
            let _answer = counter.add(1).await;
        });
    }
}
