//! The replicated state beside the guest's memory: equal on every replica that has applied the same records.
//!
//! **Architecture Invariant:** it changes only in [`State::apply`] and what that calls, and only by what is in the
//! record, so that a replay gives the same state.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{
    Answer, Bind, CallId, Configuration, DeliverBody, Delivered, DigestBody, Effect, Effects, Epoch, EpochBody, Event,
    EventId, Fault, Genesis, Guest, HandoverError, Lsn, Mend, Message, MessageKind, Messages, OpenSession, PeerIndex,
    Peers, Random, Record, RecordError, RecordKind, Remedy, RequestId, Retention, Run, RunError, Runs, Seq, Skip,
    Ticket, Timestamp, Upgrade, World,
    calls::Calls,
    code::Code,
    crons::Crons,
    events::Events,
    inbox::NO_ANSWER,
    mend::Rest,
    outbox::Chunk,
    outgoing::Outgoing,
    part::{Broken, Part, holds},
    promises::Promises,
    requests::{Requests, content_hash},
    sessions::{SessionAnswer, Sessions},
    stream::Stream,
    streams::Streams,
    timers::Timers,
};

/// How an instance came to its end, or to a stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The guest called exit.
    Finished {
        /// Exit code.
        code: i32,
        /// The record that brought it about.
        lsn: Lsn,
    },
    /// The guest failed.
    Halted {
        /// What the guest did wrong.
        fault: Fault,
        /// The record that brought it about.
        lsn: Lsn,
    },
}

/// Where the log stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Position {
    pub(crate) lsn: Lsn,
    pub(crate) link: u64,
    pub(crate) epoch: Epoch,
    pub(crate) time: Timestamp,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct State {
    pub(crate) genesis: Genesis,
    pub(crate) code: Code,
    pub(crate) position: Position,
    pub(crate) world: World,
    pub(crate) streams: Streams,
    pub(crate) timers: Timers,
    pub(crate) calls: Calls,
    pub(crate) requests: Requests,
    pub(crate) outgoing: Outgoing,
    pub(crate) promises: Promises,
    pub(crate) events: Events,
    pub(crate) crons: Crons,
    pub(crate) sessions: Sessions,
    /// True once the guest got its first message.
    pub(crate) started: bool,
    pub(crate) outcome: Option<Outcome>,
    /// The record that brought about nothing, until the mend of it that follows. No digest is made meanwhile, and no
    /// checkpoint.
    pub(crate) void: Option<Record>,
}

/// What applying a record brought about, for those who have to tell the world.
#[derive(Default)]
pub(crate) struct Applied {
    pub(crate) chunks: Vec<(PeerIndex, Chunk)>,
    pub(crate) received: Vec<(PeerIndex, Seq)>,
    pub(crate) accepted: Vec<RequestId>,
    pub(crate) answered: Vec<(RequestId, Answer)>,
    pub(crate) answered_in_sessions: Vec<SessionAnswer>,
    pub(crate) rebound: Option<Rebound>,
    pub(crate) requested: Vec<CallId>,
    pub(crate) cancelled: Vec<CallId>,
    pub(crate) events: Vec<Event>,
    pub(crate) logged: Vec<(EventId, Bytes)>,
    /// How many events and lines the record has told of.
    told: u32,
    /// What requests of this record ask for, as hashes, in the order of their impulses.
    contents: Vec<(CallId, u64)>,
    /// What an upgrade came to. If to an error, what was applied is of no use, and neither is the guest, unless that was put
    /// back.
    pub(crate) upgrade: Option<Result<Upgrade, HandoverError>>,
    /// What a mend came to. If to an error, neither what was applied nor the guest is of use.
    pub(crate) mend: Option<Result<Mend, Fault>>,
}

pub(crate) struct Rebound {
    pub(crate) peer: PeerIndex,
    pub(crate) dropped: u64,
    pub(crate) failed_calls: u64,
}

