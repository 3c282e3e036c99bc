//! What a member decides, step by step. What comes of it in a cluster the simulator sees.

mod bench;
mod engines;
mod inquiries;
mod mends;
mod queries;
mod wishes;

use std::time::Duration;

use ambrosia_core::{
    CheckpointState, ConnectionId, Epoch, InstanceName, InstanceUuid, Lsn, Output, RecordKind, Refusal, Replica,
    ReplicaIndex, Timestamp, Traffic,
    member::{
        CheckpointEvent, CheckpointHead, Command, Ending, Flow, LogEvent, MemberInput, MemberSettings, Next, Notice,
        Other, OtherRole, StopCause, Unusable, Verdict, check_head,
    },
};
use bench::{Bench, ME, SILENCE, genesis, settings};

const OTHER: ReplicaIndex = ReplicaIndex(1);
const OPERATOR: ConnectionId = ConnectionId(5);

fn unusable(reason: &str, vanished: bool) -> MemberInput<bench::Nothing> {
    MemberInput::Unusable { reason: reason.to_owned(), vanished }
}

fn told(lsn: u64, reason: &str) -> Command {
    Command::Tell(Notice::Unusable { lsn: Lsn(lsn), reason: reason.to_owned() })
}

fn listed(checkpoints: &[u64]) -> MemberInput<bench::Nothing> {
    let checkpoints: Vec<_> = checkpoints.iter().map(|lsn| Lsn(*lsn)).collect();
    let published = checkpoints.last().copied().unwrap_or_default();
    MemberInput::Listed { checkpoints, published }
}

fn trimmed(first: u64, published: u64) -> MemberInput<bench::Nothing> {
    MemberInput::Trimmed { first: Lsn(first), published: Lsn(published) }
}

fn other(role: OtherRole, applied: u64, heartbeat_age: Duration) -> Other {
    Other { replica: OTHER, role, applied: Lsn(applied), ready: 0, heartbeat_age }
}

fn others(running: &[Other], fence: u64) -> MemberInput<bench::Nothing> {
    MemberInput::Others { running: Some(running.to_vec()), fence: Epoch(fence) }
}

fn durable(epoch: u64, lsn: u64) -> MemberInput<bench::Nothing> {
    MemberInput::Log { epoch: Epoch(epoch), event: LogEvent::Durable(Lsn(lsn)) }
}

#[test]
fn a_recovery_tries_the_newest_checkpoint_then_older_ones_then_the_log_and_says_why_each_failed() {
    let mut bench = Bench::begin(settings());
    bench.commands();
    assert_eq!(bench.on(listed(&[10, 20])), [Command::Load(Lsn(20))]);
    assert_eq!(bench.on(unusable("damaged", false)), [told(20, "damaged"), Command::Load(Lsn(10))]);
    assert_eq!(bench.on(unusable("gone bad", false)), [told(10, "gone bad"), Command::Open(Lsn(1))]);
    let ended = bench.on(trimmed(5, 20));
    let [Command::End(Ending::NothingToBeginAt { first: Lsn(5), reasons })] = &ended[..] else { panic!("{ended:?}") };
    assert!(reasons.contains("lsn 20: damaged") && reasons.contains("lsn 10: gone bad"), "{reasons}");
    assert!(bench.member.has_ended());
}

#[test]
fn a_checkpoint_is_put_back_into_the_module_that_its_state_names_or_not_at_all() {
    let replica = Replica::new(&genesis().record(Timestamp(100)), bench::Nothing::default()).expect("genesis is sound");
    let read = CheckpointState::decode(&replica.checkpoint().to_vec().into()).expect("it was just written");
    assert_eq!((read.module(), replica.module()), (genesis().module, genesis().module));
    let head = CheckpointHead {
        lsn: Lsn(1),
        module: read.module(),
        engine: bench::ENGINE,
        state_digest: replica.digest(),
        memory_digest: 0,
    };
    assert_eq!(check_head(&head, &read), Ok(()));
    let foreign = CheckpointHead { module: [9; 32], ..head };
    assert_eq!(check_head(&foreign, &read), Err(Unusable::Module));
}

