//! A member under a test, whose surroundings do nothing: what it wants is seen, and what happens the test says.

use std::time::Duration;

use ambrosia_core::{
    CallId, DeliverBody, Delivered, DigestBody, Epoch, EpochBody, Fault, Genesis, Guest, HandoverError, InstanceName,
    InstanceUuid, Limits, Lsn, Mend, Message, MessageKind, Messages, MethodId, PeerIndex, Record, RecordHeader,
    RecordKind, Replica, ReplicaIndex, Runs, ScheduleOptions, Seq, Timestamp, Upgrade, World, begin_run, finish_run,
    member::{
        Command, FenceLook, Flow, Keep, Member, MemberInput, MemberSettings, Next, Notice, Shell, StopCause,
        Surroundings,
    },
    push_effect, push_message,
};

pub(crate) const ENGINE: [u8; 32] = [7; 32];
pub(crate) const ME: ReplicaIndex = ReplicaIndex(0);
pub(crate) const SILENCE: Duration = Duration::from_millis(600);

/// A guest that does nothing, and fails at what is poison to its first code. It takes over as the first byte of the module's
/// hash says.
#[derive(Debug, Default)]
pub(crate) struct Nothing {
    tries: u32,
    pub(crate) deliveries: u8,
    was_upgraded: bool,
    /// Of an impulse that is answered later.
    owed: Option<CallId>,
    pub(crate) cannot_capture: Option<String>,
}

pub(crate) const TAKES_ALL: u8 = 10;
pub(crate) const REFUSES: u8 = 11;
/// Waits the first time, and says that a handler waits.
pub(crate) const WAITS_ONCE: u8 = 12;
pub(crate) const WAITS: u8 = 13;
pub(crate) const IS_LOST: u8 = 14;
pub(crate) const CANNOT_BE_CAPTURED: u8 = 15;
/// Takes over, and fails at what is poison to the first code.
pub(crate) const FAILS_AGAIN: u8 = 16;

pub(crate) const POISON: &[u8] = b"poison";
/// It owes an answer to that.
pub(crate) const LATER: &[u8] = b"later";
/// At that it gives the answer that it owes.
pub(crate) const NOW: &[u8] = b"now";

