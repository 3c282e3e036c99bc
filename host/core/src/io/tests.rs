use super::*;
use crate::InstanceUuid;
use crate::{Genesis, Held, Limits};

const LSN: Lsn = Lsn(7);

/// One of each kind, made by the record [`LSN`].
fn one_of_each() -> Vec<Output> {
    let connection = ConnectionId(1);
    let (request, session) = (RequestId::new("r").expect("short"), SessionId([6; 16]));
    let name = InstanceName::new("peer").expect("a plain name");
    let limits = Limits { fuel: 1, memory_bytes: 1 };
    let genesis = Genesis { uuid: InstanceUuid([1; 16]), module: [2; 32], seed: 3, limits, name: name.clone() };
    let chunk = Chunk { after: LSN, first_seq: Seq(1), count: 1, messages: Bytes::from_static(b"message") };
    let answer = Answer { success: true, value: Bytes::from_static(b"value") };
    let fault = Fault { reason: "why".to_owned(), backtrace: String::new(), stderr: String::new() };
    let upgrade = Upgrade { attempt: 1, from: [2; 32], to: [3; 32], limits, handover_fuel: 1, end_waiting: false };
    let (stream, bytes, replayed) = (PrintStream::Stdout, Bytes::from_static(b"print"), false);
    let (id, topic, value) = (EventId { lsn: LSN, index: 0 }, "sold".to_owned(), Bytes::from_static(b"value"));
    let event = Event { id, time: Timestamp(1), topic, value };
    let divergence =
        Divergence { lsn: LSN, equal_at: Lsn(0), epoch: Epoch(1), state: 1, memory: 2, own_state: 3, own_memory: 4 };
    vec![
        Output::Append(genesis.record(Timestamp(1))),
        Output::Connect { peer: PeerIndex(1), name: name.clone() },
        Output::Welcome { connection, received: Seq(1), after: LSN },
        Output::Send { connection, chunk },
        Output::Acknowledge { connection, seq: Seq(1), after: LSN },
        Output::Refuse { connection, reason: Refusal::Ended },
        Output::Accepted { request: request.clone(), after: LSN },
        Output::Answered { request: request.clone(), answer: answer.clone(), after: LSN },
        Output::Print { stream, bytes, after: LSN, replayed },
        Output::Checkpoint { by: ReplicaIndex(1), at: LSN },
        Output::Diverged(divergence),
        Output::Rebound { name, dropped: 1, failed_calls: 1 },
        Output::Finished { code: 1, after: LSN },
        Output::Halted { fault: fault.clone(), after: LSN },
        Output::Upgraded { upgrade, after: LSN },
        Output::UpgradeWaits { attempt: 1, report: "a waits".to_owned() },
        Output::UpgradeRefused { attempt: 1, fault: fault.clone(), is_lost: false },
        Output::UpgradeFailed { fault, at: LSN },
        Output::Mended { mend: Mend { lsn: LSN, link: 2, remedy: Remedy::Upgrade(upgrade) }, after: LSN },
        Output::KeyReused { connection: Some(connection), request: request.clone(), after: LSN },
        Output::Request { id: CallId(1), body: Bytes::from_static(b"body"), resumed: false, after: LSN },
        Output::CancelRequest { id: CallId(1), after: LSN },
        Output::Resolved { connection, promise: CallId(1), token: [5; 16], is_known: true, after: LSN },
        Output::Event { event, after: LSN },
        Output::SessionOpened {
            connection,
            session,
            opening: OpeningId([7; 16]),
            ticket: Ticket(2),
            accepted: Seq(3),
            confirmed: Seq(1),
            after: LSN,
        },
        Output::SessionAnswered { session, ticket: Ticket(2), seq: Seq(3), answer: answer.clone(), after: LSN },
        Output::SessionRefused {
            connection: Some(connection),
            session,
            ticket: Ticket(2),
            seq: Seq(3),
            refusal: SessionRefusal::Ended,
            after: LSN,
        },
        Output::Log { id: EventId::default(), time: Timestamp(1), line: Bytes::from_static(b"line"), after: LSN },
    ]
}

/// The number of its kind, and whether somebody outside learns by it of what a record did.
fn kind(output: &Output) -> (usize, bool) {
    match output {
        Output::Append(_) => (0, false),
        Output::Connect { .. } => (1, false),
        Output::Welcome { .. } => (2, true),
        Output::Send { .. } => (3, true),
        Output::Acknowledge { .. } => (4, true),
        Output::Refuse { .. } => (5, false),
        Output::Accepted { .. } => (6, true),
        Output::Answered { .. } => (7, true),
        Output::Print { .. } => (8, true),
        // It is taken at once, and published when the record is durable.
        Output::Checkpoint { .. } => (9, false),
        Output::Diverged(_) => (10, false),
        Output::Rebound { .. } => (11, false),
        Output::Finished { .. } => (12, true),
        Output::Halted { .. } => (13, true),
        Output::Upgraded { .. } => (14, true),
        // These say that there is no record, or no good one.
        Output::UpgradeWaits { .. } => (15, false),
        Output::UpgradeRefused { .. } => (16, false),
        Output::UpgradeFailed { .. } => (17, false),
        Output::Mended { .. } => (18, true),
        Output::KeyReused { .. } => (19, true),
        Output::Request { .. } => (20, true),
        Output::CancelRequest { .. } => (21, true),
        Output::Resolved { .. } => (22, true),
        Output::Event { .. } => (23, true),
        Output::SessionOpened { .. } => (24, true),
        Output::SessionAnswered { .. } => (25, true),
        Output::SessionRefused { .. } => (26, true),
        Output::Log { .. } => (27, true),
    }
}

#[test]
fn whatever_tells_of_a_record_waits_until_that_is_durable() {
    let outputs = one_of_each();
    let kinds: Vec<_> = outputs.iter().map(|output| kind(output).0).collect();
    assert!(kinds.into_iter().eq(0..28), "one of each kind");
    for output in outputs {
        let (_, waits) = kind(&output);
        assert_eq!(output.after(), if waits { LSN } else { Lsn(0) }, "{output:?}");
        let mut held = Held::new(Lsn(LSN.0 - 1));
        held.push(output.clone());
        let early = held.pop();
        assert_eq!(early, (!waits).then(|| output.clone()), "nothing is seen too early");
        held.set_durable(LSN);
        assert_eq!(early.or_else(|| held.pop()), Some(output));
    }
}
