//! What goes between processes, and what clients ask.

use ambrosia_core::{Chunk, ConnectionId, PeerIndex, RequestId, Seq, Traffic, check_travelling, member::MemberInput};

use crate::{
    agenda::Event,
    checks::requests::{Request, trace_of},
    model::{Arguments, EXIT, POISON, WORK},
    network::{Back, Forth, Side},
    options::{FaultKind, MILLISECOND},
    process::{Driver, Process},
    sim::{Sim, name_of, number_of},
};

/// A client that has no answer asks again after this time.
const PATIENCE: (u64, u64) = (20 * MILLISECOND, 500 * MILLISECOND);
/// How long a chain of messages one request may start.
const HOPS_MAX: u64 = 6;

/// So many of a hundred requests are poison, where there is any.
const POISON_PERCENT: u64 = 4;

/// The connection of an operator; no peer has it.
const OPERATOR: ConnectionId = ConnectionId(u64::MAX);

impl Sim {
    fn latency(&self) -> u64 {
        self.dice().between(self.options.latency)
    }

    /// Whether the two instances can't reach each other.
    fn is_cut_off(&self, one: usize, other: usize) -> bool {
        let pair = (one.min(other), one.max(other));
        self.partitions.borrow().get(&pair).is_some_and(|until| *until > self.now.get())
    }

    /// A primary connects to a peer, unless it is connected to the one that is primary there.
    pub(crate) fn dial(&self, process: &Process, peer: PeerIndex) {
        let driver = process.driver.borrow();
        let Some(driver) = &*driver else { return };
        let Some(name) = driver.hands.wanted.get(&peer) else { return };
        let number = number_of(name);
        let (newest, before) = {
            let instances = self.instances.borrow();
            (instances[number].primary, instances[number].primary_before)
        };
        // Who is primary may be old news.
        let old_news = self.storm.get() && self.dice().percent(10);
        let Some(to) = (if old_news { before } else { newest }).and_then(|id| self.process(id)) else { return };
        let dialled = self.network.borrow().dialled(process.id, peer);
        if let Some((connection, there)) = dialled {
            if there == to.id {
                return;
            }
            self.close(connection, Side::From, false);
        }
        if self.is_cut_off(process.place.instance, number) {
            return; // tried again by `mend`
        }
        let genesis = driver.the_replica().genesis();
        let hello = Forth::Hello { name: genesis.name.clone(), uuid: genesis.uuid, epoch: process.epoch.get() };
        let connection = self.network.borrow_mut().dial((process.id, process.uuid), peer, (to.id, to.uuid));
        self.note(|| format!("{} connects to {} as {connection:?}", process.id, to.id));
        self.push_forth(connection, hello);
    }

    fn push_forth(&self, connection: ConnectionId, packet: Forth) {
        let at = self.now.get() + self.latency();
        let mut network = self.network.borrow_mut();
        let Some(c) = network.connections.get_mut(&connection) else { return };
        c.to.packets.push_back(packet);
        let at = c.to.arrival(at);
        drop(network);
        self.put(at, Event::Forth(connection));
    }

    pub(crate) fn send(&self, process: &Process, connection: ConnectionId, chunk: Chunk) {
        let frames = {
            let mut network = self.network.borrow_mut();
            let Some(c) = network.connections.get_mut(&connection) else { return };
            assert_eq!(c.from.process, process.id, "a stream goes from who connected");
            if !c.from.open || !c.to.open {
                return;
            }
            self.witness.borrow_mut().streams.on_sent(process.uuid, c.to.uuid, &chunk);
            let repeated = if self.storm.get() { self.options.repeated_frames } else { 0 };
            let mut frames = c.frames(chunk, &mut self.dice(), repeated);
            self.witness.borrow_mut().counts.repeated_frames +=
                frames.windows(2).filter(|two| two[1].first_seq <= two[0].last_seq()).count() as u64;
            if self.storm.get() && self.options.has(FaultKind::LostFrame) && self.dice().percent(1) {
                c.broken = true;
                self.witness.borrow_mut().counts.lost_frames += 1;
                let lost = self.dice().below(frames.len() as u64) as usize;
                frames.remove(lost);
            }
            frames
        };
        for frame in frames {
            self.push_forth(connection, Forth::Messages(frame));
        }
    }

