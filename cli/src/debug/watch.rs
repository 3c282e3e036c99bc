//! Parts of the state that are watched: journeys forwards stop where one of them changes, and backwards where one last did.
//!
//! **Architecture Invariant:** no change between two records is missed, also not of a value that came back: each record at which
//! code ran is looked at.

use std::io::Write;

use ambrosia_core::Lsn;
use anyhow::{anyhow, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    changes::shown,
    condition::Condition,
    moment::{self, Viewer},
    path::Path,
    session::Session,
    state::State,
};
use crate::style::{Style, Tone};

/// Records that are looked at backwards at first, and at most, before it is looked further back.
const WINDOW_MIN: u64 = 16;
const WINDOW_MAX: u64 = 4096;

/// A part of the state that has changed. The JSON is an interface for scripts.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Changed {
    /// Number of the watch, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<usize>,
    path: String,
    /// What it was; null, too, if it was not there.
    was: Option<Value>,
    is: Option<Value>,
}

impl Changed {
    fn print(&self, out: &mut dyn Write, style: Style) -> std::io::Result<()> {
        let Changed { watch, path, was, is } = self;
        if let Some(watch) = watch {
            write!(out, "watch {watch}: ")?;
        }
        let path = style.paint(Tone::Method, ambrosia_host::without_controls(path));
        writeln!(out, "{path} {} -> {}", shown(was.as_ref()), shown(is.as_ref()))
    }
}

/// A part of the state at a record; none if it is not there.
type Part = Option<Value>;

