use super::*;
use crate::Lsn;

fn chunk(first: u64, count: u32) -> Chunk {
    Chunk { after: Lsn(0), first_seq: Seq(first), count, messages: Bytes::new() }
}

fn impulse(number: u8, request: Option<u8>) -> WaitingImpulse {
    let request = request.map(|id| RequestId::new([id]).expect("one byte"));
    WaitingImpulse { method: MethodId(0), arguments: vec![number].into(), request, trace: None }
}

fn round(inbox: &mut Inbox) -> Vec<u32> {
    inbox.next_round().iter().map(|peer| peer.0).collect()
}

#[test]
fn every_peer_is_first_in_its_turn() {
    let mut inbox = Inbox::default();
    for peer in [2, 5, 9] {
        inbox.push_messages(PeerIndex(peer), chunk(1, 1));
    }
    assert_eq!(round(&mut inbox), [2, 5, 9]);
    assert_eq!(round(&mut inbox), [5, 9, 2]);
    inbox.push_messages(PeerIndex(7), chunk(1, 1));
    assert_eq!(round(&mut inbox), [7, 9, 2, 5]);
    assert_eq!(round(&mut inbox), [9, 2, 5, 7]);
    assert_eq!(round(&mut inbox), [2, 5, 7, 9]);
}

#[test]
fn messages_of_a_peer_keep_their_order_and_what_is_put_back_comes_first() {
    let mut inbox = Inbox::default();
    let peer = PeerIndex(3);
    inbox.push_messages(peer, chunk(1, 2));
    inbox.push_messages(peer, chunk(3, 1));
    assert_eq!(inbox.last_seq(peer, Seq(0)), Seq(3));
    assert_eq!(inbox.pop_messages(peer), Some(chunk(1, 2)));
    inbox.put_back(peer, chunk(2, 1));
    assert_eq!(inbox.last_seq(peer, Seq(1)), Seq(3));
    assert_eq!(inbox.pop_messages(peer), Some(chunk(2, 1)));
    assert_eq!(inbox.pop_messages(peer), Some(chunk(3, 1)));
    assert_eq!((inbox.pop_messages(peer), inbox.has_messages()), (None, false));
    assert_eq!(inbox.last_seq(peer, Seq(3)), Seq(3));
}

#[test]
fn what_is_put_back_into_an_empty_inbox_is_there() {
    let mut inbox = Inbox::default();
    inbox.put_back(PeerIndex(1), chunk(4, 2));
    assert_eq!((inbox.last_seq(PeerIndex(1), Seq(3)), round(&mut inbox)), (Seq(5), vec![1]));
}

#[test]
fn what_is_forgotten_of_one_peer_stays_of_the_others() {
    let mut inbox = Inbox::default();
    inbox.push_messages(PeerIndex(1), chunk(1, 1));
    inbox.push_messages(PeerIndex(2), chunk(1, 1));
    inbox.forget(PeerIndex(1));
    assert_eq!((inbox.last_seq(PeerIndex(1), Seq(0)), round(&mut inbox)), (Seq(0), vec![2]));
}

#[test]
fn a_request_waits_once_and_may_come_again_after_it_was_taken() {
    let mut inbox = Inbox::default();
    for waiting in [impulse(1, Some(9)), impulse(2, Some(9)), impulse(3, None), impulse(4, None)] {
        inbox.push_impulse(waiting);
    }
    assert_eq!(inbox.pop_impulse(), Some(impulse(1, Some(9))));
    inbox.push_impulse(impulse(5, Some(9)));
    let rest: Vec<_> = std::iter::from_fn(|| inbox.pop_impulse()).collect();
    assert_eq!(rest, [impulse(3, None), impulse(4, None), impulse(5, Some(9))]);
    assert!(!inbox.has_impulses());
}