    pub(crate) fn send_back(&self, connection: ConnectionId, promised: Seq, packet: Back) {
        let at = self.now.get() + self.latency();
        let mut network = self.network.borrow_mut();
        let Some(c) = network.connections.get_mut(&connection) else { return };
        if !c.from.open || !c.to.open {
            return;
        }
        self.witness.borrow().streams.on_promised(c.from.uuid, c.to.uuid, promised.0);
        c.from.packets.push_back(packet);
        let at = c.from.arrival(at);
        drop(network);
        self.put(at, Event::Back(connection));
    }

    /// The next packet towards the receiver of a stream arrives, or the end of the connection.
    pub(crate) fn carry_forth(&self, connection: ConnectionId) {
        let (to, packet) = {
            let mut network = self.network.borrow_mut();
            let Some(c) = network.connections.get_mut(&connection).filter(|c| c.to.open) else { return };
            let packet = c.to.packets.pop_front();
            if packet.is_none() && c.from.open {
                return;
            }
            (c.to.process, packet)
        };
        if packet.is_none() {
            self.network.borrow_mut().close(connection, Side::To, false);
        }
        self.with(to, |process| {
            let traffic = match packet {
                Some(Forth::Hello { name, uuid, epoch }) => Traffic::PeerConnected { connection, name, uuid, epoch },
                Some(Forth::Messages(Chunk { first_seq, count, messages, .. })) => {
                    assert_eq!(check_travelling(&messages), Ok(count), "what is sent is sound");
                    Traffic::Messages { connection, first_seq, count, messages }
                }
                None => Traffic::Disconnected(connection),
            };
            self.come_in(process, traffic, (connection, Side::To));
        });
    }

    /// The same towards the sender.
    pub(crate) fn carry_back(&self, connection: ConnectionId) {
        let (from, peer, packet) = {
            let mut network = self.network.borrow_mut();
            let Some(c) = network.connections.get_mut(&connection).filter(|c| c.from.open) else { return };
            let packet = c.from.packets.pop_front();
            if packet.is_none() && c.to.open {
                return;
            }
            (c.from.process, c.peer, packet)
        };
        if packet.is_none() {
            self.network.borrow_mut().close(connection, Side::From, false);
            self.put_in((MILLISECOND, 10 * MILLISECOND), Event::Dial(from, peer));
        }
        self.with(from, |process| {
            let traffic = match packet {
                Some(Back::Welcome { uuid, received }) => Traffic::PeerReached { connection, peer, uuid, received },
                Some(Back::Acknowledge(seq)) => Traffic::Acknowledged { connection, seq },
                None => Traffic::Disconnected(connection),
            };
            self.come_in(process, traffic, (connection, Side::From));
        });
    }

    /// A connection broke, and this end of it notices.
    pub(crate) fn on_broken(&self, process: &Process, connection: ConnectionId) {
        self.at_reign(process, |driver| {
            self.step(process, driver, MemberInput::Traffic(Traffic::Disconnected(connection)));
        });
    }

    /// Something reaches a process, which knows it if it is primary, and otherwise says that it is not.
    fn come_in(&self, process: &Process, traffic: Traffic, (connection, side): (ConnectionId, Side)) {
        let reigned = self.at_reign(process, |driver| {
            self.step(process, driver, MemberInput::Traffic(traffic));
            self.plan_delivery(process);
        });
        if !reigned {
            self.close(connection, side, false);
        }
    }

    /// Does something with a process that reigns. False if it does not.
    pub(crate) fn at_reign(&self, process: &Process, work: impl FnOnce(&mut Driver)) -> bool {
        let mut driver = process.driver.borrow_mut();
        let Some(driver) = driver.as_mut().filter(|driver| driver.member.reign().is_some()) else { return false };
        work(driver);
        true
    }

