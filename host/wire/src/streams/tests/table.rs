//! What may come on which stream.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::*;

fn table(side: Side, streams_max: usize) -> Table<u64> {
    Table::new(side, streams_max, Arc::new(|_, _| {}))
}

/// The other side opens its next stream.
fn greet(table: &mut Table<u64>, number: u64) {
    assert!(matches!(table.on_frame(stream(number), hello()), Ok(Arrived::Hello(_))));
    table.begin(stream(number));
    assert_eq!(table.set_taker(stream(number), number), None);
}

fn error(table: &mut Table<u64>, number: u64, frame: Frame) -> Option<StreamError> {
    table.on_frame(stream(number), frame).err()
}

#[test]
fn a_frame_of_a_stream_that_is_not_there_is_refused() {
    let mut table = table(Side::Accepts, 10);
    greet(&mut table, 1);
    for frame in [messages(1, 1, 0), Frame::Close] {
        assert_eq!(error(&mut table, 2, frame), Some(StreamError::Unknown(stream(2))));
    }
    assert!(matches!(table.on_frame(stream(1), Frame::Close), Ok(Arrived::Closed(Some(1)))));
    for frame in [messages(1, 1, 0), Frame::Close] {
        assert_eq!(error(&mut table, 1, frame), Some(StreamError::Closed(stream(1))));
    }
}

#[test]
fn numbers_of_streams_are_counted_and_none_comes_twice() {
    let mut table = table(Side::Accepts, 10);
    greet(&mut table, 1);
    assert_eq!(error(&mut table, 1, hello()), Some(StreamError::Reused(stream(1))), "a second hello");
    greet(&mut table, 2);
    assert!(table.on_frame(stream(1), Frame::Close).is_ok());
    assert_eq!(error(&mut table, 1, hello()), Some(StreamError::Reused(stream(1))), "it was closed");
    for far in [4, u64::MAX - 1] {
        let skipped = StreamError::Skipped { found: stream(far), next: stream(3) };
        assert_eq!(error(&mut table, far, hello()), Some(skipped));
    }
    greet(&mut table, 3);
}

#[test]
fn there_are_so_many_streams_and_no_more() {
    let mut accepts = table(Side::Accepts, 3);
    (1..=3).for_each(|number| greet(&mut accepts, number));
    assert_eq!(error(&mut accepts, 4, hello()), Some(StreamError::TooMany(3)));
    assert!(accepts.on_frame(stream(2), Frame::Close).is_ok());
    greet(&mut accepts, 4);
    let mut dials = table(Side::Dials, 2);
    assert_eq!([dials.open(), dials.open(), dials.open()], [Some(stream(1)), Some(stream(2)), None]);
    assert_eq!(dials.take_taker(stream(1)), None);
    assert_eq!(dials.open(), None, "the other side has not closed it yet");
    assert!(matches!(dials.on_frame(stream(1), Frame::Close), Ok(Arrived::Closed(None))));
    assert_eq!((dials.open(), dials.len()), (Some(stream(3)), 2));
}

#[test]
fn each_side_may_say_what_belongs_to_it() {
    let mut accepts = table(Side::Accepts, 10);
    greet(&mut accepts, 1);
    for frame in [welcome(), refused(), Frame::Acknowledge(Seq(1)), Frame::Credit { until: 9 }] {
        let kind = frame.kind();
        assert_eq!(error(&mut accepts, 1, frame), Some(StreamError::Unexpected { stream: stream(1), kind }));
    }
    let mut dials = table(Side::Dials, 10);
    dials.open().expect("there is room");
    for frame in [hello(), messages(1, 1, 0), Frame::Acknowledge(Seq(1))] {
        let kind = frame.kind();
        assert_eq!(error(&mut dials, 1, frame), Some(StreamError::Unexpected { stream: stream(1), kind }));
    }
    assert_eq!(error(&mut dials, 1, welcome()), None);
    assert_eq!(error(&mut dials, 1, Frame::Acknowledge(Seq(1))), None);
    let kind = FrameKind::Control;
    assert_eq!(error(&mut dials, 1, welcome()), Some(StreamError::Unexpected { stream: stream(1), kind }), "twice");
    assert_eq!(error(&mut dials, 1, refused()), None, "it may end at any time");
}