#[test]
fn a_recovery_that_trimming_overtakes_looks_again_but_not_for_ever() {
    let mut bench = Bench::begin(settings());
    bench.commands();
    bench.on(listed(&[10]));
    bench.on(unusable("no such file", true));
    assert_eq!(bench.on(trimmed(5, 10)), [Command::ListCheckpoints], "it vanished, so another one took its place");
    bench.on(listed(&[10]));
    bench.on(unusable("no such file", true));
    let ended = bench.on(trimmed(5, 10));
    assert!(
        matches!(&ended[..], [Command::End(Ending::NothingToBeginAt { .. })]),
        "the same list is no news: {ended:?}"
    );

    let mut bench = Bench::begin(settings());
    bench.commands();
    assert_eq!(bench.on(listed(&[])), [Command::Open(Lsn(1))]);
    assert_eq!(bench.on(trimmed(5, 30)), [Command::ListCheckpoints], "one was published meanwhile");
    assert_eq!(bench.on(listed(&[30])), [Command::Load(Lsn(30))]);
}

#[test]
fn from_the_beginning_means_from_as_far_back_as_the_log_goes() {
    let mut bench = Bench::begin(MemberSettings { from_beginning: true, ..settings() });
    bench.commands();
    assert_eq!(bench.on(listed(&[10, 20, 30])), [Command::Open(Lsn(1))]);
    assert_eq!(bench.on(trimmed(15, 30)), [Command::Load(Lsn(20))], "10 is there only since others rest on it");
    assert_eq!(bench.on(unusable("damaged", false)), [told(20, "damaged"), Command::Load(Lsn(30))]);
}

#[test]
fn a_standby_hears_of_vacancies_once_it_has_all_that_is_durable() {
    let mut bench = Bench::standby();
    assert_eq!(bench.turn(), Next::After(None));
    bench.epoch_record(bench::ENGINE);
    let record = bench.log[1].clone();
    assert_eq!(bench.read(vec![record]), [Command::Read]);
    let wanted = bench.on(MemberInput::Vacant { over: Epoch(1), is_stuck: false });
    assert_eq!(wanted, [Command::Acquire(Epoch(1))]);
    assert_eq!(bench.on(MemberInput::Vacant { over: Epoch(1), is_stuck: false }), [], "one try is under way");
}

#[test]
fn a_standby_that_could_not_see_how_far_the_log_goes_catches_up_once_it_can() {
    let mut bench = Bench::begin(bench::settings());
    bench.commands();
    bench.on(listed(&[]));
    bench.on(MemberInput::Opened(0));
    let unseen = Lsn(u64::MAX);
    bench.on(MemberInput::Read { records: bench.log.clone(), durable: unseen, published: Lsn(0) });
    bench.on(MemberInput::Made(bench::Nothing::default()));
    let nothing = |durable| MemberInput::Read { records: Vec::new(), durable, published: Lsn(0) };
    assert_eq!(bench.on(nothing(unseen)), [Command::Read]);
    assert!(bench.on(nothing(Lsn(1))).contains(&Command::Watch), "it has all that is durable");
}

#[test]
fn a_candidate_that_was_too_late_reads_on_and_waits_for_the_next_vacancy() {
    let mut bench = Bench::standby();
    bench.on(MemberInput::Vacant { over: Epoch(0), is_stuck: false });
    assert_eq!(bench.on(MemberInput::Contended), [Command::Open(Lsn(2))]);
    assert_eq!(bench.on(MemberInput::Opened(7)), [Command::WatchOn, Command::Read]);
}

#[test]
fn a_candidate_whose_log_can_not_be_reached_follows_it_again_once_it_can() {
    let mut bench = Bench::standby();
    let vacant = MemberInput::Vacant { over: Epoch(0), is_stuck: false };
    assert_eq!(bench.on(vacant), [Command::Acquire(Epoch(0))]);
    assert_eq!(bench.on(MemberInput::Away), [], "it is not tried again at once");
    for _ in 0..2 {
        let Next::After(Some(wait)) = bench.turn() else { panic!("it tries again by itself") };
        assert_eq!(bench.commands(), []);
        bench.pass(wait);
        assert_eq!(bench.turned(), [Command::Open(Lsn(2))]);
        assert_eq!(bench.on(MemberInput::Away), []);
    }
    let Next::After(Some(wait)) = bench.turn() else { panic!("it tries again by itself") };
    bench.pass(wait);
    assert_eq!(bench.turned(), [Command::Open(Lsn(2))]);
    assert_eq!(bench.on(MemberInput::Opened(0)), [Command::WatchOn, Command::Read]);
    let vacant = MemberInput::Vacant { over: Epoch(0), is_stuck: false };
    assert_eq!(bench.on(vacant), [Command::Acquire(Epoch(0))], "nobody was faster");
}

