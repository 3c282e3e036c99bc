//! What every fault can do, and whom it hits.

use std::fmt::Debug;

use super::{
    draw::Draw,
    stage::Stage,
    world::{INSTANCES, World},
};

/// Something that goes wrong. All that is random in it was drawn beforehand.
pub(crate) trait Fault: Debug {
    /// As it is counted.
    fn name(&self) -> &'static str;

    /// Whether the service can't work until the fault has ended, whoever runs.
    fn obstructs(&self) -> bool {
        false
    }

    /// It happens.
    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()>;

    /// It is over.
    fn end(&mut self, _stage: &mut Stage) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Who is hit, said in a way that means something whoever runs at that moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Victim {
    pub(crate) instance: usize,
    pub(crate) whom: Whom,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom {
    Primary,
    /// One of those that run, counted around.
    Any(usize),
}

impl Victim {
    /// The primary more often than another.
    pub(crate) fn draw(draw: &mut Draw) -> Victim {
        let instance = draw.index(INSTANCES.len());
        let whom = if draw.percent(60) { Whom::Primary } else { Whom::Any(draw.index(8)) };
        Victim { instance, whom }
    }

    /// Who that is now; nobody, if nobody runs.
    pub(crate) fn find(self, world: &mut World) -> anyhow::Result<Option<(usize, u16)>> {
        let at = self.instance;
        let primary = world.primary(at)?;
        let running: Vec<u16> = world.instances[at].running.keys().copied().collect();
        let replica = match self.whom {
            Whom::Primary if primary.is_some() => primary,
            Whom::Primary => running.first().copied(),
            Whom::Any(_) if running.is_empty() => None,
            Whom::Any(around) => Some(running[around % running.len()]),
        };
        Ok(replica.map(|replica| (at, replica)))
    }
}

/// All that are meant, each once.
pub(crate) fn find_all(victims: &[Victim], world: &mut World) -> anyhow::Result<Vec<(usize, u16)>> {
    let found = victims.iter().map(|victim| victim.find(world)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut found: Vec<_> = found.into_iter().flatten().collect();
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
