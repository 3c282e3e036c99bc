//! Several instances with their logs, processes and connections, and the small steps that each can take.

use std::collections::BTreeMap;

use ambrosia_core::{
    CallId, ConnectionId, Genesis, Input, InstanceName, InstanceUuid, Limits, Lsn, Output, PeerIndex, Record, Refusal,
    RequestId, Seq, Timestamp,
};

use crate::{
    dice::Dice,
    log::{Fenced, Log},
    model::{Arguments, Model, WORK},
    network::{Back, Forth, Network, ProcessId},
    process::{Process, Writer},
    witness::{Request, Witness},
};

pub(crate) struct Cluster {
    pub(crate) dice: Dice,
    pub(crate) witness: Witness,
    pub(crate) network: Network,
    pub(crate) processes: BTreeMap<ProcessId, Process>,
    pub(crate) logs: Vec<Log>,
    /// How often each instance was registered.
    pub(crate) lives: Vec<u64>,
    /// Milliseconds.
    pub(crate) now: u64,
    /// False once everything is being healed.
    pub(crate) faults: bool,
    last_process: ProcessId,
    last_token: u64,
}

impl Cluster {
    pub(crate) fn new(seed: u64) -> Cluster {
        let mut dice = Dice::new(seed);
        let instances = 2 + dice.below(3) as usize;
        let mut cluster = Cluster {
            dice,
            witness: Witness::default(),
            network: Network::default(),
            processes: BTreeMap::new(),
            logs: Vec::new(),
            lives: vec![0; instances],
            now: 1000,
            faults: true,
            last_process: 0,
            last_token: 0,
        };
        for instance in 0..instances {
            let log = cluster.new_log(instance);
            cluster.logs.push(log);
            cluster.elect_anew(instance);
            for _ in 0..cluster.dice.below(3) {
                cluster.start(instance);
            }
        }
        cluster
    }

    fn new_log(&mut self, instance: usize) -> Log {
        self.lives[instance] += 1;
        let mut uuid = [instance as u8; 16];
        uuid[15] = self.lives[instance] as u8;
        let uuid = InstanceUuid(uuid);
        let genesis = Genesis {
            uuid,
            module: [1; 32],
            seed: self.dice.next(),
            limits: Limits { fuel: 1, memory_bytes: 1 },
            name: InstanceName::new(format!("i{instance}")).expect("a plain name"),
        };
        Log::new(uuid, genesis.record(Timestamp(self.now)))
    }

    pub(crate) fn process(&mut self, id: ProcessId) -> &mut Process {
        self.processes.get_mut(&id).expect("it lives")
    }

    /// Those that are, or take themselves for, the primary of `instance`.
    pub(crate) fn primaries(&self, instance: usize) -> Vec<ProcessId> {
        let mine = self.processes.iter().filter(|(_, p)| p.instance == instance && p.is_primary());
        mine.map(|(id, _)| *id).collect()
    }

    pub(crate) fn standbys(&self) -> Vec<ProcessId> {
        self.processes.iter().filter(|(_, p)| !p.is_primary()).map(|(id, _)| *id).collect()
    }

    /// True if the log no longer takes what the process writes.
    pub(crate) fn is_stale(&self, id: ProcessId) -> bool {
        self.processes
            .get(&id)
            .is_none_or(|p| p.writer.as_ref().is_none_or(|writer| writer.epoch != self.logs[p.instance].epoch))
    }

    fn clock(&self, id: ProcessId) -> Timestamp {
        Timestamp(self.now.saturating_add_signed(self.processes[&id].skew))
    }

    /// Gives a process an input, and lets leave what may.
    pub(crate) fn step(&mut self, id: ProcessId, input: Input) {
        let process = self.processes.get_mut(&id).expect("it lives");
        process.step(input);
        self.witness.on_applied(process);
        self.flush(id);
    }

