//! How much memory a guest gets.
//!
//! The limit is part of genesis, so reaching it is an outcome that every replica sees alike. The machine running out
//! of memory is not: it must never become something that the guest can notice.
//!
//! **Architecture Invariant:** a guest's request is answered from the limit alone; if the host can't keep what the
//! limit promises, the process ends.

use std::{io::Write, time::Duration};

use wasmtime::ResourceLimiter;

use crate::refusal::Refusal;

/// Elements that a table may hold: far more functions than a component has.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 1 << 20;

/// What wasmtime says of a growth that the type of the memory forbids, before it asks for the limit. The same on
/// every replica, and so harmless.
const BEYOND_TYPE: &str = "memory growth exceeds memory type's limits";

/// A process that ends since the host has no memory waits no longer than this for its stderr.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);

/// Counts the linear memory of one store.
pub(crate) struct MemoryLimit {
    limit: u64,
    used: u64,
    /// While the component is instantiated a memory that does not fit is an error, not an answer.
    starting: bool,
}

impl MemoryLimit {
    pub(crate) fn new(limit: u64) -> Self {
        MemoryLimit { limit, used: 0, starting: true }
    }

    /// The component is instantiated.
    pub(crate) fn started(&mut self) {
        self.starting = false;
    }

    /// All memories together may have that much from here on.
    pub(crate) fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Bytes that all memories have now.
    pub(crate) fn used(&self) -> u64 {
        self.used
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool, wasmtime::Error> {
        let grown = (desired as u64).saturating_sub(current as u64);
        let used = self.used.saturating_add(grown);
        if used > self.limit && self.starting && current == 0 {
            return Err(Refusal::MemoryAtStart { desired: used, limit: self.limit }.into());
        }
        if used > self.limit || maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.used = used;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<(), wasmtime::Error> {
        if error.to_string() != BEYOND_TYPE {
            abort(&error);
        }
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> Result<bool, wasmtime::Error> {
        Ok(desired <= TABLE_ELEMENTS_MAX.min(maximum.unwrap_or(usize::MAX)))
    }
}

/// Ends the process: to tell the guest would make this replica differ from the others.
fn abort(error: &wasmtime::Error) -> ! {
    tracing::error!("the host has no memory left for a guest that is within its limit: {error:#}");
    let text = format!(
        "ambrosia: the host has no memory left for a guest that is within its limit, so the process ends: {error:#}\n"
    );
    say_last_words(text);
    std::process::abort()
}

/// Writes to stderr at once, since whoever writes the host's messages has no more time to. A stderr that takes nothing
/// must not keep the process from its end.
fn say_last_words(text: String) {
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    let write = move || {
        // Nothing is left to be done about either.
        let _unheard = std::io::stderr().write_all(text.as_bytes());
        let _late = done.send(());
    };
    if std::thread::Builder::new().spawn(write).is_ok() {
        let _late = is_done.recv_timeout(LAST_WORDS_TIMEOUT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 64 << 10;

    #[test]
    fn all_memories_together_stay_within_the_limit() {
        let mut memory = MemoryLimit::new(4 * PAGE as u64);
        let mut grow = |from: usize, to: usize| memory.memory_growing(from * PAGE, to * PAGE, None).ok();
        assert_eq!(grow(0, 1), Some(true));
        assert_eq!(grow(0, 2), Some(true));
        assert_eq!(grow(1, 3), Some(false));
        assert_eq!(grow(1, 2), Some(true));
        assert_eq!(grow(2, 3), Some(false));
    }

    #[test]
    fn a_memory_that_does_not_fit_at_the_start_is_an_error() {
        let error = MemoryLimit::new(PAGE as u64).memory_growing(0, 2 * PAGE, None).expect_err("too much");
        let expected = Refusal::MemoryAtStart { desired: 2 * PAGE as u64, limit: PAGE as u64 };
        assert_eq!(error.downcast_ref(), Some(&expected));
    }

    #[test]
    fn a_growth_beyond_the_declared_maximum_is_answered_by_the_limiter() {
        let mut memory = MemoryLimit::new(u64::MAX);
        assert_eq!(memory.memory_growing(PAGE, 3 * PAGE, Some(2 * PAGE)).ok(), Some(false));
    }

    #[test]
    fn tables_have_a_limit() {
        let mut memory = MemoryLimit::new(0);
        assert_eq!(memory.table_growing(0, TABLE_ELEMENTS_MAX, None).ok(), Some(true));
        assert_eq!(memory.table_growing(0, TABLE_ELEMENTS_MAX + 1, None).ok(), Some(false));
        assert_eq!(memory.table_growing(0, 11, Some(10)).ok(), Some(false));
    }

    /// The test runs itself in a process of its own, which has to end with SIGABRT.
    #[test]
    fn a_host_without_memory_ends_the_process() {
        const CHILD: &str = "AMBROSIA_TEST_MEMORY_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let _ = MemoryLimit::new(0).memory_grow_failed(wasmtime::Error::msg("mprotect: out of memory"));
            return;
        }
        let test = "memory::tests::a_host_without_memory_ends_the_process";
        let output = std::process::Command::new(std::env::current_exe().expect("a test has a path"))
            .args([test, "--exact", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .expect("the test can run itself");
        assert_eq!(output.status.code(), None, "killed by a signal");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no memory left"));
    }
}
