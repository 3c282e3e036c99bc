use super::*;
use crate::{CallId, Message, MessageKind, MethodId, push_message};

/// An encoded fork with that many bytes of arguments.
fn message(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let arguments = &vec![7; bytes];
    push_message(&mut out, Message { kind: MessageKind::Fork, method: MethodId(0), call_id: CallId(0), arguments });
    out
}

/// An outbox with one chunk for each of `counts`, made by the records 11, 12 …; message n has n bytes of arguments.
fn outbox(counts: &[u64]) -> Outbox {
    let mut outbox = Outbox::default();
    let mut seq = 0;
    for (at, count) in counts.iter().enumerate() {
        for _ in 0..*count {
            seq += 1;
            outbox.push(&message(seq));
        }
        outbox.close_chunk(Lsn(11 + at as u64));
        outbox.check().expect("sound");
    }
    outbox
}

/// First number, count, and bytes of arguments of the first message, of each chunk after `seq`.
fn check(outbox: &Outbox, seq: u64, expected: &[(u64, u32)]) {
    outbox.check().expect("sound");
    let chunks: Vec<_> = outbox.chunks_after(Seq(seq)).collect();
    assert_eq!(chunks.iter().map(|chunk| (chunk.first_seq.0, chunk.count)).collect::<Vec<_>>(), expected);
    for chunk in chunks {
        let lengths =
            Messages::new(&chunk.messages).map(|message| message.expect("pushed above").arguments.len() as u64);
        assert!(lengths.eq(chunk.first_seq.0..=chunk.last_seq().0), "each chunk holds the messages it announces");
    }
}

#[test]
fn what_follows_a_number_is_found_also_inside_a_chunk() {
    let outbox = outbox(&[2, 3]);
    check(&outbox, 0, &[(1, 2), (3, 3)]);
    check(&outbox, 1, &[(2, 1), (3, 3)]);
    check(&outbox, 2, &[(3, 3)]);
    check(&outbox, 4, &[(5, 1)]);
    check(&outbox, 5, &[]);
}

#[test]
fn a_chunk_goes_when_all_of_it_is_acknowledged() {
    let mut outbox = outbox(&[2, 3]);
    assert_eq!(outbox.bytes(), 5 * 20 + 1 + 2 + 3 + 4 + 5);
    outbox.acknowledge(Seq(1));
    assert_eq!(outbox.bytes(), 5 * 20 + 1 + 2 + 3 + 4 + 5);
    check(&outbox, 1, &[(2, 1), (3, 3)]);
    outbox.acknowledge(Seq(3));
    assert_eq!(outbox.bytes(), 3 * 20 + 3 + 4 + 5);
    outbox.acknowledge(Seq(5));
    assert_eq!((outbox.bytes(), outbox.last_seq(), outbox.acknowledged()), (0, Seq(5), Seq(5)));
    check(&outbox, 5, &[]);
}

#[test]
fn an_older_acknowledgement_changes_nothing() {
    let mut outbox = outbox(&[2, 3]);
    outbox.acknowledge(Seq(4));
    let before = outbox.clone();
    for seq in (0..4).rev() {
        outbox.acknowledge(Seq(seq));
    }
    assert_eq!(outbox, before);
}

#[test]
#[should_panic(expected = "a peer can't acknowledge what was never sent")]
fn what_was_never_sent_is_not_acknowledged() {
    outbox(&[2]).acknowledge(Seq(3));
}

#[test]
#[should_panic(expected = "what was acknowledged is gone")]
fn what_was_acknowledged_is_not_sent_again() {
    let mut outbox = outbox(&[2]);
    outbox.acknowledge(Seq(2));
    let _ = outbox.chunks_after(Seq(1));
}

#[test]
fn a_restart_begins_at_one_and_says_what_was_not_acknowledged() {
    let mut outbox = outbox(&[2, 3]);
    outbox.acknowledge(Seq(1));
    assert_eq!(outbox.restart(), 4);
    assert_eq!(outbox, Outbox::default());
    outbox.push(&message(1));
    assert_eq!(outbox.close_chunk(Lsn(20)).map(|chunk| chunk.first_seq), Some(Seq(1)));
}

#[test]
fn what_is_discarded_leaves_no_trace() {
    let mut outbox = outbox(&[2]);
    let before = outbox.clone();
    outbox.push(&message(3));
    outbox.discard_open();
    assert_eq!(outbox.close_chunk(Lsn(12)), None);
    assert_eq!(outbox, before);
}

#[test]
fn a_chunk_is_split_where_it_no_longer_fits() {
    let split = |bytes: usize, count: u32| {
        let chunk = outbox(&[1, 4]).chunks_after(Seq(1)).next().expect("four messages: 22, 23, 24 and 25 bytes");
        let (first, rest) = chunk.split(bytes, count);
        let rest = rest.map(|rest| (rest.first_seq.0, rest.count, rest.messages.len()));
        ((first.first_seq.0, first.count, first.messages.len()), rest)
    };
    assert_eq!(split(94, 4), ((2, 4, 94), None));
    assert_eq!(split(93, 4), ((2, 4, 94), None), "a message goes where something of it fits");
    assert_eq!(split(45, 4), ((2, 2, 45), Some((4, 2, 49))));
    assert_eq!(split(46, 4), ((2, 3, 69), Some((5, 1, 25))));
    assert_eq!(split(1, 4), ((2, 1, 22), Some((3, 3, 72))));
    assert_eq!(split(94, 3), ((2, 3, 69), Some((5, 1, 25))));
}
