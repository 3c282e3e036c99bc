//! `log`: the records of an instance, readable.

use std::{io::Write, process::ExitCode, sync::Arc};

use ambrosia_core::{Lsn, Record};
use ambrosia_host::{Diagnostics, without_controls};
use ambrosia_storage::{Instances, LogError, LogStore, LogTail, StorePlace};
use anyhow::{Context, bail};

use crate::{
    arguments::Log,
    records::{Reader, print},
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
    while records.next_lsn() <= last {
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
            let shown = reader.show(&record).with_context(|| format!("record {lsn} of the log can't be shown"))?;
            if lsn < from || lsn > last {
                continue;
            }
            if verb.json {
                writeln!(out, "{}", without_controls(&serde_json::to_string(&shown)?))?;
            } else {
                print(&mut out, &shown)?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
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
