//! The time of faults, and its end.

use std::rc::Rc;

use ambrosia_core::PeerIndex;

use crate::{
    agenda::Event,
    ids::Place,
    network::{Forth, Side},
    options::{FaultKind, MILLISECOND},
    process::Process,
    sim::{Sim, log_directory, name_of},
};

/// Lives of one instance.
const LIVES_MAX: u64 = 4;

/// How long a process is paused, a machine slow or full, and a network cut in two.
const SPELL: (u64, u64) = (MILLISECOND, 3_000 * MILLISECOND);

/// Long enough for the others to do without a process for good.
const LONG_SPELL: (u64, u64) = (1_000 * MILLISECOND, 6_000 * MILLISECOND);

/// How far a clock is off, in nanoseconds, and how far it may jump within a reign.
pub(crate) const SKEW: u64 = 200 * MILLISECOND;
const HOURS: u64 = 7_200_000 * MILLISECOND;

/// A process that was killed starts again after this time.
const RESTART: (u64, u64) = (MILLISECOND, 500 * MILLISECOND);

impl Sim {
    /// Something breaks, and another time something else.
    pub(crate) fn fault(&self) {
        if !self.storm.get() || self.options.faults.is_empty() {
            return;
        }
        self.put_in(self.options.calm, Event::Fault);
        let kind = self.dice().pick(&self.options.faults).expect("there are some");
        let instance = self.dice().below(self.options.instances as u64) as usize;
        let process = {
            let living = self.living();
            let at = self.dice().below(living.len().max(1) as u64) as usize;
            living.get(at).cloned()
        };
        self.mix(kind as u64);
        match (kind, process) {
            (FaultKind::Kill, Some(process)) => self.kill_one(&process),
            (FaultKind::KillAll, _) => self.kill_all(instance),
            (FaultKind::Pause, Some(process)) => {
                let long = self.dice().percent(30);
                let length = if long { self.dice().between(LONG_SPELL) } else { self.dice().spread(SPELL) };
                let until = self.now.get() + length;
                self.pause(&process, until);
                self.witness.borrow_mut().counts.pauses += 1;
            }
            (FaultKind::Power, _) => self.lose_power(instance),
            (FaultKind::WriteError, _) => {
                let until = self.now.get() + self.dice().spread(SPELL) / 10;
                self.note(|| format!("the disk of i{instance} is full"));
                self.instances.borrow_mut()[instance].full_until = until;
            }
            (FaultKind::SlowDisk, _) => {
                let until = self.now.get() + self.dice().spread(SPELL);
                self.instances.borrow_mut()[instance].slow_until = until;
                self.witness.borrow_mut().counts.slow_disks += 1;
            }
            (FaultKind::Flip, _) => self.flip(instance),
            (FaultKind::Cut, _) => self.cut_one(),
            (FaultKind::Partition, _) => self.part(instance),
            (FaultKind::Clock, Some(process)) => {
                // What the clock shows when a reign begins is believed, so it is far off only after that.
                let most = if process.is_primary() && self.dice().percent(50) { HOURS } else { SKEW };
                let skew = self.dice().below(2 * most) as i64 - most as i64;
                process.skew.set(skew);
                self.witness.borrow_mut().counts.clock_jumps += 1;
            }
            (FaultKind::Lag, Some(process)) => {
                let long = self.dice().percent(30);
                process.lag.set(if long { self.dice().between(LONG_SPELL) } else { self.dice().spread(SPELL) });
                self.witness.borrow_mut().counts.lags += 1;
            }
            (FaultKind::HandOver, Some(process)) if !process.paused.get() => {
                self.note(|| format!("{} hands over", process.id));
                self.with(process.id, |process| self.hand_over(process));
            }
            (FaultKind::Stuck, Some(process)) => {
                let until = self.now.get() + self.dice().spread(SPELL);
                self.note(|| format!("the output of {} takes nothing", process.id));
                process.stuck_until.set(until);
                self.put(until, Event::Wake(process.id));
                self.with(process.id, |process| self.plan_delivery(process));
                self.witness.borrow_mut().counts.outputs_stuck += 1;
            }
            (FaultKind::Uncapturable, Some(process)) => {
                process.uncapturable_until.set(self.now.get() + self.dice().spread(SPELL));
            }
            (FaultKind::Rebirth, _) => self.rebirth(instance),
            // The others happen at other places, or nobody was there.
            _ => {}
        }
    }

    fn kill_one(&self, process: &Rc<Process>) {
        self.witness.borrow_mut().counts.kills += 1;
        self.kill(process.id, RESTART);
    }

    fn kill_all(&self, instance: usize) {
        for process in self.living().iter().filter(|process| process.place.instance == instance) {
            self.kill_one(process);
        }
    }

    pub(crate) fn lose_power(&self, instance: usize) {
        let machine = self.instances.borrow()[instance].machine.clone();
        self.note(|| format!("machine {} loses its power", machine.number));
        for process in self.living().iter().filter(|process| process.machine.number == machine.number) {
            self.kill(process.id, RESTART);
        }
        let lost = machine.lose_power(&mut self.dice());
        let mut witness = self.witness.borrow_mut();
        witness.counts.power_losses += 1;
        witness.counts.changes_lost += lost;
    }

