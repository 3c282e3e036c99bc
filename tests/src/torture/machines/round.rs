//! Plays a round on machines from its plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::super::{interrupt::Interrupt, leftovers::prefix, meter::Meter, round::Violation};
use super::{
    callers::{Callers, remains},
    gaps::{Gaps, Occasion},
    history::{Act, check},
    network::Machines,
    plan::{Draft, EngineKind, Fault, FaultKind, HostFault, Plan, Step},
    site::{HOSTS, INSTANCES, Setting, Site, at},
};
use crate::{Cluster, Signal};

/// Whoever can serve serves again within this time, or never will; only time counts in which the machine was running. Behind an outage of the
/// database nobody is taken for silent for 5 s, and a takeover may ask a server that is cut off once or twice, for 2 s each. How long it takes is
/// what the gaps tell.
const SERVICE_BACK_WITHIN: Duration = Duration::from_secs(20);

/// A round on machines that held.
#[derive(Clone, Debug, Default)]
pub struct HeldApart {
    /// Faults by what they are.
    pub faults: BTreeMap<&'static str, u64>,
    /// Gaps of clients.
    pub gaps: Gaps,
    /// Calls that were answered.
    pub calls: u64,
    /// Calls of strangers that were refused.
    pub refused: u64,
    /// Faults that could not be played here, and why.
    pub skipped: BTreeSet<(&'static str, String)>,
    /// How long it took.
    pub took: Duration,
    /// Where its files are, if they were kept.
    pub files: Option<PathBuf>,
}

/// Why there can be no machines with that engine here, if so.
pub fn machines_impossible(engine: EngineKind) -> Option<String> {
    Machines::impossible().or_else(|| match engine {
        EngineKind::Postgres if !ambrosia_test_database::is_installed() => {
            Some("PostgreSQL is not installed (Debian's package postgresql)".to_owned())
        }
        EngineKind::Etcd if !ambrosia_test_database::has_etcd() => {
            Some("etcd is not there (`scripts/engines.sh` fetches it)".to_owned())
        }
        EngineKind::Postgres | EngineKind::Etcd => None,
    })
}

/// What becomes of the files of a round that held: what every process said, and the journal. Those of others are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Files {
    /// They are removed.
    Removed,
    /// They are kept, too.
    Kept,
}

/// Plays the round of a seed on machines of their own.
///
/// Processes and namespaces belong to the thread of the round and are gone when it ends, in whatever way.
pub fn play_apart(draft: &Draft, files: Files, interrupt: &Interrupt) -> Result<HeldApart, Violation> {
    let began = Instant::now();
    let mut cluster = Cluster::with_prefix(&prefix("machines"));
    cluster.keep();
    let directory = cluster.directory().to_owned();
    let (drawn, interrupt, seed) = (draft.clone(), interrupt.clone(), draft.seed);
    let round = std::thread::Builder::new().name("round on machines".to_owned());
    let round = round.spawn(move || play(cluster, &drawn, interrupt));
    let keep = |what: &str| {
        // Under another name, since the next run removes what a run has left.
        let kept = directory.with_file_name(format!("ambrosia-{what}-machines-{seed}-{}", std::process::id()));
        std::fs::rename(&directory, &kept).map_or_else(|_| directory.clone(), |()| kept)
    };
    let what = match round.expect("the machine can start a thread").join() {
        Ok(Ok(held)) => {
            let held = HeldApart { took: began.elapsed(), ..held };
            match files {
                Files::Kept => return Ok(HeldApart { files: Some(keep("held")), ..held }),
                Files::Removed => match std::fs::remove_dir_all(&directory) {
                    Ok(()) => return Ok(held),
                    Err(error) => format!("the directory of the round can't be removed: {error}"),
                },
            }
        }
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
        }
    };
    Err(Violation { what, directory: keep("violation"), plan: format!("{:#?}", Plan::draw(draft)) })
}

fn play(cluster: Cluster, draft: &Draft, interrupt: Interrupt) -> anyhow::Result<HeldApart> {
    let plan = Plan::draw(draft);
    ensure!(!plan.steps.is_empty(), "no fault has one of the words {:?} in its name", draft.only);
    let mut round = Round::begin(cluster, draft.seed, draft.engine, interrupt)?;
    let played = plan.steps.iter().try_for_each(|step| round.step(step)).and_then(|()| round.check());
    if let Err(error) = &played {
        round.note(&format!("VIOLATED: {error:#}"));
        round.site.bury_all()?;
    }
    played.map(|()| round.held)
}

struct Round {
    /// Ends before what it calls.
    callers: Option<Callers>,
    site: Site,
    meter: Meter,
    interrupt: Interrupt,
    began: Instant,
    journal: File,
    held: HeldApart,
}

