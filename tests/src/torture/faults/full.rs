//! The disk of the store is full for a while.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::torture::{
    draw::Draw,
    fault::Fault,
    stage::Stage,
    world::{EACH, MayEnd},
};

#[derive(Debug)]
pub(crate) struct Full {
    left_bytes: u64,
    /// The primaries die as well, so that new reigns need room.
    kill_primaries: bool,
    limit: Duration,
}

impl Full {
    pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
        let left_bytes = draw.magnitude(1..=3 << 20);
        Box::new(Full { left_bytes, kill_primaries: draw.percent(70), limit: draw.millis(300..=2000) })
    }
}

impl Fault for Full {
    fn name(&self) -> &'static str {
        "disk full"
    }

    fn obstructs(&self) -> bool {
        true
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        stage.disk.as_ref().context("this round has a disk of its own")?.fill(self.left_bytes)?;
        for running in stage.world.instances.iter_mut().flat_map(|instance| instance.running.values_mut()) {
            running.may_end = Some(MayEnd::Saying("No space left on device"));
        }
        if self.kill_primaries {
            let mut primaries = Vec::new();
            for at in EACH {
                primaries.extend(stage.world.primary(at)?.map(|replica| (at, replica)));
            }
            stage.world.kill(&primaries)?;
        }
        let deadline = Instant::now() + self.limit;
        let mut stopped = 0;
        stage.wait_until("the disk was full for long enough", |stage| {
            stopped += stage.world.reap()?.len();
            Ok((Instant::now() >= deadline).then_some(()))
        })?;
        for _ in 0..stopped {
            stage.tally.count("disk full: a replica stopped");
        }
        Ok(())
    }

    fn end(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        stage.disk.as_ref().context("this round has a disk of its own")?.free()?;
        // Whoever has met the full disk may still be about to end, and nobody can see that. So all begin anew.
        stage.world.reap()?;
        stage.world.bury_all()
    }
}
