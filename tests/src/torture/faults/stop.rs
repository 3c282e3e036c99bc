//! SIGSTOP: processes stand still, keep their locks and sockets, and go on later.

use crate::{
    Signal,
    torture::{
        draw::Draw,
        fault::{Fault, Victim, find_all},
        stage::Stage,
    },
};

#[derive(Debug)]
pub(crate) struct Stop {
    victims: Vec<Victim>,
    stopped: Vec<(usize, u16)>,
}

impl Stop {
    pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
        let count = draw.number(1..=2);
        Box::new(Stop { victims: (0..count).map(|_| Victim::draw(draw)).collect(), stopped: Vec::new() })
    }
}

impl Fault for Stop {
    fn name(&self) -> &'static str {
        "SIGSTOP"
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        self.stopped = find_all(&self.victims, &mut stage.world)?;
        for (at, replica) in &self.stopped {
            if let Some(running) = stage.world.instances[*at].running.get_mut(replica) {
                running.host.signal(Signal::Stop);
                running.stopped = true;
            }
        }
        Ok(())
    }

    fn end(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        for (at, replica) in self.stopped.drain(..) {
            // Another fault may have killed it meanwhile.
            if let Some(running) = stage.world.instances[at].running.get_mut(&replica) {
                running.host.signal(Signal::Continue);
                running.stopped = false;
            }
        }
        Ok(())
    }
}
