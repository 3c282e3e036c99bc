//! Bits flip in the log, or a segment is cut short, below what is durable. It must be an error that names file and
//! offset, nothing may be cut off, and the other instance must not be bothered. Then the bytes are put back.

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf, time::Instant};

use ambrosia_core::{InstanceName, Lsn};
use ambrosia_storage::{FileStore, LogStore, ScannedRecord};
use anyhow::{Context, bail, ensure};

use crate::torture::{
    draw::Draw,
    fault::Fault,
    stage::Stage,
    workload::Whose,
    world::{EACH, INSTANCES, MayEnd},
};

/// Bytes of a segment in front of its first record.
const SEGMENT_HEADER_BYTES: u64 = 4096;

#[derive(Debug)]
pub(crate) struct Damage {
    instance: usize,
    what: What,
    where_: Where,
    /// The machine has been started anew before it is noticed, and the control page was never written back: nothing but
    /// the segments tells what was durable.
    machine_restarted: bool,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Flip,
    Cut,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Where {
    /// In any record that is durable, while no replica of the instance runs.
    Anywhere,
    /// In the head of a segment, while no replica of the instance runs.
    SegmentHeader,
    /// In a segment that is not written any more, while the primary runs; a standby starts.
    ClosedSegment,
}

impl Damage {
    pub(crate) fn draw_flip(draw: &mut Draw) -> Box<dyn Fault> {
        let where_ = *draw.one_of(&[Where::Anywhere, Where::Anywhere, Where::SegmentHeader, Where::ClosedSegment]);
        Damage::draw(draw, What::Flip, where_)
    }

    pub(crate) fn draw_cut(draw: &mut Draw) -> Box<dyn Fault> {
        let where_ = *draw.one_of(&[Where::Anywhere, Where::Anywhere, Where::ClosedSegment]);
        Damage::draw(draw, What::Cut, where_)
    }

    fn draw(draw: &mut Draw, what: What, where_: Where) -> Box<dyn Fault> {
        let machine_restarted = where_ != Where::ClosedSegment && draw.percent(50);
        Box::new(Damage { instance: draw.index(INSTANCES.len()), what, where_, machine_restarted, seed: draw.any() })
    }
}

/// What was done to a file, and how to undo it.
struct Done {
    file: PathBuf,
    /// What stood from there to the end of what was changed.
    from: u64,
    before: Vec<u8>,
    /// The offset that an error must name.
    named: u64,
}

impl Fault for Damage {
    fn name(&self) -> &'static str {
        match (self.what, self.where_) {
            (What::Flip, Where::Anywhere) => "bit flipped in a durable record",
            (What::Flip, Where::SegmentHeader) => "bit flipped in the head of a segment",
            (What::Flip, Where::ClosedSegment) => "bit flipped in a closed segment, the primary runs",
            (What::Cut, Where::ClosedSegment) => "closed segment cut short, the primary runs",
            (What::Cut, _) => "segment cut short below what is durable",
        }
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let mut draw = Draw::new(self.seed);
        let at = self.instance;
        let all = |stage: &Stage| -> Vec<(usize, u16)> {
            stage.world.instances[at].running.keys().map(|replica| (at, *replica)).collect()
        };
        let primary_runs = self.where_ == Where::ClosedSegment;
        if primary_runs {
            // A new reign begins a new segment, so that there is a closed one.
            let primary = stage.world.primary(at)?.map(|replica| (at, replica));
            if stage.world.instances[at].running.len() < 2 || primary.is_none() {
                return Ok(());
            }
            stage.world.kill(&Vec::from_iter(primary))?;
            stage.wait_for_service_of(Whose::All(at), Instant::now())?;
        } else {
            let all = all(stage);
            stage.world.kill(&all)?;
        }
        let killed = Instant::now();
        let Some(done) = self.damage(stage, &mut draw)? else { return Ok(()) };
        if self.machine_restarted {
            let control = File::options().write(true).open(done.file.with_file_name("control"))?;
            // In place: clients have mapped it.
            control.write_all_at(&vec![0; control.metadata()?.len() as usize], 0)?;
            // A reign that was begun and not yet in the log is forgotten.
            stage.seen[at] = (0, 0);
        }
        self.check_noticed(stage, &done, &mut draw)?;
        for at in EACH {
            // The other instance has not been touched, and a primary that runs has read its log before.
            if at != self.instance || primary_runs {
                stage.wait_for_service_of(Whose::Alone(at), killed)?;
            }
        }
        let file = File::options().write(true).open(&done.file)?;
        file.write_all_at(&done.before, done.from).context("put the bytes back")
    }
}

