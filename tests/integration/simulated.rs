//! The simulator with the real guest engine: the model as a component runs beside the model in plain Rust, through all
//! that befalls a simulated cluster.

use std::rc::Rc;

use ambrosia_core::{
    CallId, Delivered, Fault, Genesis, Guest, InstanceName, InstanceUuid, Limits, Message, MessageKind, MethodId,
    PeerIndex, Peers, Print, PrintStream, Random, Seq, Timestamp, World, begin_run, finish_run, limits, push_message,
};
use ambrosia_engine::{Engine, Module};
use ambrosia_sim::{Failure, FaultKind, MakeGuest, Model, Options, Report, SimGuest, Twin, models, run, twins};

use crate::support::cluster;

/// Long enough for takeovers in most runs, short enough for all of them in a few seconds.
const STORM: u64 = 1_000_000_000;

fn simulate(seed: u64, make_guest: Rc<MakeGuest>) -> Result<Report, Failure> {
    let mut options = Options::draw(seed);
    options.storm = options.storm.min(STORM);
    // A checkpoint of the component has other sizes, and only the model knows of other code: both are to run the same.
    options.checkpoints = None;
    options.faults.retain(|kind| !matches!(kind, FaultKind::Upgrade | FaultKind::Poison));
    run(seed, &options, make_guest, false)
}

/// The model as a component.
fn component() -> Module {
    let bytes = std::fs::read(cluster().guest("model")).expect("`make guests` has built it");
    let engine = Engine::new().expect("this machine runs guests");
    engine.load(&bytes).expect("the model is an immortal")
}

#[test]
fn the_component_does_what_the_model_does_through_every_storm() {
    let (alone, twins): (Rc<MakeGuest>, Rc<MakeGuest>) = (Rc::new(models()), Rc::new(twins(component())));
    let (mut takeovers, mut prints) = (0, 0);
    for seed in 1..=10 {
        let of_twins = simulate(seed, Rc::clone(&twins)).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        let of_model = simulate(seed, Rc::clone(&alone)).unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        assert_eq!(of_twins, of_model, "seed {seed} runs as it does with the model alone");
        takeovers += of_twins.counts.takeovers;
        prints += of_twins.counts.prints;
    }
    assert!(takeovers > 10 && prints > 10, "the runs have seen something: {takeovers} takeovers, {prints} prints");
}

#[test]
fn the_component_is_captured_and_restored_by_the_engine_through_every_storm() {
    let twins: Rc<MakeGuest> = Rc::new(twins(component()));
    let mut restored = 0;
    for seed in 1..=20 {
        let mut options = Options::draw(seed);
        options.storm = options.storm.min(STORM);
        let report = run(seed, &options, Rc::clone(&twins), false);
        restored += report.unwrap_or_else(|failure| panic!("seed {seed}: {failure}")).counts.checkpoints_restored;
    }
    assert!(restored > 100, "{restored} restores only");
}

#[test]
fn what_the_model_finds_wrong_is_a_fault_of_the_component_too() {
    let name = InstanceName::new("i0").expect("a plain name");
    let limits = Limits { fuel: limits::FUEL_DEFAULT, memory_bytes: limits::MEMORY_BYTES_DEFAULT };
    let genesis = Genesis { uuid: InstanceUuid([1; 16]), module: [1; 32], seed: 1, limits, name: name.clone() };
    let mut world = World {
        name,
        time: Timestamp(1),
        peers: Peers::default(),
        random: Random::new(1),
        configuration: Default::default(),
    };
    let mut runs = Vec::new();
    let run = begin_run(&mut runs, PeerIndex::OUTSIDE, Seq(0));
    push_message(
        &mut runs,
        Message { kind: MessageKind::Primary, method: MethodId(0), call_id: CallId(0), arguments: &[] },
    );
    finish_run(&mut runs, run, 1);

    let mut component = component().instantiate(&genesis).expect("the component starts");
    let of_component = component.deliver(&runs, &mut world.clone(), &mut Delivered::default()).expect_err("no start");
    let of_model = Model::default().deliver(&runs, &mut world, &mut Delivered::default()).expect_err("no start");
    assert_eq!(of_model.reason, "start comes first and once");
    assert!(of_component.stderr.contains(&of_model.reason), "the component's fault is another: {of_component:?}");
}

/// What a guest does otherwise than the model.
type Difference = fn(&mut World, &mut Delivered) -> Result<(), Fault>;

/// The model for so many deliveries; then it differs.
struct Differing {
    model: Model,
    same: u32,
    how: Difference,
}

impl Guest for Differing {
    fn deliver(&mut self, runs: &[u8], world: &mut World, delivered: &mut Delivered) -> Result<(), Fault> {
        self.model.deliver(runs, world, delivered)?;
        if self.same == 0 {
            return (self.how)(world, delivered);
        }
        self.same -= 1;
        Ok(())
    }
}

fn fails_with(expected: &str, how: Difference) {
    let make_guest = move |_: &Genesis| {
        let other = Differing { model: Model::default(), same: 20, how };
        Box::new(Twin::new(Model::default(), other)) as Box<dyn SimGuest>
    };
    let failure = simulate(1, Rc::new(make_guest)).expect_err("the two guests differ");
    assert!(failure.what.contains(expected), "expected {expected:?}, and what failed is {failure}");
}

#[test]
fn a_guest_that_differs_from_the_model_fails_the_run() {
    fails_with("both guests bring about the same", |_, delivered| {
        delivered.effects.push(0);
        Ok(())
    });
    fails_with("both guests print the same", |_, delivered| {
        delivered.prints.push(Print { stream: PrintStream::Stdout, bytes: b"more".into() });
        Ok(())
    });
    fails_with("both guests leave the same world", |world, _| {
        world.random.next_u64();
        Ok(())
    });
    fails_with("both guests fail or none", |_, _| {
        Err(Fault { reason: "by itself".to_owned(), backtrace: String::new(), stderr: String::new() })
    });
}
