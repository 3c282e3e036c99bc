//! A guest gives its state to another build of its code, in the real engine: it takes over, or nothing has happened.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use ambrosia_core::{
    CallId, Delivered, Effects, Fault, Genesis, Guest, HandoverError, InstanceName, InstanceUuid, Limits, Message,
    MessageKind, MethodId, PeerIndex, Peers, Random, Seq, Timestamp, Upgrade, World, begin_run, finish_run, limits,
    push_message,
};
use ambrosia_engine::{CaptureError, Engine, Module, ModuleSource, WaitingHandler, WasmGuest};

use crate::support::cluster;

const ONE: [u8; 32] = [1; 32];
const TWO: [u8; 32] = [2; 32];
const FAULTY: [u8; 32] = [3; 32];
const SETTLED: [u8; 32] = [4; 32];

const FUEL: u64 = 1_000_000_000;
const LIMITS: Limits = Limits { fuel: 20 * FUEL, memory_bytes: 64 << 20 };

/// The builds of the ledger, by the hashes that they go by here.
struct Builds(BTreeMap<[u8; 32], Module>);

impl ModuleSource for Builds {
    fn module(&self, hash: [u8; 32]) -> Result<Module, String> {
        self.0.get(&hash).cloned().ok_or_else(|| "the store does not have it".to_owned())
    }
}

static BUILDS: LazyLock<Arc<Builds>> = LazyLock::new(|| {
    let engine = Engine::new().expect("this machine runs guests");
    let load = |guest: &str| {
        let bytes = std::fs::read(cluster().guest(guest)).expect("`make guests` has built it");
        engine.load(&bytes).expect("the guest is an immortal")
    };
    let builds = [(ONE, "ledger1"), (TWO, "ledger2"), (FAULTY, "ledger_faulty"), (SETTLED, "settled")];
    Arc::new(Builds(builds.into_iter().map(|(hash, guest)| (hash, load(guest))).collect()))
});

fn module(hash: [u8; 32]) -> Module {
    BUILDS.module(hash).expect("it is one of the builds")
}

fn upgrade(from: [u8; 32], to: [u8; 32]) -> Upgrade {
    Upgrade { attempt: 1, from, to, limits: LIMITS, handover_fuel: FUEL, end_waiting: false }
}

/// A guest in its world, which can be told what one message brings about.
struct Run {
    guest: WasmGuest,
    world: World,
    delivered: Delivered,
    last_call: u64,
}

impl Run {
    fn of(hash: [u8; 32]) -> Run {
        let name = InstanceName::new("ledger").expect("a plain name");
        let genesis =
            Genesis { uuid: InstanceUuid([1; 16]), module: hash, seed: 1, limits: LIMITS, name: name.clone() };
        let guest = module(hash).instantiate(&genesis).expect("it starts").with_source(BUILDS.clone());
        let world = World {
            name,
            time: Timestamp(1_000_000_000),
            peers: Peers::default(),
            random: Random::new(1),
            configuration: Default::default(),
        };
        let mut run = Run { guest, world, delivered: Delivered::default(), last_call: 0 };
        run.deliver(PeerIndex::OUTSIDE, MessageKind::Start, "", 0, b"");
        run
    }

    /// A ledger of the first build with two totals, which will do that when it is upgraded.
    fn fated(word: &str) -> Run {
        let mut run = Run::of(ONE);
        assert_eq!(run.ask("add", b"\x92\xa4anna\x05"), b"\x92\x01\x05");
        assert_eq!(run.ask("add", b"\x92\xa3ben\x07"), b"\x92\x01\x07");
        run.ask("set_fate", &[&[0x91, 0xa0 | word.len() as u8], word.as_bytes()].concat());
        run
    }

    fn deliver(&mut self, peer: PeerIndex, kind: MessageKind, method: &str, call: u64, arguments: &[u8]) {
        let method = if method.is_empty() { MethodId::default() } else { MethodId::of(method) };
        let mut runs = Vec::new();
        let seq = if peer == PeerIndex::OUTSIDE { Seq(0) } else { Seq(1) };
        let run = begin_run(&mut runs, peer, seq);
        push_message(&mut runs, Message { kind, method, call_id: CallId(call), arguments });
        finish_run(&mut runs, run, 1);
        self.delivered.clear();
        self.guest.deliver(&runs, &mut self.world, &mut self.delivered).expect("the guest has no fault");
    }