#[test]
fn a_candidate_whose_log_was_trimmed_begins_anew_if_there_is_a_checkpoint() {
    let mut bench = Bench::standby();
    bench.on(MemberInput::Vacant { over: Epoch(0), is_stuck: false });
    let anew = [Command::Tell(Notice::BeginsAnew(Lsn(2))), Command::Abandon, Command::ListCheckpoints];
    assert_eq!(bench.on(trimmed(9, 8)), anew);
    let mut bench = Bench::standby();
    let ended = bench.on(trimmed(9, 0));
    assert_eq!(ended, [Command::End(Ending::Overtaken { asked: Lsn(2), first: Lsn(9) })]);
}

#[test]
fn a_standby_whose_output_is_stuck_leaves_a_vacancy_to_others_for_their_time() {
    let mut bench = Bench::standby();
    let vacant = || MemberInput::Vacant { over: Epoch(0), is_stuck: true };
    assert_eq!(bench.on(vacant()), [Command::Look]);
    assert_eq!(bench.turn(), Next::After(Some(SILENCE)));
    assert_eq!(bench.on(others(&[], 0)), []);
    bench.pass(SILENCE / 2);
    assert_eq!(bench.read(Vec::new()), [Command::Look, Command::Read]);
    assert_eq!(bench.on(others(&[], 0)), [], "others have their time");
    bench.pass(SILENCE / 2);
    bench.read(Vec::new());
    let wanted = bench.on(others(&[], 0));
    assert_eq!(wanted, [Command::Tell(Notice::TakesWhatWasLeft), Command::Acquire(Epoch(0))]);

    let mut bench = Bench::standby();
    bench.on(vacant());
    let reigns = other(OtherRole::Primary, 1, Duration::ZERO);
    assert_eq!(bench.on(others(&[reigns], 0)), [Command::WatchOn], "somebody has taken it");
    bench.on(vacant());
    assert_eq!(bench.on(others(&[], 1)), [Command::WatchOn], "there is a later reign");
}

/// The state must not go on before it is captured, though more records were read already.
#[test]
fn a_standby_that_is_asked_for_a_checkpoint_stands_still_until_it_is_captured() {
    let mut bench = Bench::standby();
    let (epoch, asks) = (bench.epoch_record(bench::ENGINE), Some(ME));
    bench.read(vec![epoch]);
    let first = bench.digest_record(asks);
    let lsn = first.lsn();
    let second = bench.epoch_record(bench::ENGINE);
    let wanted = bench.read(vec![first, second]);
    assert_eq!(wanted, [Command::Capture { at: lsn, parent: None }]);
    assert_eq!(bench.member.replica().expect("it was built").applied(), lsn);
    let wanted = bench.on(MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(()))));
    assert_eq!(wanted, [Command::Write(lsn), Command::Read]);
    assert_eq!(bench.member.replica().expect("it was built").applied(), lsn.next());
    let wanted = bench.on(MemberInput::Checkpoint(CheckpointEvent::Written(Ok(()))));
    assert_eq!(wanted, [Command::Publish(lsn)], "what a standby reads is durable");
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Published(Ok(())))), [Command::Compact(lsn)]);
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Compacted(Ok(())))), [Command::Look]);
    let running = [other(OtherRole::Primary, 3, Duration::from_secs(59))];
    let wanted = bench.on(others(&running, 2));
    assert_eq!(wanted, [Command::Trim { keep: settings().keep, applied: vec![Lsn(3), lsn.next()] }]);
}

/// What it makes unnecessary is removed meanwhile, which keeps nobody waiting.
#[test]
fn the_next_checkpoint_is_captured_while_the_one_before_is_tidied_and_written_after_it() {
    let mut bench = Bench::standby();
    let (epoch, asks) = (bench.epoch_record(bench::ENGINE), Some(ME));
    bench.read(vec![epoch]);
    let first = bench.digest_record(asks);
    let before = first.lsn();
    bench.read(vec![first]);
    for event in [CheckpointEvent::Captured(Ok(())), CheckpointEvent::Written(Ok(()))] {
        bench.on(MemberInput::Checkpoint(event));
    }
    bench.surroundings.published = before;
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Published(Ok(())))), [Command::Compact(before)]);
    let second = bench.digest_record(asks);
    let at = second.lsn();
    assert_eq!(bench.read(vec![second]), [Command::Capture { at, parent: Some(before) }]);
    let third = bench.digest_record(asks);
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(())))), [Command::Read]);
    assert_eq!(bench.read(vec![third]), [Command::Read], "two are under way");
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Compacted(Ok(())))), [Command::Look]);
    assert_eq!(bench.on(others(&[], 1)), [Command::Trim { keep: settings().keep, applied: vec![at.next()] }]);
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Tidied(Ok(())))), [Command::Write(at)]);
    assert_eq!(bench.on(MemberInput::Checkpoint(CheckpointEvent::Written(Ok(())))), [Command::Publish(at)]);
}

