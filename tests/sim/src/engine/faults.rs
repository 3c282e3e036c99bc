//! What breaks.

use ambrosia_shared_log::{Fault, Request, RequestId};

use super::{
    host::Stage,
    office::{Arrived, Asker},
    options::EngineFault,
    sim::{EngineSim, Happening},
};
use crate::options::MILLISECOND;

const SECOND: u64 = 1_000 * MILLISECOND;

impl EngineSim {
    pub(super) fn fault(&mut self) {
        if !self.is_stormy {
            return;
        }
        self.put_in(self.options.calm, Happening::Fault);
        if self.dice.percent(20) && self.office.bury() {
            self.note(|| "the node that was in office dies".to_owned());
        }
        if self.dice.percent(20) {
            self.office.back_up();
        }
        let Some(kind) = self.dice.pick(&self.options.faults) else { return };
        self.note(|| format!("fault: {}", kind.name()));
        let host = self.dice.below(self.hosts.len() as u64) as usize;
        match kind {
            EngineFault::Kill => self.kill(host),
            EngineFault::Freeze => self.freeze(host),
            EngineFault::HandOver => self.hand_over(host),
            EngineFault::Cut => self.cut(host),
            EngineFault::Unreplicated => {
                self.counts.replication_stalls += 1;
                self.unreplicated_until = self.now + self.dice.spread((10 * MILLISECOND, 6 * SECOND));
            }
            EngineFault::CutShort => {
                let stands = self.stand();
                self.put_in((0, stands), Happening::CutShort);
            }
            EngineFault::Failover => {
                let stands = self.stand();
                self.put_in((0, stands), Happening::FailOver);
            }
            EngineFault::Pause => {
                self.counts.engine_pauses += 1;
                self.paused_until = self.now + self.dice.spread((10 * MILLISECOND, 6 * SECOND));
            }
            EngineFault::Refuse => {
                self.refusing_until = self.now + self.dice.spread((10 * MILLISECOND, 3 * SECOND));
            }
            EngineFault::Rollback => self.roll_back(),
            EngineFault::Trim => self.trim(),
            // These hit messages, or are asked elsewhere.
            EngineFault::Loss
            | EngineFault::Repeat
            | EngineFault::Late
            | EngineFault::Silence
            | EngineFault::Small
            | EngineFault::Suspicion => {}
        }
    }

    /// Most failovers, and waits that are cut short, come after nothing was replicated for a while: how long that is at most.
    fn stand(&mut self) -> u64 {
        let stands = if self.dice.percent(70) { self.dice.spread((10 * MILLISECOND, 3 * SECOND)) } else { 0 };
        self.unreplicated_until = self.unreplicated_until.max(self.now + stands);
        stands
    }

    pub(super) fn kill(&mut self, host: usize) {
        if !self.hosts[host].is_up {
            return;
        }
        self.counts.kills += 1;
        self.hosts[host].is_up = false;
        self.put_in((MILLISECOND, 3 * SECOND), Happening::Start(host));
    }

    fn freeze(&mut self, host: usize) {
        if self.hosts[host].is_up && self.hosts[host].frozen_until <= self.now {
            self.counts.freezes += 1;
            self.hosts[host].frozen_until = self.now + self.dice.spread((10 * MILLISECOND, 8 * SECOND));
        }
    }

    fn hand_over(&mut self, host: usize) {
        if !self.hosts[host].is_up || self.hosts[host].frozen_until > self.now {
            return;
        }
        let now = self.time();
        for log in self.logs.clone() {
            if let Stage::Reigning(reign) = &mut self.hosts[host].replica(log).stage
                && !reign.is_closing
            {
                reign.is_closing = true;
                let task = reign.task;
                self.counts.hand_overs += 1;
                self.hosts[host].committer.close(task, now);
            }
        }
        self.drain(host);
    }

    /// All connections of a host are cut. What was on its way may still arrive: it was read off them before.
    fn cut(&mut self, host: usize) {
        let connections = std::mem::take(&mut self.hosts[host].connections);
        let arrived = self.dice.percent(50);
        for session in connections.into_values() {
            self.counts.cuts += 1;
            if !arrived {
                self.office.cut(session);
            }
        }
        let life = self.hosts[host].life;
        let asked: Vec<RequestId> = self.hosts[host].asked.keys().copied().collect();
        for request in asked {
            let fault = Fault::Unknown("the connection was cut".to_owned());
            self.put_in(self.options.latency, Happening::Answer(Asker { host, life, request }, Err(fault)));
        }
    }

    /// Waits for replication end with a warning; what was done stays where it is.
    pub(super) fn cut_short(&mut self) {
        let mut askers = Vec::new();
        for change in &mut self.office.changes {
            askers.extend(change.asker.take());
        }
        for asker in askers {
            self.counts.waits_cut_short += 1;
            let fault = Fault::Unknown("done by this node, and perhaps by no other".to_owned());
            self.reply(asker, Err(fault));
        }
    }

    pub(super) fn fail_over(&mut self) {
        if !self.is_stormy {
            return;
        }
        self.counts.failovers += 1;
        // The node that comes into office has some more than what was waited for.
        for _ in 0..self.dice.below(self.office.changes.len() as u64 + 1) {
            let until = std::mem::replace(&mut self.unreplicated_until, 0);
            if let Some(change) = self.office.changes.front_mut() {
                change.asker = None;
            }
            self.replicate();
            self.unreplicated_until = until;
        }
        let former_lives = self.dice.percent(60);
        self.counts.nodes_out_of_office += u64::from(former_lives);
        let vanished = self.office.fail_over(former_lives);
        self.counts.commits_vanished += vanished as u64;
        self.note(|| format!("another node comes into office, and {vanished} changes vanish"));
        self.unreplicated_until = self.now;
        if !former_lives || self.dice.percent(50) {
            for host in 0..self.hosts.len() {
                if self.dice.percent(70) {
                    self.cut(host);
                }
            }
        }
    }

    fn roll_back(&mut self) {
        if !self.dice.percent(30) || !self.office.restore() {
            return;
        }
        self.counts.rollbacks += 1;
        self.note(|| "an older state is restored".to_owned());
        self.witness.on_restored(&self.office.replicated, self.now);
    }

    fn trim(&mut self) {
        let Some(log) = self.dice.pick(&self.logs) else { return };
        let before = self.checkpoints[&log].last.lsn.next();
        self.counts.trims += 1;
        let session = self.office.connect(false);
        let nobody = Asker { host: 0, life: u32::MAX, request: RequestId(0) };
        if let Arrived::Changed = self.office.arrive(session, Request::Trim { log, before }, nobody) {
            self.put_in(self.options.replication, Happening::Replicate);
        }
        self.office.cut(session);
    }
}
