//! The simulation: time, processes, and what happens to them.
//!
//! A process does one thing at a time and is not disturbed at it, except in the operations of its disk: there it may
//! be killed, or paused while everything else goes on. A pause there is a second run of the agenda inside the first,
//! so such pauses end in the reverse order of their beginnings, and there are few at once.

use std::{
    cell::{Cell, RefCell, RefMut},
    collections::{BTreeMap, VecDeque},
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
};

use ambrosia_core::{Epoch, Genesis, InstanceName, InstanceUuid, Limits, Lsn, Timestamp};
use ambrosia_storage::FileLog;

use crate::{
    agenda::{Agenda, Event},
    checks::Witness,
    damage::{Flip, Restored},
    dice::Dice,
    guest::SimGuest,
    ids::{Place, ProcessId},
    machine::{Operation, SimMachine, Stage},
    model::Code,
    network::{Network, Side},
    options::{FaultKind, MILLISECOND, Options},
    process::Process,
    wishes::Wishes,
};

/// Pauses in the middle of operations that may be under way at once.
const PAUSES_MAX: usize = 3;

/// How long a process is paused in the middle of an operation.
const PAUSE: (u64, u64) = (MILLISECOND, 3_000 * MILLISECOND);
/// Long enough for another replica to take over from a candidate that is paused.
const DEPOSED: (u64, u64) = (800 * MILLISECOND, 3_000 * MILLISECOND);
/// In the course of a takeover a process dies or is paused so many times as often.
const TAKEOVERS_OFTENER: u64 = 6;
/// Of a million syncs, the power fails in the middle of so many.
const POWER_AT_SYNC: u64 = 5_000;

/// Whoever is not let start tries again after this time.
const TRY_AGAIN: (u64, u64) = (20 * MILLISECOND, 200 * MILLISECOND);

/// What no run comes near to.
const EVENTS_MAX: u64 = 500_000;
const TAKEOVERS_MAX: u64 = 2_000;

/// Lines of a trace that are kept.
const TRACE_LINES: usize = 400;

/// When every simulation begins: a moment in 2026, so that times are of the usual size.
const BEGIN: u64 = 1_790_000_000_000_000_000;

/// Makes the guest of an instance.
pub type MakeGuest = dyn Fn(&Genesis) -> Box<dyn SimGuest>;

/// The panic that ends a process in the middle of an operation.
struct Died;

/// An instance as an operator knows it.
pub(crate) struct Instance {
    pub(crate) uuid: InstanceUuid,
    pub(crate) machine: Arc<SimMachine>,
    /// How often it was registered.
    pub(crate) lives: u64,
    /// Who runs it, by replica.
    pub(crate) replicas: Vec<Option<ProcessId>>,
    /// The last that said it is primary, and the one before.
    pub(crate) primary: Option<ProcessId>,
    pub(crate) primary_before: Option<ProcessId>,
    /// The bit of its log that is wrong.
    pub(crate) flip: Option<Flip>,
    pub(crate) restored: Restored,
    /// The registry says that it has finished, and these replicas have ended with that.
    pub(crate) is_finished: bool,
    pub(crate) finished: std::collections::BTreeSet<u16>,
    /// An operator waits for a checkpoint later than this.
    pub(crate) wished: Option<Lsn>,
    /// What is wished of its code.
    pub(crate) wishes: Wishes,
    /// What the operator has set for it.
    pub(crate) configured: u64,
    /// Until when its disk is slow, and refuses writes.
    pub(crate) slow_until: u64,
    pub(crate) full_until: u64,
}