#[test]
fn a_look_at_the_others_that_began_before_a_checkpoint_counted_does_not_do_for_what_it_lets_go() {
    let mut bench = Bench::standby();
    let (epoch, asks) = (bench.epoch_record(bench::ENGINE), Some(ME));
    bench.read(vec![epoch]);
    let record = bench.digest_record(asks);
    bench.read(vec![record]);
    for event in
        [CheckpointEvent::Captured(Ok(())), CheckpointEvent::Written(Ok(())), CheckpointEvent::Published(Ok(()))]
    {
        bench.on(MemberInput::Checkpoint(event));
    }
    let vacant = MemberInput::Vacant { over: Epoch(1), is_stuck: true };
    assert_eq!(bench.on(vacant), [Command::Look]);
    // Nobody has answered, and one that needs the older one may begin now.
    let compacted = MemberInput::Checkpoint(CheckpointEvent::Compacted(Ok(())));
    assert_eq!(bench.on(compacted), [Command::Look], "it is looked anew");
}

#[test]
fn whoever_was_silent_for_a_minute_keeps_nobody_from_trimming_and_who_is_not_known_keeps_all() {
    for (running, expected) in [
        (
            Some(vec![other(OtherRole::Standby, 1, Duration::from_secs(61))]),
            Command::Trim { keep: settings().keep, applied: vec![Lsn(3)] },
        ),
        (None, Command::Tell(Notice::OthersUnknown)),
    ] {
        let mut bench = Bench::standby();
        let (epoch, asks) = (bench.epoch_record(bench::ENGINE), Some(ME));
        bench.read(vec![epoch]);
        let record = bench.digest_record(asks);
        bench.read(vec![record]);
        for event in [
            CheckpointEvent::Captured(Ok(())),
            CheckpointEvent::Written(Ok(())),
            CheckpointEvent::Published(Ok(())),
            CheckpointEvent::Compacted(Ok(())),
        ] {
            bench.on(MemberInput::Checkpoint(event));
        }
        assert_eq!(bench.on(MemberInput::Others { running, fence: Epoch(1) }), [expected]);
    }
}

/// Brings a primary to where it has asked for the checkpoint that an operator wants, and says of whom at which record.
fn asked(bench: &mut Bench, running: &[Other]) -> Vec<Command> {
    assert_eq!(bench.on(MemberInput::CheckpointWanted(OPERATOR)), []);
    assert_eq!(bench.turned(), [Command::Look], "who has died since is not asked");
    assert_eq!(bench.on(others(running, 1)), []);
    bench.turned()
}

fn answer(verdict: Verdict) -> Command {
    Command::Answer { connection: OPERATOR, verdict }
}

#[test]
fn a_standby_that_was_asked_for_a_checkpoint_and_is_gone_is_replaced_and_the_operator_is_told() {
    let mut bench = Bench::primary();
    let standby = other(OtherRole::Standby, 2, Duration::ZERO);
    let at = Lsn(bench.seen.appended.len() as u64 + 3);
    assert_eq!(asked(&mut bench, &[standby]), [answer(Verdict::Asked { lsn: at, replica: OTHER })]);
    bench.pass(Duration::from_millis(251));
    assert_eq!(bench.turned(), [Command::Look]);
    bench.on(others(&[], 1));
    let wanted = bench.turned();
    assert_eq!(wanted, [Command::Tell(Notice::AskedOneIsGone(OTHER)), Command::Look]);
    bench.on(others(&[], 1));
    assert_eq!(bench.turned(), [Command::CopyAhead { parent: None }]);
    bench.on(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: false }));
    assert_eq!(bench.turned(), [Command::CopyAhead { parent: None }], "there is more");
    bench.on(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: true }));
    assert_eq!(bench.turned(), [Command::Capture { at: at.next(), parent: None }]);
    let wanted = bench.on(MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(()))));
    assert_eq!(wanted, [Command::Write(at.next()), answer(Verdict::Asked { lsn: at.next(), replica: ME })]);
    let wanted = bench.on(MemberInput::Checkpoint(CheckpointEvent::Written(Err("disk full".to_owned()))));
    let notice = Notice::NoCheckpoint { lsn: at.next(), reason: "disk full".to_owned() };
    assert_eq!(wanted, [Command::Tell(notice), answer(Verdict::Refused("disk full".to_owned()))]);
}

