//! What each kind of message and of record is, for all bytes that may name one.

use ambrosia_core::{
    CallId, DeliverBody, Epoch, Lsn, Message, MessageKind, MethodId, PeerIndex, Record, RecordError, RecordHeader,
    RecordKind, Seq, Timestamp, begin_run, finish_run, push_message,
};

/// From a peer, from outside, to a peer, to the outside, names a method, answers.
type Row = (MessageKind, [bool; 6]);

/// `wit/LAYOUT.md` once more: who may send which.
fn rows() -> Vec<(u8, Row)> {
    let row = |byte, kind, marks: &str| {
        let marks: Vec<bool> = marks.chars().filter(|c| !c.is_whitespace()).map(|c| c == 'x').collect();
        (byte, (kind, marks.try_into().expect("six of them")))
    };
    vec![
        row(1, MessageKind::Fork, /*        */ "x . x . x ."),
        row(2, MessageKind::Call, /*        */ "x . x . x ."),
        row(3, MessageKind::Reply, /*       */ "x . x x . x"),
        row(4, MessageKind::Error, /*       */ "x x x x . x"),
        row(5, MessageKind::Impulse, /*     */ ". x . . x ."),
        row(6, MessageKind::Timer, /*       */ ". x . . . ."),
        row(7, MessageKind::Start, /*       */ ". x . . . ."),
        row(8, MessageKind::Primary, /*     */ ". x . . . ."),
        row(9, MessageKind::Exit, /*        */ ". . . x . ."),
        row(10, MessageKind::SetTimer, /*   */ ". . . x . ."),
        row(11, MessageKind::CancelTimer, /**/ ". . . x . ."),
        row(12, MessageKind::Waiting, /*    */ ". . . x . ."),
        row(13, MessageKind::Request, /*    */ ". . . x . ."),
        row(14, MessageKind::Outcome, /*    */ ". x . . . ."),
        row(15, MessageKind::CancelRequest, /**/ ". . . x . ."),
        row(16, MessageKind::Promise, /*    */ ". . . x . ."),
        row(17, MessageKind::Resolved, /*   */ ". x . . . ."),
        row(18, MessageKind::Emit, /*       */ ". . . x . ."),
        row(19, MessageKind::Log, /*        */ ". . . x . ."),
        row(20, MessageKind::Cron, /*       */ ". x . . x ."),
        row(21, MessageKind::CancelPromise, /**/ ". . . x . ."),
    ]
}

#[test]
fn every_byte_is_a_kind_of_message_with_all_that_is_said_of_it_or_none() {
    let rows = rows();
    for byte in 0..=u8::MAX {
        let expected = rows.iter().find(|(number, _)| *number == byte).map(|(_, row)| *row);
        let found = MessageKind::from_byte(byte).map(|kind| {
            assert_eq!(kind as u8, byte);
            let to = |peer| kind.may_go_to(PeerIndex(peer));
            assert_eq!(to(1), to(u32::MAX), "peers are alike");
            (kind, [kind.travels(), kind.comes_from_outside(), to(1), to(0), kind.names_method(), kind.answers()])
        });
        assert_eq!(found, expected, "byte {byte}");
    }
    assert!(MessageKind::ALL.iter().copied().eq(rows.iter().map(|(_, (kind, _))| *kind)), "each kind has a row");
}

/// A record with one message of that kind from `peer`.
fn record_with(kind: MessageKind, peer: PeerIndex) -> Record {
    let mut runs = Vec::new();
    let at = begin_run(&mut runs, peer, Seq(u64::from(peer.0)));
    push_message(&mut runs, Message { kind, method: MethodId(0), call_id: CallId(0), arguments: b"" });
    finish_run(&mut runs, at, 1);
    let mut body = Vec::new();
    DeliverBody { runs: &runs, ..DeliverBody::default() }.encode(&mut body);
    Record::seal(RecordHeader::new(RecordKind::Deliver, Epoch(1), Lsn(2), Timestamp(3)), &body)
}

#[test]
fn a_record_holds_of_each_source_the_kinds_that_may_come_from_it() {
    for (_, (kind, [from_peer, from_outside, ..])) in rows() {
        for (peer, may_come) in [(PeerIndex(1), from_peer), (PeerIndex::OUTSIDE, from_outside)] {
            // A time has eight bytes.
            let may_come = may_come && kind != MessageKind::Cron;
            let expected = if may_come { Ok(()) } else { Err(RecordError::Shape) };
            assert_eq!(record_with(kind, peer).check_body(), expected, "{kind:?} of peer {peer}");
        }
    }
}

#[test]
fn every_byte_is_a_kind_of_record_or_none() {
    let kinds = [
        (1, RecordKind::Genesis),
        (2, RecordKind::Epoch),
        (3, RecordKind::Bind),
        (4, RecordKind::Deliver),
        (5, RecordKind::Mark),
        (6, RecordKind::Digest),
        (7, RecordKind::Upgrade),
        (8, RecordKind::Mend),
        (9, RecordKind::Configuration),
        (10, RecordKind::Session),
    ];
    for byte in 0..=u8::MAX {
        let expected = kinds.iter().find(|(number, _)| *number == byte).map(|(_, kind)| *kind);
        assert_eq!(RecordKind::from_byte(byte), expected, "byte {byte}");
        assert!(expected.is_none_or(|kind| kind as u8 == byte));
    }
    assert!(RecordKind::ALL.iter().copied().eq(kinds.map(|(_, kind)| kind)), "each kind has a row");
}

#[test]
fn a_body_without_messages_in_its_run_or_with_bytes_behind_a_mark_is_refused() {
    let mut runs = Vec::new();
    let at = begin_run(&mut runs, PeerIndex(1), Seq(1));
    finish_run(&mut runs, at, 0);
    let mut body = Vec::new();
    DeliverBody { runs: &runs, ..DeliverBody::default() }.encode(&mut body);
    let sealed = |kind, body: &[u8]| Record::seal(RecordHeader::new(kind, Epoch(1), Lsn(2), Timestamp(3)), body);
    assert!(matches!(sealed(RecordKind::Deliver, &body).check_body(), Err(RecordError::Run(_))));
    assert_eq!(sealed(RecordKind::Mark, b"").check_body(), Ok(()));
    assert_eq!(sealed(RecordKind::Mark, b"x").check_body(), Err(RecordError::Shape));
    for kind in RecordKind::ALL {
        assert!(sealed(*kind, b"x").check_body().is_err(), "{kind:?}");
    }
}