impl Round {
    fn begin(cluster: Cluster, seed: u64, engine: EngineKind, interrupt: Interrupt) -> anyhow::Result<Round> {
        let began = Instant::now();
        let journal = File::create(cluster.file("journal"))?;
        let meter = Meter::start(cluster.directory())?;
        let site = Site::begin(cluster, Setting::of_torture(engine))?;
        let callers = Callers::begin(&site.machines, &site.papers, seed)?;
        callers.wait_for_answers(|_| true, Instant::now())?;
        let held = HeldApart::default();
        let mut round = Round { callers: Some(callers), site, meter, interrupt, began, journal, held };
        round.note("all clients are served");
        Ok(round)
    }

    /// Writes down what happens, for whoever looks at a failure.
    fn note(&mut self, what: &str) {
        let line = format!("{:9.3} {what}\n", self.began.elapsed().as_secs_f64());
        self.journal.write_all(line.as_bytes()).expect("the disk of the temporary directory can be written");
    }

    /// Lets time go by, which was drawn. An error if the round is to end.
    fn pause(&self, time: Duration) -> anyhow::Result<()> {
        if self.interrupt.wait(time) {
            bail!("interrupted");
        }
        Ok(())
    }

    fn callers(&self) -> &Callers {
        self.callers.as_ref().expect("they call until all is over")
    }