pub(crate) struct Sim {
    pub(crate) options: Options,
    pub(crate) dice: RefCell<Dice>,
    pub(crate) agenda: RefCell<Agenda>,
    pub(crate) now: Cell<u64>,
    pub(crate) witness: RefCell<Witness>,
    pub(crate) network: RefCell<Network>,
    pub(crate) processes: RefCell<BTreeMap<ProcessId, Rc<Process>>>,
    pub(crate) instances: RefCell<Vec<Instance>>,
    /// Instances that can't reach each other, until when.
    pub(crate) partitions: RefCell<BTreeMap<(usize, usize), u64>>,
    /// False once everything is being healed.
    pub(crate) storm: Cell<bool>,
    make_guest: Rc<MakeGuest>,
    last_process: Cell<u32>,
    pub(crate) actor: Cell<Option<ProcessId>>,
    pauses: Cell<usize>,
    trace: RefCell<Option<VecDeque<String>>>,
    fingerprint: Cell<u64>,
}

impl Sim {
    pub(crate) fn new(seed: u64, options: Options, make_guest: Rc<MakeGuest>, traced: bool) -> Sim {
        let dice = Dice::new(seed);
        Sim {
            dice: RefCell::new(dice),
            agenda: RefCell::default(),
            now: Cell::new(BEGIN),
            witness: RefCell::default(),
            network: RefCell::default(),
            processes: RefCell::default(),
            instances: RefCell::default(),
            partitions: RefCell::default(),
            storm: Cell::new(true),
            make_guest,
            last_process: Cell::default(),
            actor: Cell::default(),
            pauses: Cell::default(),
            trace: RefCell::new(traced.then(VecDeque::new)),
            fingerprint: Cell::new(seed),
            options,
        }
    }

    /// Registers all instances and has their replicas start.
    pub(crate) fn begin(&self) {
        let machines: Vec<_> = (0..self.options.machines).map(SimMachine::new).collect();
        for number in 0..self.options.instances {
            let machine = machines[number % machines.len()].clone();
            self.instances.borrow_mut().push(Instance {
                uuid: InstanceUuid([0; 16]),
                machine,
                lives: 0,
                replicas: vec![None; usize::from(self.options.replicas)],
                primary: None,
                primary_before: None,
                flip: None,
                restored: Restored::default(),
                is_finished: false,
                finished: Default::default(),
                wished: None,
                wishes: Wishes::default(),
                configured: 0,
                slow_until: 0,
                full_until: 0,
            });
            self.register(number);
            self.put_in(self.options.think, Event::Ask(number));
            self.put_in(self.options.think, Event::AskQuery(number));
            self.put_in(self.options.think, Event::Tick(number));
            self.put_in(self.options.think, Event::Configure(number));
        }
    }

    /// The instance begins a life: another uuid, an empty log, and replicas that start.
    pub(crate) fn register(&self, number: usize) {
        let (uuid, machine) = {
            let mut instances = self.instances.borrow_mut();
            let instance = &mut instances[number];
            instance.lives += 1;
            let mut uuid = [number as u8; 16];
            uuid[15] = instance.lives as u8;
            instance.uuid = InstanceUuid(uuid);
            (instance.primary, instance.primary_before, instance.flip) = (None, None, None);
            instance.wishes = Wishes::default();
            (instance.uuid, instance.machine.clone())
        };
        let genesis = Genesis {
            uuid,
            module: Code::default().module(),
            seed: self.dice().next(),
            limits: Limits { fuel: 1_000_000_000, memory_bytes: 64 << 20 },
            name: name_of(number),
        };
        let record = genesis.record(Timestamp(self.now.get()));
        FileLog::create_on(machine, log_directory(uuid), uuid, &record).expect("the operator's machine works");
        for replica in 0..self.options.replicas {
            self.put_in((0, MILLISECOND), Event::Start(Place { instance: number, replica }));
        }
        self.add_session_clients(number);
    }

    /// A fresh guest of that module.
    pub(crate) fn make_guest(&self, genesis: &Genesis, module: [u8; 32]) -> Box<dyn SimGuest> {
        let mut guest = (self.make_guest)(genesis);
        guest.set_code(Code::of(module));
        if self.options.checkpoints.is_none() {
            guest.forbid_captures();
        }
        guest
    }

