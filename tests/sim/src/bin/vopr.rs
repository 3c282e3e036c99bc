//! Simulates whole clusters from seeds: one seed with its trace, or as many as a time allows.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ambrosia_core::Genesis;
use ambrosia_sim::{EngineOptions, Failure, FaultKind, MakeGuest, Options, SimGuest, models, run, run_engine, shrink};
use clap::Parser;

/// How often a hunt says how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Simulates whole clusters, with everything drawn from a seed, and checks every promise.
///
/// Without a seed it hunts: fresh seeds until the time is over, or as many as asked for. The first that fails is made
/// smaller and printed with its trace, and the exit code is 1.
#[derive(Parser)]
#[command(after_help = "Examples:\n  vopr 4711                    run one seed and print what it was like\n  \
    vopr 4711 --trace            the same, with the last events\n  \
    vopr --seconds 600           hunt for ten minutes, on all processors\n  \
    vopr --seeds 500 --first 1   the seeds 1 to 500, always the same\n  \
    vopr 4711 --only kill,power --storm-ms 300   a smaller run of a seed\n  \
    vopr --wasm target/wasm32-wasip2/release/model.wasm   with the real guest engine\n  \
    vopr --engine                hosts that share the logs of a simulated engine")]
struct Arguments {
    /// Run this seed only
    seed: Option<u64>,
    /// Hunt for so long
    #[arg(long, default_value_t = 60, conflicts_with = "seed")]
    seconds: u64,
    /// Hunt through so many seeds, however long it takes
    #[arg(long, conflicts_with_all = ["seed", "seconds"])]
    seeds: Option<u64>,
    /// First seed of a hunt; drawn from the clock and printed if it is not given
    #[arg(long, conflicts_with = "seed")]
    first: Option<u64>,
    /// Threads of a hunt; all processors if it is not given
    #[arg(long, conflicts_with = "seed")]
    jobs: Option<usize>,
    /// Print the last events of the seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Only these kinds of faults, separated by commas, in place of those drawn
    #[arg(long, value_delimiter = ',', value_parser = parse_kind)]
    only: Option<Vec<FaultKind>>,
    /// Length of the storm in simulated milliseconds, in place of the one drawn
    #[arg(long)]
    storm_ms: Option<u64>,
    /// Number of instances, in place of the one drawn
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=8))]
    instances: Option<u64>,
    /// Take no checkpoints, so that every start reads the whole log
    #[arg(long)]
    no_checkpoints: bool,
    /// Print the failure as it is, without looking for a smaller run
    #[arg(long)]
    no_shrink: bool,
    /// Simulate hosts that share the logs of an engine, such as a database
    #[arg(long, conflicts_with_all = ["only", "storm_ms", "instances", "no_checkpoints", "wasm"])]
    engine: bool,
    /// Run this component beside every guest; it must do the same. It is the model as `make guests` builds it
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,
}

fn parse_kind(name: &str) -> Result<FaultKind, String> {
    let known = FaultKind::ALL.iter().copied().find(|kind| kind.name() == name);
    let names = || FaultKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
    known.ok_or_else(|| format!("there is no such kind of fault; there are {}", names()))
}

impl Arguments {
    fn options(&self, seed: u64) -> Options {
        let mut options = Options::draw(seed);
        if let Some(only) = &self.only {
            options.faults.clone_from(only);
        }
        if let Some(storm) = self.storm_ms {
            options.storm = storm * 1_000_000;
        }
        if let Some(instances) = self.instances {
            options.instances = instances as usize;
            options.machines = options.machines.min(options.instances);
        }
        if self.no_checkpoints {
            options.checkpoints = None;
        }
        options
    }
}

type MakeGuestAnywhere = dyn Fn(&Genesis) -> Box<dyn SimGuest> + Send + Sync;

/// Makes guests, on any thread.
#[derive(Clone)]
struct Guests(Arc<MakeGuestAnywhere>);

impl Guests {
    fn new(wasm: Option<&Path>) -> Result<Guests, String> {
        match wasm {
            None => Ok(Guests(Arc::new(models()))),
            Some(file) => Guests::twins(file).map_err(|error| format!("--wasm {}: {error}", file.display())),
        }
    }