    fn cut_one(&self) {
        let connections: Vec<_> = self.network.borrow().connections.keys().copied().collect();
        let Some(connection) = self.dice().pick(&connections) else { return };
        self.cut(connection);
    }

    /// A connection breaks, and each end notices in its time.
    fn cut(&self, connection: ambrosia_core::ConnectionId) {
        let lost = self.dice().percent(70);
        let from = self.dice().percent(50);
        let (process, side, redial) = {
            let network = self.network.borrow();
            let Some(c) = network.connections.get(&connection) else { return };
            if from {
                (c.from.process, Side::From, Some(Event::Dial(c.from.process, c.peer)))
            } else {
                (c.to.process, Side::To, None)
            }
        };
        self.witness.borrow_mut().counts.cuts += 1;
        self.close(connection, side, lost);
        // The process of the end that noticed learns of it like of everything else.
        self.put(self.now.get(), Event::Broken(process, connection));
        if let Some(redial) = redial {
            self.put_in((MILLISECOND, 20 * MILLISECOND), redial);
        }
    }

    fn part(&self, instance: usize) {
        let other = self.dice().below(self.options.instances as u64) as usize;
        if other == instance {
            return;
        }
        let until = self.now.get() + self.dice().spread(SPELL);
        self.note(|| format!("i{instance} and i{other} can't reach each other"));
        self.partitions.borrow_mut().insert((instance.min(other), instance.max(other)), until);
        self.witness.borrow_mut().counts.partitions += 1;
        let of = |id| self.process(id).map(|process| process.place.instance);
        let connections: Vec<_> = {
            let network = self.network.borrow();
            let ends = network.connections.iter().map(|(id, c)| (*id, of(c.from.process), of(c.to.process)));
            let (a, b) = (Some(instance), Some(other));
            ends.filter(|(_, from, to)| (*from, *to) == (a, b) || (*from, *to) == (b, a)).map(|(id, ..)| id).collect()
        };
        for connection in connections {
            self.cut(connection);
        }
    }

    /// The instance is registered anew: the old life's processes are gone, and its log with them.
    fn rebirth(&self, instance: usize) {
        if self.instances.borrow()[instance].lives >= LIVES_MAX {
            return;
        }
        self.note(|| format!("i{instance} is registered anew"));
        let last_primary =
            self.living().into_iter().find(|process| process.place.instance == instance && process.is_primary());
        self.kill_all(instance);
        if let Some(gone) = last_primary {
            self.leave_hellos_behind(&gone);
        }
        let (machine, uuid) = {
            let mut instances = self.instances.borrow_mut();
            let it = &mut instances[instance];
            it.replicas.fill(None);
            (it.machine.clone(), it.uuid)
        };
        machine.remove_directory(&log_directory(uuid));
        self.register(instance);
        self.witness.borrow_mut().counts.rebirths += 1;
    }

    /// What a process has said to others before its end waits in their sockets, and some read it late.
    fn leave_hellos_behind(&self, gone: &Process) {
        let name = name_of(gone.place.instance);
        for to in self.living().iter().filter(|process| process.place.instance != gone.place.instance) {
            if self.dice().percent(50) {
                continue;
            }
            let hello = Forth::Hello { name: name.clone(), uuid: gone.uuid, epoch: gone.epoch.get() };
            let at = self.now.get() + self.dice().spread(SPELL);
            let mut network = self.network.borrow_mut();
            let connection = network.dial((gone.id, gone.uuid), PeerIndex(1), (to.id, to.uuid));
            network.connections.get_mut(&connection).expect("it was just made").to.packets.push_back(hello);
            network.close(connection, Side::From, false);
            // The hello, and then the end of the connection.
            self.put(at, Event::Forth(connection));
            self.put(at, Event::Forth(connection));
        }
    }

    /// Every process dies: what comes back has read the whole log again.
    pub(crate) fn restart_all(&self) {
        self.note(|| "everybody is restarted".to_owned());
        for process in self.living() {
            self.kill(process.id, (0, 10 * MILLISECOND));
        }
    }

    /// No more faults: what is broken is mended, and everybody is there.
    pub(crate) fn calm_down(&self) {
        self.note(|| "the storm is over".to_owned());
        self.storm.set(false);
        self.partitions.borrow_mut().clear();
        let broken: Vec<_> = {
            let network = self.network.borrow();
            network.connections.iter().filter(|(_, c)| c.broken).map(|(id, _)| *id).collect()
        };
        broken.into_iter().for_each(|connection| self.cut(connection));
        for process in self.living() {
            process.skew.set(0);
            process.lag.set(0);
            process.stuck_until.set(0);
            process.uncapturable_until.set(0);
            self.put(self.now.get(), Event::Resume(process.id));
        }
        if self.has_wishes() {
            self.put(self.now.get(), Event::Operate);
        }
        for instance in 0..self.options.instances {
            self.restore(instance);
            {
                let mut instances = self.instances.borrow_mut();
                (instances[instance].slow_until, instances[instance].full_until) = (0, 0);
            }
            for replica in 0..self.options.replicas {
                self.put(self.now.get(), Event::Start(Place { instance, replica }));
            }
        }
    }
}
