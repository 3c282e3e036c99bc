//! A proxy between all hosts and clients delays what it passes on, and resets connections.

use crate::torture::{draw::Draw, fault::Fault, proxy::Weather, stage::Stage};

/// Resets every connection at this moment.
#[derive(Debug)]
pub(crate) struct Reset;

/// Each connection has this weather until it is over.
#[derive(Debug)]
pub(crate) struct BadWeather(Weather);

/// One of both.
pub(crate) fn draw(draw: &mut Draw) -> Box<dyn Fault> {
    match draw.index(4) {
        0 => Box::new(Reset),
        1 => Box::new(BadWeather(Weather { delay_ms_max: draw.magnitude(1..=200), reset_after_max: 0 })),
        2 => Box::new(BadWeather(Weather { delay_ms_max: 0, reset_after_max: draw.magnitude(100..=4_000_000) })),
        _ => {
            let (delay_ms_max, reset_after_max) = (draw.magnitude(1..=50), draw.magnitude(100..=4_000_000));
            Box::new(BadWeather(Weather { delay_ms_max, reset_after_max }))
        }
    }
}

impl Fault for Reset {
    fn name(&self) -> &'static str {
        "all connections reset"
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        stage.world.network.proxy()?.reset_all();
        Ok(())
    }
}

impl Fault for BadWeather {
    fn name(&self) -> &'static str {
        match (self.0.delay_ms_max, self.0.reset_after_max) {
            (_, 0) => "proxy delays",
            (0, _) => "proxy resets after some bytes",
            _ => "proxy delays and resets",
        }
    }

    fn obstructs(&self) -> bool {
        true
    }

    fn begin(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        stage.world.network.proxy()?.set_weather(self.0);
        Ok(())
    }

    fn end(&mut self, stage: &mut Stage) -> anyhow::Result<()> {
        stage.world.network.proxy()?.set_weather(Weather::default());
        Ok(())
    }
}
