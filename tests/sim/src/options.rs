//! What a run is like: drawn from its seed, so that some runs are calm, some stormy, and each stormy in its own way.

use std::fmt;

use crate::dice::Dice;

/// Nanoseconds in a microsecond, the unit of most times here.
pub(crate) const MICROSECOND: u64 = 1_000;
/// Nanoseconds in a millisecond.
pub(crate) const MILLISECOND: u64 = 1_000_000;

/// An enum of kinds of faults, with all of them and their names.
macro_rules! kinds {
    ($(#[$of:meta])* $kind:ident: $($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $(#[$of])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum $kind {
            $($(#[$doc])* $name,)*
        }

        impl $kind {
            /// All kinds.
            pub const ALL: &[$kind] = &[$($kind::$name),*];

            /// Its name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self {
                    $($kind::$name => $text,)*
                }
            }
        }
    };
}
pub(crate) use kinds;

kinds! {
    /// A kind of fault.
    FaultKind:
    /// A process dies between two steps.
    Kill = "kill",
    /// A process dies in the middle of an operation of its disk.
    KillAtDisk = "kill-at-disk",
    /// All processes of an instance die.
    KillAll = "kill-all",
    /// A process is paused and then goes on, unaware.
    Pause = "pause",
    /// A process is paused in the middle of an operation of its disk.
    PauseAtDisk = "pause-at-disk",
    /// A machine loses its power: what was not synced may be lost.
    Power = "power",
    /// A sync fails.
    SyncError = "sync-error",
    /// A write fails, as on a full disk.
    WriteError = "write-error",
    /// The disk of a machine is slow for a while.
    SlowDisk = "slow-disk",
    /// One bit of a log changes on the disk; an operator restores it later.
    Flip = "flip",
    /// A connection breaks.
    Cut = "cut",
    /// A frame is lost although its connection holds, by a mistake of the transport.
    LostFrame = "lost-frame",
    /// Two instances can't reach each other for a while.
    Partition = "partition",
    /// A clock jumps.
    Clock = "clock",
    /// A standby takes a primary that is well for dead.
    Suspicion = "suspicion",
    /// A standby reads slowly for a while.
    Lag = "lag",
    /// A replica is handed over in good order, and started again.
    HandOver = "hand-over",
    /// An instance is registered anew under its name.
    Rebirth = "rebirth",
    /// The output of a process takes nothing for a while.
    Stuck = "stuck",
    /// The guest of a process can't be captured for a while.
    Uncapturable = "uncapturable",
    /// Operators wish for other code.
    Upgrade = "upgrade",
    /// Clients send what not all code can handle, and operators mend that.
    Poison = "poison",
}

/// What a run is like. Times in nanoseconds, both ends included.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Number of instances.
    pub instances: usize,
    /// Replicas of each instance.
    pub replicas: u16,
    /// Machines; instance i runs on machine i modulo this.
    pub machines: usize,
    /// How long faults happen.
    pub storm: u64,
    /// Between two faults.
    pub(crate) calm: (u64, u64),
    /// Kinds of faults that happen.
    pub faults: Vec<FaultKind>,
    /// Between two requests of clients to one instance.
    pub(crate) think: (u64, u64),
    /// A packet takes this long.
    pub(crate) latency: (u64, u64),
    /// A sync takes this long.
    pub(crate) sync: (u64, u64),
    /// A standby looks this often for records.
    pub(crate) poll: (u64, u64),
    /// Bytes of the first segment of a reign, and of the largest.
    pub(crate) segment_bytes: (u64, u64),
    /// Operations of disks, of a million, at which a process dies or is paused.
    pub(crate) at_disk: u64,
    /// Frames, in percent, that come twice.
    pub(crate) repeated_frames: u64,
    /// A look at the fence takes time.
    pub(crate) slow_looks: bool,
    /// How many versions of the engine run an instance: each replica has one of them.
    pub(crate) engines: u16,
    /// `None` if no checkpoints are taken, as of a guest that can't be captured.
    pub checkpoints: Option<CheckpointOptions>,
}

/// When checkpoints are taken, and what is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckpointOptions {
    /// Bytes of the log between two of them.
    pub(crate) every_bytes: u64,
    /// Made-up nanoseconds of work of the guest between two of them.
    pub(crate) every_ns: u64,
    /// How many are kept.
    pub(crate) keep: usize,
    /// Nothing of the log is removed.
    pub(crate) keep_log: bool,
    /// Bytes of history that are kept beyond what is needed.
    pub(crate) history_bytes: u64,
}

impl CheckpointOptions {
    /// As little is kept as can be.
    const TIGHT: CheckpointOptions = CheckpointOptions {
        every_bytes: 1 << 9,
        every_ns: 4 * MICROSECOND,
        keep: 1,
        keep_log: false,
        history_bytes: 0,
    };

    /// Several are kept and each holds much of the log, so that segments could be removed while all rest on one base.
    fn rare(dice: &mut Dice) -> CheckpointOptions {
        CheckpointOptions {
            every_bytes: dice.spread((1 << 14, 1 << 16)),
            every_ns: u64::MAX,
            keep: dice.between((2, 3)) as usize,
            keep_log: false,
            history_bytes: 0,
        }
    }

