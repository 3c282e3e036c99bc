//! `kill -9` of any processes, at one moment.

use crate::torture::{
    draw::Draw,
    fault::{Fault, Victim, find_all},
    stage::Stage,
};

#[derive(Debug)]
pub(crate) struct Kill {
    victims: Vec<Victim>,
}

impl Kill {
    pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
        let count = draw.number(1..=3);
        Box::new(Kill { victims: (0..count).map(|_| Victim::draw(draw)).collect() })
    }
}

impl Fault for Kill {
    fn name(&self) -> &'static str {
        "kill -9"
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        let victims = find_all(&self.victims, &mut stage.world)?;
        stage.world.kill(&victims)
    }
}