    /// Begins a method and gives its call.
    fn begin(&mut self, method: &str, arguments: &[u8]) -> u64 {
        self.last_call += 1;
        self.deliver(PeerIndex::OUTSIDE, MessageKind::Impulse, method, self.last_call, arguments);
        self.last_call
    }

    /// Runs a method for its answer.
    fn ask(&mut self, method: &str, arguments: &[u8]) -> Vec<u8> {
        let call = self.begin(method, arguments);
        self.answer(call).expect("it answers at once").1
    }

    /// The answer to that call among the last effects.
    fn answer(&self, call: u64) -> Option<(MessageKind, Vec<u8>)> {
        let answers = |(_, kind, id, _): &(PeerIndex, MessageKind, u64, Vec<u8>)| {
            *id == call && matches!(kind, MessageKind::Reply | MessageKind::Error)
        };
        self.effects().into_iter().find(answers).map(|(_, kind, _, arguments)| (kind, arguments))
    }

    /// Target, kind, call id and arguments of each.
    fn effects(&self) -> Vec<(PeerIndex, MessageKind, u64, Vec<u8>)> {
        let effects = Effects::new(&self.delivered.effects).map(|effect| effect.expect("they are whole"));
        effects
            .map(|effect| {
                let Message { kind, call_id, arguments, .. } = effect.message;
                (effect.target, kind, call_id.0, arguments.to_vec())
            })
            .collect()
    }

    fn upgrade(&mut self, upgrade: &Upgrade) -> Result<(), HandoverError> {
        self.delivered.clear();
        self.guest.upgrade(upgrade, &mut self.world, &mut self.delivered)
    }

    fn printed(&self) -> String {
        self.delivered.prints.iter().map(|print| String::from_utf8_lossy(&print.bytes).into_owned()).collect()
    }

    /// The guest is what it was, and so is its world: the same as one to which nothing was done.
    fn check_untouched(&mut self, mut twin: Run) {
        assert_eq!(self.delivered, Delivered::default());
        assert_eq!(self.world, twin.world);
        assert_eq!(self.guest.digest(), twin.guest.digest());
        assert_eq!(self.guest.page_hashes(), twin.guest.page_hashes());
        for _ in 0..3 {
            assert_eq!(self.ask("add", b"\x92\xa4anna\x05"), twin.ask("add", b"\x92\xa4anna\x05"));
            assert_eq!(self.guest.fuel_used(), twin.guest.fuel_used());
            assert_eq!(self.guest.digest(), twin.guest.digest());
        }
    }
}

fn refusal(result: Result<(), HandoverError>) -> Fault {
    match result.expect_err("it does not take over") {
        HandoverError::Refused(fault) => fault,
        error => panic!("it is refused, and not {error:?}"),
    }
}

#[test]
fn the_new_code_takes_over_the_state_and_sends() {
    let mut run = Run::fated("");
    run.ask("attach_one", b"\x91\xa5other");
    run.upgrade(&upgrade(ONE, TWO)).expect("it takes over");
    assert_eq!(run.printed(), "upgrade 1 with 2 totals\n");
    let other = run.world.peers.index(&InstanceName::new("other").expect("plain")).expect("it was attached");
    assert_eq!(
        run.effects(),
        [
            (other, MessageKind::Fork, 0, b"\x91\x01".to_vec()),
            (PeerIndex::OUTSIDE, MessageKind::Waiting, 0, vec![0; 8])
        ]
    );
    run.guest.keep_upgrade();
    assert_eq!(run.ask("add", b"\x92\xa4anna\xfe"), b"\x92\x02\x03", "signed from here on");
    assert_eq!(run.ask("report", b"\x90"), b"\x93\x02\x03\x0a");
    assert_eq!(run.guest.cannot_capture(), None);
    // A downgrade is an upgrade whose `load` can't read the newer state.
    let fault = refusal(run.upgrade(&upgrade(TWO, ONE)));
    assert!(fault.reason.contains("the state has version 2, and `Ledger` of this module has version 1"), "{fault}");
    assert_eq!(run.ask("report", b"\x90"), b"\x93\x02\x03\x0a");
    run.upgrade(&upgrade(TWO, TWO)).expect("the same module");
    // Twice in a row, and by a build that reads what the first one wrote.
    let mut run = Run::fated("");
    run.upgrade(&upgrade(ONE, FAULTY)).expect("without a fate it takes over");
    run.upgrade(&upgrade(FAULTY, ONE)).expect("and back");
    assert_eq!(run.ask("report", b"\x90"), b"\x93\x01\x02\x0c");
}

