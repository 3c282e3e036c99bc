//! Plays one round from its plan, and checks what must hold after it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    checks::check_all,
    interrupt::Interrupt,
    plan::{Extent, Kind, Plan, Step},
    stage::{Stage, Tally},
};
use crate::Cluster;

/// A round that held.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it counted.
    pub tally: Tally,
    /// How long it took.
    pub took: Duration,
}

/// Something did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What, and how it was seen.
    pub what: String,
    /// The store, and what every process has said.
    pub directory: PathBuf,
    /// What was to happen.
    pub plan: String,
}

/// Plays the round of a kind and a seed.
///
/// Processes, mounts and namespaces belong to the thread of the round and are gone when it ends, in whatever way.
pub fn play(kind: Kind, seed: u64, extent: Extent, interrupt: &Interrupt) -> Result<Held, Violation> {
    let began = Instant::now();
    let prefix = super::leftovers::prefix(&kind.name());
    let mut cluster = Cluster::with_prefix(&prefix);
    cluster.keep();
    let directory = cluster.directory().to_owned();
    let interrupt = interrupt.clone();
    let round = std::thread::Builder::new().name(format!("round {}", kind.name()));
    let round = round.spawn(move || {
        let mut plan = Plan::draw(kind, seed, extent);
        let mut stage = Stage::set(cluster, plan.ground, seed, interrupt)?;
        let played = play_steps(&mut stage, &mut plan);
        stage.note("all steps are over");
        if played.is_err() {
            stage.world.bury_all()?;
        }
        played.and_then(|()| check_all(stage))
    });
    let what = match round.expect("the machine can start a thread").join() {
        Ok(Ok(tally)) => match std::fs::remove_dir_all(&directory) {
            Ok(()) => return Ok(Held { tally, took: began.elapsed() }),
            Err(error) => format!("the directory of the round can't be removed: {error}"),
        },
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    // Under another name, since the next run removes what a run has left.
    let kept = directory.with_file_name(format!("ambrosia-violation-{}-{seed}-{}", kind.name(), std::process::id()));
    let directory = std::fs::rename(&directory, &kept).map_or(directory, |()| kept);
    Err(Violation { what, directory, plan: format!("{:#?}", Plan::draw(kind, seed, extent)) })
}

fn play_steps(stage: &mut Stage, plan: &mut Plan) -> anyhow::Result<()> {
    plan.steps.iter_mut().try_for_each(|step| play_step(stage, step))
}

/// Faults begin, last, and end; whenever the service can work, it must within its time.
fn play_step(stage: &mut Stage, step: &mut Step) -> anyhow::Result<()> {
    stage.pause(step.pause)?;
    for fault in &mut step.faults {
        stage.tally.count(fault.name());
        stage.obstructions += usize::from(fault.obstructs());
        stage.note(&format!("{}: {fault:?}", fault.name()));
        fault.begin(stage)?;
    }
    let hit = Instant::now();
    stage.note("all faults have begun");
    if stage.can_serve() {
        stage.wait_for_service(hit)?;
    }
    let lasts = step.lasts.min(stage.world.network.longest_fault());
    stage.pause(lasts.saturating_sub(hit.elapsed()))?;
    for fault in &mut step.faults {
        fault.end(stage)?;
        stage.obstructions -= usize::from(fault.obstructs());
    }
    stage.note("all faults have ended");
    stage.start_dead(step.start_all)?;
    stage.wait_for_service(Instant::now())?;
    stage.check_status()
}
