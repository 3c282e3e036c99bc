//! A reign of another engine: who may take over from it.

use ambrosia_core::{
    CheckpointState, DigestBody, Epoch, Lsn, Record, RecordKind, Replica, ReplicaIndex, Timestamp,
    member::{CheckpointHead, Command, Ending, MemberInput, MemberSettings, Next, Notice},
};

use crate::bench::{Bench, ENGINE, Nothing, genesis, settings};

const OTHER: [u8; 32] = [8; 32];

fn vacant(over: u64) -> MemberInput<Nothing> {
    MemberInput::Vacant { over: Epoch(over), is_stuck: false }
}

fn in_doubt(over: u64, since: u64) -> Command {
    Command::Tell(Notice::EngineInDoubt { over: Epoch(over), since: Lsn(since) })
}

/// A standby in epoch 1, which is of another engine, that has handled record 3.
fn behind_another() -> Bench {
    let mut bench = Bench::standby();
    let epoch = bench.epoch_record(OTHER);
    let told = Command::Tell(Notice::OtherEngine { epoch: Epoch(1), lsn: Lsn(2) });
    assert_eq!(bench.read(vec![epoch]), [told, Command::Read]);
    let record = bench.impulse_record();
    assert_eq!(bench.read(vec![record]), [Command::AskForCheckpoint, Command::Read], "a digest comes with it");
    bench
}

fn take_over(bench: &mut Bench, records: Vec<Record>) -> Vec<Command> {
    let epoch = bench.log.last().expect("genesis").header().epoch;
    let wall = bench.surroundings.wall;
    bench.on(MemberInput::Acquired { epoch, records, wall })
}

fn kinds(bench: &Bench) -> Vec<RecordKind> {
    bench.seen.appended.iter().map(|record| record.header().kind).collect()
}

#[test]
fn whoever_has_not_compared_itself_does_not_take_over_from_another_engine_and_does_once_it_has() {
    let mut bench = behind_another();
    assert_eq!(bench.on(vacant(1)), [in_doubt(1, 3)]);
    assert_eq!(bench.on(vacant(1)), [], "it is told once");
    // It was durable before, and is read only now.
    let digest = bench.digest_record(None);
    let agrees = Command::Tell(Notice::EnginesAgree(Lsn(4)));
    assert_eq!(bench.read(vec![digest]), [agrees, Command::Acquire(Epoch(1))]);
}

#[test]
fn a_vacancy_that_was_not_taken_is_forgotten_when_another_replica_has_it() {
    let mut bench = behind_another();
    bench.on(vacant(1));
    let epoch = bench.epoch_record(OTHER);
    assert_eq!(bench.read(vec![epoch]), [Command::WatchOn, Command::Read]);
    let digest = bench.digest_record(None);
    assert_eq!(bench.read(vec![digest]), [Command::Tell(Notice::EnginesAgree(Lsn(5))), Command::Read]);
    assert_eq!(bench.on(vacant(2)), [Command::Acquire(Epoch(2))]);
}

#[test]
fn a_comparison_is_asked_for_again_while_there_is_none() {
    let mut bench = behind_another();
    let Next::After(Some(wait)) = bench.turn() else { panic!("it asks again by itself") };
    assert_eq!(bench.commands(), []);
    bench.pass(wait);
    bench.turn();
    assert_eq!(bench.commands(), [Command::AskForCheckpoint]);
    let digest = bench.digest_record(None);
    bench.read(vec![digest]);
    assert_eq!(bench.turn(), Next::After(None));
}

#[test]
fn an_operator_may_give_up_what_is_not_known() {
    let mut bench = Bench::begin(MemberSettings { allow_engine_change: true, ..settings() });
    bench.commands();
    bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
    bench.on(MemberInput::Opened(0));
    bench.epoch_record(OTHER);
    bench.impulse_record();
    let records = bench.log.clone();
    bench.on(MemberInput::Read { records, durable: Lsn(3), published: Lsn(0) });
    bench.on(MemberInput::Made(Nothing::default()));
    bench.read(Vec::new());
    assert_eq!(bench.on(vacant(1)), [Command::Acquire(Epoch(1))]);
}

#[test]
fn a_replica_that_does_not_agree_with_another_engine_stops() {
    let mut bench = behind_another();
    let (mut body, epoch) = (Vec::new(), Epoch(1));
    DigestBody { state: 1, memory: 0, checkpoint_by: None }.encode(&mut body);
    let digest = bench.push(RecordKind::Digest, epoch, &body);
    let ended = bench.read(vec![digest]);
    assert!(matches!(&ended[..], [Command::End(Ending::Diverged(found))] if found.lsn == Lsn(3)), "{ended:?}");
}