/// Each replica does it for itself.
#[test]
fn two_replicas_come_to_the_same() {
    let (mut run, mut twin) = (Run::fated(""), Run::fated(""));
    twin.guest.capture_all().expect("it can be captured");
    for run in [&mut run, &mut twin] {
        run.ask("fill", b"\x91\xcd\x27\x10");
        run.upgrade(&upgrade(ONE, TWO)).expect("it takes over");
    }
    assert_eq!(run.delivered, twin.delivered);
    assert_eq!(run.world, twin.world);
    run.guest.keep_upgrade();
    for run in [&mut run, &mut twin] {
        run.ask("add", b"\x92\xa4anna\x01");
    }
    assert_eq!(run.guest.digest(), twin.guest.digest());
    assert_eq!(run.guest.fuel_used(), twin.guest.fuel_used());
}

#[test]
fn what_fails_leaves_the_guest_as_it_was() {
    for (word, expected) in [
        (
            "load-trap",
            "the new module can't take the state: the guest panicked in the upgrade: it was asked to load-trap",
        ),
        (
            "load-loop",
            "the new module can't take the state: it takes more fuel than the 1000000000 that the upgrade gives",
        ),
        ("load-eat", "the new module can't take the state: "),
        (
            "load-refuse",
            "the new module can't take the state: the state of version 1 can't be read as `Ledger`: it was asked",
        ),
        (
            "save-trap",
            "the module that runs can't give its state away: the guest panicked in the upgrade: it was asked",
        ),
        ("save-loop", "the module that runs can't give its state away: it takes more fuel than the 1000000000 that"),
        ("save-eat", "the module that runs can't give its state away: "),
    ] {
        let mut run = Run::fated(word);
        let fault = refusal(run.upgrade(&upgrade(ONE, FAULTY)));
        assert!(fault.reason.starts_with(expected), "{word}: {fault}");
        run.check_untouched(Run::fated(word));
        if word.starts_with("load") {
            // It is not the end: another build takes over.
            run.upgrade(&upgrade(ONE, TWO)).expect("it takes over");
        }
    }
}

#[test]
fn an_undo_makes_the_guest_what_it_was() {
    for word in ["", "load-stranger"] {
        let mut run = Run::fated(word);
        let world = run.world.clone();
        run.upgrade(&upgrade(ONE, FAULTY)).expect("the core is to find the fault");
        assert_eq!(run.ask("report", b"\x90"), b"\x93\x03\x02\x0c");
        run.guest.undo_upgrade().expect("it can be put back");
        run.world = world;
        run.delivered.clear();
        run.last_call -= 1;
        run.check_untouched(Run::fated(word));
    }
}

/// A delta may rest on nothing from before an upgrade, tried or done.
#[test]
fn changes_are_not_counted_across_an_upgrade() {
    let has_no_base = |guest: &mut WasmGuest| matches!(guest.capture_changes(), Err(CaptureError::NoBase));
    let mut run = Run::fated("load-trap");
    run.guest.capture_all().expect("it can be captured");
    run.guest.capture_changes().expect("since then");
    refusal(run.upgrade(&upgrade(ONE, FAULTY)));
    assert!(has_no_base(&mut run.guest));
    run.guest.capture_all().expect("it can be captured");
    run.upgrade(&upgrade(ONE, TWO)).expect("it takes over");
    assert!(has_no_base(&mut run.guest));
    run.guest.undo_upgrade().expect("it can be put back");
    assert!(has_no_base(&mut run.guest));
    run.upgrade(&upgrade(ONE, ONE)).expect("other limits");
    assert!(has_no_base(&mut run.guest));
}