impl Damage {
    /// `None` if there is nothing yet that could be damaged so.
    fn damage(&self, stage: &Stage, draw: &mut Draw) -> anyhow::Result<Option<Done>> {
        let store = FileStore::open(stage.world.cluster.store())?;
        let name = InstanceName::new(INSTANCES[self.instance])?;
        let durable = store.file_log(&name)?.head()?.durable;
        let scan = store.scan_log(&name, Lsn(1))?;
        let mut records: Vec<ScannedRecord> = if self.where_ == Where::ClosedSegment {
            // The end of a log that is written meanwhile may look damaged.
            scan.map_while(Result::ok).collect()
        } else {
            scan.collect::<Result<_, _>>()?
        };
        records.retain(|one| one.record.lsn() <= durable);
        let current = records.last().context("genesis is there")?.file.clone();
        if self.where_ == Where::ClosedSegment {
            records.retain(|one| one.file != current);
        }
        if self.machine_restarted && self.what == What::Flip {
            // Without anything that says so, a last record is not known to have been durable.
            let shown = |one: &ScannedRecord, later: &[ScannedRecord]| {
                one.file != current || later.iter().any(|other| other.record.header().durable >= one.record.lsn())
            };
            let shown: Vec<bool> = (0..records.len()).map(|at| shown(&records[at], &records[at + 1..])).collect();
            records = records.into_iter().zip(shown).filter(|(_, shown)| *shown).map(|(one, _)| one).collect();
        }
        if records.is_empty() {
            return Ok(None);
        }
        // The current segment as often as the others together.
        let in_current: Vec<&ScannedRecord> = records.iter().filter(|one| one.file == current).collect();
        let one = if !in_current.is_empty() && draw.percent(50) {
            in_current[draw.index(in_current.len())]
        } else {
            &records[draw.index(records.len())]
        };
        let bytes = std::fs::read(&one.file)?;
        let file = File::options().write(true).open(&one.file)?;
        let length = one.record.header().stored_bytes() as u64;
        // A byte that means something: what fills a record up to a multiple of 8 does not.
        let meant = 64 + u64::from(one.record.header().body_bytes);
        ensure!(meant <= length, "a record is a header and a body");
        let (from, named) = match self.where_ {
            Where::SegmentHeader => (draw.number(0..=SEGMENT_HEADER_BYTES - 1), 0),
            _ => (one.offset + draw.number(0..=meant - 1), one.offset),
        };
        let before = match self.what {
            What::Flip => {
                let byte = bytes[from as usize];
                file.write_all_at(&[byte ^ (1 << draw.number(0..=7))], from)?;
                vec![byte]
            }
            What::Cut => {
                file.set_len(from)?;
                bytes[from as usize..].to_vec()
            }
        };
        Ok(Some(Done { file: one.file.clone(), from, before, named }))
    }

    /// By the verb `log`, and by a replica that starts.
    fn check_noticed(&self, stage: &mut Stage, done: &Done, draw: &mut Draw) -> anyhow::Result<()> {
        let at = self.instance;
        let damaged = std::fs::read(&done.file)?;
        let ran = stage.world.cluster.run(&["log", "--instance", INSTANCES[at], "--json"]);
        self.check_named(done, ran.code, &ran.stderr).context("the verb log")?;
        let down: Vec<u16> = stage.world.down().into_iter().filter(|(of, _)| *of == at).map(|(_, one)| one).collect();
        let replica = down[draw.index(down.len())];
        // One that reads the whole log, and not only what is behind a checkpoint.
        stage.world.start_with(at, replica, &[], &["--ignore-checkpoints"])?;
        let running = stage.world.instances[at].running.get_mut(&replica).context("it was started just now")?;
        running.may_end = Some(MayEnd::Saying("damaged"));
        let code = running.host.wait().code().unwrap_or(-1);
        let said = running.host.said();
        stage.world.reap()?;
        self.check_named(done, code, &said).with_context(|| format!("replica {replica}"))?;
        ensure!(std::fs::read(&done.file)? == damaged, "{} was changed when it was read", done.file.display());
        Ok(())
    }

    fn check_named(&self, done: &Done, code: i32, said: &str) -> anyhow::Result<()> {
        let place = format!("{}, offset {}", done.file.display(), done.named);
        if code != 1 || !said.contains("the log is damaged") || !said.contains(&place) {
            bail!(
                "byte {} was damaged, and it must end with code 1 and name {place}; it ended with {code}:\n{said}",
                done.from
            );
        }
        Ok(())
    }
}
