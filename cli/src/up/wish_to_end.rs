//! The wish of whoever sits at the terminal that all ends.

use std::{
    sync::mpsc::Sender,
    time::{Duration, Instant},
};

use super::Happened;
use crate::interrupts;

/// Signals closer together than this are one wish: a wrapper passes on what the terminal has sent as well.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Tells of SIGINT and SIGTERM from now on.
pub(crate) fn watch(happens: Sender<Happened>) -> anyhow::Result<()> {
    let mut last: Option<Instant> = None;
    interrupts::each(move || {
        let happened = match last {
            None => Happened::Asked,
            Some(last) if last.elapsed() < DEBOUNCE => return true,
            Some(_) => Happened::AskedAgain,
        };
        last = Some(Instant::now());
        happens.send(happened).is_ok()
    })
}
