//! Clients with sessions: each sends requests with numbers, several at once, until it has their answers; dies, and comes back with
//! the same session, while packets of the one before are still on their way.
//!
//! Packets may overtake each other here, as those of several connections do: what comes too early is refused, and sent again.

use ambrosia_core::{
    Answer, ConnectionId, InstanceUuid, OpeningId, Output, Seq, SessionId, SessionRefusal, Ticket, Traffic,
    member::MemberInput,
};

use crate::{
    agenda::Event,
    checks::sessions::Asked,
    model::{Arguments, POISON, WORK},
    options::{FaultKind, MILLISECOND},
    process::Process,
    sim::Sim,
};

/// A client looks after its requests as often as this.
const PATIENCE: (u64, u64) = (20 * MILLISECOND, 500 * MILLISECOND);
/// How long a chain of messages one request may start.
const HOPS_MAX: u64 = 3;
/// So many requests may be without an answer.
const UNDER_WAY_MAX: usize = 12;
/// Each time that it looks, a client begins so many at most.
const BEGUN_MAX: u64 = 5;
/// So many of a hundred requests are poison, where there is any, and so many can't be done.
const POISON_PERCENT: u64 = 2;
const IMPOSSIBLE_PERCENT: u64 = 5;
/// So many times of a hundred that it looks, a client dies, and another one comes in its place.
const DEATH_PERCENT: u64 = 4;
/// Clients of each instance.
const CLIENTS: u16 = 2;

/// The connection of all clients with sessions: none breaks here, and what they hear they hear by their sessions. No peer has it.
const CONNECTION: ConnectionId = ConnectionId(u64::MAX - 1);

/// A request with the answer that it has.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) asked: Asked,
    pub(crate) answer: Option<Answer>,
}

/// A client, in the life that it has now.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) instance: usize,
    pub(crate) uuid: InstanceUuid,
    session: SessionId,
    opening: OpeningId,
    ticket: Ticket,
    /// All results up to this one are here.
    confirmed: u64,
    /// Those behind it.
    pub(crate) requests: Vec<Request>,
}

/// What a client sends at once.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    Open(InstanceUuid, SessionId, OpeningId),
    /// Its requests, the first of them with that number.
    Requests(InstanceUuid, SessionId, Ticket, Seq, Vec<Asked>, Seq),
    Confirmed(InstanceUuid, SessionId, Ticket, Seq),
}

/// What a client hears.
#[derive(Clone, Debug)]
pub(crate) enum Heard {
    Opened(OpeningId, Ticket, Seq, Seq),
    Answered(Ticket, Seq, Answer),
    Refused(Ticket, Seq, SessionRefusal),
}

impl Sim {
    /// Clients come to an instance that begins a life.
    pub(crate) fn add_session_clients(&self, instance: usize) {
        let uuid = self.instances.borrow()[instance].uuid;
        for number in 0..CLIENTS {
            let mut id = uuid.0;
            id[7..9].copy_from_slice(&number.to_le_bytes());
            let opening = self.new_opening();
            let (session, ticket, confirmed) = (SessionId(id), Ticket(0), 0);
            let client = Client { instance, uuid, session, opening, ticket, confirmed, requests: Vec::new() };
            self.witness.borrow_mut().sessions.clients.insert(session, client);
            self.put_in(self.options.think, Event::SessionLook(session));
        }
    }

    fn new_opening(&self) -> OpeningId {
        let mut opening = [0; 16];
        opening[..8].copy_from_slice(&self.dice().next().to_le_bytes());
        OpeningId(opening)
    }

    /// A client sends what has no answer, begins something, or dies.
    pub(crate) fn look_after_session(&self, session: SessionId) {
        let mut client = self.witness.borrow().sessions.clients[&session].clone();
        if self.instances.borrow()[client.instance].uuid != client.uuid {
            return; // the life of its instance is over
        }
        let storm = self.storm.get();
        if storm && self.dice().percent(DEATH_PERCENT) {
            // The last that it has sent is on its way beside the first of the next one.
            self.send_session(&client);
            self.be_born_anew(&mut client);
        } else if storm && client.ticket != Ticket(0) {
            let begun = self.dice().below(BEGUN_MAX + 1);
            for _ in 0..begun {
                let under_way = client.requests.iter().filter(|request| request.answer.is_none()).count();
                if under_way < UNDER_WAY_MAX {
                    let asked = self.draw_session_request();
                    let seq = Seq(client.confirmed + client.requests.len() as u64 + 1);
                    let mut witness = self.witness.borrow_mut();
                    if asked.is_impossible {
                        witness.sessions.on_impossible(session, client.ticket, seq, &asked);
                    }
                    witness.counts.session_requests += 1;
                    client.requests.push(Request { asked, answer: None });
                }
            }
        }
        self.send_session(&client);
        let is_done = client.ticket != Ticket(0) && client.requests.iter().all(|request| request.answer.is_some());
        if storm || !is_done {
            self.put_in(PATIENCE, Event::SessionLook(session));
        }
        self.witness.borrow_mut().sessions.clients.insert(session, client);
    }

