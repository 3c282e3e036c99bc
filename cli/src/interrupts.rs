//! The wish of whoever sits at the terminal that something ends.

use std::sync::mpsc::{Receiver, channel};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Calls at each SIGINT and SIGTERM from now on, which do nothing else any more, until it says that nobody listens.
///
/// # Errors
/// If the system has no more threads.
pub(crate) fn each(mut call: impl FnMut() -> bool + Send + 'static) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _within = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let watch = move || {
        loop {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            if !call() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).context("a thread can't be started")?;
    Ok(())
}

/// The same, as messages.
///
/// # Errors
/// As for [`each`].
pub(crate) fn received() -> anyhow::Result<Receiver<()>> {
    let (sender, received) = channel();
    each(move || sender.send(()).is_ok())?;
    Ok(received)
}