    /// Faults begin, last, and end; whenever somebody can serve, he must within a time.
    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        self.pause(step.pause)?;
        let mut faults = step.faults.clone();
        for fault in &step.faults {
            if let Some(reason) = self.site.impossible(fault.kind) {
                faults.retain(|other| other != fault);
                self.held.skipped.insert((fault.kind.name(), reason));
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let primaries = self.site.primaries(HOSTS[0])?;
        let host_of =
            |fault: &Fault| primaries.get(&fault.primary_of).copied().unwrap_or(fault.primary_of % HOSTS.len());
        let hit = Instant::now();
        let mut possible = hit;
        for fault in &faults {
            *self.held.faults.entry(fault.kind.name()).or_default() += 1;
            self.note(&format!("{} (host {}); primaries are on {primaries:?}", fault.kind.name(), host_of(fault)));
            self.begin_fault(fault.kind, host_of(fault))?;
            if fault.kind.is_mended_by_hand() {
                possible = Instant::now();
            }
        }
        self.note("all faults have begun");
        let obstructed = faults.iter().any(|fault| fault.kind.obstructs());
        let is_concerned = |instance: usize| {
            let of = |fault: &Fault| !fault.kind.is_of_host() || primaries.get(&instance) == Some(&host_of(fault));
            faults.iter().any(of)
        };
        let occasion = match faults[..] {
            [fault] => Occasion::Fault(fault.kind),
            _ => Occasion::Several,
        };
        if !obstructed {
            self.wait_for_service(possible, occasion, is_concerned)?;
        }
        self.pause(step.lasts.saturating_sub(hit.elapsed()))?;
        let ends = Instant::now();
        let mut possible = ends;
        for fault in &faults {
            self.end_fault(fault.kind, host_of(fault))?;
            if !fault.kind.is_of_host() && fault.kind.obstructs() {
                possible = Instant::now();
            }
        }
        self.note("all faults have ended");
        let (possible, occasion) = match faults[..] {
            _ if obstructed => (possible, occasion),
            [fault] => (ends, Occasion::Return(fault.kind)),
            _ => (ends, Occasion::Several),
        };
        self.wait_for_service(possible, occasion, |instance| obstructed && is_concerned(instance))?;
        self.site.wait_until_all_follow()?;
        self.note("all replicas follow");
        if !obstructed {
            let now = Instant::now();
            self.wait_for_service(now, occasion, |_| false)?;
            self.note_gaps(ends, Instant::now(), occasion, |_| true);
        }
        Ok(())
    }

    /// Waits until every client is served that could be since `since`, which must not take too long, and notes the gaps of those that are concerned.
    fn wait_for_service(
        &mut self,
        since: Instant,
        occasion: Occasion,
        is_concerned: impl Fn(usize) -> bool,
    ) -> anyhow::Result<()> {
        let served = self.callers().wait_for_answers(|_| true, since)?;
        let gap = served.saturating_duration_since(since);
        let stalled = self.meter.stalled(since, served).min(gap);
        ensure!(
            gap - stalled <= SERVICE_BACK_WITHIN,
            "all were served again {gap:?} after {occasion:?} (of which the machine was busy with others for {stalled:?})"
        );
        self.note(&format!("all are served {gap:.0?} after it, {stalled:.0?} of them not ours"));
        self.note_gaps(since, served, occasion, is_concerned);
        Ok(())
    }

    fn note_gaps(&mut self, from: Instant, to: Instant, occasion: Occasion, is_concerned: impl Fn(usize) -> bool) {
        for instance in (0..INSTANCES.len()).filter(|instance| is_concerned(*instance)) {
            let (began, gap) = self.callers().gap(instance, from, to);
            let gap = gap - self.meter.stalled(began, began + gap).min(gap);
            self.held.gaps.note(occasion, gap);
            let at = (began - self.began).as_secs_f64();
            self.note(&format!("  {}: no answer for {gap:.0?} from {at:.3} on", INSTANCES[instance].0));
        }
    }

    fn begin_fault(&mut self, kind: FaultKind, host: usize) -> anyhow::Result<()> {
        let machine = HOSTS[host];
        let FaultKind::Host(fault) = kind else { return self.site.begin_engine_fault(kind) };
        match fault {
            HostFault::Killed | HostFault::SetBack => self.site.kill(host),
            HostFault::Cut => self.site.machines.cut(machine),
            HostFault::Mute => self.site.machines.mute(machine),
            HostFault::Deaf => self.site.machines.deafen(machine),
            HostFault::Stopped => self.site.signal(host, Signal::Stop),
            HostFault::Drained => {
                let from = HOSTS[(host + 1) % HOSTS.len()];
                self.site.must(from, &["drain", "--host", &at(machine)]).map(drop)
            }
            HostFault::Disbelieved(paper) => {
                self.site.kill(host)?;
                self.site.serve_disbelieved(host, paper)
            }
            HostFault::WrongClock(wrong) => self.site.machines.set_clock(machine, Some(wrong)),
        }
    }

    fn end_fault(&mut self, kind: FaultKind, host: usize) -> anyhow::Result<()> {
        let machine = HOSTS[host];
        let FaultKind::Host(fault) = kind else { return self.site.end_engine_fault(kind, &self.interrupt) };
        match fault {
            HostFault::Killed | HostFault::Disbelieved(_) => self.site.serve(host),
            HostFault::SetBack => {
                self.site.set_back(host)?;
                self.site.serve(host)
            }
            HostFault::Cut => self.site.machines.plug(machine),
            HostFault::Mute => self.site.machines.unmute(machine),
            HostFault::Deaf => self.site.machines.undeafen(machine),
            HostFault::Stopped => self.site.signal(host, Signal::Continue),
            HostFault::Drained => self.site.must(machine, &["drain", "--host", &at(machine), "--undo"]).map(drop),
            HostFault::WrongClock(_) => self.site.machines.set_clock(machine, None),
        }
    }

    /// What must hold when all faults are over. Ends all processes.
    fn check(&mut self) -> anyhow::Result<()> {
        self.site.check_alive()?;
        let callers = self.callers.take().context("they call")?;
        self.held.calls = callers.count();
        let (calls, refused) = callers.finish()?;
        self.held.refused = refused;
        let remains = remains(&self.site.machines, &self.site.papers)?;
        for (instance, (calls, remains)) in calls.iter().zip(&remains).enumerate() {
            let name = INSTANCES[instance].0;
            check(calls, remains).with_context(|| format!("what clients of {name} were told is no history"))?;
        }
        self.note("what clients were told is one history");
        for (name, _) in INSTANCES {
            let said = self.site.must(HOSTS[0], &["verify", "--instance", name])?;
            ensure!(!said.contains("differ"), "replicas of {name} differ: {said}");
        }
        self.site.end_hosts()?;
        // Whoever dies may have had no time to print, and nobody prints anything else, or twice.
        let appends = |(instance, calls): (usize, &Vec<super::history::Call>)| {
            let name = INSTANCES[instance].0;
            let line = move |call: &super::history::Call| match call.act {
                Act::Append { value, length } => Some(format!("{name}: appended {value} as {length}")),
                _ => None,
            };
            calls.iter().filter_map(line).collect::<Vec<_>>()
        };
        let appended: BTreeSet<_> = calls.iter().enumerate().flat_map(appends).collect();
        if let Some(other) = self.site.printed().iter().find(|line| !appended.contains(*line)) {
            bail!("{other:?} was printed, which nobody was told");
        }
        let printed = self.site.printed().len();
        ensure!(
            appended.is_empty() || printed * 2 > appended.len(),
            "of {} appends {printed} were printed",
            appended.len()
        );
        self.note(&format!("of {} appends {printed} were printed, each once", appended.len()));
        Ok(())
    }
}
