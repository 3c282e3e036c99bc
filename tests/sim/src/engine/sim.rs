//! Time, and what happens in it: one queue of events, all of it drawn from the seed.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ambrosia_core::{Epoch, Genesis, InstanceName, InstanceUuid, Limits, Timestamp};
use ambrosia_shared_log::{Answer, Claim, EngineFacts, HostId, Request, RequestId, Session, Standing};
use ambrosia_storage::LogId;

use super::{
    EngineOptions,
    counts::EngineCounts,
    host::Host,
    office::{Asker, Office},
    options::EngineFault,
    witness::Witness,
};
use crate::{dice::Dice, options::MILLISECOND, panics::caught, run::Failure};

const TRACE_LINES: usize = 400;

/// Something that happens at a moment. What belongs to a life of a host has its number.
#[derive(Debug)]
pub(super) enum Happening {
    /// A host that is dead comes to life.
    Start(usize),
    /// A request arrives at the engine.
    Arrive(Asker, Session, Request),
    /// An answer arrives.
    Answer(Asker, Answer),
    /// The client of the engine gives up a request.
    Deadline(Asker),
    /// A host has asked to be told the time.
    Alarm(usize, u32),
    /// A replica reads on, looks whether there is a writer, or appends, by what it is.
    Turn(usize, u32, LogId),
    /// The oldest change is replicated.
    Replicate,
    /// Something breaks.
    Fault,
    /// Waits for replication are cut short.
    CutShort,
    /// Another node comes into office.
    FailOver,
}

impl Happening {
    /// The host that does not notice it while it is frozen.
    fn host(&self) -> Option<usize> {
        match self {
            Happening::Answer(asker, _) | Happening::Deadline(asker) => Some(asker.host),
            Happening::Alarm(host, _) | Happening::Turn(host, ..) => Some(*host),
            _ => None,
        }
    }
}

/// A run.
pub(super) struct EngineSim {
    pub(super) options: EngineOptions,
    pub(super) facts: EngineFacts,
    pub(super) dice: Dice,
    pub(super) now: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    events: u64,
    pub(super) office: Office,
    pub(super) hosts: Vec<Host>,
    pub(super) witness: Witness,
    pub(super) logs: Vec<LogId>,
    /// Where a replica begins that has nothing.
    pub(super) checkpoints: BTreeMap<LogId, Standing>,
    pub(super) counts: EngineCounts,
    /// Faults happen.
    pub(super) is_stormy: bool,
    /// Writers append.
    pub(super) is_busy: bool,
    /// The engine does nothing until then.
    pub(super) paused_until: u64,
    pub(super) refusing_until: u64,
    pub(super) unreplicated_until: u64,
    /// Whom a node ever showed to have an epoch.
    pub(super) claims: BTreeMap<(LogId, Epoch), BTreeSet<Claim>>,
    /// The number of the last beat of each host that the node in office has heard, and when it did so first.
    pub(super) heard: BTreeMap<HostId, (u64, u64)>,
    /// The same as it was when a beat was answered, and when that was.
    pub(super) heard_by: BTreeMap<(usize, RequestId), (u64, BTreeMap<HostId, u64>)>,
    /// Since when there is no storm any more.
    pub(super) calm_since: Option<u64>,
    /// A host hears just now that a barrier has returned.
    pub(super) is_barred: bool,
    trace: Option<VecDeque<String>>,
    fingerprint: u64,
}

/// What a run that held all its promises has seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EngineReport {
    /// How often what happened.
    pub counts: Vec<(&'static str, u64)>,
    /// Simulated nanoseconds.
    pub simulated: u64,
    /// Two runs that did the same have the same.
    pub fingerprint: u64,
    /// Events.
    pub events: u64,
    /// The last lines of what happened, if they were asked for.
    pub trace: Vec<String>,
}

/// Runs one seed from beginning to end.
pub fn run_engine(seed: u64, options: &EngineOptions, traced: bool) -> Result<EngineReport, Failure> {
    let mut sim = EngineSim::new(seed, options.clone(), traced);
    match caught(|| sim.weather()) {
        Ok(()) => Ok(EngineReport {
            counts: sim.counts.list(),
            simulated: sim.now,
            fingerprint: sim.fingerprint,
            events: sim.events,
            trace: sim.trace(),
        }),
        Err((what, place)) => Err(Failure { what, place, simulated: sim.now, trace: sim.trace() }),
    }
}