    /// What is kept as history is drawn by itself, so that the rest of a run is what it would be without.
    fn draw(dice: &mut Dice, history: &mut Dice) -> CheckpointOptions {
        CheckpointOptions {
            every_bytes: dice.spread((1 << 10, 1 << 14)),
            every_ns: dice.spread((4 * MICROSECOND, 256 * MICROSECOND)),
            keep: dice.between((1, 4)) as usize,
            keep_log: dice.percent(20),
            history_bytes: if history.percent(30) { history.spread((1 << 11, 1 << 18)) } else { 0 },
        }
    }
}

impl Options {
    /// Draws what the run of `seed` is like.
    pub fn draw(seed: u64) -> Options {
        let dice = &mut Dice::new(seed ^ 0x0097_1095);
        let instances = dice.between((2, 4)) as usize;
        let each = [15, 35, 60][dice.below(3) as usize];
        let first = dice.spread((5 << 10, 1 << 15));
        let fastest = dice.spread((5 * MICROSECOND, 200 * MICROSECOND));
        let fastest_sync = dice.spread((50 * MICROSECOND, 2 * MILLISECOND));
        // Whole milliseconds, as they are given on the command line.
        let storm = dice.spread((300, 30_000)) * MILLISECOND;
        let checkpoints = match dice.below(10) {
            0 => None,
            1 | 2 => Some(CheckpointOptions::TIGHT),
            3 => Some(CheckpointOptions::rare(dice)),
            _ => Some(CheckpointOptions::draw(dice, &mut Dice::new(seed ^ 0x4157_0417))),
        };
        let tight = checkpoints == Some(CheckpointOptions::TIGHT);
        let first = if tight { 5 << 10 } else { first };
        let replicas = dice.between((1, 3)) as u16;
        // Every restart replays the whole log, so it must not grow long.
        let rare = storm / dice.spread((3, 80)) * 2;
        let busy = storm / dice.spread((5, 150)) * 2;
        Options {
            instances,
            replicas: if tight { replicas.max(2) } else { replicas },
            machines: dice.between((1, instances as u64)) as usize,
            storm,
            calm: (rare / 10, rare),
            // Where little is kept, somebody stands still for long.
            faults: FaultKind::ALL
                .iter()
                .copied()
                // What operators do is drawn by itself.
                .filter(|kind| match kind {
                    FaultKind::Upgrade => Dice::new(seed ^ 0x0b5e_55ed).percent(40),
                    FaultKind::Poison => Dice::new(seed ^ 0x0a75_e21c).percent(30),
                    kind => dice.percent(each) || (tight && *kind == FaultKind::Pause),
                })
                .collect(),
            think: (busy / 10, busy),
            latency: (fastest, fastest * dice.between((1, 20))),
            sync: (fastest_sync, fastest_sync * dice.between((1, 10))),
            poll: (MILLISECOND, dice.spread((10 * MILLISECOND, 100 * MILLISECOND))),
            segment_bytes: (first, (first * dice.between((1, 4))).max(8 << 10)),
            at_disk: dice.spread((200, 20_000)),
            repeated_frames: dice.below(3) * 10,
            slow_looks: Dice::new(seed ^ 0x0510_1001).percent(50),
            engines: if Dice::new(seed ^ 0x0e9e_0e9e).percent(30) { 2 } else { 1 },
            checkpoints,
        }
    }

    /// Whether faults of that kind happen.
    pub(crate) fn has(&self, kind: FaultKind) -> bool {
        self.faults.contains(&kind)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.faults.iter().map(|kind| kind.name()).collect();
        let range = |(low, high): (u64, u64)| format!("{}–{} µs", low / MICROSECOND, high / MICROSECOND);
        writeln!(f, "{} instances of {} replicas on {} machines", self.instances, self.replicas, self.machines)?;
        writeln!(f, "{} ms of faults, one every {}: {}", self.storm / MILLISECOND, range(self.calm), names.join(" "))?;
        writeln!(
            f,
            "requests every {}, packets {}, syncs {}",
            range(self.think),
            range(self.latency),
            range(self.sync)
        )?;
        write!(
            f,
            "standbys look every {}, segments of {} to {} bytes, {} of a million disk operations hit, {} % of frames twice",
            range(self.poll),
            self.segment_bytes.0,
            self.segment_bytes.1,
            self.at_disk,
            self.repeated_frames
        )?;
        let Some(checkpoints) = &self.checkpoints else { return write!(f, "\nno checkpoints") };
        write!(
            f,
            "\na checkpoint every {} bytes or {} µs of work, {} kept{}, {} bytes of history",
            checkpoints.every_bytes,
            checkpoints.every_ns / MICROSECOND,
            checkpoints.keep,
            if checkpoints.keep_log { " and all of the log" } else { "" },
            checkpoints.history_bytes
        )
    }
}