/// Nothing is written when nothing has happened, however often the member is asked what is due.
#[test]
fn a_capture_that_fails_is_not_tried_again_while_nothing_happens() {
    let mut bench = Bench::primary();
    asked(&mut bench, &[]);
    bench.on(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: true }));
    assert!(matches!(bench.turned()[..], [Command::Capture { .. }]));
    let reason = "it holds a file".to_owned();
    let wanted = bench.on(MemberInput::Checkpoint(CheckpointEvent::Captured(Err(reason.clone()))));
    assert!(wanted.contains(&answer(Verdict::Refused(reason))), "{wanted:?}");
    let appended = bench.seen.appended.len();
    for _ in 0..100 {
        bench.pass(Duration::from_secs(3));
        assert_eq!(bench.turned(), []);
    }
    assert_eq!(bench.seen.appended.len(), appended);
}

#[test]
fn a_checkpoint_of_a_primary_counts_once_its_record_is_durable_whatever_comes_first() {
    for written_first in [true, false] {
        let mut bench = Bench::primary();
        asked(&mut bench, &[]);
        bench.on(MemberInput::Checkpoint(CheckpointEvent::CopiedAhead { is_done: true }));
        let wanted = bench.turned();
        let [Command::Capture { at, .. }] = wanted[..] else { panic!("{wanted:?}") };
        bench.on(MemberInput::Checkpoint(CheckpointEvent::Captured(Ok(()))));
        let written = MemberInput::Checkpoint(CheckpointEvent::Written(Ok(())));
        assert_eq!(bench.on(durable(1, at.0 - 1)), []);
        let last = if written_first {
            assert_eq!(bench.on(written), [], "its record may still be lost");
            bench.on(durable(1, at.0))
        } else {
            assert_eq!(bench.on(durable(1, at.0)), []);
            bench.on(written)
        };
        assert_eq!(last, [Command::Publish(at)]);
    }
}

#[test]
fn what_is_said_of_another_reign_moves_nothing() {
    let mut bench = Bench::primary();
    let stopped = LogEvent::Stopped(StopCause::Failed("of another reign".to_owned()));
    assert_eq!(bench.on(MemberInput::Log { epoch: Epoch(0), event: stopped }), []);
    assert_eq!(bench.on(MemberInput::Fenced { by: Epoch(1) }), []);
    let wanted = bench.on(MemberInput::Fenced { by: Epoch(2) });
    let deposed = Notice::Deposed { own: Epoch(1), by: Epoch(2) };
    assert_eq!(wanted, [Command::Tell(deposed), Command::Abandon, Command::ListCheckpoints]);
    assert!(bench.member.replica().is_none(), "what it has executed may not be in the log");
}

#[test]
fn a_log_that_stands_is_told_and_moves_nothing_else() {
    let mut bench = Bench::primary();
    let (reason, waited) = ("no answer".to_owned(), Duration::from_secs(2));
    let event = LogEvent::Stalled { reason: reason.clone(), waited };
    let stands = Command::Tell(Notice::LogStands { reason, waited });
    assert_eq!(bench.on(MemberInput::Log { epoch: Epoch(1), event }), [stands]);
    let goes_on = Command::Tell(Notice::LogGoesOn);
    assert_eq!(bench.on(MemberInput::Log { epoch: Epoch(1), event: LogEvent::Resumed }), [goes_on]);
}

#[test]
fn a_log_that_fails_while_it_is_closed_is_not_a_good_end() {
    let mut bench = Bench::primary();
    assert_eq!(bench.on(MemberInput::Shutdown), [Command::Close]);
    let failed = LogEvent::Stopped(StopCause::Failed("no space".to_owned()));
    assert_eq!(bench.on(MemberInput::Log { epoch: Epoch(1), event: failed }), []);
    assert_eq!(bench.on(MemberInput::Closed), [Command::End(Ending::LogFailed("no space".to_owned()))]);
    let mut bench = Bench::primary();
    bench.on(MemberInput::Shutdown);
    assert_eq!(bench.on(MemberInput::Closed), [Command::End(Ending::Stopped { reigned: true })]);
}

