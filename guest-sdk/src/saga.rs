//! Steps of which each is undone if a later one fails.

use std::{fmt, pin::Pin};

use crate::spawn;

type Undo = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>>>;

/// Steps at several peers, and what undoes each: if one fails, those before it are undone, the last first.
///
/// ```
/// # #[ambrosia::interface] trait Stock { fn reserve(item: String) -> Result<u64, String>; fn release(reservation: u64); }
/// # #[ambrosia::interface] trait Bank { fn charge(order: String) -> Result<u64, String>; }
/// async fn order(stock: Stock, bank: Bank, item: String) -> Result<u64, String> {
///     let mut saga = ambrosia::Saga::new();
///     let reserve = async { stock.reserve(&item).await.map_err(|error| error.to_string())? };
///     saga.step(reserve, move |reservation| async move { stock.fork().release(reservation) }).await?;
///     let charge = async { bank.charge(&item).await.map_err(|error| error.to_string())? };
///     let receipt = saga.last_step(charge).await?;
///     Ok(receipt)
/// }
/// ```
///
/// A saga that is dropped before its last step, as by `?` on something else, or because its task is cancelled, is undone beside
/// the handlers. It lives through failures as every handler does. An upgrade finds it as a handler that waits, and waits for it; if
/// it is told to end those, nothing of the saga goes over, and nothing is undone.
#[derive(Default)]
#[must_use = "a saga is undone when it is dropped before its end: `finish` it"]
pub struct Saga {
    undo: Vec<Undo>,
}

impl Saga {
    /// Without a step.
    pub fn new() -> Self {
        Saga::default()
    }

    /// Does `action`. If it succeeds, `undo` is called with what it gave if a later step fails; if it fails, the steps before it
    /// are undone, the last first, before this returns.
    ///
    /// # Errors
    /// That of `action`.
    pub async fn step<T: Clone + 'static, E, U: Future<Output = ()> + 'static>(
        &mut self,
        action: impl Future<Output = Result<T, E>>,
        undo: impl FnOnce(T) -> U + 'static,
    ) -> Result<T, E> {
        match action.await {
            Ok(value) => {
                let given = value.clone();
                self.undo.push(Box::new(move || Box::pin(undo(given))));
                Ok(value)
            }
            Err(error) => {
                self.undo_all().await;
                Err(error)
            }
        }
    }

    /// Does the last step, which nothing undoes: if it succeeds, the saga has come to its end.
    ///
    /// # Errors
    /// That of `action`, after the steps before it were undone.
    pub async fn last_step<T, E>(mut self, action: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let outcome = action.await;
        match &outcome {
            Ok(_) => self.finish(),
            Err(_) => self.undo_all().await,
        }
        outcome
    }

    /// It has come to its end: nothing is undone any more.
    pub fn finish(mut self) {
        self.undo.clear();
    }

    /// Undoes all steps, the last first.
    pub async fn undo(mut self) {
        self.undo_all().await;
    }

    async fn undo_all(&mut self) {
        // One by one, so that what is dropped here leaves the rest to `Drop`.
        while let Some(undo) = self.undo.pop() {
            undo().await;
        }
    }
}

impl Drop for Saga {
    fn drop(&mut self) {
        // Outside of the immortal, as when a harness is dropped, there is nobody to be told.
        if self.undo.is_empty() || crate::runtime::try_with(|_| ()).is_none() {
            return;
        }
        let mut rest = Saga { undo: std::mem::take(&mut self.undo) };
        spawn(async move { rest.undo_all().await });
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Saga").field("steps", &self.undo.len()).finish_non_exhaustive()
    }
}
