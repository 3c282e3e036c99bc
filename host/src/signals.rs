//! The wish of the operator that the process ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    diagnostics::Diagnostics,
    everyone::Everyone,
    leash::{END_PATIENCE, Leash},
    printer::Printer,
};

/// Signals closer together than this count as one.
const SIGNAL_DEBOUNCE: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT, caught from the moment that this is made.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn catch() -> std::io::Result<Signals> {
        Ok(Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The first signal ends all replicas in order, the second at once. When the leash is let go they end in order too, within
    /// [`END_PATIENCE`].
    pub(crate) async fn watch(mut self, everyone: Everyone, printer: Arc<Printer>, leash: Option<Leash>) {
        let let_go = async {
            match &leash {
                Some(leash) => leash.let_go().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(let_go);
        let mut asked: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                () = &mut let_go => {
                    everyone.shut_down();
                    printer.ask_to_end();
                    tokio::time::sleep(END_PATIENCE).await;
                    tracing::error!("the process that started this one has let go, and this one has not ended in time: it stops at once");
                    break;
                }
            }
            match asked {
                None => {
                    everyone.shut_down();
                    printer.ask_to_end();
                    tracing::info!("asked to stop, handing over; a second signal stops at once");
                    asked = Some(Instant::now());
                }
                // A shell or a wrapper passes on what the terminal has sent as well: that is one wish, not two.
                Some(first) if first.elapsed() < SIGNAL_DEBOUNCE => {}
                Some(_) => break,
            }
        }
        // As if killed: the log is made for that.
        Diagnostics::flush_at_end();
        std::process::exit(1);
    }
}