    /// A client asks something new, with or without wanting an answer.
    pub(crate) fn ask(&self, instance: usize) {
        if !self.storm.get() {
            return;
        }
        self.put_in(self.options.think, Event::Ask(instance));
        let uuid = self.instances.borrow()[instance].uuid;
        let number = self.witness.borrow().requests.all.len();
        let token = number as u64 + 1;
        let hops = self.dice().below(HOPS_MAX) as u8;
        let instances = self.options.instances as u32;
        let arguments = Arguments { token, about: 0, money: 0, instances, hops }.encode();
        let id = RequestId::new(token.to_le_bytes()).expect("8 bytes");
        let is_poison = self.options.has(FaultKind::Poison) && self.dice().percent(POISON_PERCENT);
        let method = if is_poison { POISON } else { WORK };
        self.witness.borrow_mut().counts.poison += u64::from(is_poison);
        let request = Request { instance, uuid, id, method, arguments, accepted: false, answer: None };
        self.witness.borrow_mut().requests.add(request);
        self.witness.borrow_mut().counts.requests += 1;
        self.ask_again(number);
    }

    /// A client asks whoever it takes for the primary, until it has its answer; sometimes once more after that.
    pub(crate) fn ask_again(&self, number: usize) {
        let (instance, uuid, answered) = {
            let witness = self.witness.borrow();
            let request = &witness.requests.all[number];
            (request.instance, request.uuid, request.answer.is_some())
        };
        let (newest, before) = {
            let instances = self.instances.borrow();
            if instances[instance].uuid != uuid {
                return; // it was asked of an earlier life
            }
            (instances[instance].primary, instances[instance].primary_before)
        };
        if answered && !self.dice().percent(5) {
            return;
        }
        let old_news = self.storm.get() && self.dice().percent(5);
        if let Some(to) = if old_news { before } else { newest } {
            self.put_in(self.options.latency, Event::Request(to, number));
        }
        self.put_in(PATIENCE, Event::AskAgain(number));
    }

    /// A request arrives at what the client took for the primary.
    pub(crate) fn on_request(&self, process: &Process, number: usize) {
        self.at_reign(process, |driver| {
            let (id, method, arguments) = {
                let mut witness = self.witness.borrow_mut();
                let request = &witness.requests.all[number];
                if request.uuid != process.uuid {
                    return;
                }
                let asked = (request.id.clone(), request.method, request.arguments.clone());
                witness.counts.repeated_requests += u64::from(witness.requests.all[number].accepted);
                asked
            };
            let trace = trace_of(&id);
            let traffic =
                Traffic::Impulse { method, arguments: arguments.into(), request: Some(id), from: None, trace };
            self.step(process, driver, MemberInput::Traffic(traffic));
            self.plan_delivery(process);
        });
    }

    /// Something without a client asks the instance to finish.
    pub(crate) fn ask_to_exit(&self, process: &Process) {
        self.at_reign(process, |driver| {
            self.note(|| format!("{} is asked to exit", name_of(process.place.instance)));
            let traffic = Traffic::Impulse {
                method: EXIT,
                arguments: Default::default(),
                request: None,
                from: None,
                trace: None,
            };
            self.step(process, driver, MemberInput::Traffic(traffic));
            self.plan_delivery(process);
        });
    }

    /// A replica asks the primary for a digest record to compare itself with, which may come to nothing.
    pub(crate) fn ask_for_checkpoint(&self, process: &Process) {
        self.witness.borrow_mut().counts.engines_asked += 1;
        if let Some(primary) = self.instances.borrow()[process.place.instance].primary {
            self.put_in(self.options.latency, Event::AskForDigest(primary));
        }
    }

    pub(crate) fn digest_for_another(&self, process: &Process) {
        self.at_reign(process, |driver| {
            self.step(process, driver, MemberInput::CheckpointWanted(OPERATOR));
            self.plan_delivery(process);
        });
    }

    /// An operator wants a checkpoint.
    pub(crate) fn want_checkpoint(&self, process: &Process) {
        self.at_reign(process, |driver| {
            let wished = driver.the_replica().applied();
            self.instances.borrow_mut()[process.place.instance].wished = Some(wished);
            self.step(process, driver, MemberInput::CheckpointWanted(OPERATOR));
            self.plan_delivery(process);
        });
    }
}
