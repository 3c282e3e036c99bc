//! Packets between the hosts of an instance and those of another, or the clients, vanish: both ways or one way.

use crate::torture::{draw::Draw, fault::Fault, network::Place, stage::Stage};

#[derive(Debug)]
pub(crate) struct Partition {
    /// From whom to whom nothing arrives.
    ways: Vec<(Place, Place)>,
}

impl Partition {
    pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
        let mut places = Place::ALL;
        draw.shuffle(&mut places);
        let [one, other, third] = places;
        let ways = match draw.index(5) {
            0 | 1 => vec![(one, other)],
            2 | 3 => vec![(one, other), (other, one)],
            _ => vec![(one, other), (other, one), (one, third), (third, one)],
        };
        Box::new(Partition { ways })
    }
}

impl Fault for Partition {
    fn name(&self) -> &'static str {
        match self.ways.len() {
            1 => "partition, one way",
            2 => "partition",
            _ => "partition from everybody",
        }
    }

    fn obstructs(&self) -> bool {
        true
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        self.ways.iter().try_for_each(|(from, to)| stage.world.network.silence(*from, *to, true))
    }

    fn end(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        self.ways.iter().try_for_each(|(from, to)| stage.world.network.silence(*from, *to, false))
    }
}