impl EngineSim {
    fn new(seed: u64, options: EngineOptions, traced: bool) -> EngineSim {
        let mut dice = Dice::new(seed);
        let group_bytes_max = dice.spread((2_000, 20_000)) as usize;
        let facts = EngineFacts {
            group_bytes_max,
            lanes: options.lanes,
            place: "a simulated engine".to_owned(),
            caution: None,
        };
        let mut sim = EngineSim {
            hosts: (0..options.hosts).map(|host| Host::new(&facts, HostId([host as u8 + 1; 16]))).collect(),
            facts,
            dice,
            now: 0,
            agenda: BTreeMap::new(),
            events: 0,
            office: Office::new(group_bytes_max),
            witness: Witness::default(),
            logs: (0..options.logs).map(|log| LogId(InstanceUuid([log as u8 + 1; 16]))).collect(),
            checkpoints: BTreeMap::new(),
            counts: EngineCounts::default(),
            is_stormy: true,
            is_busy: true,
            paused_until: 0,
            refusing_until: 0,
            unreplicated_until: 0,
            claims: BTreeMap::new(),
            heard: BTreeMap::new(),
            heard_by: BTreeMap::new(),
            calm_since: None,
            is_barred: false,
            trace: traced.then(VecDeque::new),
            fingerprint: seed,
            options,
        };
        if sim.options.has(EngineFault::Small) {
            // No record has more.
            sim.office.group_bytes_max = 1_500;
        }
        sim
    }

    fn weather(&mut self) {
        for log in self.logs.clone() {
            let genesis = genesis(log.0);
            self.office.shown.create(log, &genesis);
            self.office.replicated.create(log, &genesis);
            self.witness.begin(log, &genesis);
            self.checkpoints.insert(log, Standing::at(&genesis));
        }
        self.office.back_up();
        for host in 0..self.hosts.len() {
            self.put_in((0, 20 * MILLISECOND), Happening::Start(host));
        }
        self.put_in(self.options.calm, Happening::Fault);
        self.run_until(self.options.storm);
        self.come_right();
    }

    pub(super) fn run_until(&mut self, end: u64) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            match happening.host().map(|host| self.hosts[host].frozen_until) {
                Some(until) if until > at => self.put_at(until, happening),
                _ => self.happen(happening),
            }
        }
        self.now = end;
    }

    fn happen(&mut self, happening: Happening) {
        self.mix(self.now);
        match happening {
            Happening::Start(host) => self.start(host),
            Happening::Arrive(asker, session, request) => self.arrive(asker, session, request),
            Happening::Answer(asker, answer) => self.answer(asker, answer),
            Happening::Deadline(asker) => self.give_up(asker),
            Happening::Alarm(host, life) => self.alarm(host, life),
            Happening::Turn(host, life, log) => self.turn(host, life, log),
            Happening::Replicate => self.replicate(),
            Happening::Fault => self.fault(),
            Happening::CutShort => self.cut_short(),
            Happening::FailOver => self.fail_over(),
        }
    }

    pub(super) fn start(&mut self, host: usize) {
        if self.hosts[host].is_up {
            return;
        }
        self.hosts[host].start(&self.facts, &self.checkpoints);
        let life = self.hosts[host].life;
        self.note(|| format!("host {host} begins its life {life}"));
        for log in self.logs.clone() {
            self.put_in(self.options.poll, Happening::Turn(host, life, log));
        }
    }

    pub(super) fn put_in(&mut self, range: (u64, u64), happening: Happening) {
        let after = self.dice.between(range);
        self.put_at(self.now + after, happening);
    }

    pub(super) fn put_at(&mut self, at: u64, happening: Happening) {
        self.events += 1;
        self.agenda.insert((at, self.events), happening);
    }

    pub(super) fn time(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push_back(format!("{:>10}.{:03} µs  {}", self.now / 1000, self.now % 1000, line()));
            if trace.len() > TRACE_LINES {
                trace.pop_front();
            }
        }
    }

    fn trace(&self) -> Vec<String> {
        self.trace.iter().flatten().cloned().collect()
    }

    pub(super) fn mix(&mut self, value: u64) {
        self.fingerprint = (self.fingerprint ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    /// Whether a message is hit by that kind of fault.
    pub(super) fn is_hit(&mut self, kind: EngineFault) -> bool {
        self.is_stormy && self.options.has(kind) && self.dice.rarely(self.options.messages_hit * 10)
    }
}

fn genesis(uuid: InstanceUuid) -> ambrosia_core::Record {
    Genesis {
        uuid,
        module: [7; 32],
        seed: 1,
        limits: Limits { fuel: 1, memory_bytes: 1 },
        name: InstanceName::new("simulated").expect("plain"),
    }
    .record(Timestamp(1))
}
