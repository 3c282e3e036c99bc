//! What a run is like: drawn from its seed.

use std::fmt;

use crate::{
    dice::Dice,
    options::{MICROSECOND, MILLISECOND, kinds},
};

kinds! {
    /// A kind of fault of an engine, or of what uses it.
    EngineFault:
    /// A host dies.
    Kill = "kill",
    /// A host stands still and then goes on, unaware.
    Freeze = "freeze",
    /// A writer ends its reign in order.
    HandOver = "hand-over",
    /// A writer that is well is taken for dead.
    Suspicion = "suspicion",
    /// Requests and answers are lost.
    Loss = "loss",
    /// Requests are done twice.
    Repeat = "repeat",
    /// Requests and answers arrive late.
    Late = "late",
    /// Connections are cut.
    Cut = "cut",
    /// The client of the engine gives no answer at all.
    Silence = "silence",
    /// Nothing is replicated for a while.
    Unreplicated = "unreplicated",
    /// Waits for replication are cut short.
    CutShort = "cut-short",
    /// Another node comes into office.
    Failover = "failover",
    /// The engine stands still for a while.
    Pause = "pause",
    /// The engine refuses connections for a while.
    Refuse = "refuse",
    /// The engine takes smaller groups than it says.
    Small = "small",
    /// An older state of the engine is restored.
    Rollback = "rollback",
    /// Logs are trimmed.
    Trim = "trim",
}

/// What a run is like. Times in nanoseconds, both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineOptions {
    pub(super) hosts: usize,
    pub(super) logs: usize,
    /// Lanes for groups of each host.
    pub(super) lanes: u8,
    /// How long faults happen.
    pub(super) storm: u64,
    /// Between two faults.
    pub(super) calm: (u64, u64),
    /// Kinds of faults that happen.
    pub faults: Vec<EngineFault>,
    /// Of a hundred thousand messages, so many are hit by each kind of fault that hits messages.
    pub(super) messages_hit: u64,
    /// A message takes this long.
    pub(super) latency: (u64, u64),
    /// A change is replicated after this long.
    pub(super) replication: (u64, u64),
    /// Between two turns of a writer in which it appends.
    pub(super) think: (u64, u64),
    /// Records that it appends at once.
    pub(super) burst: u64,
    /// Bytes of a body.
    pub(super) body_bytes: (u64, u64),
    /// Between two reads of a standby.
    pub(super) poll: (u64, u64),
}

impl EngineOptions {
    /// Draws what the run of `seed` is like.
    pub fn draw(seed: u64) -> EngineOptions {
        let dice = &mut Dice::new(seed ^ 0x0e_4919e);
        let each = [15, 35, 60][dice.below(3) as usize];
        let fastest = dice.spread((50 * MICROSECOND, 5 * MILLISECOND));
        let storm = dice.spread((1_000, 20_000)) * MILLISECOND;
        let rare = storm / dice.spread((4, 60)) * 2;
        let busy = storm / dice.spread((10, 120)) * 2;
        let replication = dice.spread((100 * MICROSECOND, 10 * MILLISECOND));
        EngineOptions {
            hosts: dice.between((2, 4)) as usize,
            logs: dice.between((1, 4)) as usize,
            lanes: dice.between((1, 3)) as u8,
            storm,
            calm: (rare / 10, rare),
            faults: EngineFault::ALL
                .iter()
                .copied()
                .filter(|kind| match kind {
                    EngineFault::Rollback | EngineFault::Small => dice.percent(20),
                    _ => dice.percent(each),
                })
                .collect(),
            messages_hit: dice.spread((100, 8_000)),
            latency: (fastest, fastest * dice.between((1, 10))),
            replication: (replication, replication * dice.between((1, 10))),
            think: (busy / 10, busy),
            burst: dice.spread((1, 12)),
            body_bytes: (0, dice.spread((16, 600))),
            poll: (5 * MILLISECOND, dice.spread((20 * MILLISECOND, 400 * MILLISECOND))),
        }
    }

    pub(super) fn has(&self, kind: EngineFault) -> bool {
        self.faults.contains(&kind)
    }
}

impl fmt::Display for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.faults.iter().map(|kind| kind.name()).collect();
        let range = |(low, high): (u64, u64)| format!("{}–{} µs", low / MICROSECOND, high / MICROSECOND);
        writeln!(f, "{} hosts with {} logs, {} lanes", self.hosts, self.logs, self.lanes)?;
        writeln!(f, "{} ms of faults, one every {}: {}", self.storm / MILLISECOND, range(self.calm), names.join(" "))?;
        write!(
            f,
            "{} of 100000 messages hit, messages {}, replication {}, up to {} records every {}, standbys read every {}",
            self.messages_hit,
            range(self.latency),
            range(self.replication),
            self.burst,
            range(self.think),
            range(self.poll)
        )
    }
}
