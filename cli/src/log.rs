//! `log`: the records of an instance, readable.

use std::{
    collections::VecDeque,
    io::{BufWriter, Write},
    ops::RangeInclusive,
    process::ExitCode,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, channel},
    },
    time::Duration,
};

use ambrosia_core::{InstanceName, Lsn, Mend, Record, RecordKind};
use ambrosia_host::{Diagnostics, without_controls};
use ambrosia_storage::{Checkpoints, Instances, LogError, LogStore, LogTail, RecordedOutcome, Store, StorePlace};
use anyhow::{Context, bail};

use crate::{
    arguments::Log,
    interrupts,
    records::{Reader, Shown, print},
    style::Style,
};

/// Whoever may not be told of the log's growth looks that often.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) fn log(store: &StorePlace, verb: &Log, style: Style) -> anyhow::Result<ExitCode> {
    let store = store.open()?;
    let entry = store.instance(&verb.instance)?;
    let log = store.log(entry.log())?;
    let (durable, first) = (log.head()?.durable, log.first()?);
    let last = verb.to.map_or(durable, |to| Lsn(to).min(durable));
    let from = verb.from.map_or(first, Lsn);
    if from < first || (from > last && !verb.follow) {
        bail!("instance {} has records {first} to {durable} only", verb.instance);
    }
    let checkpoints = store.checkpoints(entry.log())?;
    let mut reader = Reader::new(Arc::clone(&store), entry.module, entry.name.to_string());
    reader.begin(&*checkpoints, first);
    let shown = from..=if verb.follow { Lsn(u64::MAX) } else { last };
    let out = BufWriter::new(std::io::stdout().lock());
    let teller = Teller { out, shown, is_json: verb.json, style };
    // Names of peers are told by bind records, so the log is read from its beginning.
    let records = Records::new(Arc::clone(&log), first);
    let mut walk = Walk { name: entry.name, reader, checkpoints, records, held: Held::default(), teller };
    if verb.follow { walk.follow(&*store, &*log) } else { walk.all(last, durable) }?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the records that are wanted.
struct Teller<W: Write> {
    out: W,
    shown: RangeInclusive<Lsn>,
    is_json: bool,
    style: Style,
}

impl<W: Write> Teller<W> {
    fn tell(&mut self, shown: &Shown) -> anyhow::Result<()> {
        if !self.shown.contains(&Lsn(shown.lsn)) {
            return Ok(());
        }
        if self.is_json {
            writeln!(self.out, "{}", without_controls(&serde_json::to_string(shown)?))?;
        } else {
            print(&mut self.out, shown, self.style)?;
        }
        Ok(())
    }
}

/// Goes along a log, and shows it.
struct Walk<W: Write> {
    name: InstanceName,
    reader: Reader,
    checkpoints: Arc<dyn Checkpoints>,
    records: Records,
    held: Held,
    teller: Teller<W>,
}

impl<W: Write> Walk<W> {
    /// Shows all up to `last`. What was read is shown, also if the next record can't be.
    fn all(&mut self, last: Lsn, durable: Lsn) -> anyhow::Result<()> {
        let walked = self.walk(last, durable);
        std::mem::take(&mut self.held.shown).iter().try_for_each(|shown| self.teller.tell(shown))?;
        self.teller.out.flush()?;
        walked
    }

    fn walk(&mut self, last: Lsn, durable: Lsn) -> anyhow::Result<()> {
        while self.records.next_lsn() <= last || (!self.held.shown.is_empty() && self.records.next_lsn() <= durable) {
            let part = match self.records.read()? {
                Part::Records(part) => part,
                Part::Trimmed { from: gone, first } => {
                    self.tell_trimmed(gone, first, last);
                    self.reader.begin(&*self.checkpoints, first);
                    continue;
                }
            };
            if part.is_empty() {
                bail!("the log of instance {} ends before record {last}", self.name);
            }
            for record in part {
                let lsn = record.lsn();
                if lsn > last && self.held.shown.is_empty() {
                    break;
                }
                let shown =
                    self.reader.show(&record).with_context(|| format!("record {lsn} of the log can't be shown"))?;
                self.held.push(&record, shown).iter().try_for_each(|shown| self.teller.tell(shown))?;
            }
        }
        Ok(())
    }

    fn tell_trimmed(&self, gone: Lsn, first: Lsn, last: Lsn) {
        let from = *self.teller.shown.start();
        if last >= from && from < first {
            let to = last.min(Lsn(first.0 - 1));
            Diagnostics::say(format_args!(
                "ambrosia-host: records {} to {to} were trimmed while the log was read",
                gone.max(from)
            ));
        }
    }

    /// Shows all that there is and all that comes, until somebody wants it to end, or the instance has. A delivery is shown at once, so
    /// whether it is void its mend alone tells.
    fn follow(&mut self, store: &dyn Store, log: &dyn LogStore) -> anyhow::Result<()> {
        let (sender, news) = channel();
        let grown = sender.clone();
        let tell = move || {
            // Nobody listens any more when it has ended.
            let _ended = grown.send(Next::Look);
        };
        let _subscription = log.subscribe(Box::new(tell)).context("the log can't be followed")?;
        interrupts::each(move || sender.send(Next::End).is_ok())?;
        loop {
            let is_over = matches!(store.instance(&self.name)?.outcome, Some(RecordedOutcome::Finished { .. }));
            let durable = log.head()?.durable;
            self.all(durable, durable)?;
            if is_over {
                return Ok(());
            }
            match news.recv_timeout(LOOK_INTERVAL) {
                Ok(Next::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Next::End) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}

/// What is to be done next.
enum Next {
    Look,
    End,
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