impl State {
    pub(crate) fn new(genesis: &Record) -> Result<State, RecordError> {
        let header = genesis.header();
        if header.kind != RecordKind::Genesis || header.lsn != Lsn(1) {
            return Err(RecordError::Shape);
        }
        let body = Genesis::decode(genesis.body())?;
        let mut state = State {
            position: Position { lsn: Lsn(1), link: header.link(), epoch: Epoch(0), time: header.time },
            world: World {
                name: body.name.clone(),
                time: header.time,
                peers: Peers::default(),
                random: Random::new(body.seed),
                configuration: Configuration::default(),
            },
            requests: Requests::new(body.seed),
            code: Code::of(&body),
            genesis: body,
            streams: Streams::default(),
            timers: Timers::default(),
            calls: Calls::default(),
            outgoing: Outgoing::default(),
            promises: Promises::default(),
            events: Events::default(),
            crons: Crons::default(),
            sessions: Sessions::default(),
            started: false,
            outcome: None,
            void: None,
        };
        state.add_streams();
        debug_assert_eq!(state.relations(), Ok(()), "a state is sound from its first record on");
        Ok(state)
    }

    pub(crate) fn stream(&self, peer: PeerIndex) -> &Stream {
        self.streams.get(peer)
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = (PeerIndex, &Stream)> {
        self.streams.iter()
    }

    /// This instance as a peer of its own, if the guest has attached it.
    pub(crate) fn me(&self) -> Option<PeerIndex> {
        self.streams.me()
    }

    /// Peers that owe an answer.
    pub(crate) fn called_peers(&self) -> impl Iterator<Item = PeerIndex> {
        self.calls.waiting().map(|(_, peer)| peer)
    }

    fn add_streams(&mut self) {
        self.streams.add(&self.world.peers, &self.genesis);
    }

    /// A peer has made our stream durable up to `seq`.
    pub(crate) fn acknowledge(&mut self, peer: PeerIndex, seq: Seq) {
        self.streams.change(peer, |stream| stream.outbox.acknowledge(seq));
    }

    /// Applies the next record. The guest's part is in `delivered` afterwards.
    ///
    /// # Panics
    /// If the record does not follow the one before, or is not known ([`Record::check_body`]): whoever read it has
    /// checked that already.
    pub(crate) fn apply(&mut self, record: &Record, guest: &mut impl Guest, delivered: &mut Delivered) -> Applied {
        let header = record.header();
        self.move_to(record);
        delivered.clear();
        let mut applied = Applied::default();
        self.apply_body(record, guest, delivered, &mut applied)
            .unwrap_or_else(|error| panic!("record {} was not checked when it was read: {error}", header.lsn));
        let brought_about = !delivered.effects.is_empty() || !delivered.prints.is_empty();
        assert!(!brought_about || header.kind.reaches_guest(), "a {:?} record does not reach the guest", header.kind);
        assert_eq!(self.streams.count(), self.world.peers.count() as usize, "every peer has a stream");
        applied
    }

    /// Goes to the next record without what it holds, which a mend behind it delivers.
    ///
    /// # Panics
    /// As [`State::apply`].
    pub(crate) fn leave_out(&mut self, record: &Record) {
        assert_eq!(record.header().kind, RecordKind::Deliver, "only what is delivered can be left out");
        assert!(self.outcome.is_none() && self.void.is_none(), "one record is left out at a time");
        self.move_to(record);
        self.void = Some(record.clone());
    }

    fn move_to(&mut self, record: &Record) {
        let header = record.header();
        assert_eq!(header.lsn, self.position.lsn.next(), "records are applied without a gap");
        assert_eq!(header.previous, self.position.link, "a record is chained to the one before it");
        assert!(header.epoch >= self.position.epoch, "epochs never fall");
        assert!(header.time >= self.position.time, "the time of records never falls");
        self.position = Position { lsn: header.lsn, link: header.link(), epoch: header.epoch, time: header.time };
        self.world.time = header.time;
    }

    fn apply_body(
        &mut self,
        record: &Record,
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<(), RecordError> {
        match record.header().kind {
            RecordKind::Genesis | RecordKind::Mark => Err(RecordError::Shape),
            RecordKind::Epoch => EpochBody::decode(record.body()).map(|_| ()),
            // What it says of the state before it was compared before.
            RecordKind::Digest => DigestBody::decode(record.body()).map(|_| ()),
            RecordKind::Bind => self.apply_bind(Bind::decode(record.body())?, applied),
            RecordKind::Deliver => self.apply_deliver(DeliverBody::decode(record.body())?, guest, delivered, applied),
            RecordKind::Configuration => self.apply_configuration(Configuration::decode(record.body())?),
            RecordKind::Session => self.apply_session(OpenSession::decode(record.body())?),
            RecordKind::Upgrade => {
                applied.upgrade = Some(self.apply_upgrade(&Upgrade::decode(record.body())?, guest, delivered, applied));
                Ok(())
            }
            RecordKind::Mend => {
                applied.mend = Some(self.apply_mend(Mend::decode(record.body())?, guest, delivered, applied));
                Ok(())
            }
        }
    }

    fn apply_bind(&mut self, bind: Bind, applied: &mut Applied) -> Result<(), RecordError> {
        if self.world.peers.attach(&bind.name) != Some(bind.peer) {
            return Err(RecordError::Shape);
        }
        self.add_streams();
        assert_ne!(self.me(), Some(bind.peer), "the instance is bound to itself from the start");
        let known = self.stream(bind.peer).uuid;
        let dropped = self.streams.change(bind.peer, |stream| stream.bind(bind.uuid));
        if known.is_none_or(|known| known == bind.uuid) {
            return Ok(());
        }
        let failed_calls = self.calls.fail(bind.peer);
        applied.rebound = Some(Rebound { peer: bind.peer, dropped, failed_calls });
        Ok(())
    }

    fn apply_configuration(&mut self, configuration: Configuration) -> Result<(), RecordError> {
        let key = self.world.configuration.promise_key;
        if key.is_some() && key != configuration.promise_key {
            return Err(RecordError::Shape);
        }
        self.requests.retain(Retention::of(&configuration), self.position.time);
        self.world.configuration = configuration;
        Ok(())
    }

    fn apply_session(&mut self, open: OpenSession) -> Result<(), RecordError> {
        assert!(self.outcome.is_none() && self.void.is_none(), "no session is opened after the end");
        let Position { lsn, time, .. } = self.position;
        self.sessions.open(open.session, open.opening, Ticket(lsn.0), time)
    }

    fn apply_deliver(
        &mut self,
        body: DeliverBody<'_>,
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<(), RecordError> {
        let runs = body.runs;
        self.deliver(body, runs, &[], guest, delivered, applied)
    }

    /// Applies what a delivery holds. The guest gets `runs` of it, and `answers` count as if it had brought them about first.
    fn deliver(
        &mut self,
        body: DeliverBody<'_>,
        runs: &[u8],
        answers: &[u8],
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<(), RecordError> {
        assert!(self.outcome.is_none() && self.void.is_none(), "nothing is delivered after the end");
        for run in Runs::new(body.runs) {
            self.take_run(run?, applied)?;
        }
        // Before the guest runs: what it sends in this delivery is not covered by what was acknowledged before.
        for watermark in &body.acknowledged {
            self.acknowledge(watermark.peer, watermark.seq);
        }
        let Position { lsn, time, .. } = self.position;
        for entry in body.requests {
            assert!(entry.call_id <= self.requests.last_impulse(), "a request names an impulse of its record");
            let content = content_of(&applied.contents, entry.call_id).ok_or(RecordError::Shape)?;
            self.requests.accept(entry.request.clone(), entry.call_id, lsn, content);
            applied.accepted.push(entry.request);
        }
        let mut failed = Vec::new();
        for run in body.sessions {
            failed.extend(self.sessions.take(run, lsn, time, |call| content_of(&applied.contents, call))?);
        }
        let before = self.world.peers.count();
        // A record that only acknowledges is none of the guest's.
        delivered.effects.extend_from_slice(answers);
        let result = if runs.is_empty() { Ok(()) } else { guest.deliver(runs, &mut self.world, delivered) };
        assert!(self.world.peers.count() >= before, "a guest can't forget peers");
        self.add_streams();
        match result.and_then(|()| self.take_effects(&delivered.effects, applied)) {
            Ok(()) => applied.answered_in_sessions.extend(failed),
            Err(fault) => self.halt(fault, applied),
        }
        Ok(())
    }

    /// Hands over to another module. On an error the state is of no use any more; the guest is what it was, or is lost.
    fn apply_upgrade(
        &mut self,
        upgrade: &Upgrade,
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<Upgrade, HandoverError> {
        assert!(self.outcome.is_none() && self.void.is_none(), "nothing is upgraded after the end");
        if upgrade.from != self.code.module {
            let fault = Fault::because("the upgrade is from another module than the one that runs");
            return Err(HandoverError::Refused(fault));
        }
        let before = self.world.peers.count();
        let handed_over = guest.upgrade(upgrade, &mut self.world, delivered);
        assert!(self.world.peers.count() >= before, "a guest can't forget peers");
        self.add_streams();
        handed_over?;
        self.code.upgrade(upgrade, self.position.lsn);
        match self.take_effects(&delivered.effects, applied) {
            Ok(()) if self.outcome.is_none() => Ok(*upgrade),
            Ok(()) => Err(put_back(guest, Fault::because("the new code exits while it takes over the state"))),
            Err(fault) => Err(put_back(guest, fault)),
        }
    }

    /// Delivers what the record holds that was left out. On an error neither the state nor the guest is of use any more.
    fn apply_mend(
        &mut self,
        mend: Mend,
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<Mend, Fault> {
        let is_of = |void: &mut Record| (void.lsn(), void.header().link()) == (mend.lsn, mend.link);
        let Some(void) = self.void.take_if(is_of) else {
            return Err(Fault::because(format!("lsn {} is mended, and is not what was left out", mend.lsn)));
        };
        match &mend.remedy {
            Remedy::Upgrade(upgrade) => self.mend_by_upgrade(upgrade, &void, guest, delivered, applied),
            Remedy::Skip(skip) => self.mend_by_skip(skip, &void, guest, delivered, applied),
        }?;
        match self.outcome.take_if(|outcome| matches!(outcome, Outcome::Halted { .. })) {
            Some(Outcome::Halted { fault, .. }) => Err(fault),
            _ => Ok(mend),
        }
    }

    fn mend_by_upgrade(
        &mut self,
        upgrade: &Upgrade,
        void: &Record,
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<(), Fault> {
        let mut of_load = Applied::default();
        self.apply_upgrade(upgrade, guest, delivered, &mut of_load).map_err(HandoverError::into_fault)?;
        // Whatever comes now, nobody goes back behind it: what fails is built anew from the log.
        guest.keep_upgrade();
        delivered.effects.clear();
        applied.told = of_load.told;
        self.apply_deliver(body_of(void), guest, delivered, applied).expect("it was checked when it was read");
        let Applied {
            mut chunks,
            received,
            accepted,
            mut answered,
            mut answered_in_sessions,
            rebound,
            mut requested,
            mut cancelled,
            mut events,
            mut logged,
            told: _,
            contents,
            upgrade,
            mend,
        } = of_load;
        assert!(received.is_empty() && accepted.is_empty() && contents.is_empty(), "an upgrade takes no messages");
        assert!(rebound.is_none() && upgrade.is_none() && mend.is_none(), "an upgrade is no other record");
        chunks.append(&mut applied.chunks);
        answered.append(&mut applied.answered);
        (applied.chunks, applied.answered) = (chunks, answered);
        answered_in_sessions.append(&mut applied.answered_in_sessions);
        applied.answered_in_sessions = answered_in_sessions;
        requested.append(&mut applied.requested);
        cancelled.append(&mut applied.cancelled);
        events.append(&mut applied.events);
        logged.append(&mut applied.logged);
        (applied.requested, applied.cancelled, applied.events, applied.logged) = (requested, cancelled, events, logged);
        Ok(())
    }

    fn mend_by_skip(
        &mut self,
        skip: &Skip,
        void: &Record,
        guest: &mut impl Guest,
        delivered: &mut Delivered,
        applied: &mut Applied,
    ) -> Result<(), Fault> {
        let body = body_of(void);
        let rest = Rest::of(&body, skip).map_err(|count| {
            Fault::because(format!("lsn {} has {count} messages, and others are to be skipped", void.lsn()))
        })?;
        self.code.skip(skip, self.position.lsn);
        self.deliver(body, &rest.runs, &rest.answers, guest, delivered, applied)
            .expect("it was checked when it was read");
        Ok(())
    }

    /// Notes what a run uses up: numbers of the stream, timers, calls.
    fn take_run(&mut self, run: Run<'_>, applied: &mut Applied) -> Result<(), RecordError> {
        if run.peer == PeerIndex::OUTSIDE {
            for message in Messages::new(run.messages) {
                self.take_outside_message(message.map_err(RunError::from)?, applied)?;
            }
            return Ok(());
        }
        if run.peer.0 as usize > self.streams.count() || run.count == 0 {
            return Err(RecordError::Shape);
        }
        let received = self.streams.change(run.peer, |stream| {
            assert_eq!(run.first_seq, stream.received.next(), "a stream is delivered without a gap or a repetition");
            stream.received = Seq(stream.received.0 + u64::from(run.count));
            stream.received
        });
        if self.me() == Some(run.peer) {
            self.acknowledge(run.peer, received);
        } else {
            applied.received.push((run.peer, received));
        }
        if self.calls.waiting().len() > 0 {
            self.settle_calls(run)?;
        }
        Ok(())
    }

    fn settle_calls(&mut self, run: Run<'_>) -> Result<(), RecordError> {
        for message in Messages::new(run.messages) {
            let message = message.map_err(RunError::from)?;
            if message.kind.answers() {
                self.calls.settle(message.call_id, run.peer);
            }
        }
        Ok(())
    }

    /// Notes what a message from outside uses up. Those that no primary delivers are refused.
    fn take_outside_message(&mut self, message: Message<'_>, applied: &mut Applied) -> Result<(), RecordError> {
        match message.kind {
            MessageKind::Timer => self.timers.cancel(message.call_id),
            MessageKind::Error => self.calls.forget_failed(message.call_id),
            MessageKind::Start => self.started = true,
            MessageKind::Impulse => {
                self.requests.note_impulse(message.call_id);
                if message.call_id != NO_ANSWER {
                    applied.contents.push((message.call_id, content_hash(message.method, message.arguments)));
                }
            }
            MessageKind::Outcome => {
                self.outgoing.settle(message.call_id);
            }
            MessageKind::Resolved => self.promises.settle(message.call_id),
            MessageKind::Cron => {
                let due = message.arguments.try_into().map(u64::from_le_bytes).map_err(|_| RecordError::Shape)?;
                let due = Timestamp(due);
                if !self.crons.is_new(message.method, due) {
                    return Err(RecordError::Shape);
                }
                self.crons.note(message.method, due);
            }
            MessageKind::Primary => {}
            MessageKind::Fork
            | MessageKind::Call
            | MessageKind::Reply
            | MessageKind::Exit
            | MessageKind::SetTimer
            | MessageKind::CancelTimer
            | MessageKind::Waiting
            | MessageKind::Request
            | MessageKind::CancelRequest
            | MessageKind::Promise
            | MessageKind::CancelPromise
            | MessageKind::Emit
            | MessageKind::Log => {
                return Err(RecordError::Shape);
            }
        }
        Ok(())
    }

    fn take_effects(&mut self, effects: &[u8], applied: &mut Applied) -> Result<(), Fault> {
        let mut touched = BTreeSet::new();
        let mut last_touched = None;
        let mut answers = Vec::new();
        for effect in Effects::new(effects) {
            let effect = effect.map_err(|error| Fault::because(format!("the guest returned bad effects: {error}")))?;
            if self.take_effect(effect, &mut answers, applied)? && last_touched != Some(effect.target) {
                last_touched = Some(effect.target);
                touched.insert(effect.target);
            }
        }
        assert!(applied.answered.is_empty(), "answers count only once no effect is at fault");
        assert!(applied.answered_in_sessions.is_empty(), "answers count only once no effect is at fault");
        let after = self.position.lsn;
        for peer in touched {
            let chunk = self.streams.change(peer, |stream| stream.outbox.close_chunk(after).cloned());
            applied.chunks.push((peer, chunk.expect("something was pushed to it")));
        }
        // Only now that no effect is at fault: clients must not see the answers of a delivery that failed.
        for (call, answer) in answers {
            if let Some(request) = self.requests.answer(call, after, self.position.time, &answer) {
                applied.answered.push((request, answer));
            } else {
                applied.answered_in_sessions.extend(self.sessions.answer(call, after, &answer));
            }
        }
        Ok(())
    }

    /// Carries out one effect. True if it went into an outbox.
    fn take_effect(
        &mut self,
        effect: Effect<'_>,
        answers: &mut Vec<(CallId, Answer)>,
        applied: &mut Applied,
    ) -> Result<bool, Fault> {
        let message = effect.message;
        if effect.target != PeerIndex::OUTSIDE {
            if effect.target.0 as usize > self.streams.count() {
                return Err(Fault::because(format!(
                    "the guest sent to peer {}, which it never attached",
                    effect.target
                )));
            }
            if message.kind == MessageKind::Call {
                self.begin_call(message.call_id, effect.target)?;
            }
            self.streams.change(effect.target, |stream| stream.outbox.push(effect.encoded));
            return Ok(true);
        }
        match message.kind {
            MessageKind::Reply | MessageKind::Error => {
                let value = Bytes::copy_from_slice(message.arguments);
                answers.push((message.call_id, Answer { success: message.kind == MessageKind::Reply, value }));
            }
            MessageKind::Exit => self.finish(message)?,
            MessageKind::SetTimer => self.set_timer(message)?,
            MessageKind::CancelTimer => self.timers.cancel(message.call_id),
            MessageKind::Waiting => self.set_waiting(message)?,
            MessageKind::Request
            | MessageKind::CancelRequest
            | MessageKind::Promise
            | MessageKind::CancelPromise
            | MessageKind::Emit
            | MessageKind::Log => self.take_effect_outside(message, applied).map_err(Fault::because)?,
            MessageKind::Fork
            | MessageKind::Call
            | MessageKind::Impulse
            | MessageKind::Timer
            | MessageKind::Start
            | MessageKind::Primary
            | MessageKind::Outcome
            | MessageKind::Resolved
            | MessageKind::Cron => {
                unreachable!("the decoder refuses {:?} to the outside", message.kind)
            }
        }
        Ok(false)
    }

    /// Carries out an effect that is for the world outside, beyond clients.
    fn take_effect_outside(&mut self, message: Message<'_>, applied: &mut Applied) -> Result<(), String> {
        let Position { lsn, time, .. } = self.position;
        let id = EventId { lsn, index: applied.told };
        match message.kind {
            MessageKind::Request => {
                self.outgoing.begin(message.call_id, Bytes::copy_from_slice(message.arguments), lsn)?;
                applied.requested.push(message.call_id);
            }
            MessageKind::CancelRequest => {
                if self.outgoing.settle(message.call_id) {
                    applied.cancelled.push(message.call_id);
                }
            }
            MessageKind::Promise => self.promises.begin(message.call_id)?,
            MessageKind::CancelPromise => self.promises.settle(message.call_id),
            MessageKind::Emit => {
                let event = Event::emitted(message.arguments, id, time)?;
                applied.told += 1;
                self.events.push(event.clone());
                applied.events.push(event);
            }
            MessageKind::Log => {
                applied.told += 1;
                applied.logged.push((id, Bytes::copy_from_slice(message.arguments)));
            }
            kind => unreachable!("{kind:?} was carried out before"),
        }
        Ok(())
    }

    fn begin_call(&mut self, call: CallId, peer: PeerIndex) -> Result<(), Fault> {
        if call == CallId(0) {
            return Err(Fault::because("the guest made a call without an id"));
        }
        if !self.calls.begin(call, peer) {
            return Err(Fault::because(format!("the guest made two calls with the id {call}")));
        }
        Ok(())
    }

    fn finish(&mut self, message: Message<'_>) -> Result<(), Fault> {
        let code = message.arguments.try_into().map(i32::from_le_bytes);
        let code = code.map_err(|_| Fault::because("the guest returned an exit without a code of 4 bytes"))?;
        self.outcome.get_or_insert(Outcome::Finished { code, lsn: self.position.lsn });
        Ok(())
    }

    fn set_waiting(&mut self, message: Message<'_>) -> Result<(), Fault> {
        let count = message.arguments.try_into().map(u64::from_le_bytes);
        let count = count.map_err(|_| Fault::because("the guest told a count of handlers without 8 bytes"))?;
        self.code.waiting = Some(count);
        Ok(())
    }

    fn set_timer(&mut self, message: Message<'_>) -> Result<(), Fault> {
        let due = message.arguments.try_into().map(u64::from_le_bytes);
        let due = due.map_err(|_| Fault::because("the guest set a timer without a time of 8 bytes"))?;
        if message.call_id == CallId(0) {
            return Err(Fault::because("the guest set a timer without an id"));
        }
        if !self.timers.set(message.call_id, Timestamp(due)) {
            return Err(Fault::because(format!("the guest has more than {} timers", crate::limits::TIMERS_MAX)));
        }
        Ok(())
    }

    /// The delivery failed: nothing of what it brought about counts.
    fn halt(&mut self, fault: Fault, applied: &mut Applied) {
        assert!(applied.answered.is_empty(), "clients must not see the answers of a delivery that failed");
        assert!(applied.answered_in_sessions.is_empty(), "clients must not see the answers of a delivery that failed");
        self.streams.discard_open();
        // Of these it is not told either, though the state has them: nothing goes on from it.
        let Applied { chunks, requested, cancelled, events, logged, .. } = applied;
        chunks.clear();
        requested.clear();
        cancelled.clear();
        events.clear();
        logged.clear();
        self.outcome = Some(Outcome::Halted { fault, lsn: self.position.lsn });
    }

    /// Asserts that [`State::relations`] hold.
    pub(crate) fn validate(&self) {
        if let Err(Broken(relation)) = self.relations() {
            panic!("the state of {} is broken at lsn {}: {relation}", self.genesis.name, self.position.lsn);
        }
    }

    /// All relations that must hold between records, as one list.
    pub(crate) fn relations(&self) -> Result<(), Broken> {
        let State {
            genesis,
            code,
            position,
            world,
            streams,
            timers,
            calls,
            requests,
            outgoing,
            promises,
            events,
            crons,
            sessions,
            started: _,
            outcome,
            void,
        } = self;
        let Position { lsn, link: _, epoch: _, time } = position;
        let World { name, time: world_time, peers: _, random: _, configuration } = world;
        holds!(*lsn >= Lsn(1), "genesis is applied");
        holds!(*name == genesis.name, "the guest knows the name of genesis");
        holds!(world_time == time, "the guest sees the time of the record");
        let beside = self.beside();
        code.validate(beside)?;
        streams.validate(beside)?;
        timers.validate(beside)?;
        calls.validate(beside)?;
        requests.validate(beside)?;
        outgoing.validate(beside)?;
        promises.validate(beside)?;
        events.validate(beside)?;
        crons.validate(beside)?;
        sessions.validate(beside)?;
        configuration.validate(beside)?;
        match outcome {
            Some(Outcome::Finished { lsn: at, .. } | Outcome::Halted { lsn: at, .. }) => {
                holds!(at <= lsn, "the instance ended by a record that was applied");
            }
            None => {}
        }
        holds!(void.as_ref().is_none_or(|void| void.lsn() <= *lsn), "a record that was left out was read");
        holds!(void.is_none() || outcome.is_none(), "what stands is not ended");
        Ok(())
    }
}

impl State {
    /// Hash of what a request asks for that is in the record which was left out.
    pub(crate) fn left_out(&self, request: &RequestId) -> Option<u64> {
        let body = body_of(self.void.as_ref()?);
        let call = body.requests.iter().find(|entry| entry.request == *request)?.call_id;
        let runs = Runs::new(body.runs).map(|run| run.expect("it was checked when it was read"));
        let messages = runs.flat_map(|run| Messages::new(run.messages));
        let mut messages = messages.map(|message| message.expect("it was checked when it was read"));
        let impulse = messages.find(|message| message.kind == MessageKind::Impulse && message.call_id == call)?;
        Some(content_hash(impulse.method, impulse.arguments))
    }
}

/// Hash of what an impulse of the record asks for.
fn content_of(contents: &[(CallId, u64)], call: CallId) -> Option<u64> {
    let at = contents.binary_search_by_key(&call, |(call, _)| *call).ok()?;
    Some(contents[at].1)
}

fn body_of(void: &Record) -> DeliverBody<'_> {
    DeliverBody::decode(void.body()).expect("it was checked when it was read")
}

/// What the new code brought about is at fault, so the old one has to go on.
fn put_back(guest: &mut impl Guest, fault: Fault) -> HandoverError {
    guest.undo_upgrade().map_or_else(HandoverError::Lost, |()| HandoverError::Refused(fault))
}