impl Nothing {
    fn answer(&mut self, runs: &[u8], delivered: &mut Delivered) {
        for run in Runs::new(runs) {
            for message in Messages::new(run.expect("sound").messages) {
                let message = message.expect("sound");
                match message.arguments {
                    LATER => self.owed = Some(message.call_id),
                    NOW => {
                        let Some(call_id) = self.owed.take() else { continue };
                        let (kind, method) = (MessageKind::Reply, MethodId(0));
                        let reply = Message { kind, method, call_id, arguments: NOW };
                        push_effect(&mut delivered.effects, 0, PeerIndex::OUTSIDE, reply);
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Guest for Nothing {
    fn deliver(&mut self, runs: &[u8], _: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.deliveries += 1;
        self.answer(runs, delivered);
        let is_poison = !self.was_upgraded && runs.windows(POISON.len()).any(|bytes| bytes == POISON);
        if is_poison { Err(Fault::because("it is poison")) } else { Ok(()) }
    }

    /// Its state is what it has had delivered.
    fn query(&mut self, _: &[u8], _: &World, delivered: &mut Delivered) -> Result<(), Fault> {
        let arguments = &[self.deliveries];
        let message = Message { kind: MessageKind::Reply, method: MethodId(0), call_id: CallId(1), arguments };
        push_effect(&mut delivered.effects, 0, PeerIndex::OUTSIDE, message);
        Ok(())
    }

    fn cannot_capture(&self) -> Option<String> {
        self.cannot_capture.clone()
    }

    fn upgrade(&mut self, upgrade: &Upgrade, _: &mut World, _: &mut Delivered) -> Result<(), HandoverError> {
        self.tries += 1;
        match upgrade.to[0] {
            REFUSES => Err(HandoverError::Refused(Fault::because("it does not fit"))),
            WAITS_ONCE if self.tries == 1 => Err(HandoverError::Waits("a waits".to_owned())),
            WAITS => Err(HandoverError::Waits("a waits".to_owned())),
            IS_LOST => Err(HandoverError::Lost(Fault::because("it traps"))),
            CANNOT_BE_CAPTURED => {
                self.cannot_capture = Some("it hides something".to_owned());
                Ok(())
            }
            FAILS_AGAIN => Ok(()),
            _ => {
                self.was_upgraded = true;
                Ok(())
            }
        }
    }
}

/// What the member has put out.
pub(crate) struct Seen {
    commands: Vec<Command>,
    pub(crate) appended: Vec<Record>,
    /// What a look at the fence shows, and how often it was looked.
    pub(crate) fence: Result<(), Epoch>,
    pub(crate) looks: u32,
    /// Looks at it take time.
    pub(crate) is_fence_far: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Seen { commands: Vec::new(), appended: Vec::new(), fence: Ok(()), looks: 0, is_fence_far: false }
    }
}

impl Shell<Nothing> for Seen {
    fn append(&mut self, record: Record) -> Result<(), StopCause> {
        self.appended.push(record);
        Ok(())
    }

    fn look_at_fence(&mut self, number: u64) -> Result<FenceLook, Epoch> {
        self.looks += 1;
        assert_eq!(number, u64::from(self.looks), "each look has a number");
        if self.is_fence_far { Ok(FenceLook::Begun) } else { self.fence.map(|()| FenceLook::Done) }
    }

    fn applied(&mut self, _: &RecordHeader, _: &mut Replica<Nothing>) -> u64 {
        0
    }

    fn carry(&mut self, command: Command) {
        self.commands.push(command);
    }
}

pub(crate) struct Bench {
    pub(crate) member: Member<Nothing>,
    pub(crate) now: Duration,
    pub(crate) seen: Seen,
    pub(crate) log: Vec<Record>,
    pub(crate) surroundings: Surroundings,
}

pub(crate) fn settings() -> MemberSettings {
    MemberSettings {
        replica: ME,
        engine: ENGINE,
        from_beginning: false,
        allow_engine_change: false,
        allow_divergence: None,
        schedule: ScheduleOptions { checkpoint_every_bytes: 1 << 20, recovery_target_ns: 1 << 40 },
        keep: Keep::newest(2),
        silence: SILENCE,
        configuration: Default::default(),
        entropy: [0xe7; 32],
    }
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        uuid: InstanceUuid([1; 16]),
        module: [2; 32],
        seed: 3,
        limits: Limits { fuel: 4, memory_bytes: 5 },
        name: InstanceName::new("me").expect("a plain name"),
    }
}

impl Bench {
    /// A member that has begun, with a log of one record. What it wants first is not taken yet.
    pub(crate) fn begin(settings: MemberSettings) -> Bench {
        let surroundings = Surroundings {
            wall: Timestamp(1000),
            log_has_room: true,
            output: Flow::Room,
            may_yield: true,
            published: Lsn(0),
        };
        let (member, now) = (Member::new(settings), Duration::from_secs(1));
        let log = vec![genesis().record(Timestamp(100))];
        let mut bench = Bench { member, now, seen: Seen::default(), log, surroundings };
        bench.member.begin(bench.now, &mut bench.seen);
        bench
    }

    /// A standby that has applied the beginning of the log and all the rest that was durable.
    pub(crate) fn standby() -> Bench {
        let mut bench = Bench::begin(settings());
        assert_eq!(bench.commands(), [Command::ListCheckpoints]);
        let wanted = bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
        assert_eq!(wanted, [Command::Open(Lsn(1))]);
        assert_eq!(bench.on(MemberInput::Opened(0)), [Command::Read]);
        let records = bench.log.clone();
        let wanted = bench.on(MemberInput::Read { records, durable: Lsn(1), published: Lsn(0) });
        assert_eq!(wanted, [Command::MakeGuest(genesis())]);
        assert_eq!(
            bench.on(MemberInput::Made(Nothing::default())),
            [Command::Read],
            "it does not know yet that this is all"
        );
        let caught_up = [Command::Tell(Notice::CaughtUp(Lsn(1))), Command::Watch, Command::Read];
        assert_eq!(bench.read(Vec::new()), caught_up);
        bench
    }

    /// After it was deposed: follows the log as it is, from its beginning, and has caught up. Nothing of its reign but the
    /// first record was durable.
    pub(crate) fn follow_anew(&mut self) -> Vec<Command> {
        self.log.truncate(2);
        let mut commands = self.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
        commands.extend(self.on(MemberInput::Opened(0)));
        let records = self.log.clone();
        commands.extend(self.read(records));
        commands.extend(self.on(MemberInput::Made(Nothing::default())));
        commands.extend(self.read(Vec::new()));
        commands
    }

    /// A primary of epoch 1.
    pub(crate) fn primary() -> Bench {
        let mut bench = Bench::standby();
        let wanted = bench.on(MemberInput::Vacant { over: Epoch(0), is_stuck: false });
        assert_eq!(wanted, [Command::Acquire(Epoch(0))]);
        let record = bench.epoch_record(ENGINE);
        let wall = bench.surroundings.wall;
        let wanted = bench.on(MemberInput::Acquired { epoch: Epoch(1), records: vec![record], wall });
        let became = Notice::BecamePrimary { epoch: Epoch(1), lsn: Lsn(2) };
        assert_eq!(wanted, [Command::Reign(Epoch(1)), Command::Announce(Epoch(1)), Command::Tell(became)]);
        // The guest is told that it has started.
        while bench.turn() == Next::Again {}
        assert_eq!(bench.commands(), []);
        bench
    }

    pub(crate) fn push(&mut self, kind: RecordKind, epoch: Epoch, body: &[u8]) -> Record {
        let last = *self.log.last().expect("genesis").header();
        let mut header = RecordHeader::new(kind, epoch, last.lsn.next(), last.time);
        header.previous = last.link();
        let record = Record::seal(header, body);
        self.log.push(record.clone());
        record
    }

    /// The record that begins the next reign.
    pub(crate) fn epoch_record(&mut self, engine: [u8; 32]) -> Record {
        let epoch = Epoch(self.log.last().expect("genesis").header().epoch.0 + 1);
        let mut body = Vec::new();
        EpochBody { replica: ME, engine }.encode(&mut body);
        self.push(RecordKind::Epoch, epoch, &body)
    }

    /// A delivery of another primary, of two impulses: the second is poison.
    pub(crate) fn poison_record(&mut self) -> Record {
        let epoch = self.log.last().expect("genesis").header().epoch;
        let mut runs = Vec::new();
        let at = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
        for arguments in [b"fine".as_slice(), POISON] {
            let (kind, method, call_id) = (MessageKind::Impulse, MethodId(0), CallId(0));
            push_message(&mut runs, Message { kind, method, call_id, arguments });
        }
        finish_run(&mut runs, at, 2);
        let mut body = Vec::new();
        DeliverBody { runs: &runs, ..DeliverBody::default() }.encode(&mut body);
        self.push(RecordKind::Deliver, epoch, &body)
    }

    /// A delivery of another primary, of one impulse.
    pub(crate) fn impulse_record(&mut self) -> Record {
        let epoch = self.log.last().expect("genesis").header().epoch;
        let mut runs = Vec::new();
        let at = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
        let (kind, method, call_id) = (MessageKind::Impulse, MethodId(0), CallId(0));
        push_message(&mut runs, Message { kind, method, call_id, arguments: b"fine" });
        finish_run(&mut runs, at, 1);
        let mut body = Vec::new();
        DeliverBody { runs: &runs, ..DeliverBody::default() }.encode(&mut body);
        self.push(RecordKind::Deliver, epoch, &body)
    }

    /// A mend of another primary.
    pub(crate) fn mend_record(&mut self, mend: &Mend) -> Record {
        let epoch = self.log.last().expect("genesis").header().epoch;
        let mut body = Vec::new();
        mend.encode(&mut body);
        self.push(RecordKind::Mend, epoch, &body)
    }

    /// An upgrade record of another primary.
    pub(crate) fn upgrade_record(&mut self, upgrade: &Upgrade) -> Record {
        let epoch = self.log.last().expect("genesis").header().epoch;
        let mut body = Vec::new();
        upgrade.encode(&mut body);
        self.push(RecordKind::Upgrade, epoch, &body)
    }

    /// A digest record of another primary that is equal, which asks `by` for a checkpoint.
    pub(crate) fn digest_record(&mut self, by: Option<ReplicaIndex>) -> Record {
        let state = self.member.replica().expect("it was built").digest();
        let epoch = self.log.last().expect("genesis").header().epoch;
        let mut body = Vec::new();
        DigestBody { state, memory: 0, checkpoint_by: by }.encode(&mut body);
        self.push(RecordKind::Digest, epoch, &body)
    }

    /// What the member wants since this was asked last.
    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.seen.commands)
    }

    /// Something happens: what the member wants then.
    pub(crate) fn on(&mut self, input: MemberInput<Nothing>) -> Vec<Command> {
        self.member.step(self.now, input, &mut self.seen);
        self.commands()
    }

    /// These records were read, and there are no more.
    pub(crate) fn read(&mut self, records: Vec<Record>) -> Vec<Command> {
        let durable = self.log.last().expect("genesis").lsn();
        self.on(MemberInput::Read { records, durable, published: self.surroundings.published })
    }

    pub(crate) fn turn(&mut self) -> Next {
        self.member.turn(self.now, &self.surroundings, &mut self.seen)
    }

    /// Turns until nothing is left to be done: what the member wants then.
    pub(crate) fn turned(&mut self) -> Vec<Command> {
        while self.turn() == Next::Again && self.seen.commands.is_empty() {}
        self.commands()
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.surroundings.wall.0 += time.as_nanos() as u64;
    }
}
