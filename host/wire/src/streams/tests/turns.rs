//! Who may write, and in which order.

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::*;
use crate::frame::FrameDecoder;

/// The frames of one turn, or of all that can be written.
fn decode(bytes: &[u8]) -> Vec<(u64, Frame)> {
    let mut received = BytesMut::from(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = FrameDecoder::of_streams().next(&mut received).expect("frames are written") {
        let Frame::OfStream { stream, frame } = frame else { panic!("all belong to a stream") };
        frames.push((stream.0, *frame));
    }
    assert!(received.is_empty(), "whole frames are written");
    frames
}

fn turn(outgoing: &mut Outgoing) -> Vec<(u64, Frame)> {
    let mut bytes = Vec::new();
    outgoing.write_turn(&mut bytes);
    decode(&bytes)
}

fn all(outgoing: &mut Outgoing) -> Vec<(u64, Frame)> {
    let mut bytes = Vec::new();
    while outgoing.write_turn(&mut bytes) {}
    decode(&bytes)
}

fn outgoing(streams: u64) -> Outgoing {
    let mut outgoing = Outgoing::default();
    (1..=streams).for_each(|number| outgoing.on_command(Command::Begin(stream(number))));
    outgoing
}

fn send(outgoing: &mut Outgoing, number: u64, frame: Frame) {
    outgoing.on_command(Command::Send(stream(number), frame));
}

fn credit(outgoing: &mut Outgoing, number: u64, until: u64) {
    outgoing.on_command(Command::Credit(stream(number), until));
}

#[test]
fn a_stream_without_credit_waits_and_the_others_go_on() {
    let mut outgoing = outgoing(2);
    send(&mut outgoing, 1, hello());
    send(&mut outgoing, 1, messages(1, 1, 10));
    credit(&mut outgoing, 2, 1 << 20);
    send(&mut outgoing, 2, messages(5, 1, 10));
    send(&mut outgoing, 2, messages(6, 1, 10));
    let written = [(1, hello()), (2, messages(5, 1, 10)), (2, messages(6, 1, 10))];
    assert_eq!(all(&mut outgoing), written, "a hello needs no credit");
    assert!(!outgoing.has_turn());
    credit(&mut outgoing, 1, 1);
    assert_eq!(all(&mut outgoing), [(1, messages(1, 1, 10))]);
}

#[test]
fn a_hello_is_said_in_its_order_even_of_a_stream_that_was_dropped_before() {
    let mut outgoing = Outgoing::default();
    (1..=3).for_each(|number| outgoing.on_command(Command::Open(stream(number), hello())));
    outgoing.on_command(Command::Drop(stream(1)));
    let hellos = [(1, hello()), (2, hello()), (3, hello()), (1, Frame::Close)];
    assert_eq!(all(&mut outgoing), hellos);
    assert!(!outgoing.has_turn());
}

#[test]
fn credit_is_used_up_and_a_frame_may_begin_with_the_last_of_it() {
    let mut outgoing = outgoing(1);
    let frames: Vec<Frame> = (1..=4).map(|seq| messages(seq, 1, 1000)).collect();
    frames.iter().for_each(|frame| send(&mut outgoing, 1, frame.clone()));
    credit(&mut outgoing, 1, cost_of(&frames[0]) + 1);
    assert_eq!(all(&mut outgoing), [(1, frames[0].clone()), (1, frames[1].clone())]);
    credit(&mut outgoing, 1, 2 * cost_of(&frames[0]));
    assert_eq!(all(&mut outgoing), [], "as much was sent");
    credit(&mut outgoing, 1, 2 * cost_of(&frames[0]) + 1);
    assert_eq!(all(&mut outgoing), [(1, frames[2].clone())]);
}

#[test]
fn streams_with_much_to_send_take_turns() {
    let mut outgoing = outgoing(3);
    for number in 1..=3 {
        credit(&mut outgoing, number, u64::MAX);
        // One large frame, which is cut; many small ones.
        send(&mut outgoing, number, messages(1, if number == 1 { 4000 } else { 1 }, 500));
        (0..500).for_each(|_| send(&mut outgoing, number, messages(1, 1, 500)));
    }
    for _ in 0..3 {
        for number in 1..=3 {
            let frames = turn(&mut outgoing);
            assert!(frames.iter().all(|(of, _)| *of == number), "each writes in its turn");
            let bytes: u64 = frames.iter().map(|(_, frame)| cost_of(frame)).sum();
            assert!((32 << 10..600 << 10).contains(&bytes), "{bytes} bytes in one turn");
        }
    }
}

#[test]
fn acknowledgements_and_credit_that_were_not_written_yet_become_one() {
    let mut outgoing = outgoing(1);
    send(&mut outgoing, 1, welcome());
    for number in 1..=1000 {
        send(&mut outgoing, 1, Frame::Acknowledge(Seq(number)));
        outgoing.on_command(Command::Grant(stream(1), number * 10));
    }
    let written = [(1, Frame::Credit { until: 10_000 }), (1, welcome()), (1, Frame::Acknowledge(Seq(1000)))];
    assert_eq!(all(&mut outgoing), written);
}

#[test]
fn a_stream_ends_behind_all_that_was_queued_and_then_nothing_is_sent() {
    let mut outgoing = outgoing(2);
    let (done, mut ended) = oneshot::channel();
    send(&mut outgoing, 1, messages(1, 1, 10));
    outgoing.on_command(Command::End(stream(1), Some(done)));
    outgoing.on_command(Command::End(stream(1), None));
    assert_eq!(all(&mut outgoing), [], "there is no credit");
    assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    credit(&mut outgoing, 1, 1);
    assert_eq!(all(&mut outgoing), [(1, messages(1, 1, 10)), (1, Frame::Close)]);
    assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed), "whoever waits is told");
    send(&mut outgoing, 1, messages(2, 1, 10));
    credit(&mut outgoing, 1, 1 << 20);
    outgoing.on_command(Command::Drop(stream(1)));
    outgoing.on_command(Command::Grant(stream(1), 1));
    assert_eq!(all(&mut outgoing), [], "it is closed once");
}

#[test]
fn a_stream_that_is_dropped_ends_at_once_whatever_was_queued() {
    let mut outgoing = outgoing(2);
    let (done, mut ended) = oneshot::channel();
    send(&mut outgoing, 1, messages(1, 1, 10));
    send(&mut outgoing, 2, welcome());
    outgoing.on_command(Command::End(stream(1), Some(done)));
    outgoing.on_command(Command::Drop(stream(1)));
    assert_eq!(ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    assert_eq!(all(&mut outgoing), [(1, Frame::Close), (2, welcome())]);
}

#[test]
fn messages_are_cut_into_frames_without_loss() {
    let mut outgoing = outgoing(1);
    send(&mut outgoing, 1, messages(5, 10_000, 100));
    credit(&mut outgoing, 1, u64::MAX);
    let mut next = 5;
    for (_, frame) in all(&mut outgoing) {
        let Frame::Messages { first_seq, count, messages } = frame else { panic!("only messages were sent") };
        assert_eq!(first_seq, Seq(next));
        assert!(messages.len() <= 256 << 10);
        next += u64::from(count);
    }
    assert_eq!(next, 10_005);
}
