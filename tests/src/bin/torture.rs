//! Tortures the real program until its time is over, and says what was done to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::{Duration, Instant},
};

use ambrosia_core::Random;
use ambrosia_host::entropy_u64;
use ambrosia_tests::{
    ms,
    torture::{
        Draft, EngineKind, Extent, Files, Gaps, Held, HeldApart, Interrupt, Kind, Tally, Violation,
        machines_impossible, play, play_apart, remove_leftovers,
    },
};
use clap::Parser;

/// Breaks processes, disks and networks under the real program, and checks that nothing is lost or done twice.
#[derive(Parser)]
#[command(after_help = "Examples:
  torture --seconds 600                        rounds of all kinds in turn for ten minutes
  torture --kinds kill,stop --rounds 20        twenty rounds of these two
  torture --kinds stop --rounds 1 --seed 4711  that one again: the plan is the same, the timing is not
  torture --machines --seconds 1800            half an hour of a database with its standby, three hosts and clients on machines of their own
  torture --machines --engine etcd             the same with three members of etcd
  torture --machines --faults slow,full        with slow and full disks alone

Exit code: 0 if everything held, 1 if anything did not. Then the files of the round are kept.
Some kinds need root, strace, ip or mount; machines need root, ip, tc, and PostgreSQL or etcd. Those that can't be played here are SKIPPED, which the report says.")]
struct Arguments {
    /// No round begins after so many seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Where all draws come from; the first round has this seed itself
    #[arg(long)]
    seed: Option<u64>,
    /// What to do, in turn; by default everything
    #[arg(long, value_enum, value_delimiter = ',', value_name = "KIND")]
    kinds: Vec<Kind>,
    /// On network namespaces as machines: kill and cut off hosts, the database and its standby, and measure the gaps that clients see
    #[arg(long, conflicts_with = "kinds")]
    machines: bool,
    /// What keeps the store of machines
    #[arg(long, value_enum, value_name = "ENGINE", requires = "machines", default_value = "postgres")]
    engine: EngineKind,
    /// Of faults of machines those alone that have one of these words in their names, as the report has them
    #[arg(long, value_delimiter = ',', value_name = "WORD", requires = "machines")]
    faults: Vec<String>,
    /// Keep the files of rounds on machines that held, too
    #[arg(long, requires = "machines")]
    keep: bool,
    /// Rounds of a few seconds, as the tests play them
    #[arg(long)]
    short: bool,
    /// End after so many rounds
    #[arg(long, value_name = "N")]
    rounds: Option<u64>,
}

