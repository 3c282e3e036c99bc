//! The state of the application at a record.
//!
//! **Architecture Invariant:** values read as those of arguments do: what JSON can't say is a string, as `docs/guide.md` lists
//! under "Values".

use std::{io::Write, time::Duration};

use ambrosia_host::{
    decode_value,
    travel::{NoState, Traveller, state_file},
    without_controls,
};
use anyhow::{Context, anyhow};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    changes::{self, Change},
    path::Path,
    session::Session,
};
use crate::style::{Style, Tone};

/// Lines of a part of a state; of the others only the count is told.
const LINES_MAX: usize = 1000;

/// The state of the application at a record.
pub(crate) struct State {
    lsn: u64,
    version: u32,
    pub(crate) value: Value,
    waiting: Vec<Waiting>,
}

/// A handler that waits. It is of the code, and so not in the state.
#[derive(Serialize)]
struct Waiting {
    handler: String,
    awaits: String,
    /// Seconds, up to the record.
    seconds: f64,
}

impl State {
    /// Where a traveller stands.
    pub(crate) fn of(traveller: &mut Traveller) -> Result<State, NoState> {
        let saved = traveller.state()?;
        let now = traveller.replica().time();
        let waiting = saved.waiting.into_iter().map(|waiting| Waiting {
            handler: waiting.handler,
            awaits: waiting.awaits,
            seconds: Duration::from_nanos(now.0.saturating_sub(waiting.since.0)).as_secs_f64(),
        });
        Ok(State {
            lsn: traveller.lsn().0,
            version: saved.version,
            value: decode_value(&saved.state),
            waiting: waiting.collect(),
        })
    }

    /// The same; none if there is none at this record, as there may be at others.
    pub(crate) fn of_record(traveller: &mut Traveller) -> Result<Option<State>, NoState> {
        match State::of(traveller) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.is_of_the_record() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn print(&self, path: &Path, part: &Value, out: &mut dyn Write, style: Style) -> std::io::Result<()> {
        let pretty = format!("{part:#}");
        let mut lines = pretty.lines();
        if path.is_all() {
            let place = style.paint(Tone::Place, format!("lsn {}", self.lsn));
            writeln!(out, "{place}  the state, of version {}", self.version)?;
        } else {
            let path = style.paint(Tone::Method, without_controls(&path.to_string()));
            writeln!(out, "{path} {}", without_controls(lines.next().unwrap_or_default()))?;
        }
        lines.by_ref().take(LINES_MAX).try_for_each(|line| writeln!(out, "{}", without_controls(line)))?;
        match lines.count() {
            0 => {}
            more => writeln!(out, "… and {more} lines more: name a part of it, such as `state .name`")?,
        }
        if path.is_all() {
            self.print_waiting(out, style)?;
        }
        Ok(())
    }

    fn print_waiting(&self, out: &mut dyn Write, style: Style) -> std::io::Result<()> {
        for Waiting { handler, awaits, seconds } in &self.waiting {
            let line = format!("  {handler} awaits {awaits} since {seconds:.3} s");
            writeln!(out, "{}", style.paint(Tone::Aside, without_controls(&line)))?;
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Shows a part of the state.
    pub(super) fn state(&mut self, path: &Path) -> anyhow::Result<()> {
        let state = State::of(&mut self.traveller)?;
        let part = path.find(&state.value).map_err(|reason| anyhow!(reason))?;
        let State { lsn, version, waiting, .. } = &state;
        let json = json!({
            "lsn": lsn, "version": version, "path": path.to_string(), "value": part, "waiting": waiting,
        });
        self.answer("state", &json, |out, style| state.print(path, part, out, style))
    }

    /// Shows what the record changed in the state.
    pub(super) fn show_changes(&mut self) -> anyhow::Result<()> {
        let lsn = self.lsn();
        let changes = self.changes()?;
        let value = json!({ "lsn": lsn.0, "changes": changes });
        self.answer("changes", &value, |out, style| {
            if changes.is_empty() {
                return writeln!(out, "the record changed nothing in the state");
            }
            changes::print(out, &changes, style)
        })
    }

    /// The same below a record that is shown, if there is anything to be said.
    pub(super) fn show_changes_along(&mut self) -> anyhow::Result<()> {
        match self.changes() {
            Ok(changes) => {
                changes::print(self.out, &changes, self.style)?;
                Ok(self.out.flush()?)
            }
            Err(error) if error.downcast_ref().is_some_and(NoState::is_of_the_record) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn changes(&mut self) -> anyhow::Result<Vec<Change>> {
        let (here, (first, _)) = (self.lsn(), self.traveller.range());
        if here == first || !self.runs_code() {
            return Ok(Vec::new());
        }
        let is = State::of(&mut self.traveller)?.value;
        self.traveller.back()?;
        let was = State::of(&mut self.traveller);
        self.traveller.seek(here)?;
        Ok(changes::changes(&was?.value, &is))
    }

    /// Writes the state into a file that `Harness::load` of the SDK reads.
    pub(super) fn save_state(&mut self, path: &std::path::Path) -> anyhow::Result<()> {
        let saved = self.traveller.state()?;
        let file = state_file(&saved);
        std::fs::write(path, &file).with_context(|| format!("cannot write {}", path.display()))?;
        let (lsn, version, waiting) = (self.lsn(), saved.version, saved.waiting.len());
        let value = json!({
            "lsn": lsn.0, "version": version, "bytes": file.len(), "file": path.display().to_string(), "waiting": waiting,
        });
        self.answer("saved", &value, |out, _| {
            writeln!(out, "the state at lsn {lsn}, of version {version}, is in {}", path.display())?;
            match waiting {
                0 => Ok(()),
                1 => writeln!(out, "1 handler waits there, which is not in it: it is code that runs"),
                _ => writeln!(out, "{waiting} handlers wait there, which are not in it: they are code that runs"),
            }
        })
    }
}