#[test]
fn handlers_that_wait_are_named_begin_again_or_are_ended() {
    let begin = |method: &str| {
        let mut run = Run::fated("");
        let call = run.begin(method, b"\x92\xa5other\x03");
        let waiting = run.effects().into_iter().find(|effect| effect.1 == MessageKind::Waiting);
        assert_eq!(waiting.map(|effect| effect.3), Some(vec![1, 0, 0, 0, 0, 0, 0, 0]));
        run.world.time = Timestamp(run.world.time.0 + 3_100_000_000);
        (run, call)
    };
    let (mut run, call) = begin("add_there");
    let waits = run.upgrade(&upgrade(ONE, TWO)).expect_err("one waits");
    let expected = "1 handler waits and can't go on in the new code: add_there awaits add of other (3.1 s).";
    assert!(matches!(&waits, HandoverError::Waits(report) if report.starts_with(expected)), "{waits}");
    let (twin, _) = begin("add_there");
    let mut untouched = twin;
    untouched.delivered.clear();
    assert_eq!((run.guest.digest(), &run.world), (untouched.guest.digest(), &untouched.world));
    run.upgrade(&Upgrade { end_waiting: true, ..upgrade(ONE, TWO) }).expect("it is ended");
    let ended = (MessageKind::Error, b"\xb1ended by an upgrade"[..].to_vec());
    assert_eq!(run.answer(call), Some(with_head(ended)));

    let (mut run, call) = begin("ask_there");
    let old_call = run.effects().into_iter().find(|effect| effect.1 == MessageKind::Call).expect("it calls").2;
    run.upgrade(&upgrade(ONE, TWO)).expect("it begins again");
    let (other, _, new_call, _) =
        run.effects().into_iter().find(|effect| effect.1 == MessageKind::Call).expect("it calls again");
    assert_ne!(old_call, new_call);
    run.deliver(other, MessageKind::Reply, "", old_call, b"\x01");
    assert_eq!(run.answer(call), None, "an answer to the old code is none");
    run.deliver(other, MessageKind::Reply, "", new_call, b"\x09");
    assert_eq!(run.answer(call), Some((MessageKind::Reply, b"\x81\xa2Ok\x92\x02\x09".to_vec())));
}

/// The head of a text is that of its length.
fn with_head((kind, mut text): (MessageKind, Vec<u8>)) -> (MessageKind, Vec<u8>) {
    text[0] = 0xa0 | (text.len() - 1) as u8;
    (kind, text)
}

#[test]
fn a_ticker_ends_with_its_code_and_its_timer() {
    let mut run = Run::fated("");
    run.begin("tick", b"\x91\x64");
    let timer = run.effects().into_iter().find(|effect| effect.1 == MessageKind::SetTimer).expect("it sleeps").2;
    assert!(!run.effects().iter().any(|effect| effect.1 == MessageKind::Waiting), "nobody waits for it");
    run.upgrade(&upgrade(ONE, TWO)).expect("it takes over");
    assert!(run.effects().contains(&(PeerIndex::OUTSIDE, MessageKind::CancelTimer, timer, Vec::new())));
}

