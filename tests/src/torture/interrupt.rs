//! Ctrl-C and SIGTERM: whoever waits stops waiting, and everything is put away.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Whether the run is to end. Cheap to clone.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<(Mutex<bool>, Condvar)>);

impl Interrupt {
    /// One that is raised by Ctrl-C and SIGTERM. The second time the process ends at once; its children are killed then,
    /// and what was mounted vanishes with them.
    pub fn on_signals() -> anyhow::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signals = runtime.block_on(async { (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) });
        let mut interrupted = signals.0.context("wait for Ctrl-C")?;
        let mut terminated = signals.1.context("wait for SIGTERM")?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! { _ = interrupted.recv() => {}, _ = terminated.recv() => {} }
                    if raised.is_raised() {
                        std::process::exit(130);
                    }
                    eprintln!("\ninterrupted: all is ended; once more ends at once");
                    raised.raise();
                }
            });
        });
        Ok(interrupt)
    }

    fn raise(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error once it was raised.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_raised(), "interrupted");
        Ok(())
    }

    /// Waits that long, or until it is raised; says whether it is.
    pub fn wait(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        let mut raised = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if *raised || left.is_zero() {
                return *raised;
            }
            raised = self.0.1.wait_timeout(raised, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