fn main() -> ExitCode {
    match torture(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("torture: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// All rounds so far.
#[derive(Default)]
struct Total {
    rounds: u64,
    tally: Tally,
    worst_kind: String,
    skipped: Vec<(Kind, String)>,
}

fn torture(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    remove_leftovers()?;
    let interrupt = Interrupt::on_signals()?;
    let seed = arguments.seed.unwrap_or_else(|| entropy_u64() >> 32);
    println!("seed {seed}, for {} s", arguments.seconds);
    if arguments.machines {
        return torture_machines(arguments, seed, &interrupt);
    }
    let mut total = Total::default();
    let wanted = if arguments.kinds.is_empty() { Kind::all().to_vec() } else { arguments.kinds.clone() };
    let mut kinds = Vec::new();
    for kind in wanted {
        match kind.impossible() {
            None => kinds.push(kind),
            Some(reason) => {
                println!("SKIPPED {}: {reason}", kind.name());
                total.skipped.push((kind, reason));
            }
        }
    }
    let extent = if arguments.short { Extent::Short } else { Extent::Full };
    let (began, time) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let mut random = Random::new(seed);
    let mut round_seed = seed;
    for (number, kind) in (1..=arguments.rounds.unwrap_or(u64::MAX)).zip(kinds.iter().cycle()) {
        if began.elapsed() >= time {
            break;
        }
        let played = play(*kind, round_seed, extent, &interrupt);
        if interrupt.is_raised() {
            // What was found wrong, if anything, comes of the interruption.
            if let Err(violation) = played {
                std::fs::remove_dir_all(violation.directory)?;
            }
            println!("interrupted in round {number}");
            break;
        }
        match played {
            Ok(held) => total.take(number, *kind, round_seed, &held),
            Err(violation) => {
                let name = kind.name();
                let what = (name.as_str(), format!("--kinds {name}"));
                complain(number, (what.0, &what.1), round_seed, arguments.short, &violation);
                total.print();
                return Ok(ExitCode::FAILURE);
            }
        }
        round_seed = random.next_u64() >> 32;
    }
    total.print();
    if total.rounds > 0 && total.tally.checkpoints == 0 {
        println!("FAILED: no checkpoint was taken in any round, so none was tested");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Rounds on machines of their own.
fn torture_machines(arguments: &Arguments, seed: u64, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    if let Some(reason) = machines_impossible(arguments.engine) {
        println!("SKIPPED machines: {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    let extent = if arguments.short { Extent::Short } else { Extent::Full };
    let (began, time) = (Instant::now(), Duration::from_secs(arguments.seconds));
    let files = if arguments.keep { Files::Kept } else { Files::Removed };
    let mut total = TotalApart::default();
    let (mut random, mut round_seed) = (Random::new(seed), seed);
    for number in 1..=arguments.rounds.unwrap_or(u64::MAX) {
        if began.elapsed() >= time {
            break;
        }
        let (engine, only) = (arguments.engine, arguments.faults.clone());
        let played = play_apart(&Draft { seed: round_seed, engine, extent, only }, files, interrupt);
        if interrupt.is_raised() {
            // What was found wrong, if anything, comes of the interruption.
            if let Err(violation) = played {
                std::fs::remove_dir_all(violation.directory)?;
            }
            println!("interrupted in round {number}");
            break;
        }
        match played {
            Ok(held) => total.take(number, round_seed, &held),
            Err(violation) => {
                let mut again = "--machines".to_owned();
                if arguments.engine == EngineKind::Etcd {
                    again.push_str(" --engine etcd");
                }
                if !arguments.faults.is_empty() {
                    again.push_str(&format!(" --faults '{}'", arguments.faults.join(",")));
                }
                complain(number, ("machines", &again), round_seed, arguments.short, &violation);
                total.print();
                return Ok(ExitCode::FAILURE);
            }
        }
        round_seed = random.next_u64() >> 32;
    }
    total.print();
    Ok(ExitCode::SUCCESS)
}

/// All rounds on machines so far.
#[derive(Default)]
struct TotalApart {
    rounds: u64,
    calls: u64,
    refused: u64,
    faults: BTreeMap<&'static str, u64>,
    skipped: BTreeSet<(&'static str, String)>,
    gaps: Gaps,
}

impl TotalApart {
    fn take(&mut self, number: u64, seed: u64, held: &HeldApart) {
        let HeldApart { faults, gaps, calls, refused, skipped, took, files } = held;
        println!(
            "round {number:>4}  machines   seed {seed:<11} {:>2} faults {calls:>6} calls  worst gap {:>6.0} ms {:>5.1} s  held",
            faults.values().sum::<u64>(),
            ms(gaps.worst()),
            took.as_secs_f64()
        );
        files.iter().for_each(|files| println!("  files: {}", files.display()));
        self.rounds += 1;
        self.calls += calls;
        self.refused += refused;
        self.skipped.extend(skipped.iter().cloned());
        faults.iter().for_each(|(fault, count)| *self.faults.entry(fault).or_default() += count);
        self.gaps.add(gaps);
    }

    fn print(&self) {
        println!("\n{} rounds held", self.rounds);
        if self.rounds == 0 {
            return;
        }
        self.skipped.iter().for_each(|(fault, reason)| println!("  SKIPPED {fault}: {reason}"));
        self.faults.iter().for_each(|(fault, count)| println!("  {count:>6}  {fault}"));
        println!("  {:>6}  calls answered, each done once and in an order that all clients saw", self.calls);
        println!(
            "  {:>6}  calls of strangers refused, by a certificate of another CA and a token of no store",
            self.refused
        );
        self.gaps.table().iter().for_each(|line| println!("{line}"));
    }
}

/// What of a round was violated; `what` is how it is called, and the arguments that play it.
fn complain(number: u64, what: (&str, &str), seed: u64, short: bool, violation: &Violation) {
    let short = if short { "--short " } else { "" };
    let (name, arguments) = what;
    println!("\nround {number}, {name}, seed {seed}: VIOLATED");
    println!("  what:  {}", violation.what);
    println!("  files: {}", violation.directory.display());
    println!("  again: torture {short}{arguments} --rounds 1 --seed {seed}");
    println!("  plan:  {}\n", violation.plan);
}

impl Total {
    fn take(&mut self, number: u64, kind: Kind, seed: u64, held: &Held) {
        let Held { tally, took } = held;
        let gap = ms(tally.worst_gap - tally.worst_gap_stalled);
        println!(
            "round {number:>4}  {:<10} seed {seed:<11} {:>2} faults {:>6} requests {:>5} messages {:>3} reigns  worst gap \
             {gap:>6.0} ms {:>5.1} s  held",
            kind.name(),
            tally.faults.values().sum::<u64>(),
            tally.requests,
            tally.messages,
            tally.reigns,
            took.as_secs_f64()
        );
        self.rounds += 1;
        let worst = self.tally.worst_gap - self.tally.worst_gap_stalled;
        if tally.worst_gap - tally.worst_gap_stalled > worst {
            self.worst_kind = kind.name();
        }
        self.tally.add(tally);
    }

    fn print(&self) {
        let tally = &self.tally;
        println!("\n{} rounds held", self.rounds);
        for (kind, reason) in &self.skipped {
            println!("  SKIPPED {}: {reason}", kind.name());
        }
        if self.rounds == 0 {
            return;
        }
        for (fault, count) in &tally.faults {
            println!("  {count:>6}  {fault}");
        }
        println!(
            "  {:>6}  requests acknowledged, {} messages of {} MiB between the instances, {} reigns",
            tally.requests,
            tally.messages,
            tally.bytes >> 20,
            tally.reigns
        );
        println!("  {:>6}  checkpoints there at the end of the rounds", tally.checkpoints);
        println!(
            "  worst gap {:.0} ms, in a round of kind {}, not counting {:.0} ms in which the machine was not there",
            ms(tally.worst_gap - tally.worst_gap_stalled),
            self.worst_kind,
            ms(tally.worst_gap_stalled)
        );
    }
}
