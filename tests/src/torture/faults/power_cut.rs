//! The store as a power cut leaves it: copied while everybody stands still in the middle of what they do, without what
//! lived in memory only, and with any part of what was not synced. It is opened elsewhere, while the original goes on.

use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Instant};

use ambrosia_core::{InstanceName, Lsn};
use ambrosia_storage::{FileStore, Instances, LogStore};
use anyhow::Context;

use crate::{
    Cluster, Signal,
    torture::{
        asker::Asker,
        checks::{ask_again, check_books, check_log, wait_for_rest},
        draw::Draw,
        fault::Fault,
        network::Network,
        stage::Stage,
        tool::run_tool,
        workload::Book,
        world::{EACH, INSTANCES, REPLICAS, World},
    },
};

/// What the disk writes at once.
const SECTOR_BYTES: u64 = 512;
/// Byte of the control page at which the boot id of the machine stands.
const BOOT_ID_AT: u64 = 8;
/// Sectors behind the durable end that may be lost.
const LOST_SECTORS_MAX: u64 = 4096;

#[derive(Debug)]
pub(crate) struct PowerCut {
    control: Control,
    /// Of the sectors that were not synced so many in a hundred are lost.
    lost_percent: u64,
    seed: u64,
}

/// What is left of the pages that live in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Control {
    /// They were never written back.
    Gone,
    /// They are there, of another life of the machine.
    Old,
    /// It was no power cut: only all processes are gone.
    Same,
}

impl PowerCut {
    pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
        let control = *draw.one_of(&[Control::Gone, Control::Old, Control::Old, Control::Same]);
        Box::new(PowerCut { control, lost_percent: *draw.one_of(&[0, 10, 50, 100]), seed: draw.any() })
    }
}

impl Fault for PowerCut {
    fn name(&self) -> &'static str {
        match self.control {
            Control::Same => "store copied mid-write, opened elsewhere",
            _ => "power cut: copied mid-write, opened elsewhere",
        }
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let mut copy = Cluster::within(stage.world.cluster.directory(), "copy-");
        copy.keep();
        let directory = copy.directory().to_owned();
        let mut books = Vec::new();
        while_all_stand_still(stage, |stage| {
            books = stage.workload.books();
            let (from, to) = (stage.world.cluster.store(), copy.store());
            let paths = [&from, &to].map(|path| path.display().to_string());
            run_tool("cp", &["-a", "--sparse=always", &paths[0], &paths[1]])
        })?;
        let resumed = Instant::now();
        if stage.can_serve() {
            stage.wait_for_service(resumed)?;
        }
        let mut draw = Draw::new(self.seed);
        self.lose(&copy.store(), &mut draw)?;
        let opened = open_elsewhere(copy, &books, &mut draw);
        opened.with_context(|| format!("the copy in {}", directory.display()))?;
        std::fs::remove_dir_all(&directory).context("remove the copy")
    }
}

/// Does something between two instructions of all processes.
fn while_all_stand_still(stage: &mut Stage, work: impl FnOnce(&mut Stage) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let going: Vec<u32> =
        stage.world.instances.iter().flat_map(|one| one.running.values()).map(|one| one.host.pid()).collect();
    going.iter().try_for_each(|pid| crate::signal(*pid, Signal::Stop))?;
    stage.wait_until("all stand still", |_| Ok(going.iter().all(|pid| stands_still(*pid)).then_some(())))?;
    let done = work(stage);
    for running in stage.world.instances.iter().flat_map(|one| one.running.values()).filter(|one| !one.stopped) {
        running.host.signal(Signal::Continue);
    }
    done
}

/// Whether every thread of a process is stopped, or gone.
fn stands_still(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('T' | 'Z' | 'X') | None)
    })
}

impl PowerCut {
    /// Takes away what the power cut takes.
    fn lose(&self, store: &Path, draw: &mut Draw) -> anyhow::Result<()> {
        let opened = FileStore::open(store)?;
        for instance in INSTANCES {
            let name = InstanceName::new(instance)?;
            let uuid = opened.instance(&name)?.uuid;
            let control = store.join(format!("logs/{uuid}/control"));
            if self.control == Control::Same {
                continue;
            }
            // It is the same machine still, so the page of the copy says what was durable when it was made.
            let durable = opened.file_log(&name)?.head()?.durable;
            lose_sectors(&opened, &name, durable, self.lost_percent, draw)?;
            match self.control {
                Control::Gone => std::fs::remove_file(&control)?,
                _ => {
                    let file = File::options().read(true).write(true).open(&control)?;
                    let mut boot_id = [0; 8];
                    file.read_exact_at(&mut boot_id, BOOT_ID_AT)?;
                    file.write_all_at(&boot_id.map(|byte| !byte), BOOT_ID_AT)?;
                }
            }
        }
        Ok(())
    }
}

/// Any sectors behind the record `durable` are as they were before they were written, since nothing was synced after
/// it. Files that were put in place later were synced before that.
fn lose_sectors(
    store: &FileStore,
    name: &InstanceName,
    durable: Lsn,
    percent: u64,
    draw: &mut Draw,
) -> anyhow::Result<()> {
    let all: Vec<_> = store.scan_log(name, Lsn(1))?.collect::<Result<_, _>>()?;
    let last = all.iter().find(|one| one.record.lsn() == durable).context("the durable record is in the log")?;
    if all.iter().any(|one| one.record.lsn() > durable && one.file != last.file) {
        return Ok(()); // the next segment is in place, so all of this one was synced
    }
    let file = File::options().write(true).open(&last.file)?;
    let from = last.offset + last.record.stored().len() as u64;
    let to = file.metadata()?.len().min(from + LOST_SECTORS_MAX * SECTOR_BYTES);
    let mut sector = from;
    while sector < to {
        let end = (sector + 1).next_multiple_of(SECTOR_BYTES).min(to);
        if draw.percent(percent) {
            file.write_all_at(&vec![0; (end - sector) as usize], sector)?;
        }
        sector = end;
    }
    Ok(())
}

/// All that was acknowledged before the copy was made must be there, once, and both banks must come to rest.
fn open_elsewhere(copy: Cluster, books: &[Book], draw: &mut Draw) -> anyhow::Result<()> {
    let mut world = World::of(copy, Network::Plain);
    for (at, replicas) in REPLICAS.into_iter().enumerate() {
        for replica in 0..draw.number(1..=u64::from(replicas)) as u16 {
            world.start(at, replica, &[])?;
        }
    }
    let mut asker = Asker::new(&world)?;
    let reports = wait_for_rest(&mut asker, &world)?;
    check_books(books, &reports, false)?;
    ask_again(&mut asker, &world, books, draw)?;
    EACH.into_iter().try_for_each(|at| check_log(&world, at, books))?;
    world.reap()?;
    world.bury_all()
}
