//! All processes die, or are asked to end, and come back in any order.

use crate::torture::{draw::Draw, fault::Fault, stage::Stage};

#[derive(Debug)]
pub(crate) struct Restart {
    in_order: bool,
    /// Only this instance, if any.
    only: Option<usize>,
}

impl Restart {
    pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
        let only = draw.percent(30).then(|| draw.index(2));
        Box::new(Restart { in_order: draw.percent(40), only })
    }
}

impl Fault for Restart {
    fn name(&self) -> &'static str {
        if self.in_order { "all ended, restarted" } else { "all killed, restarted" }
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let instances = stage.world.instances.iter().enumerate();
        let meant = instances.filter(|(at, _)| self.only.is_none_or(|only| only == *at));
        let mut victims: Vec<(usize, u16)> =
            meant.flat_map(|(at, one)| one.running.keys().map(move |replica| (at, *replica))).collect();
        if !self.in_order {
            return stage.world.kill(&victims);
        }
        stage.draw.shuffle(&mut victims);
        victims.into_iter().try_for_each(|(at, replica)| stage.world.end(at, replica))
    }
}
