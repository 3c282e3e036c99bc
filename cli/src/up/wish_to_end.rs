//! The wish of whoever sits at the terminal that all ends.

use std::{
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::Happened;

/// Signals closer together than this are one wish: a wrapper passes on what the terminal has sent as well.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Tells of SIGINT and SIGTERM from now on.
pub(crate) fn watch(happens: Sender<Happened>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _within = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let watch = move || {
        let mut last: Option<Instant> = None;
        loop {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            let happened = match last {
                None => Happened::Asked,
                Some(last) if last.elapsed() < DEBOUNCE => continue,
                Some(_) => Happened::AskedAgain,
            };
            last = Some(Instant::now());
            if happens.send(happened).is_err() {
                return; // it is over
            }
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(watch).context("a thread can't be started")?;
    Ok(())
}
