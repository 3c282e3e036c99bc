use super::*;

const FRIEND: PeerIndex = PeerIndex(1);
const STRANGER: PeerIndex = PeerIndex(2);

fn calls(all: &[(u64, PeerIndex)]) -> Calls {
    let mut calls = Calls::default();
    all.iter().for_each(|(call, peer)| assert!(calls.begin(CallId(*call), *peer)));
    calls
}

fn waiting(calls: &Calls) -> Vec<u64> {
    calls.waiting().map(|(call, _)| call.0).collect()
}

fn failed(calls: &Calls) -> Vec<u64> {
    calls.failed().map(|call| call.0).collect()
}

#[test]
fn a_call_is_answered_by_the_peer_that_was_called_and_by_nobody_else() {
    let mut calls = calls(&[(7, FRIEND), (3, STRANGER)]);
    calls.settle(CallId(7), STRANGER);
    calls.settle(CallId(8), FRIEND);
    assert_eq!(waiting(&calls), [3, 7]);
    calls.settle(CallId(7), FRIEND);
    assert_eq!(waiting(&calls), [3]);
}

#[test]
fn calls_to_a_peer_that_is_gone_fail_once_and_those_to_others_wait_on() {
    let mut calls = calls(&[(7, FRIEND), (3, STRANGER), (5, FRIEND)]);
    assert_eq!(calls.fail(FRIEND), 2);
    assert_eq!((waiting(&calls), failed(&calls)), (vec![3], vec![5, 7]));
    assert_eq!(calls.fail(FRIEND), 0);
    calls.forget_failed(CallId(5));
    assert_eq!(failed(&calls), [7]);
}

#[test]
fn two_calls_do_not_have_one_id_also_if_one_has_failed() {
    let mut calls = calls(&[(7, FRIEND), (3, STRANGER)]);
    assert!(!calls.begin(CallId(7), STRANGER));
    calls.fail(FRIEND);
    calls.fail(STRANGER);
    assert!(!calls.begin(CallId(3), FRIEND));
}

#[test]
#[should_panic(expected = "a call has an id")]
fn a_call_without_an_id_is_a_mistake_of_whoever_read_it() {
    Calls::default().begin(CallId(0), FRIEND);
}
