//! `status --watch`: the status as it changes, until Ctrl-C.
//!
//! **Architecture Invariant:** whatever ends it, the terminal is as it was before.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use ambrosia_core::HostAddress;
use ambrosia_host::Security;
use ambrosia_storage::{Store, StorePlace};
use anyhow::Context;
use serde_json::Value;

use crate::{
    arguments::Status,
    interrupts,
    status::Answer,
    status_by_hosts::{self, ByHosts},
    style::Style,
};

/// Between two looks: how far replicas are, nobody tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Another screen, without a cursor, where long lines are cut.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

enum Happened {
    /// Whoever watches has seen enough.
    Interrupted,
    Looked(anyhow::Result<Look>),
}

/// What was seen.
enum Look {
    Store(Answer),
    /// The store can't be read.
    Hosts(ByHosts),
}

impl Look {
    fn text(&self, style: Style) -> String {
        match self {
            Look::Store(answer) => answer.text(style),
            Look::Hosts(known) => known.as_whole_text(style),
        }
    }

    fn json(&self) -> serde_json::Result<Value> {
        match self {
            Look::Store(answer) => serde_json::to_value(answer),
            Look::Hosts(known) => serde_json::to_value(known),
        }
    }
}

/// Whoever looks.
struct Looker {
    store: Arc<dyn Store>,
    verb: Status,
    security: Security,
    /// Hosts to be asked while the store can't be read: those that name it, or were alive when it was read last. Of a directory nobody is asked.
    hosts: Vec<HostAddress>,
    are_to_be_known: bool,
}

impl Looker {
    fn look(&mut self) -> anyhow::Result<Look> {
        match Answer::of(&self.store, &self.verb, &self.security) {
            Ok(answer) => {
                if self.are_to_be_known {
                    self.hosts.clone_from(&answer.alive);
                }
                Ok(Look::Store(answer))
            }
            Err(error) => {
                let only = self.verb.instance.0.as_ref();
                let known = status_by_hosts::ask(&self.hosts, only, &error, &self.security)?;
                known.map(Look::Hosts).ok_or(error)
            }
        }
    }
}

/// Shows it again and again. A store that can't be read for a while ends nothing where hosts are known.
pub(crate) fn watch(
    store: &Arc<dyn Store>,
    place: &StorePlace,
    verb: &Status,
    style: Style,
    security: &Security,
) -> anyhow::Result<ExitCode> {
    let (sender, happened) = channel();
    let (wish, wanted) = channel();
    let interrupted = sender.clone();
    interrupts::each(move || interrupted.send(Happened::Interrupted).is_ok())?;
    let mut looker = Looker {
        store: Arc::clone(store),
        verb: verb.clone(),
        security: security.clone(),
        hosts: place.hosts().to_owned(),
        are_to_be_known: place.hosts().is_empty() && matches!(place, StorePlace::Engine(_)),
    };
    // A store that does not answer holds a look up, and is not to hold up Ctrl-C.
    let look = move || while wanted.recv().is_ok() && sender.send(Happened::Looked(looker.look())).is_ok() {};
    thread::Builder::new().name("status".to_owned()).spawn(look).context("a thread can't be started")?;
    let out = std::io::stdout();
    let (mut screen, mut last, mut text) = (None, Last::default(), String::new());
    loop {
        wish.send(()).context("the thread that looks has ended")?;
        let look = match happened.recv().context("the thread that looks has ended")? {
            Happened::Interrupted => break,
            Happened::Looked(look) => look?,
        };
        let seen = look.json()?;
        text = look.text(style);
        let shown = if verb.json { serde_json::to_string(&seen)? } else { text.clone() };
        let is_new = last.differs(seen);
        if !verb.json && out.is_terminal() {
            let screen = match &mut screen {
                Some(screen) => screen,
                none => none.insert(Screen::begin(out.lock())?),
            };
            screen.redraw(&text)?;
        } else if is_new {
            writeln!(out.lock(), "{shown}")?;
        }
        match happened.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    if screen.take().is_some() {
        // What was seen last stays.
        out.lock().write_all(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was shown last.
#[derive(Default)]
struct Last(Option<Value>);

impl Last {
    /// Whether something else is so now: times pass, which is no change.
    fn differs(&mut self, mut now: Value) -> bool {
        take_times(&mut now);
        let differs = self.0.as_ref() != Some(&now);
        self.0 = Some(now);
        differs
    }
}

fn take_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_ms"));
            fields.values_mut().for_each(take_times);
        }
        Value::Array(items) => items.iter_mut().for_each(take_times),
        _ => {}
    }
}

/// A terminal that is drawn on again and again.
struct Screen<W: Write>(W);

impl<W: Write> Screen<W> {
    fn begin(mut out: W) -> std::io::Result<Screen<W>> {
        out.write_all(BEGIN.as_bytes())?;
        Ok(Screen(out))
    }

    /// Draws over what was there, so that nothing flickers.
    fn redraw(&mut self, text: &str) -> std::io::Result<()> {
        let mut drawn = "\x1b[H".to_owned();
        text.lines().for_each(|line| drawn += &format!("{line}\x1b[K\r\n"));
        self.0.write_all((drawn + "\x1b[J").as_bytes())?;
        self.0.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _gone = self.0.write_all(END.as_bytes()).and_then(|()| self.0.flush());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn time_that_passes_is_no_change() {
        let status = |age, lsn| json!({"instances": [{"durable_lsn": lsn, "replicas": [{"heartbeat_age_ms": age}]}]});
        let mut last = Last::default();
        assert!(last.differs(status(5, 1)));
        assert!(!last.differs(status(80, 1)));
        assert!(last.differs(status(80, 2)));
        assert!(!last.differs(status(3, 2)));
    }

    #[test]
    fn a_terminal_is_drawn_over_and_is_as_it_was_in_the_end() {
        let mut drawn = Vec::new();
        let mut screen = Screen::begin(&mut drawn).expect("memory takes all");
        screen.redraw("a: down\n").expect("memory takes all");
        drop(screen);
        let expected = format!("{BEGIN}\x1b[Ha: down\x1b[K\r\n\x1b[J{END}");
        assert_eq!(String::from_utf8(drawn).expect("it is text"), expected);
    }
}