    pub(crate) fn flush(&mut self, id: ProcessId) {
        while let Some(output) = self.process(id).pop_ready() {
            self.carry_out(id, output);
        }
    }

    fn carry_out(&mut self, id: ProcessId, output: Output) {
        let process = &self.processes[&id];
        self.witness.on_leaving(process, &self.logs[process.instance], output.after());
        let uuid = process.genesis().uuid;
        match output {
            Output::Append(_) => unreachable!("it was appended at once"),
            Output::Connect { peer, name } => {
                self.process(id).wanted.insert(peer, name);
            }
            Output::Welcome { connection, received, .. } => {
                self.send_back(connection, received, Back::Welcome { uuid, received });
            }
            Output::Acknowledge { connection, seq, .. } => self.send_back(connection, seq, Back::Acknowledge(seq)),
            Output::Send { connection, chunk } => self.send(id, connection, chunk),
            Output::Refuse { connection, reason } => self.on_refuse(id, connection, reason),
            Output::Accepted { request, .. } => self.witness.on_accepted(&request),
            Output::Answered { request, answer, .. } => self.witness.on_answered(&request, answer),
            Output::Print { bytes, replayed: false, .. } => self.witness.on_printed(uuid, &bytes),
            Output::Print { .. } => {}
            Output::Rebound { failed_calls, .. } => {
                self.witness.counts.rebounds += 1;
                self.witness.counts.failed_calls += failed_calls;
            }
            Output::Finished { code, .. } => {
                assert_eq!(code, 7);
                self.witness.counts.exits += 1;
            }
            Output::Halted { fault, .. } => panic!("the model does not fail: {fault}"),
        }
    }

    fn send(&mut self, from: ProcessId, connection: ConnectionId, chunk: ambrosia_core::Chunk) {
        let uuid = self.processes[&from].genesis().uuid;
        let Some(c) = self.network.connections.get_mut(&connection) else { return };
        assert_eq!(c.from.process, from);
        let Some(to) = self.processes.get(&c.to.process) else { return };
        if c.from.open && c.to.open {
            self.witness.streams.on_sent(uuid, to.genesis().uuid, &chunk);
            self.witness.counts.repeated_frames += c.send(chunk, &mut self.dice, self.faults);
        }
    }

    fn send_back(&mut self, connection: ConnectionId, promised: Seq, packet: Back) {
        let Some(c) = self.network.connections.get_mut(&connection) else { return };
        let ends = (self.processes.get(&c.from.process), self.processes.get(&c.to.process));
        if let (Some(from), Some(to)) = ends
            && c.from.open
            && c.to.open
        {
            self.witness.streams.on_promised(from.genesis().uuid, to.genesis().uuid, promised.0);
            c.from.packets.push_back(packet);
        }
    }

    /// Only who was deposed, or talks to one who was, may be refused for what it has.
    fn on_refuse(&mut self, id: ProcessId, connection: ConnectionId, reason: Refusal) {
        self.witness.counts.refusals += 1;
        let ends = self.network.connections.get(&connection).map(|c| (c.from.process, c.to.process));
        let stale = ends.is_none_or(|(from, to)| self.is_stale(from) || self.is_stale(to));
        match reason {
            Refusal::Superseded | Refusal::StaleEpoch | Refusal::Ended => {}
            Refusal::PeerLostLog { .. } | Refusal::OwnLogLost { .. } if stale => {}
            reason => panic!("refused for no reason: {reason}"),
        }
        self.network.close(connection, id, false);
    }

    /// A process of `instance` starts as a standby that has read nothing yet.
    pub(crate) fn start(&mut self, instance: usize) -> ProcessId {
        self.last_process += 1;
        let guest = Model::new(self.lives.len());
        let process = Process::new(instance, &self.logs[instance].records[0], guest);
        self.processes.insert(self.last_process, process);
        self.last_process
    }