impl Session<'_> {
    /// Stops from now on where that part of the state changes.
    pub(super) fn watch(&mut self, path: Path) -> anyhow::Result<()> {
        // That there is none here is told now, and not at the first stop that is missed.
        State::of(&mut self.traveller)?;
        let number = self.next_number();
        self.watches.insert(number, path);
        self.show_watches()
    }

    pub(super) fn show_watches(&mut self) -> anyhow::Result<()> {
        let paths: Vec<_> = self.watches.values().cloned().collect();
        let parts = self.parts(&paths)?.unwrap_or_else(|| vec![None; paths.len()]);
        let numbers = self.watches.keys().copied();
        let watches: Vec<_> = numbers.zip(paths.iter().map(Path::to_string)).zip(parts).collect();
        let shown_json =
            watches.iter().map(|((number, path), part)| json!({ "number": number, "path": path, "is": part }));
        let value = Value::Array(shown_json.collect());
        self.answer("watches", &value, |out, _| {
            if watches.is_empty() {
                return writeln!(out, "no watches");
            }
            watches.iter().try_for_each(|((number, path), part)| {
                let path = ambrosia_host::without_controls(path);
                writeln!(out, "watch {number}: {path}, here {}", shown(part.as_ref()))
            })
        })
    }

    /// Goes on, record by record, until so many were like one of the conditions, or a watched part has changed.
    pub(super) fn go_on_watching(&mut self, count: u64, conditions: &[Condition]) -> anyhow::Result<()> {
        let (here, last, mut left) = (self.lsn(), self.last()?, count);
        let paths: Vec<_> = self.watches.values().cloned().collect();
        let mut parts = self.parts(&paths)?;
        while self.lsn() < last && self.traveller.step()? {
            if self.runs_code()
                && let Some(now) = self.parts(&paths)?
            {
                let changed = self.changed(&paths, parts.as_deref(), &now);
                parts = Some(now);
                if !changed.is_empty() {
                    return self.show_changed("moment", &changed);
                }
            }
            let peer = |peer| Viewer::peer(&self.traveller, peer);
            if conditions.iter().any(|condition| condition.fits(self.traveller.moment(), peer)) {
                left -= 1;
                if left == 0 {
                    return self.show();
                }
            }
        }
        if self.lsn() == here {
            bail!("this is the last record");
        }
        self.go(here)?;
        bail!("up to record {last} no watched part of the state changes, and nothing else stops")
    }

    /// Goes back to the record where that part of the state became what it is.
    pub(super) fn why(&mut self, path: &Path) -> anyhow::Result<()> {
        let (here, (first, _)) = (self.lsn(), self.traveller.range());
        let state = State::of(&mut self.traveller)?.value;
        let is = path.find(&state).cloned().map_err(|reason| anyhow!(reason));
        let part = is.as_ref().ok().cloned();
        let Some((lsn, was)) = self.last_other(path, &part)? else {
            self.go(here)?;
            // What never was there is a slip of the pen.
            let is = is?;
            bail!(
                "`{path}` is {} at all records from {first} to {here}, which is as far as the log goes back",
                shown(Some(&is))
            );
        };
        self.go(lsn.next())?;
        let changed = Changed { watch: None, path: path.to_string(), was, is: part };
        self.show_changed("why", &[changed])
    }

    /// The last record before this one where the part is another one, and what it is there.
    fn last_other(&mut self, path: &Path, part: &Part) -> anyhow::Result<Option<(Lsn, Part)>> {
        let (first, _) = self.traveller.range();
        let (mut end, mut window) = (self.lsn(), WINDOW_MIN);
        while end > first {
            let begin = Lsn(end.0.saturating_sub(window)).max(first);
            let found = self.last_other_between(path, part, begin, end)?;
            if found.is_some() {
                return Ok(found);
            }
            (end, window) = (begin, WINDOW_MAX.min(window * 4));
        }
        Ok(None)
    }

    /// The same from `begin` on, before `end`.
    fn last_other_between(
        &mut self,
        path: &Path,
        part: &Part,
        begin: Lsn,
        end: Lsn,
    ) -> anyhow::Result<Option<(Lsn, Part)>> {
        self.go(begin)?;
        let (mut now, mut found) = (self.part(path)?, None);
        loop {
            if now != *part {
                found = Some((self.lsn(), now.clone()));
            }
            if self.lsn().next() >= end || !self.traveller.step()? {
                return Ok(found);
            }
            if self.runs_code() {
                now = self.part(path)?;
            }
        }
    }

    fn part(&mut self, path: &Path) -> anyhow::Result<Part> {
        Ok(self.parts(std::slice::from_ref(path))?.and_then(|mut parts| parts.remove(0)))
    }

    /// Parts of the state here; none if there is no state.
    fn parts(&mut self, paths: &[Path]) -> anyhow::Result<Option<Vec<Part>>> {
        let state = State::of_record(&mut self.traveller)?;
        Ok(state.map(|state| paths.iter().map(|path| path.find(&state.value).ok().cloned()).collect()))
    }

    /// Those that have changed; none if it is not known what they were.
    fn changed(&self, paths: &[Path], were: Option<&[Part]>, are: &[Part]) -> Vec<Changed> {
        let numbers = self.watches.keys();
        let parts = numbers.zip(paths).zip(were.unwrap_or(are)).zip(are);
        let different = parts.filter(|((_, was), is)| was != is);
        let changed = different.map(|(((number, path), was), is)| Changed {
            watch: Some(*number),
            path: path.to_string(),
            was: was.clone(),
            is: is.clone(),
        });
        changed.collect()
    }

    /// Shows the record with what of the state has changed at it. The JSON of `why` has one change, and the record in it.
    fn show_changed(&mut self, name: &str, changed: &[Changed]) -> anyhow::Result<()> {
        let shown = self.viewer.moment(&self.traveller)?;
        let moment = serde_json::to_value(&shown)?;
        let value = match (name, changed) {
            ("why", [changed]) => with(serde_json::to_value(changed)?, "moment", moment),
            _ => with(moment, "watched", serde_json::to_value(changed)?),
        };
        self.answer(name, &value, |out, style| {
            changed.iter().try_for_each(|changed| changed.print(out, style))?;
            moment::print(out, &shown, style)
        })?;
        self.show_changes_if_wanted()
    }
}

/// The same object with a field more.
fn with(mut object: Value, name: &str, value: Value) -> Value {
    object[name] = value;
    object
}