/// Its primary has handled the record, as far as anybody knows.
#[test]
fn a_guest_that_fails_here_alone_is_not_written_down_to_have_halted() {
    for (engine, is_written_down) in [(OTHER, false), (ENGINE, true)] {
        let mut bench = Bench::standby();
        let records = vec![bench.epoch_record(engine), bench.poison_record()];
        bench.read(records);
        let ended = bench.on(MemberInput::Mending { is_mended: false, wish: None });
        assert!(matches!(ended.last(), Some(Command::End(Ending::Halted { lsn: Lsn(3), .. }))), "{ended:?}");
        assert_eq!(ended.iter().any(|command| matches!(command, Command::WriteDown(_))), is_written_down);
    }
}

/// The last records of a primary that died are known only to who takes over.
#[test]
fn a_candidate_that_finds_what_it_can_not_vouch_for_gives_the_reign_up_and_is_in_doubt_ever_after() {
    let mut bench = Bench::standby();
    let epoch = bench.epoch_record(OTHER);
    bench.read(vec![epoch]);
    assert_eq!(bench.on(vacant(1)), [Command::Acquire(Epoch(1))], "it has handled nothing");
    let records = vec![bench.impulse_record(), bench.epoch_record(ENGINE)];
    assert_eq!(take_over(&mut bench, records), [in_doubt(2, 3), Command::Close]);
    assert_eq!(bench.on(MemberInput::Closed), [Command::Abandon, Command::ListCheckpoints]);
    bench.on(MemberInput::Listed { checkpoints: Vec::new(), published: Lsn(0) });
    bench.on(MemberInput::Opened(0));
    let records = bench.log.clone();
    bench.on(MemberInput::Read { records, durable: Lsn(4), published: Lsn(0) });
    bench.on(MemberInput::Made(Nothing::default()));
    bench.read(Vec::new());
    assert_eq!(bench.on(vacant(2)), [in_doubt(2, 3)], "that it was primary for a moment vouches for nothing");
}

#[test]
fn whoever_takes_over_from_another_engine_has_the_others_compare_themselves() {
    let mut bench = behind_another();
    let digest = bench.digest_record(None);
    bench.read(vec![digest]);
    bench.on(vacant(1));
    let record = bench.epoch_record(ENGINE);
    take_over(&mut bench, vec![record]);
    while bench.turn() == Next::Again {}
    assert!(kinds(&bench).contains(&RecordKind::Digest), "{:?}", kinds(&bench));
    let mut bench = Bench::primary();
    while bench.turn() == Next::Again {}
    assert!(!kinds(&bench).contains(&RecordKind::Digest), "from its own engine it is nothing new");
}

#[test]
fn a_reign_that_is_handed_over_ends_with_a_digest() {
    let mut bench = Bench::primary();
    assert_eq!(bench.on(MemberInput::Shutdown), [Command::Close]);
    assert_eq!(kinds(&bench).last(), Some(&RecordKind::Digest));
}

#[test]
fn a_replica_that_begins_at_a_checkpoint_of_another_engine_vouches_for_what_it_has_not_handled_only() {
    for handles in [false, true] {
        let mut bench = Bench::begin(settings());
        let replica = Replica::new(&genesis().record(Timestamp(100)), Nothing::default()).expect("genesis is sound");
        let state = CheckpointState::decode(&replica.checkpoint().to_vec().into()).expect("it was just written");
        let (lsn, module, engine) = (Lsn(1), state.module(), OTHER);
        let head = CheckpointHead { lsn, module, engine, state_digest: replica.digest(), memory_digest: 0 };
        bench.commands();
        bench.on(MemberInput::Listed { checkpoints: vec![lsn], published: lsn });
        assert_eq!(bench.on(MemberInput::Loaded { head, state: Box::new(state) }), [Command::Restore]);
        bench.on(MemberInput::Made(Nothing::default()));
        bench.on(MemberInput::Opened(replica.link()));
        let records = if handles { vec![bench.impulse_record()] } else { Vec::new() };
        bench.read(records);
        bench.read(Vec::new());
        let wanted = bench.on(vacant(0));
        assert_eq!(wanted, [if handles { in_doubt(0, 2) } else { Command::Acquire(Epoch(0)) }]);
        assert_eq!(bench.member.engine_of_reign(), Some(OTHER));
    }
}

#[test]
fn who_takes_a_checkpoint_says_which_engine_reigns() {
    let mut bench = behind_another();
    let digest = bench.digest_record(Some(ReplicaIndex(0)));
    let wanted = bench.read(vec![digest]);
    assert!(wanted.contains(&Command::Capture { at: Lsn(4), parent: None }), "{wanted:?}");
    assert_eq!(bench.member.engine_of_reign(), Some(OTHER));
    assert_eq!(bench.turn(), Next::After(None));
}