    /// A standby reads up to `count` records.
    pub(crate) fn follow(&mut self, id: ProcessId, count: u64) {
        for _ in 0..count {
            let process = &self.processes[&id];
            let next = self.logs[process.instance].records.get(process.links.len());
            let Some(record) = next.cloned() else { return };
            self.step(id, Input::Record(record));
        }
    }

    /// The standby `id` becomes primary; the one before may live on and not know.
    pub(crate) fn elect(&mut self, id: ProcessId) {
        let instance = self.processes[&id].instance;
        for old in self.primaries(instance) {
            let some = self.dice.below(4);
            self.land(old, some); // writes that were under way when the fence came up
        }
        let now = self.clock(id);
        let record = self.logs[instance].acquire(id as u16, now);
        let (epoch, lsn) = (record.header().epoch, record.lsn());
        self.witness.streams.on_landed(self.logs[instance].uuid, &record);
        self.follow(id, u64::MAX);
        self.process(id).writer = Some(Writer { epoch, queue: Default::default(), landed: lsn, durable: lsn });
        self.step(id, Input::Elected);
        self.witness.counts.takeovers += 1;
    }

    /// A new process becomes primary.
    pub(crate) fn elect_anew(&mut self, instance: usize) {
        let id = self.start(instance);
        self.elect(id);
    }

    /// Up to `count` records of a primary become durable, without its being told. False if it is fenced.
    pub(crate) fn land(&mut self, id: ProcessId, count: u64) -> bool {
        let instance = self.processes[&id].instance;
        for _ in 0..count {
            let Some(writer) = &mut self.process(id).writer else { return true };
            let Some(record) = writer.queue.pop_front() else { return true };
            if let Err(Fenced) = self.logs[instance].land(&record) {
                self.process(id).writer.as_mut().expect("seen above").queue.push_front(record);
                return false;
            }
            self.process(id).writer.as_mut().expect("seen above").landed = record.lsn();
            self.witness.streams.on_landed(self.logs[instance].uuid, &record);
            self.witness.counts.records += 1;
            self.witness.counts.messages += u64::from(record.header().messages);
        }
        true
    }

    /// A primary is told what has become durable.
    pub(crate) fn notify(&mut self, id: ProcessId) {
        let Some(writer) = &mut self.process(id).writer else { return };
        let landed = writer.landed;
        writer.durable = landed;
        self.step(id, Input::Durable(landed));
    }

    pub(crate) fn deliver(&mut self, id: ProcessId) {
        let now = self.clock(id);
        self.step(id, Input::Deliver { now });
    }

    /// The process dies. What it had appended may have landed up to some record.
    pub(crate) fn crash(&mut self, id: ProcessId) {
        if self.processes[&id].is_primary() {
            let some = self.dice.below(4);
            self.land(id, some);
            self.witness.counts.lost_records += self.process(id).writer.as_ref().map_or(0, |w| w.queue.len() as u64);
        }
        let lost = self.dice.percent(50);
        self.network.close_all(id, lost);
        self.processes.remove(&id);
        self.witness.counts.crashes += 1;
    }

    /// The instance is registered under its name anew: another uuid, an empty log.
    pub(crate) fn register_anew(&mut self, instance: usize) {
        let lives = self.processes.iter().filter(|(_, p)| p.instance == instance).map(|(id, _)| *id);
        for id in lives.collect::<Vec<_>>() {
            self.crash(id);
        }
        self.logs[instance] = self.new_log(instance);
        self.elect_anew(instance);
        self.witness.counts.reregistrations += 1;
    }