    #[cfg(feature = "wasm")]
    fn twins(file: &Path) -> Result<Guests, Box<dyn std::error::Error>> {
        let module = ambrosia_engine::Engine::new()?.load(&std::fs::read(file)?)?;
        Ok(Guests(Arc::new(ambrosia_sim::twins(module))))
    }

    #[cfg(not(feature = "wasm"))]
    fn twins(_: &Path) -> Result<Guests, &'static str> {
        Err(
            "this program is built without the guest engine: build it with `--features wasm`, as `make vopr WASM=…` does",
        )
    }

    /// For one thread.
    fn maker(&self) -> Rc<MakeGuest> {
        let Guests(make) = self.clone();
        Rc::new(move |genesis| make(genesis))
    }
}

/// What a run that held all its promises has seen.
struct Seen {
    counts: Vec<(&'static str, u64)>,
    simulated: u64,
    fingerprint: u64,
    events: u64,
    trace: Vec<String>,
}

/// What is simulated.
trait Simulation: Sync {
    /// Runs a seed.
    fn run(&self, seed: u64, traced: bool) -> Result<Seen, Failure>;

    /// What its run is like.
    fn describe(&self, seed: u64) -> String;

    /// Tells what is known of a failure beyond its run, and returns that with its trace, and how to see it again.
    fn explain(&self, seed: u64) -> (Result<Seen, Failure>, String);
}

/// Clusters of instances on machines.
struct Clusters {
    arguments: Arguments,
    guests: Guests,
}

impl Clusters {
    fn run_with(&self, seed: u64, options: &Options, traced: bool) -> Result<Seen, Failure> {
        let report = run(seed, options, self.guests.maker(), traced)?;
        let (counts, trace) = (report.counts.list(), report.trace);
        Ok(Seen { counts, simulated: report.simulated, fingerprint: report.fingerprint, events: report.events, trace })
    }
}

impl Simulation for Clusters {
    fn run(&self, seed: u64, traced: bool) -> Result<Seen, Failure> {
        self.run_with(seed, &self.arguments.options(seed), traced)
    }

    fn describe(&self, seed: u64) -> String {
        self.arguments.options(seed).to_string()
    }

    fn explain(&self, seed: u64) -> (Result<Seen, Failure>, String) {
        let options = self.arguments.options(seed);
        let smallest = if self.arguments.no_shrink {
            options
        } else {
            let (smallest, runs) = shrink(seed, &options, &self.guests.maker());
            println!("\nthe smallest run that fails, found with {runs} runs:\n{smallest}");
            smallest
        };
        let only: Vec<_> = smallest.faults.iter().map(|kind| kind.name()).collect();
        let again = format!(
            "vopr {seed} --trace --instances {} --storm-ms {} --only {}{}{}",
            smallest.instances,
            smallest.storm / 1_000_000,
            only.join(","),
            if smallest.checkpoints.is_none() { " --no-checkpoints" } else { "" },
            self.arguments.wasm.as_ref().map_or_else(String::new, |file| format!(" --wasm {}", file.display()))
        );
        (self.run_with(seed, &smallest, true), again)
    }
}

/// Hosts that share the logs of an engine.
struct Engines;

impl Simulation for Engines {
    fn run(&self, seed: u64, traced: bool) -> Result<Seen, Failure> {
        let report = run_engine(seed, &EngineOptions::draw(seed), traced)?;
        Ok(Seen {
            counts: report.counts,
            simulated: report.simulated,
            fingerprint: report.fingerprint,
            events: report.events,
            trace: report.trace,
        })
    }

    fn describe(&self, seed: u64) -> String {
        EngineOptions::draw(seed).to_string()
    }