    pub(crate) fn dice(&self) -> RefMut<'_, Dice> {
        self.dice.borrow_mut()
    }

    pub(crate) fn put(&self, at: u64, event: Event) {
        self.agenda.borrow_mut().put(at, event);
    }

    /// The event happens after a time drawn from `range`.
    pub(crate) fn put_in(&self, range: (u64, u64), event: Event) {
        let at = self.now.get() + self.dice().between(range);
        self.put(at, event);
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut *self.trace.borrow_mut() {
            let since = self.now.get() - BEGIN;
            trace.push_back(format!("{:>10}.{:03} µs  {}", since / 1000, since % 1000, line()));
            if trace.len() > TRACE_LINES {
                trace.pop_front();
            }
        }
    }

    /// The last lines of the trace, if one is kept.
    pub(crate) fn trace(&self) -> Vec<String> {
        self.trace.borrow().iter().flatten().cloned().collect()
    }

    /// Mixes what happened into the fingerprint of the run.
    pub(crate) fn mix(&self, value: u64) {
        let mixed = (self.fingerprint.get() ^ value).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        self.fingerprint.set(mixed);
    }

    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint.get()
    }

    pub(crate) fn simulated(&self) -> u64 {
        self.now.get() - BEGIN
    }

    pub(crate) fn process(&self, id: ProcessId) -> Option<Rc<Process>> {
        self.processes.borrow().get(&id).cloned()
    }

    pub(crate) fn living(&self) -> Vec<Rc<Process>> {
        self.processes.borrow().values().cloned().collect()
    }

    /// Does all that happens until `until`.
    pub(crate) fn run_until(&self, until: u64) {
        loop {
            let next = self.agenda.borrow_mut().take(until);
            let Some((at, event)) = next else { break };
            self.now.set(self.now.get().max(at));
            self.dispatch(event);
            self.check_limits();
        }
        self.now.set(self.now.get().max(until));
    }

    /// A cluster that never comes to rest is noticed before the memory is full.
    fn check_limits(&self) {
        let (events, takeovers) = (self.agenda.borrow().count(), self.witness.borrow().counts.takeovers);
        assert!(events < EVENTS_MAX, "there is no end to it: {events} events");
        assert!(takeovers < TAKEOVERS_MAX, "there is no end to it: {takeovers} takeovers");
    }

    fn dispatch(&self, event: Event) {
        let receiver = match &event {
            Event::Forth(connection) => self.network.borrow().connections.get(connection).map(|c| c.to.process),
            Event::Back(connection) => self.network.borrow().connections.get(connection).map(|c| c.from.process),
            event => event.process(),
        };
        if let Some(process) = receiver.and_then(|id| self.process(id))
            && process.paused.get()
        {
            return process.deferred.borrow_mut().push(event);
        }
        self.mix(self.now.get());
        let before = self.actor.replace(None);
        let happened = catch_unwind(AssertUnwindSafe(|| self.happen(event)));
        let actor = self.actor.replace(before);
        match happened {
            Ok(()) => {}
            Err(panic) if panic.is::<Died>() => self.bury(actor.expect("only a process at work dies")),
            Err(panic) => resume_unwind(panic),
        }
    }

    fn happen(&self, event: Event) {
        match event {
            Event::Start(place) => self.start(place),
            Event::Follow(id) => self.with(id, |process| self.follow(process)),
            Event::Watch(id) => self.with(id, |process| self.watch(process)),
            Event::Deliver(id) => self.with(id, |process| self.deliver(process)),
            Event::Wake(id) => self.with(id, |process| self.plan_delivery(process)),
            Event::Write(id, epoch) => self.in_reign(id, epoch, |process| self.write(process)),
            Event::Settle(id, epoch) => self.in_reign(id, epoch, |process| self.settle(process)),
            Event::Idle(id, epoch) => self.in_reign(id, epoch, |process| self.look(process)),
            Event::LogSays(id, epoch, event) => self.with(id, |process| self.on_log(process, epoch, event)),
            Event::Dial(id, peer) => self.with(id, |process| self.dial(process, peer)),
            Event::Mend(id, epoch) => self.in_reign(id, epoch, |process| self.mend(process)),
            Event::Request(id, number) => self.with(id, |process| self.on_request(process, number)),
            Event::Checkpoint(id) => self.with(id, |process| self.do_job(process)),
            Event::Looked(id) => self.with(id, |process| self.hear_of_others(process)),
            Event::Broken(id, connection) => self.with(id, |process| self.on_broken(process, connection)),
            Event::Forth(connection) => self.carry_forth(connection),
            Event::Back(connection) => self.carry_back(connection),
            Event::Ask(instance) => self.ask(instance),
            Event::AskAgain(number) => self.ask_again(number),
            Event::AskForDigest(id) => self.with(id, |process| self.digest_for_another(process)),
            Event::AskQuery(instance) => self.ask_query(instance),
            Event::Query(id, number) => self.with(id, |process| self.on_query(process, number)),
            Event::SessionLook(session) => self.look_after_session(session),
            Event::SessionPacket(id, packet) => self.with(id, |process| self.on_session_packet(process, packet)),
            Event::SessionHears(session, heard) => self.on_session_heard(session, heard),
            Event::Outside(id, epoch, request, outcome) => {
                self.in_reign(id, epoch, |process| self.on_outcome(process, request, outcome));
            }
            Event::Fulfil(instance, uuid, promise) => self.fulfil(instance, uuid, promise),
            Event::Resolve(id, uuid, promise) => self.with(id, |process| self.on_resolve(process, uuid, promise)),
            Event::Tick(instance) => self.tick(instance),
            Event::Due(id) => self.with(id, |process| self.on_due(process)),
            Event::Configure(instance) => self.configure(instance),
            Event::Configured(id) => self.with(id, |process| self.on_configured(process)),
            Event::Resume(id) => self.resume(id),
            Event::Fault => self.fault(),
            Event::Operate => self.operate(),
            Event::Wish(id, step) => self.with(id, |process| self.on_wish(process, step)),
            Event::Restore(instance) => self.restore(instance),
        }
    }

    /// The process works, if it lives.
    pub(crate) fn with(&self, id: ProcessId, work: impl FnOnce(&Process)) {
        if let Some(process) = self.process(id) {
            self.actor.set(Some(id));
            process.work_began.set(self.now.get());
            work(&process);
            self.actor.set(None);
        }
    }

    /// The process works for that reign, unless it is over.
    fn in_reign(&self, id: ProcessId, epoch: Epoch, work: impl FnOnce(&Process)) {
        self.with(id, |process| {
            if process.epoch.get() == epoch {
                work(process);
            }
        });
    }

    fn start(&self, place: Place) {
        let (uuid, machine) = {
            let instances = self.instances.borrow();
            let instance = &instances[place.instance];
            if instance.replicas[usize::from(place.replica)].is_some() || instance.is_finished {
                return;
            }
            if self.is_refused(instance) {
                drop(instances);
                return self.put_in(TRY_AGAIN, Event::Start(place));
            }
            (instance.uuid, instance.machine.clone())
        };
        let id = ProcessId(self.last_process.get() + 1);
        self.last_process.set(id.0);
        self.note(|| format!("{id} starts as {place}"));
        self.processes.borrow_mut().insert(id, Rc::new(Process::new(id, place, uuid, machine)));
        self.instances.borrow_mut()[place.instance].replicas[usize::from(place.replica)] = Some(id);
        self.with(id, |process| self.open(process));
    }

    /// The process dies; another one starts in its place some time later.
    pub(crate) fn kill(&self, id: ProcessId, restart: (u64, u64)) {
        let Some(process) = self.processes.borrow_mut().remove(&id) else { return };
        let place = process.place;
        self.note(|| format!("{id} ({place}) is gone"));
        process.dead.set(true);
        process.machine.release_locks(id);
        let ends = self.network.borrow().of(id);
        for (connection, side) in ends {
            let lost = self.dice().percent(50);
            self.close(connection, side, lost);
        }
        let mut instances = self.instances.borrow_mut();
        let mine = &mut instances[place.instance].replicas[usize::from(place.replica)];
        let counted = mine.take_if(|mine| *mine == id).is_some();
        drop(instances);
        if counted {
            self.put_in(restart, Event::Start(place));
        }
        // What it does in the course of being dropped, it does no more.
        let actor = self.actor.replace(None);
        drop(process);
        self.actor.set(actor);
    }

    /// What a process at work that died has left. Where it was paused, its driver is still on the stack.
    fn bury(&self, id: ProcessId) {
        self.kill(id, (MILLISECOND, 100 * MILLISECOND));
    }

    /// The process at work ends itself.
    pub(crate) fn exit(&self, process: &Process, restart: (u64, u64)) {
        self.kill(process.id, restart);
        self.actor.set(None);
    }

    /// A process is paused until `until`, between two things that it does.
    pub(crate) fn pause(&self, process: &Process, until: u64) {
        if process.paused.replace(true) {
            return;
        }
        process.paused_since.set(self.now.get());
        self.note(|| format!("{} is paused for {} µs", process.id, (until - self.now.get()) / 1000));
        self.put(until, Event::Resume(process.id));
    }

    fn resume(&self, id: ProcessId) {
        let Some(process) = self.process(id) else { return };
        self.note(|| format!("{id} goes on"));
        process.paused.set(false);
        let deferred = std::mem::take(&mut *process.deferred.borrow_mut());
        for event in deferred {
            self.put(self.now.get(), event);
        }
    }

    /// The process at work stands still in the middle of what it does, and everything else goes on.
    fn pause_at_work(&self, process: &Process, length: u64) {
        self.note(|| format!("{} is paused at work for {} µs", process.id, length / 1000));
        self.witness.borrow_mut().counts.pauses_at_disk += 1;
        process.paused.set(true);
        process.paused_since.set(self.now.get());
        self.pauses.set(self.pauses.get() + 1);
        self.run_until(self.now.get() + length);
        self.pauses.set(self.pauses.get() - 1);
        self.actor.set(Some(process.id));
        if !process.dead.get() {
            self.resume(process.id);
        }
    }

    /// A process may die at work.
    fn die(&self, process: &Process) -> ! {
        self.note(|| format!("{} dies at work", process.id));
        // Without the hook of panics, which would report it.
        resume_unwind(Box::new(Died))
    }

    /// The power may fail while a sync is under way, and what was shown before it was there is lost for sure. The others
    /// have had time to read it.
    fn lose_power_at_sync(&self, process: &Process) {
        if !self.strikes()
            || !self.options.has(FaultKind::Power)
            || self.pauses.get() >= PAUSES_MAX
            || !self.dice().rarely(POWER_AT_SYNC)
        {
            return;
        }
        let length = self.dice().between(self.options.poll);
        self.pause_at_work(process, length);
        if self.storm.get() && !process.dead.get() {
            self.lose_power(process.place.instance);
        }
    }

    /// Whether processes are struck in the middle of what they do. All that happens while one is paused there happens
    /// within its own event, and the storm is over only behind that: without an end in time, one that reads a long log
    /// is paused so often that there is always more to read.
    fn strikes(&self) -> bool {
        self.storm.get() && self.now.get() < BEGIN + self.options.storm
    }

    fn befall(&self, process: &Process) {
        let (kill, pause) = (FaultKind::KillAtDisk, FaultKind::PauseAtDisk);
        // A takeover is short, and everything depends on its order.
        let rate = self.options.at_disk * if process.taking_over.get() { TAKEOVERS_OFTENER } else { 1 };
        if !self.strikes() || !self.dice().rarely(rate) {
            return;
        }
        let both = self.options.has(kill) && self.options.has(pause);
        if self.options.has(kill) && (!both || self.dice().percent(40)) {
            self.witness.borrow_mut().counts.on_death(process.task.get());
            self.die(process);
        }
        if self.options.has(pause) && self.pauses.get() < PAUSES_MAX {
            let long = process.taking_over.get() && self.dice().percent(50);
            let length = if long { self.dice().between(DEPOSED) } else { self.dice().spread(PAUSE) };
            self.pause_at_work(process, length);
        }
    }

    /// A run that is over lets go of everything.
    pub(crate) fn end(&self) {
        self.actor.set(None);
        let processes = std::mem::take(&mut *self.processes.borrow_mut());
        drop(processes);
    }

    fn actor_process(&self) -> Option<Rc<Process>> {
        // What a process that died at work does in the course of being dropped, it does no more.
        if std::thread::panicking() {
            return None;
        }
        self.actor.get().and_then(|id| self.process(id))
    }
}