    /// A primary connects to a peer that it wants, if it has not done so. True if it did.
    pub(crate) fn dial(&mut self, id: ProcessId, peer: PeerIndex) -> bool {
        let process = &self.processes[&id];
        let Some(writer) = &process.writer else { return false };
        let genesis = process.genesis();
        let hello = Forth::Hello { name: genesis.name.clone(), uuid: genesis.uuid, epoch: writer.epoch };
        let name = process.wanted[&peer].clone();
        let instance = name.as_str()[1..].parse::<usize>().expect("names are i0, i1 …");
        let mut there = self.primaries(instance);
        if !self.faults || self.dice.percent(80) {
            there.retain(|there| !self.is_stale(*there));
        }
        if self.network.is_dialled(id, peer) {
            return false;
        }
        let Some(to) = self.dice.pick(&there) else { return false };
        self.network.dial(id, peer, to, hello);
        true
    }

    /// The next packet towards the receiver of a stream arrives, or the end of the connection. False if there is none.
    pub(crate) fn carry_forth(&mut self, connection: ConnectionId) -> bool {
        let Some(c) = self.network.connections.get_mut(&connection) else { return false };
        let (to, closed) = (c.to.process, !c.from.open);
        if !c.to.open {
            return false;
        }
        let input = match c.to.packets.pop_front() {
            Some(Forth::Hello { name, uuid, epoch }) => {
                Input::PeerConnected { connection, name, uuid, epoch, now: self.clock(to) }
            }
            Some(Forth::Messages(chunk)) => {
                let ambrosia_core::Chunk { first_seq, count, messages, .. } = chunk;
                assert_eq!(ambrosia_core::check_travelling(&messages), Ok(count));
                Input::Messages { connection, first_seq, count, messages }
            }
            None if closed => {
                c.to.open = false;
                Input::Disconnected(connection)
            }
            None => return false,
        };
        self.step(to, input);
        true
    }

    /// The same towards the sender.
    pub(crate) fn carry_back(&mut self, connection: ConnectionId) -> bool {
        let Some(c) = self.network.connections.get_mut(&connection) else { return false };
        let (from, peer, closed) = (c.from.process, c.peer, !c.to.open);
        if !c.from.open {
            return false;
        }
        let input = match c.from.packets.pop_front() {
            Some(Back::Welcome { uuid, received }) => {
                Input::PeerReached { connection, peer, uuid, received, now: self.clock(from) }
            }
            Some(Back::Acknowledge(seq)) => Input::Acknowledged { connection, seq },
            None if closed => {
                c.from.open = false;
                Input::Disconnected(connection)
            }
            None => return false,
        };
        self.step(from, input);
        true
    }

    /// A client asks something new, with or without wanting an answer.
    pub(crate) fn ask(&mut self, id: ProcessId) {
        self.last_token += 1;
        let hops = self.dice.below(6) as u8;
        let arguments = Arguments { token: self.last_token, about: CallId(0).0, hops }.encode();
        let request = self.dice.percent(50).then(|| RequestId::new(self.last_token.to_le_bytes()).expect("8 bytes"));
        if let Some(request) = &request {
            let process = &self.processes[&id];
            self.witness.requests.push(Request {
                instance: process.instance,
                uuid: process.genesis().uuid,
                id: request.clone(),
                arguments: arguments.clone(),
                accepted: false,
                answer: None,
            });
        }
        self.step(id, Input::Impulse { method: WORK, arguments: arguments.into(), request });
    }

    /// A client asks again, whether it was answered or not.
    pub(crate) fn ask_again(&mut self, at: usize) {
        let request = &self.witness.requests[at];
        if request.uuid != self.logs[request.instance].uuid {
            return; // it was asked of an earlier life
        }
        let input = Input::Impulse {
            method: WORK,
            arguments: request.arguments.clone().into(),
            request: Some(request.id.clone()),
        };
        let there = self.primaries(request.instance);
        if let Some(id) = self.dice.pick(&there) {
            self.witness.counts.repeated_requests += 1;
            self.step(id, input);
        }
    }

    pub(crate) fn head(&self, instance: usize) -> (Lsn, &Record) {
        let record = self.logs[instance].records.last().expect("genesis is always there");
        (record.lsn(), record)
    }
}