#[test]
fn credit_may_be_any_number_and_never_falls() {
    let mut table = table(Side::Dials, 10);
    table.open().expect("there is room");
    for until in [0, 5, 5, u64::MAX] {
        assert!(matches!(table.on_frame(stream(1), Frame::Credit { until }), Ok(Arrived::Credit(at)) if at == until));
    }
    let falls = StreamError::CreditFalls { stream: stream(1), until: 4, before: u64::MAX };
    assert_eq!(error(&mut table, 1, Frame::Credit { until: 4 }), Some(falls));
}

#[test]
fn messages_beyond_the_credit_are_refused_and_harm_no_other_stream() {
    let mut table = table(Side::Accepts, 10);
    greet(&mut table, 1);
    greet(&mut table, 2);
    let (mut held, mut received) = (Vec::new(), 0);
    while received < WINDOW_BYTES_MIN {
        let frame = messages(1, 1, 1000);
        received += cost_of(&frame);
        let Ok(Arrived::For(1, _, Some(share))) = table.on_frame(stream(1), frame) else { panic!("it has credit") };
        held.push(share);
    }
    let overrun = StreamError::Overrun { stream: stream(1), received, granted: WINDOW_BYTES_MIN };
    assert_eq!(error(&mut table, 1, messages(1, 1, 0)), Some(overrun));
    assert!(matches!(table.on_frame(stream(2), messages(1, 1, 0)), Ok(Arrived::For(2, _, Some(_)))));
    held.truncate(1);
    assert!(matches!(table.on_frame(stream(1), messages(1, 1, 0)), Ok(Arrived::For(1, _, Some(_)))), "it was used");
}

#[test]
fn what_comes_on_a_stream_that_nobody_listens_to_is_counted_all_the_same() {
    let mut table = table(Side::Accepts, 10);
    greet(&mut table, 1);
    assert_eq!(table.take_taker(stream(1)), Some(1));
    assert!(matches!(table.on_frame(stream(1), messages(1, 1, 10)), Ok(Arrived::Nothing)));
    assert!(matches!(table.on_frame(stream(1), Frame::Close), Ok(Arrived::Closed(None))));
}

#[test]
fn with_the_connection_all_streams_end() {
    let mut table = table(Side::Accepts, 10);
    (1..=4).for_each(|number| greet(&mut table, number));
    assert!(table.on_frame(stream(2), Frame::Close).is_ok());
    assert_eq!(table.end(), [1, 3, 4]);
    assert_eq!(table.len(), 0);
}

/// What a stranger may send on a few streams.
fn frames() -> impl Strategy<Value = Vec<(u64, Frame)>> {
    let frame = prop_oneof![
        3 => Just(hello()),
        1 => Just(welcome()),
        1 => Just(refused()),
        4 => (1..u64::MAX / 2, 1..3_u32, 0..70_000_usize).prop_map(|(seq, count, bytes)| messages(seq, count, bytes)),
        1 => any::<u64>().prop_map(|seq| Frame::Acknowledge(Seq(seq))),
        1 => any::<u64>().prop_map(|until| Frame::Credit { until }),
        2 => Just(Frame::Close),
    ];
    vec((prop_oneof![9 => 1..8_u64, 1 => 1..u64::MAX], frame), 0..100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_the_streams_and_what_they_hold_are_bounded(frames in frames(), accepts: bool, max in 1..6_usize) {
        let side = if accepts { Side::Accepts } else { Side::Dials };
        let mut table = table(side, max);
        if side == Side::Dials {
            (0..4).for_each(|_| { table.open(); });
        }
        let (mut held, mut bytes) = (Vec::new(), 0);
        for (number, frame) in frames {
            let cost = if let Frame::Messages { .. } = &frame { cost_of(&frame) } else { 0 };
            match table.on_frame(stream(number), frame) {
                Ok(Arrived::Hello(_)) => {
                    table.begin(stream(number));
                    table.set_taker(stream(number), number);
                }
                Ok(Arrived::For(_, _, Some(share))) => {
                    bytes += cost;
                    held.push(share);
                }
                // A rule was broken, and the connection ends.
                Err(_) => break,
                Ok(_) => {}
            }
            prop_assert!(table.len() <= max.max(4));
        }
        // Each stream that there was has had its credit, and one frame beyond.
        let streams = 8 + 1;
        prop_assert!(bytes <= streams * (WINDOW_BYTES_MIN + 3 * 70_000));
    }
}
