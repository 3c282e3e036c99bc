//! `log`: the records of an instance, readable.

use std::{collections::VecDeque, io::Write, process::ExitCode, sync::Arc};

use ambrosia_core::{Lsn, Mend, Record, RecordKind};
use ambrosia_host::{Diagnostics, without_controls};
use ambrosia_storage::{Instances, LogError, LogStore, LogTail, StorePlace};
use anyhow::{Context, bail};

use crate::{
    arguments::Log,
    records::{Reader, Shown, print},
};

pub(crate) fn log(store: &StorePlace, verb: &Log) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let entry = store.instance(&verb.instance)?;
    let log = store.log(entry.log())?;
    let (durable, first) = (log.head()?.durable, log.first()?);
    let last = verb.to.map_or(durable, |to| Lsn(to).min(durable));
    let from = verb.from.map_or(first, Lsn);
    if from > last || from < first {
        bail!("instance {} has records {first} to {durable} only", verb.instance);
    }
    let checkpoints = store.checkpoints(entry.log())?;
    let mut reader = Reader::new(store, entry.module, entry.name.to_string());
    reader.begin(&*checkpoints, first);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    // Names of peers are told by bind records, so the log is read from its beginning.
    let mut records = Records::new(log, first);
    let mut held = Held::default();
    let mut tell = |shown: Shown| -> anyhow::Result<()> {
        if shown.lsn < from.0 || shown.lsn > last.0 {
            return Ok(());
        }
        if verb.json {
            writeln!(out, "{}", without_controls(&serde_json::to_string(&shown)?))?;
        } else {
            print(&mut out, &shown)?;
        }
        Ok(())
    };
    let mut walk = || -> anyhow::Result<()> {
        while records.next_lsn() <= last || (!held.shown.is_empty() && records.next_lsn() <= durable) {
            let part = match records.read()? {
                Part::Records(part) => part,
                Part::Trimmed { from: gone, first } => {
                    if last >= from && from < first {
                        let to = last.min(Lsn(first.0 - 1));
                        Diagnostics::say(format_args!(
                            "ambrosia-host: records {} to {to} were trimmed while the log was read",
                            gone.max(from)
                        ));
                    }
                    reader.begin(&*checkpoints, first);
                    continue;
                }
            };
            if part.is_empty() {
                bail!("the log of instance {} ends before record {last}", verb.instance);
            }
            for record in part {
                let lsn = record.lsn();
                if lsn > last && held.shown.is_empty() {
                    break;
                }
                let shown = reader.show(&record).with_context(|| format!("record {lsn} of the log can't be shown"))?;
                held.push(&record, shown).into_iter().try_for_each(&mut tell)?;
            }
        }
        Ok(())
    };
    let walked = walk();
    // What was read is shown, also if the next record can't be.
    held.shown.into_iter().try_for_each(&mut tell)?;
    out.flush()?;
    walked?;
    Ok(ExitCode::SUCCESS)
}

/// A delivery that may turn out to be void, and what was read behind it: only records that begin reigns stand between it and
/// its mend.
#[derive(Default)]
struct Held {
    shown: VecDeque<Shown>,
    /// Chain value of the first.
    link: u64,
}

impl Held {
    /// Takes the next record. Returns those that can be shown by now.
    fn push(&mut self, record: &Record, shown: Shown) -> Vec<Shown> {
        let kind = record.header().kind;
        if kind == RecordKind::Epoch && !self.shown.is_empty() {
            self.shown.push_back(shown);
            return Vec::new();
        }
        if let (Some(first), Ok(Some(mend))) = (self.shown.front_mut(), Mend::of(record))
            && (mend.lsn.0, mend.link) == (first.lsn, self.link)
        {
            first.mended_by = Some(shown.lsn);
        }
        let mut out = Vec::from(std::mem::take(&mut self.shown));
        if kind == RecordKind::Deliver {
            self.link = record.header().link();
            self.shown.push_back(shown);
        } else {
            out.push(shown);
        }
        out
    }
}

/// The records of a log that may be trimmed meanwhile.
struct Records {
    log: Arc<dyn LogStore>,
    tail: Option<Box<dyn LogTail>>,
    next: Lsn,
}

/// What is read at once.
enum Part {
    Records(Vec<Record>),
    /// The log has no records from `from` to before `first` any more.
    Trimmed {
        from: Lsn,
        first: Lsn,
    },
}

impl Records {
    fn new(log: Arc<dyn LogStore>, next: Lsn) -> Self {
        Records { log, tail: None, next }
    }

    fn next_lsn(&self) -> Lsn {
        self.next
    }

    fn read(&mut self) -> Result<Part, LogError> {
        match self.read_on() {
            Ok(records) => {
                self.next = records.last().map_or(self.next, |last| last.lsn().next());
                Ok(Part::Records(records))
            }
            Err(LogError::Missing { first, .. }) if first > self.next => {
                self.tail = None;
                Ok(Part::Trimmed { from: std::mem::replace(&mut self.next, first), first })
            }
            Err(error) => Err(error),
        }
    }

    fn read_on(&mut self) -> Result<Vec<Record>, LogError> {
        let tail = match &mut self.tail {
            Some(tail) => tail,
            closed => closed.insert(self.log.tail(self.next)?),
        };
        tail.read()
    }
}