#[test]
fn a_primary_whose_output_is_stuck_steps_down_for_a_standby_and_else_drops_prints() {
    let alive = other(OtherRole::Standby, 2, Duration::ZERO);
    let silent = other(OtherRole::Standby, 2, SILENCE);
    for (running, may_yield, yields) in [(vec![alive], true, true), (vec![silent], true, false), (vec![], true, false)]
    {
        let mut bench = Bench::primary();
        (bench.surroundings.output, bench.surroundings.may_yield) = (Flow::Stuck, may_yield);
        assert_eq!(bench.turned(), [Command::Look]);
        bench.on(others(&running, 1));
        let wanted = bench.turned();
        if yields {
            assert_eq!(wanted, [Command::Tell(Notice::StepsDownForOutput), Command::Yield, Command::Close]);
            assert_eq!(bench.on(MemberInput::Closed), [Command::Abandon, Command::ListCheckpoints]);
        } else {
            assert_eq!(wanted, [Command::DropPrints]);
        }
    }
    let mut bench = Bench::primary();
    (bench.surroundings.output, bench.surroundings.may_yield) = (Flow::Stuck, false);
    assert_eq!(bench.turned(), [Command::DropPrints], "it has stepped down in vain before");
}

#[test]
fn a_reign_goes_by_the_time_that_passes_and_tells_of_a_clock_that_jumps() {
    let mut bench = Bench::primary();
    let before = bench.member.reign_time(bench.now).expect("it reigns");
    bench.surroundings.wall = Timestamp(bench.surroundings.wall.0 + 3_600_000_000_000);
    assert_eq!(bench.turned(), [Command::Tell(Notice::ClockJumped(3_600_000_000_000))]);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.member.reign_time(bench.now), Some(Timestamp(before.0 + 1_000_000)));
}

const PEER: ConnectionId = ConnectionId(6);

/// A peer says that it is that life of the instance `other`.
fn hello(life: u8) -> Traffic {
    let name = InstanceName::new("other").expect("a plain name");
    Traffic::PeerConnected { connection: PEER, name, uuid: InstanceUuid([life; 16]), epoch: Epoch(1) }
}

/// What the member wants when such a peer says hello, and the registry has that life under the name.
fn welcome(bench: &mut Bench, life: u8, registered: Option<u8>) -> Vec<Command> {
    let name = InstanceName::new("other").expect("a plain name");
    let wanted = bench.on(MemberInput::Traffic(hello(life)));
    assert_eq!(wanted, [Command::LookUpPeer { name, traffic: hello(life) }]);
    let registered = registered.map(|life| InstanceUuid([life; 16]));
    bench.on(MemberInput::PeerLookedUp { traffic: hello(life), registered })
}

#[test]
fn a_peer_that_was_not_met_is_welcomed_if_the_registry_has_it_and_refused_if_it_has_another_or_none() {
    let mut bench = Bench::primary();
    let refused = [Command::Out(Output::Refuse { connection: PEER, reason: Refusal::NotRegistered })];
    assert_eq!(welcome(&mut bench, 1, Some(2)), refused);
    assert_eq!(welcome(&mut bench, 1, None), refused);
    let appended = bench.seen.appended.len();
    assert_eq!(welcome(&mut bench, 2, Some(2)), [], "the record that says so is not durable yet");
    assert_eq!(bench.seen.appended.len(), appended + 1);
    let bind = bench.seen.appended.last().expect("just counted");
    assert_eq!(bind.header().kind, RecordKind::Bind);
    let lsn = bind.lsn();
    let welcomed = Command::Out(Output::Welcome { connection: PEER, received: ambrosia_core::Seq(0), after: lsn });
    assert_eq!(bench.on(durable(1, lsn.0)), [welcomed]);

    let wanted = bench.on(MemberInput::Traffic(hello(2)));
    assert!(!wanted.iter().any(|command| matches!(command, Command::LookUpPeer { .. })), "it was met: {wanted:?}");
    assert_eq!(welcome(&mut bench, 1, Some(2)), refused, "what has gone before does not come back");
}
