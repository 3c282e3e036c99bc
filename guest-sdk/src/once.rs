//! What is done once for a key, and remembered.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    fmt,
    rc::Rc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Mutex;

/// Does something once for each key, and remembers what came of it: a caller that asks again gets the same, also one that asks
/// while it is being done. A field of the state, of which the newest `KEPT` results are kept.
///
/// ```
/// # #[ambrosia::interface] trait Bank { fn charge(order: String) -> Result<u64, String>; }
/// use ambrosia::{OnceMap, This};
///
/// #[ambrosia::state]
/// struct Shop { charged: OnceMap<String, u64> }
///
/// #[ambrosia::immortal]
/// impl Shop {
///     /// However often it is asked to, the order is charged once.
///     async fn pay(this: This<Self>, bank: Bank, order: String) -> Result<u64, String> {
///         let charged = this.with(|shop| shop.charged.clone());
///         charged
///             .try_once(order.clone(), || async move {
///                 bank.charge(&order).await.map_err(|error| error.to_string())?
///             })
///             .await
///     }
/// }
/// # fn main() {}
/// ```
///
/// A clone is the same map. With the state it is encoded as the list of keys and results, oldest first: what has ended goes over
/// to other code. What has begun only is a handler that waits: an upgrade waits for it, or, where it is marked
/// `#[ambrosia(restart)]`, begins it again, so what it does has to be fit for that.
pub struct OnceMap<K, V, const KEPT: usize = 10_000>(Rc<RefCell<Results<K, V>>>);

struct Results<K, V> {
    /// Oldest first.
    order: VecDeque<K>,
    ended: BTreeMap<K, V>,
    /// The turn of those who ask for what is being done, and how many they are.
    begun: BTreeMap<K, (Mutex<()>, usize)>,
}

impl<K: Ord + Clone, V: Clone, const KEPT: usize> OnceMap<K, V, KEPT> {
    /// What was remembered for `key`, else what `work` gives, which is remembered from then on.
    pub async fn once<F: Future<Output = V>>(&self, key: K, work: impl FnOnce() -> F) -> V {
        enum Never {}
        let outcome = self.try_once(key, || async { Ok::<V, Never>(work().await) }).await;
        match outcome {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The same, but a failure is not remembered: it is told to who began it, and the next one that asked tries.
    ///
    /// # Errors
    /// That of `work`.
    pub async fn try_once<E, F: Future<Output = Result<V, E>>>(
        &self,
        key: K,
        work: impl FnOnce() -> F,
    ) -> Result<V, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let asking = Asking::new(&self.0, key);
        let turn = asking.turn().await;
        let value = match self.get(&asking.key) {
            Some(value) => value,
            None => {
                let value = work().await?;
                self.remember(asking.key.clone(), value.clone());
                value
            }
        };
        drop(turn);
        Ok(value)
    }

    /// What is remembered for `key`.
    pub fn get(&self, key: &K) -> Option<V> {
        self.0.borrow().ended.get(key).cloned()
    }

    /// Forgets what is remembered for `key`, and gives it: the next one that asks does it again.
    pub fn forget(&self, key: &K) -> Option<V> {
        let mut results = self.0.borrow_mut();
        let value = results.ended.remove(key)?;
        results.order.retain(|kept| kept != key);
        Some(value)
    }

    /// How many results are remembered.
    pub fn len(&self) -> usize {
        self.0.borrow().ended.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn remember(&self, key: K, value: V) {
        let mut results = self.0.borrow_mut();
        if results.ended.insert(key.clone(), value).is_none() {
            results.order.push_back(key);
        }
        while results.order.len() > KEPT.max(1)
            && let Some(oldest) = results.order.pop_front()
        {
            results.ended.remove(&oldest);
        }
    }
}

/// Somebody asks for what has not ended.
struct Asking<'a, K: Ord + Clone, V> {
    results: &'a Rc<RefCell<Results<K, V>>>,
    key: K,
}

impl<'a, K: Ord + Clone, V> Asking<'a, K, V> {
    fn new(results: &'a Rc<RefCell<Results<K, V>>>, key: K) -> Self {
        let mut inside = results.borrow_mut();
        inside.begun.entry(key.clone()).or_default().1 += 1;
        drop(inside);
        Asking { results, key }
    }

    fn turn(&self) -> crate::Lock<()> {
        self.results.borrow().begun.get(&self.key).expect("it is there as long as somebody asks").0.lock()
    }
}

impl<K: Ord + Clone, V> Drop for Asking<'_, K, V> {
    fn drop(&mut self) {
        let mut results = self.results.borrow_mut();
        let asking = results.begun.get_mut(&self.key).expect("it is there as long as somebody asks");
        asking.1 -= 1;
        if asking.1 == 0 {
            results.begun.remove(&self.key);
        }
    }
}

impl<K, V, const KEPT: usize> Clone for OnceMap<K, V, KEPT> {
    fn clone(&self) -> Self {
        OnceMap(Rc::clone(&self.0))
    }
}

impl<K, V, const KEPT: usize> Default for OnceMap<K, V, KEPT> {
    fn default() -> Self {
        let results = Results { order: VecDeque::new(), ended: BTreeMap::new(), begun: BTreeMap::new() };
        OnceMap(Rc::new(RefCell::new(results)))
    }
}

impl<K: Ord + Serialize, V: Serialize, const KEPT: usize> Serialize for OnceMap<K, V, KEPT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let results = self.0.borrow();
        serializer.collect_seq(results.order.iter().filter_map(|key| results.ended.get_key_value(key)))
    }
}

impl<'de, K: Ord + Clone + Deserialize<'de>, V: Clone + Deserialize<'de>, const KEPT: usize> Deserialize<'de>
    for OnceMap<K, V, KEPT>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = OnceMap::default();
        for (key, value) in Vec::<(K, V)>::deserialize(deserializer)? {
            map.remember(key, value);
        }
        Ok(map)
    }
}

impl<K: fmt::Debug, V: fmt::Debug, const KEPT: usize> fmt::Debug for OnceMap<K, V, KEPT> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0.borrow().ended).finish()
    }
}