    /// The client has forgotten all but its session.
    fn be_born_anew(&self, client: &mut Client) {
        self.note(|| format!("the client of session {} dies", client.session));
        self.witness.borrow_mut().counts.session_clients_reborn += 1;
        (client.opening, client.ticket, client.confirmed) = (self.new_opening(), Ticket(0), 0);
        client.requests.clear();
    }

    fn draw_session_request(&self) -> Asked {
        let token = self.witness.borrow_mut().sessions.next_token();
        let instances = self.options.instances as u32;
        let hops = self.dice().below(HOPS_MAX) as u8;
        let arguments = Arguments { token, about: 0, money: 0, instances, hops }.encode();
        let is_poison = self.options.has(FaultKind::Poison) && self.dice().percent(POISON_PERCENT);
        self.witness.borrow_mut().counts.poison += u64::from(is_poison);
        let is_impossible = !is_poison && self.dice().percent(IMPOSSIBLE_PERCENT);
        Asked { method: if is_poison { POISON } else { WORK }, arguments, is_impossible }
    }

    /// Sends all that has no answer, in order, to whoever is taken for the primary.
    fn send_session(&self, client: &Client) {
        let Client { instance, uuid, session, opening, ticket, confirmed, ref requests } = *client;
        let to = {
            let instances = self.instances.borrow();
            let old_news = self.storm.get() && self.dice().percent(10);
            let instance = &instances[instance];
            if old_news { instance.primary_before } else { instance.primary }
        };
        let Some(to) = to else { return };
        let send = |packet| self.put_in(self.options.latency, Event::SessionPacket(to, packet));
        if ticket == Ticket(0) {
            return send(Packet::Open(uuid, session, opening));
        }
        // Without a gap from the first without an answer: some of the others are asked for again.
        let Some(first) = requests.iter().position(|request| request.answer.is_none()) else {
            return send(Packet::Confirmed(uuid, session, ticket, Seq(confirmed)));
        };
        let asked = requests[first..].iter().map(|request| request.asked.clone()).collect();
        send(Packet::Requests(uuid, session, ticket, Seq(confirmed + first as u64 + 1), asked, Seq(confirmed)));
    }

    /// What a client has sent arrives.
    pub(crate) fn on_session_packet(&self, process: &Process, packet: Packet) {
        let connection = CONNECTION;
        let is_of = |uuid| uuid == process.uuid;
        self.at_reign(process, |driver| {
            let mut traffic = Vec::new();
            match packet {
                Packet::Open(uuid, session, opening) if is_of(uuid) => {
                    traffic.push(Traffic::OpenSession { connection, session, opening });
                }
                Packet::Requests(uuid, session, ticket, first, asked, confirmed) if is_of(uuid) => {
                    for (at, Asked { method, arguments, is_impossible }) in asked.into_iter().enumerate() {
                        let (seq, arguments) = (Seq(first.0 + at as u64), arguments.into());
                        let impossible = is_impossible.then(|| "there is no such method".to_owned());
                        traffic.push(Traffic::SessionRequest {
                            connection,
                            session,
                            ticket,
                            seq,
                            confirmed,
                            method,
                            arguments,
                            impossible,
                        });
                    }
                }
                Packet::Confirmed(uuid, session, ticket, confirmed) if is_of(uuid) => {
                    traffic.push(Traffic::SessionConfirmed { connection, session, ticket, confirmed });
                }
                _ => return, // of an earlier life
            }
            for traffic in traffic {
                self.step(process, driver, MemberInput::Traffic(traffic));
                if process.dead.get() || driver.member.reign().is_none() {
                    return;
                }
            }
            self.plan_delivery(process);
        });
    }