#[test]
fn the_same_module_keeps_its_memory_and_its_handlers_with_other_limits() {
    let mut run = Run::fated("");
    let call = run.begin("add_there", b"\x92\xa5other\x03");
    let asked = run.effects().into_iter().find(|effect| effect.1 == MessageKind::Call).expect("it calls");
    let digest = run.guest.digest();
    let more = Limits { fuel: 2 * LIMITS.fuel, memory_bytes: 2 * LIMITS.memory_bytes };
    run.upgrade(&Upgrade { limits: more, ..upgrade(ONE, ONE) }).expect("more is more");
    assert_eq!((run.guest.digest(), &run.delivered), (digest, &Delivered::default()));
    run.deliver(asked.0, MessageKind::Reply, "", asked.2, b"\x09");
    assert_eq!(run.answer(call), Some((MessageKind::Reply, b"\x81\xa2Ok\x92\x01\x09".to_vec())));
    let less = Limits { memory_bytes: 64 << 10, ..LIMITS };
    let fault = refusal(run.upgrade(&Upgrade { limits: less, ..upgrade(ONE, ONE) }));
    assert!(fault.reason.contains("of memory already"), "{fault}");
    // What it does with fuel is bound by the new limit.
    let little = Limits { fuel: 1000, ..LIMITS };
    run.upgrade(&Upgrade { limits: little, ..upgrade(ONE, ONE) }).expect("less is less");
    let mut runs = Vec::new();
    let begun = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
    let arguments = b"\x91\xcd\x27\x10";
    push_message(
        &mut runs,
        Message { kind: MessageKind::Impulse, method: MethodId::of("fill"), call_id: CallId(0), arguments },
    );
    finish_run(&mut runs, begun, 1);
    let fault = run.guest.deliver(&runs, &mut run.world, &mut Delivered::default()).expect_err("it has no fuel");
    assert!(fault.reason.contains("limit of 1000"), "{fault}");
}

#[test]
fn a_state_beyond_the_new_limit_of_memory_is_refused() {
    let mut run = Run::fated("");
    run.ask("fill", b"\x91\xcd\x9c\x40");
    let small = Limits { memory_bytes: 2 << 20, ..LIMITS };
    let given = Upgrade { limits: small, handover_fuel: limits::FUEL_DEFAULT, ..upgrade(ONE, TWO) };
    let fault = refusal(run.upgrade(&given));
    assert!(fault.reason.starts_with("the new module can't take the state: "), "{fault}");
    run.upgrade(&Upgrade { limits: LIMITS, ..given }).expect("with more it takes over");
}

#[test]
fn who_has_no_interface_is_said() {
    let fault = refusal(Run::of(SETTLED).upgrade(&upgrade(SETTLED, TWO)));
    assert!(fault.reason.contains("the module that runs can't give its state away, for it exports neither"), "{fault}");
    let mut run = Run::fated("");
    let fault = refusal(run.upgrade(&upgrade(ONE, SETTLED)));
    assert!(fault.reason.contains("the new module can't take the state of the one that runs"), "{fault}");
    assert!(fault.reason.contains("`#[ambrosia::state]`"), "{fault}");
    let fault = refusal(run.upgrade(&upgrade(ONE, [9; 32])));
    assert_eq!(fault.reason, "the store does not have it");
    run.delivered.clear();
    run.check_untouched(Run::fated(""));
    assert!(module(SETTLED).upgrades().is_err() && module(ONE).upgrades().is_ok());
}

#[test]
fn the_state_is_described() {
    let described = |hash| module(hash).state_type_within(LIMITS.memory_bytes).expect("it describes it");
    let one = described(ONE).expect("it has a state");
    assert_eq!((one.name.as_str(), one.version), ("Ledger", 1));
    assert_eq!(
        one.ty.to_string(),
        "record { totals: map<string, u64>, handled: u64, ticks: u64, fate: string, peers: list<string> }"
    );
    assert_eq!(described(TWO).expect("it has a state").version, 2);
    assert_eq!(described(SETTLED), None);
}

/// For whoever looks at a copy.
#[test]
fn the_state_can_be_looked_at() {
    let mut run = Run::fated("");
    run.begin("add_there", b"\x92\xa5other\x03");
    let state = run.guest.into_state(&run.world, FUEL).expect("it saves").expect("it has a state");
    assert_eq!(state.version, 1);
    let waiting = WaitingHandler {
        handler: "add_there".to_owned(),
        awaits: "add of other".to_owned(),
        since: Timestamp(1_000_000_000),
    };
    assert_eq!(state.waiting, [waiting]);
    let expected = b"\x85\xa6totals\x82\xa4anna\x05\xa3ben\x07\xa7handled\x02\xa5ticks\x00\xa4fate\xa0\xa5peers\x90";
    assert_eq!(state.state, expected);
    assert_eq!(Run::of(SETTLED).guest.into_state(&run.world, FUEL), Ok(None));
    let fault = Run::fated("save-trap").guest.into_state(&run.world, FUEL).expect_err("it traps");
    assert!(fault.reason.contains("it was asked to save-trap"), "{fault}");
}
