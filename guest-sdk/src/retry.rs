//! The same again, after a pause.

use std::time::Duration;

use crate::sleep;

/// How often something is tried, and how long the pauses are: each is twice the one before. They are timers of the instance, so
/// they survive what happens meanwhile, and there is no chance in them.
///
/// ```
/// # use std::time::Duration;
/// let retry = ambrosia::Retry::times(8).pause(Duration::from_secs(1)).longest_pause(Duration::from_secs(30));
/// let pauses: Vec<_> = (1..8).map(|tried| retry.pause_after(tried).as_secs()).collect();
/// assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retry {
    tries: u32,
    pause: Duration,
    longest_pause: Duration,
}

impl Default for Retry {
    /// Five tries, the first pause 100 ms, none longer than a minute.
    fn default() -> Self {
        Retry { tries: 5, pause: Duration::from_millis(100), longest_pause: Duration::from_secs(60) }
    }
}

impl Retry {
    /// So many tries in all, at least one.
    pub fn times(tries: u32) -> Self {
        Retry { tries: tries.max(1), ..Retry::default() }
    }

    /// The pause after the first try.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// What no pause exceeds.
    #[must_use]
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// How many tries there are in all.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// The pause after so many tries.
    pub fn pause_after(&self, tried: u32) -> Duration {
        let factor = 1_u32.checked_shl(tried.saturating_sub(1)).unwrap_or(u32::MAX);
        self.pause.saturating_mul(factor).min(self.longest_pause)
    }
}

/// Does `work` until it succeeds, at most as often as `retry` says, and gives what came of the last try.
///
/// ```
/// # #[ambrosia::interface] trait Bank { fn withdraw(amount: u64) -> Result<u64, String>; }
/// # async fn example(bank: Bank) -> Result<u64, String> {
/// ambrosia::retry(ambrosia::Retry::times(3), || async {
///     bank.withdraw(20).await.map_err(|error| error.to_string())?
/// })
/// .await
/// # }
/// ```
///
/// A peer that is down is no reason to try again: a call waits for it. This is for what a peer, or the application, refuses for
/// a while. An upgrade finds it as a handler that waits; begun again there, it counts its tries from the beginning.
///
/// # Errors
/// That of the last try.
pub async fn retry<T, E, F: Future<Output = Result<T, E>>>(retry: Retry, work: impl FnMut() -> F) -> Result<T, E> {
    retry_if(retry, work, |_| true).await
}

/// The same, but an error that `is_passing` does not call so ends it at once.
///
/// # Errors
/// That of the last try.
pub async fn retry_if<T, E, F: Future<Output = Result<T, E>>>(
    retry: Retry,
    mut work: impl FnMut() -> F,
    mut is_passing: impl FnMut(&E) -> bool,
) -> Result<T, E> {
    let mut tried = 0;
    loop {
        let outcome = work().await;
        tried += 1;
        match outcome {
            Err(error) if tried < retry.tries && is_passing(&error) => sleep(retry.pause_after(tried)).await,
            outcome => return outcome,
        }
    }
}