    /// A primary says something to a client.
    pub(crate) fn tell_session(&self, uuid: InstanceUuid, output: Output) {
        let (session, heard) = match output {
            Output::SessionOpened { session, opening, ticket, accepted, confirmed, .. } => {
                (session, Heard::Opened(opening, ticket, accepted, confirmed))
            }
            Output::SessionAnswered { session, ticket, seq, answer, after } => {
                let mut witness = self.witness.borrow_mut();
                witness.counts.session_answers += 1;
                witness.logs.on_answered(uuid, after);
                witness.queries.on_answered(uuid, after);
                witness.sessions.on_answered(session, seq, &answer);
                (session, Heard::Answered(ticket, seq, answer))
            }
            Output::SessionRefused { session, ticket, seq, refusal, .. } => {
                self.witness.borrow_mut().counts.session_refusals += 1;
                (session, Heard::Refused(ticket, seq, refusal))
            }
            output => unreachable!("that is not said to a client with a session: {output:?}"),
        };
        // One hop in ten is lost with the connection.
        if !(self.storm.get() && self.dice().percent(10)) {
            self.put_in(self.options.latency, Event::SessionHears(session, heard));
        }
    }

    /// A client hears something.
    pub(crate) fn on_session_heard(&self, session: SessionId, heard: Heard) {
        let mut client = self.witness.borrow().sessions.clients[&session].clone();
        match heard {
            Heard::Opened(opening, ticket, accepted, confirmed) => {
                if opening != client.opening || client.ticket != Ticket(0) {
                    return; // of an earlier life, or told before
                }
                self.note(|| format!("session {session} is open by {ticket} at {accepted}, confirmed {confirmed}"));
                let mut witness = self.witness.borrow_mut();
                witness.counts.sessions_opened += 1;
                witness.sessions.on_opened(session, ticket, accepted);
                (client.ticket, client.confirmed) = (ticket, confirmed.0);
                // Some clients want what their earlier life did not hear, and others go on without it.
                if self.dice().percent(50) {
                    let done = witness.sessions.done(session, confirmed.0 + 1, accepted.0);
                    witness.counts.session_repeats += done.len() as u64;
                    client.requests = done.into_iter().map(|asked| Request { asked, answer: None }).collect();
                } else {
                    let done = witness.sessions.done(session, confirmed.0 + 1, accepted.0);
                    let given_up = Answer { success: true, value: Default::default() };
                    // What has no result yet can't be given up.
                    client.requests = done
                        .into_iter()
                        .enumerate()
                        .map(|(at, asked)| {
                            let is_known = witness.sessions.is_answered(session, confirmed.0 + 1 + at as u64);
                            Request { asked, answer: is_known.then(|| given_up.clone()) }
                        })
                        .collect();
                }
            }
            Heard::Answered(ticket, seq, answer) => {
                let at = seq.0.checked_sub(client.confirmed + 1).map(|at| at as usize);
                let Some(request) = at.filter(|_| ticket == client.ticket).and_then(|at| client.requests.get_mut(at))
                else {
                    return;
                };
                self.witness.borrow().sessions.check_answered(session, seq, &request.asked);
                request.answer = Some(answer);
            }
            Heard::Refused(ticket, _, _) if ticket != client.ticket => return, // of an earlier life
            Heard::Refused(_, _, SessionRefusal::Gap { .. }) => return,        // a packet has overtaken another
            // What is repeated late, by a packet of before.
            Heard::Refused(_, seq, SessionRefusal::Forgotten) if seq.0 <= client.confirmed => return,
            // A packet of an earlier life has opened it once more.
            Heard::Refused(_, _, SessionRefusal::Superseded) => {
                self.be_born_anew(&mut client);
                // It may have looked for the last time.
                self.put_in(PATIENCE, Event::SessionLook(session));
            }
            Heard::Refused(_, _, SessionRefusal::InstanceEnded) => return,
            Heard::Refused(_, seq, refusal) => panic!("request {seq} of session {session} is refused: {refusal}"),
        }
        while client.requests.first().is_some_and(|request| request.answer.is_some()) && self.dice().percent(80) {
            client.requests.remove(0);
            client.confirmed += 1;
        }
        self.witness.borrow_mut().sessions.clients.insert(session, client);
    }

    /// A session of an instance that waits for an answer, or for being opened.
    pub(crate) fn unrest_of_sessions(&self) -> Option<String> {
        let instances = self.instances.borrow();
        let witness = self.witness.borrow();
        let waits = |client: &&Client| {
            instances[client.instance].uuid == client.uuid
                && !instances[client.instance].is_finished
                && (client.ticket == Ticket(0) || client.requests.iter().any(|request| request.answer.is_none()))
        };
        let waiting = witness.sessions.clients.values().find(waits)?;
        Some(format!("session {} of i{} waits", waiting.session, waiting.instance))
    }
}