/// What the machines of a simulation ask.
pub(crate) struct OnStage(pub(crate) Rc<Sim>);

impl Stage for OnStage {
    fn actor(&self) -> Option<ProcessId> {
        self.0.actor_process().map(|process| process.id)
    }

    fn before(&self, machine: usize, operation: Operation) -> io::Result<()> {
        let sim = &self.0;
        let Some(process) = sim.actor_process() else { return Ok(()) };
        sim.befall(&process);
        if operation == Operation::Sync {
            sim.lose_power_at_sync(&process);
        }
        if process.dead.get() {
            sim.die(&process);
        }
        if operation == Operation::Write || operation == Operation::Create {
            let full =
                sim.instances.borrow().iter().any(|i| i.machine.number == machine && i.full_until > sim.now.get());
            if full {
                process.hurt.set(true);
                sim.witness.borrow_mut().counts.write_errors += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        if operation == Operation::Sync
            && sim.storm.get()
            && sim.options.has(FaultKind::SyncError)
            && sim.dice().rarely(2_000)
        {
            process.hurt.set(true);
            sim.note(|| format!("the next sync of {} fails", process.id));
            sim.witness.borrow_mut().counts.sync_errors += 1;
            process.machine.fail_next_sync(&mut sim.dice());
        }
        Ok(())
    }

    fn after(&self, _machine: usize, _operation: Operation) {
        let Some(process) = self.0.actor_process() else { return };
        self.0.befall(&process);
        if process.dead.get() {
            self.0.die(&process);
        }
    }

    fn give_up(&self) {
        if let Some(process) = self.0.actor_process() {
            self.0.die(&process);
        }
    }

    fn is_spare_ready(&self) -> bool {
        self.0.dice().percent(80)
    }
}

/// The name of an instance.
pub(crate) fn name_of(instance: usize) -> InstanceName {
    InstanceName::new(format!("i{instance}")).expect("a plain name")
}

/// The number of the instance of that name.
pub(crate) fn number_of(name: &InstanceName) -> usize {
    name.as_str()[1..].parse().expect("names are i0, i1 …")
}

/// Where the log of an instance lies on its machine.
pub(crate) fn log_directory(uuid: InstanceUuid) -> PathBuf {
    PathBuf::from(format!("/logs/{uuid}"))
}

impl Sim {
    /// One side ends a connection; the other one notices later.
    pub(crate) fn close(&self, connection: ambrosia_core::ConnectionId, side: Side, lost: bool) {
        if !self.network.borrow_mut().close(connection, side, lost) {
            return;
        }
        let latency = self.dice().between(self.options.latency);
        let mut network = self.network.borrow_mut();
        let Some(c) = network.connections.get_mut(&connection) else { return };
        let (at, event) = match side {
            Side::From => (c.to.arrival(self.now.get() + latency), Event::Forth(connection)),
            Side::To => (c.from.arrival(self.now.get() + latency), Event::Back(connection)),
        };
        drop(network);
        self.put(at, event);
    }
}