    fn explain(&self, seed: u64) -> (Result<Seen, Failure>, String) {
        (self.run(seed, true), format!("vopr {seed} --engine --trace"))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (seed, traced) = (arguments.seed, arguments.trace);
    let span = Span {
        seconds: Duration::from_secs(arguments.seconds),
        seeds: arguments.seeds,
        first: arguments.first,
        jobs: arguments.jobs,
    };
    let simulation: Box<dyn Simulation> = if arguments.engine {
        Box::new(Engines)
    } else {
        match Guests::new(arguments.wasm.as_deref()) {
            Ok(guests) => Box::new(Clusters { arguments, guests }),
            Err(error) => {
                eprintln!("vopr: {error}");
                return ExitCode::from(2);
            }
        }
    };
    match seed {
        Some(seed) => one(&*simulation, seed, traced),
        None => hunt(&*simulation, &span),
    }
}

/// Runs one seed and says what came of it.
fn one(simulation: &dyn Simulation, seed: u64, traced: bool) -> ExitCode {
    println!("seed {seed}: {}", simulation.describe(seed));
    let begin = Instant::now();
    match simulation.run(seed, traced) {
        Ok(report) => {
            report.trace.iter().for_each(|line| println!("{line}"));
            for (name, count) in report.counts {
                println!("{count:>10} {}", name.replace('_', " "));
            }
            let simulated = Duration::from_nanos(report.simulated);
            println!(
                "all promises held: {:.3} s simulated, {} events, fingerprint {:016x}",
                simulated.as_secs_f64(),
                report.events,
                report.fingerprint
            );
            // Apart from the rest, so that two runs of a seed print the same.
            eprintln!("simulated in {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tell(simulation, seed, &failure);
            ExitCode::FAILURE
        }
    }
}

/// How long to hunt, and from where.
struct Span {
    seconds: Duration,
    seeds: Option<u64>,
    first: Option<u64>,
    jobs: Option<usize>,
}

/// What all threads of a hunt know.
struct Hunt<'a> {
    simulation: &'a dyn Simulation,
    first: u64,
    seeds: Option<u64>,
    next: AtomicU64,
    end: AtomicBool,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    /// In the order in which a run lists them.
    counts: Vec<(&'static str, u64)>,
    seeds: u64,
    simulated: u128,
    failure: Option<(u64, Failure)>,
}

impl Found {
    fn add(&mut self, seen: &Seen) {
        self.simulated += u128::from(seen.simulated);
        if self.counts.is_empty() {
            self.counts.clone_from(&seen.counts);
        } else {
            self.counts.iter_mut().zip(&seen.counts).for_each(|(all, (_, count))| all.1 += count);
        }
    }
}

impl Hunt<'_> {
    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while !self.end.load(Ordering::Relaxed) {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            if self.seeds.is_some_and(|seeds| at >= seeds) {
                return;
            }
            let seed = self.first.wrapping_add(at);
            let result = self.simulation.run(seed, false);
            let mut found = self.found();
            found.seeds += 1;
            match result {
                Ok(seen) => found.add(&seen),
                Err(failure) => {
                    found.failure.get_or_insert((seed, failure));
                    self.end.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    fn say(&self, begin: Instant) {
        let found = self.found();
        let (real, simulated) = (begin.elapsed().as_secs_f64(), found.simulated as f64 / 1e9);
        println!(
            "{} seeds in {real:.1} s ({:.0} a second), {simulated:.0} s simulated ({:.0} times as fast as real time)",
            found.seeds,
            found.seeds as f64 / real,
            simulated / real
        );
    }
}

fn hunt(simulation: &dyn Simulation, span: &Span) -> ExitCode {
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64 >> 10);
    let first = span.first.unwrap_or_else(clock);
    let jobs = span.jobs.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    println!("hunting from seed {first} on, with {jobs} threads");
    let (next, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let hunt = Hunt { simulation, first, seeds: span.seeds, next, end, found: Mutex::default() };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(|| hunt.work())).collect();
        let mut said = begin;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(20));
            if span.seeds.is_none() && begin.elapsed() >= span.seconds {
                hunt.end.store(true, Ordering::Relaxed);
            }
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                hunt.say(begin);
            }
        }
    });
    hunt.say(begin);
    let found = std::mem::take(&mut *hunt.found());
    for (name, count) in found.counts {
        println!("{count:>12} {}", name.replace('_', " "));
    }
    match found.failure {
        None => {
            println!("all promises held");
            ExitCode::SUCCESS
        }
        Some((seed, failure)) => {
            tell(simulation, seed, &failure);
            ExitCode::FAILURE
        }
    }
}

/// Tells of a failure, with the events before it and the smallest run that fails.
fn tell(simulation: &dyn Simulation, seed: u64, failure: &Failure) {
    println!("\nSEED {seed} FAILED: {failure}\n{}", simulation.describe(seed));
    let (result, again) = simulation.explain(seed);
    match result {
        Ok(_) => println!("it did not fail again: the simulation is not deterministic"),
        Err(failure) => {
            failure.trace.iter().for_each(|line| println!("{line}"));
            println!("{failure}");
        }
    }
    println!("\nagain: {again}");
}
