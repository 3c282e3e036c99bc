//! A journey by commands.
//!
//! **Architecture Invariant:** a command that fails leaves the journey where it was, or where it got to, and says so.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use ambrosia_core::{Lsn, Record, RecordKind, Timestamp};
use ambrosia_host::{travel::Traveller, without_controls};
use ambrosia_storage::{InstanceEntry, RecordedOutcome, Store};
use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{
    command::Command,
    condition::Condition,
    moment::{self, Compared, Viewer, effect_line, message_line},
    path::Path,
    place::{Place, on_the_day_of},
};
use crate::{
    records::Body,
    style::{Style, Tone},
    verify,
};

/// Records that are executed between two looks for what is looked for backwards.
const WINDOW: u64 = 4096;

/// A journey, and what its commands go by.
pub(crate) struct Session<'a> {
    pub(super) traveller: Traveller,
    pub(super) viewer: Viewer,
    entry: InstanceEntry,
    /// The last record that it goes to.
    to: Option<Lsn>,
    breaks: BTreeMap<usize, Condition>,
    pub(super) watches: BTreeMap<usize, Path>,
    pub(super) out: &'a mut dyn Write,
    pub(super) style: Style,
    is_json: bool,
    /// Whether what a record changed in the state is shown with it.
    shows_changes: bool,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        traveller: Traveller,
        entry: InstanceEntry,
        to: Option<Lsn>,
        out: &'a mut dyn Write,
        (style, is_json): (Style, bool),
    ) -> Session<'a> {
        let viewer = Viewer::new(store, &traveller);
        let (breaks, watches) = (BTreeMap::new(), BTreeMap::new());
        Session { traveller, viewer, entry, to, breaks, watches, out, style, is_json, shows_changes: false }
    }

    /// What each record changed in the state is shown with it: for whoever types, and can wait that long.
    pub(crate) fn showing_changes(mut self) -> Self {
        self.shows_changes = true;
        self
    }

    /// Where it stands.
    pub(crate) fn lsn(&self) -> Lsn {
        self.traveller.lsn()
    }

    /// Who travels, and the record that a place names.
    pub(crate) fn into_traveller(mut self, place: &Place) -> anyhow::Result<(Traveller, Lsn)> {
        let lsn = self.lsn_of(place)?;
        Ok((self.traveller, lsn))
    }

    /// Says which instance it is of, how far it goes, and where it stands.
    pub(crate) fn journey(&mut self) -> anyhow::Result<()> {
        let last = self.last()?;
        let (first, _) = self.traveller.range();
        let instance = self.entry.name.to_string();
        let journey = json!({ "instance": instance, "first": first.0, "last": last.0, "lsn": self.lsn().0 });
        self.answer("journey", &journey, |out, _| writeln!(out, "{instance}: records {first} to {last}"))
    }

    /// Goes to a place, and shows it.
    pub(crate) fn begin(&mut self, place: &Place) -> anyhow::Result<()> {
        self.go_to(place)?;
        self.show()
    }

    /// Goes to a place, and writes the state there into a file.
    pub(crate) fn save_state_at(&mut self, place: &Place, file: &std::path::Path) -> anyhow::Result<()> {
        self.go_to(place)?;
        self.save_state(file)
    }

    fn go_to(&mut self, place: &Place) -> anyhow::Result<()> {
        let lsn = self.lsn_of(place)?;
        self.go(lsn)
    }

    /// Does what a command says. False if that is the end.
    pub(crate) fn carry_out(&mut self, command: Command) -> anyhow::Result<bool> {
        match command {
            Command::Next(count, condition) if !self.watches.is_empty() => {
                self.check(&condition)?;
                self.go_on_watching(count, &[condition])?;
            }
            Command::Next(count, condition) => self.next(count, &condition)?,
            Command::Back(count, condition) => self.back(count, &condition)?,
            Command::Goto(place) => self.begin(&place)?,
            Command::Continue if !self.watches.is_empty() => {
                let breaks: Vec<_> = self.breaks.values().cloned().collect();
                self.go_on_watching(1, &breaks)?;
            }
            Command::Continue => self.go_on()?,
            Command::Break(condition) => {
                self.check(&condition)?;
                let number = self.next_number();
                self.breaks.insert(number, condition);
                self.show_breaks()?;
            }
            Command::Breaks => self.show_breaks()?,
            Command::Delete(None) => {
                self.breaks.clear();
                self.watches.clear();
                self.show_breaks()?;
            }
            Command::Delete(Some(number)) => {
                if self.watches.remove(&number).is_some() {
                    return self.show_watches().map(|()| true);
                }
                self.breaks.remove(&number).with_context(|| format!("there is no break or watch {number}"))?;
                self.show_breaks()?;
            }
            Command::Show => self.show()?,
            Command::List(count) => self.list(count)?,
            Command::Inspect(number) => self.inspect(number)?,
            Command::Backtrace => self.backtrace()?,
            Command::Diff(one, other) => self.diff(&one, &other)?,
            Command::State(path) => self.state(&path)?,
            Command::Changes => self.show_changes()?,
            Command::Watch(path) => self.watch(path)?,
            Command::Watches => self.show_watches()?,
            Command::Why(path) => self.why(&path)?,
            Command::Verify => {
                let to = self.last()?;
                let verdict = verify::journey(&mut self.traveller, to)?;
                self.answer("verify", &json!(verdict), |out, _| verdict.print(out))?;
            }
            Command::Help => {
                self.answer("help", &json!(Command::help()), |out, _| out.write_all(Command::help().as_bytes()))?
            }
            Command::Quit => return Ok(false),
        }
        Ok(true)
    }

    /// Says the same as JSON, or as text.
    pub(super) fn answer(
        &mut self,
        name: &str,
        value: &Value,
        print: impl FnOnce(&mut dyn Write, Style) -> std::io::Result<()>,
    ) -> anyhow::Result<()> {
        if self.is_json {
            writeln!(self.out, "{}", without_controls(&json!({ name: value }).to_string()))?;
        } else {
            print(self.out, self.style)?;
        }
        Ok(self.out.flush()?)
    }

    pub(super) fn show(&mut self) -> anyhow::Result<()> {
        let shown = self.viewer.moment(&self.traveller)?;
        let value = if self.is_json { serde_json::to_value(&shown)? } else { Value::Null };
        self.answer("moment", &value, |out, style| moment::print(out, &shown, style))?;
        self.show_changes_if_wanted()
    }

    /// Shows what the record changed in the state, if that is shown with each.
    pub(super) fn show_changes_if_wanted(&mut self) -> anyhow::Result<()> {
        if self.shows_changes { self.show_changes_along() } else { Ok(()) }
    }

    /// The next number for a break or a watch.
    pub(super) fn next_number(&self) -> usize {
        let numbers = self.breaks.keys().chain(self.watches.keys());
        numbers.max().map_or(1, |number| number + 1)
    }

    /// Whether code of the guest ran at the record, so that it may have changed the state.
    pub(super) fn runs_code(&self) -> bool {
        self.traveller.moment().record.as_ref().is_some_and(|record| record.header().kind.reaches_guest())
    }

    /// The last record that it may go to.
    pub(super) fn last(&mut self) -> anyhow::Result<Lsn> {
        let last = self.traveller.look_further()?;
        Ok(self.to.map_or(last, |to| last.min(to)))
    }

    pub(super) fn go(&mut self, lsn: Lsn) -> anyhow::Result<()> {
        let last = self.last()?;
        if self.to == Some(last) && lsn > last {
            bail!("record {lsn} is behind record {last}, and --to goes no further");
        }
        Ok(self.traveller.seek(lsn)?)
    }

    fn lsn_of(&mut self, place: &Place) -> anyhow::Result<Lsn> {
        let here = self.lsn();
        let (first, _) = self.traveller.range();
        Ok(match place {
            Place::Lsn(lsn) => *lsn,
            Place::Further(count) => Lsn(here.0.saturating_add(*count)),
            Place::Back(count) => Lsn(here.0.saturating_sub(*count)),
            Place::Start => first,
            Place::End => self.last()?,
            Place::At(time) => self.lsn_at(*time)?,
            Place::AtTime(time) => {
                let day = self.traveller.replica().time();
                self.lsn_at(on_the_day_of(day, *time).context("there is no such time on that day")?)?
            }
            Place::Halted => match &self.entry.outcome {
                Some(RecordedOutcome::Halted { lsn, .. }) => *lsn,
                _ => bail!("instance {} has not halted: `end` is its last record", self.entry.name),
            },
        })
    }

    fn lsn_at(&mut self, time: Timestamp) -> anyhow::Result<Lsn> {
        let last = self.last()?;
        Ok(self.traveller.lsn_at(time)?.min(last))
    }

    /// A method that no module of the instance has is a slip of the pen.
    fn check(&mut self, condition: &Condition) -> anyhow::Result<()> {
        self.viewer.stand_at(&self.traveller);
        if let Some(name) = condition.method() {
            self.viewer.own_methods().find(name)?;
        }
        Ok(())
    }

    fn next(&mut self, count: u64, condition: &Condition) -> anyhow::Result<()> {
        self.check(condition)?;
        for _ in 0..count {
            let found = if condition.is_empty() {
                Some(self.lsn().next()).filter(|next| self.last().is_ok_and(|last| *next <= last))
            } else {
                self.find_next(std::slice::from_ref(condition))?
            };
            let Some(found) = found else {
                let last = self.last()?;
                return self.not_found(condition, &format!("up to {last}"), "this is the last record");
            };
            self.go(found)?;
        }
        self.show()
    }

    fn back(&mut self, count: u64, condition: &Condition) -> anyhow::Result<()> {
        self.check(condition)?;
        let (first, _) = self.traveller.range();
        for _ in 0..count {
            let here = self.lsn();
            let found = if condition.is_empty() {
                Some(Lsn(here.0 - 1)).filter(|before| *before >= first)
            } else {
                self.find_before(condition)?
            };
            let Some(found) = found else {
                self.go(here)?;
                return self.not_found(condition, &format!("from {first} on"), "the log goes back no further");
            };
            self.go(found)?;
        }
        self.show()
    }

    fn not_found(&mut self, condition: &Condition, range: &str, end: &str) -> anyhow::Result<()> {
        if condition.is_empty() {
            bail!("{end}");
        }
        bail!("no record {range} is {condition}")
    }

    /// The first record behind this one that one of the conditions fits. If what the guest does has to be known, this goes
    /// there, or back to where it was.
    fn find_next(&mut self, conditions: &[Condition]) -> anyhow::Result<Option<Lsn>> {
        let (here, last) = (self.lsn(), self.last()?);
        if !conditions.iter().any(Condition::is_of_execution) {
            let fits = self.by_record(conditions);
            return Ok(self.traveller.find(here.next(), last, fits)?);
        }
        while self.lsn() < last && self.traveller.step()? {
            let peer = |peer| Viewer::peer(&self.traveller, peer);
            if conditions.iter().any(|condition| condition.fits(self.traveller.moment(), peer)) {
                return Ok(Some(self.lsn()));
            }
        }
        self.go(here)?;
        Ok(None)
    }

    /// The last record before this one that the condition fits.
    fn find_before(&mut self, condition: &Condition) -> anyhow::Result<Option<Lsn>> {
        let (first, _) = self.traveller.range();
        let mut end = self.lsn();
        // What is looked for is near, mostly: so windows of the log, backwards, and forwards in each.
        while end > first {
            let begin = Lsn(end.0.saturating_sub(WINDOW)).max(first);
            let found = if condition.is_of_execution() {
                self.last_executed(condition, begin, end)?
            } else {
                self.last_read(condition, begin, end)?
            };
            if found.is_some() {
                return Ok(found);
            }
            end = begin;
        }
        Ok(None)
    }

    fn last_read(&self, condition: &Condition, begin: Lsn, end: Lsn) -> anyhow::Result<Option<Lsn>> {
        let (mut found, mut fits) = (None, self.by_record(std::slice::from_ref(condition)));
        // The first place may be a checkpoint, whose record the log need not have.
        let from = if self.traveller.range().0 == begin && begin > Lsn(1) { begin.next() } else { begin };
        self.traveller.find(from, Lsn(end.0 - 1), |record| {
            if fits(record) {
                found = Some(record.lsn());
            }
            false
        })?;
        Ok(found)
    }

    fn last_executed(&mut self, condition: &Condition, begin: Lsn, end: Lsn) -> anyhow::Result<Option<Lsn>> {
        let mut found = None;
        self.go(begin)?;
        loop {
            let peer = |peer| Viewer::peer(&self.traveller, peer);
            if condition.fits(self.traveller.moment(), peer) {
                found = Some(self.lsn());
            }
            if self.lsn().next() >= end || !self.traveller.step()? {
                return Ok(found);
            }
        }
    }

    /// Whether a record fits one of the conditions, by the names of peers that are known here or that records tell on the
    /// way.
    fn by_record(&self, conditions: &[Condition]) -> impl FnMut(&Record) -> bool + use<> {
        let conditions = conditions.to_vec();
        let replica = self.traveller.replica();
        let mut names: BTreeMap<_, _> = (1..)
            .map(ambrosia_core::PeerIndex)
            .map_while(|peer| Some((peer, replica.peer_name(peer)?.to_string())))
            .collect();
        move |record| {
            if record.header().kind == RecordKind::Bind
                && let Ok(bind) = ambrosia_core::Bind::decode(record.body())
            {
                names.insert(bind.peer, bind.name.to_string());
            }
            let name = |peer| match names.get(&peer) {
                Some(name) => name.clone(),
                None if peer == ambrosia_core::PeerIndex::OUTSIDE => "outside".to_owned(),
                None => peer.to_string(),
            };
            conditions.iter().any(|condition| condition.fits_record(record, name))
        }
    }

    fn go_on(&mut self) -> anyhow::Result<()> {
        if self.breaks.is_empty() {
            bail!(
                "there is no break to stop at: set one with `break`, or a watch with `watch`, or go to the end with `goto end`"
            );
        }
        let breaks: Vec<_> = self.breaks.values().cloned().collect();
        match self.find_next(&breaks)? {
            Some(found) => self.go(found)?,
            None => {
                let last = self.last()?;
                bail!("no break stops up to {last}");
            }
        }
        self.show()
    }

    fn show_breaks(&mut self) -> anyhow::Result<()> {
        let breaks: Vec<_> = self.breaks.iter().map(|(number, condition)| (*number, condition.to_string())).collect();
        let value = breaks.iter().map(|(number, condition)| json!({ "number": number, "condition": condition }));
        let value = Value::Array(value.collect());
        self.answer("breaks", &value, |out, _| {
            if breaks.is_empty() {
                return writeln!(out, "no breaks");
            }
            breaks.iter().try_for_each(|(number, condition)| writeln!(out, "break {number}: {condition}"))
        })
    }

    fn list(&mut self, count: u64) -> anyhow::Result<()> {
        self.viewer.stand_at(&self.traveller);
        let (first, last) = (self.lsn().next(), self.last()?);
        let last = last.min(Lsn(self.lsn().0.saturating_add(count)));
        let mut records = Vec::new();
        self.traveller.find(first, last, |record| {
            records.push(record.clone());
            false
        })?;
        for record in &records {
            let shown = self.viewer.record(record)?;
            let value = if self.is_json { serde_json::to_value(&shown)? } else { Value::Null };
            self.answer("record", &value, |mut out, style| crate::records::print(&mut out, &shown, style))?;
        }
        Ok(())
    }

    fn inspect(&mut self, number: usize) -> anyhow::Result<()> {
        let shown = self.viewer.moment(&self.traveller)?;
        let messages = match shown.record.as_ref().map(|record| &record.body) {
            Some(Body::Deliver { messages, .. } | Body::Mend { messages, .. }) => messages.as_slice(),
            _ => &[],
        };
        let message = messages.get(number).with_context(|| match messages.len() {
            0 => "the record has no messages".to_owned(),
            count => format!("the record has no message {number}: its messages are 0 to {}", count - 1),
        })?;
        let effects = shown.execution.as_ref().map_or(&[][..], |execution| &execution.effects);
        let effects: Vec<_> =
            effects.iter().filter(|effect| effect.cause as usize == number && !effect.is_of_skipped).collect();
        let value = json!({ "message": message, "effects": effects });
        let arguments = serde_json::to_string_pretty(&message.arguments)?;
        self.answer("inspect", &value, |out, style| {
            writeln!(out, "{number} {}", message_line(message, style))?;
            arguments.lines().try_for_each(|line| writeln!(out, "    {}", without_controls(line)))?;
            effects.iter().try_for_each(|effect| writeln!(out, "    {}", effect_line(effect, style)))
        })
    }

    fn backtrace(&mut self) -> anyhow::Result<()> {
        let shown = self.viewer.moment(&self.traveller)?;
        let fault = shown.execution.and_then(|execution| execution.fault);
        let fault =
            fault.context("the guest did not fail at this record; `goto halted` is where it did, if it has halted")?;
        let value = json!({ "reason": fault.reason, "backtrace": fault.backtrace });
        self.answer("backtrace", &value, |out, style| {
            writeln!(out, "{}", style.paint(Tone::Fault, without_controls(&fault.reason)))?;
            fault.backtrace.lines().try_for_each(|line| writeln!(out, "{}", without_controls(line)))
        })
    }

    /// It stands where it stood afterwards.
    fn diff(&mut self, one: &Place, other: &Place) -> anyhow::Result<()> {
        let here = self.lsn();
        let (one, other) = (self.lsn_of(one)?, self.lsn_of(other)?);
        let difference = self.compare(one, other);
        self.go(here)?;
        let difference = difference?;
        let value = serde_json::to_value(&difference)?;
        self.answer("diff", &value, |out, style| difference.print(out, style))
    }

    fn compare(&mut self, one: Lsn, other: Lsn) -> anyhow::Result<moment::Difference> {
        self.go(one)?;
        let before = Compared::of(&mut self.traveller)?;
        self.go(other)?;
        Ok(before.difference(&Compared::of(&mut self.traveller)?))
    }
}
