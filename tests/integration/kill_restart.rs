//! Processes die with kill -9 and are started again while a long stream runs between two instances.

use crate::support::{Stream, cluster};

/// Messages of one stream.
const COUNT: u64 = 100_000;

#[test]
fn a_stream_survives_that_its_sender_is_killed_and_restarted() {
    let cluster = cluster();
    let mut stream = Stream::start(&cluster, 1, COUNT);
    for percent in [10, 35, 60] {
        stream.wait_until_received(percent);
        stream.sender.kill(0);
        stream.sender.start(0);
    }
    stream.check_complete();
}

#[test]
fn a_stream_survives_that_its_receiver_is_killed_and_restarted() {
    let cluster = cluster();
    let mut stream = Stream::start(&cluster, 1, COUNT);
    for percent in [10, 35, 60] {
        stream.wait_until_received(percent);
        stream.receiver.kill(0);
        stream.receiver.start(0);
    }
    stream.check_complete();
}

#[test]
fn a_stream_survives_that_both_are_killed_and_restarted_in_either_order() {
    let cluster = cluster();
    let mut stream = Stream::start(&cluster, 1, COUNT);
    stream.wait_until_received(20);
    stream.sender.kill(0);
    stream.receiver.kill(0);
    stream.sender.start(0);
    stream.receiver.start(0);
    stream.wait_until_received(60);
    stream.receiver.kill(0);
    stream.sender.kill(0);
    stream.receiver.start(0);
    stream.sender.start(0);
    stream.check_complete();
}

#[test]
fn a_stream_survives_that_the_primaries_of_both_are_killed_again_and_again() {
    let cluster = cluster();
    let mut stream = Stream::start(&cluster, 2, COUNT);
    for percent in [10, 35, 60] {
        stream.wait_until_received(percent);
        let (sender, receiver) = (stream.sender.primary(), stream.receiver.primary());
        stream.sender.kill(sender);
        stream.receiver.kill(receiver);
        stream.sender.next_reign();
        stream.receiver.next_reign();
        stream.sender.start(sender);
        stream.receiver.start(receiver);
    }
    stream.check_complete();
    assert_eq!((stream.sender.reign().epoch, stream.receiver.reign().epoch), (4, 4));
}

#[test]
fn a_stream_survives_that_all_six_replicas_are_killed_and_restarted() {
    let cluster = cluster();
    let mut stream = Stream::start(&cluster, 3, COUNT);
    for percent in [20, 60] {
        stream.wait_until_received(percent);
        stream.sender.kill_all();
        stream.receiver.kill_all();
        for replica in [2, 0, 1] {
            stream.receiver.start(replica);
            stream.sender.start(replica);
        }
    }
    stream.check_complete();
}
