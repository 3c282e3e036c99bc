//! `status --watch`: the status as it changes, until Ctrl-C.
//!
//! **Architecture Invariant:** whatever ends it, the terminal is as it was before.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
    sync::{Arc, mpsc::RecvTimeoutError},
    time::Duration,
};

use ambrosia_storage::Store;
use serde_json::Value;

use ambrosia_host::Security;

use crate::{arguments::Status, interrupts, status::Answer, style::Style};

/// Between two looks: how far replicas are, nobody tells.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Another screen, without a cursor, where long lines are cut.
const BEGIN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const END: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

pub(crate) fn watch(
    store: &Arc<dyn Store>,
    verb: &Status,
    style: Style,
    security: &Security,
) -> anyhow::Result<ExitCode> {
    let ends = interrupts::received()?;
    let out = std::io::stdout();
    let (mut screen, mut last) = (None, Last::default());
    let text = loop {
        let answer = Answer::of(store, verb, security)?;
        let is_new = last.differs(serde_json::to_value(&answer)?);
        let text = answer.text(style);
        if verb.json {
            if is_new {
                writeln!(out.lock(), "{}", serde_json::to_string(&answer)?)?;
            }
        } else if out.is_terminal() {
            let screen = match &mut screen {
                Some(screen) => screen,
                none => none.insert(Screen::begin(out.lock())?),
            };
            screen.redraw(&text)?;
        } else if is_new {
            writeln!(out.lock(), "{text}")?;
        }
        match ends.recv_timeout(LOOK_INTERVAL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break text,
        }
    };
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
