use super::*;
use crate::{
    limits::{RESULTS_AGE_NS_MAX, RESULTS_BYTES_MAX, RESULTS_MAX, RETENTION_BYTES_MAX},
    part::tests::read_back as resumed,
};

fn id(number: u64) -> RequestId {
    RequestId::new(number.to_le_bytes()).expect("eight bytes")
}

fn answer(bytes: usize) -> Answer {
    Answer { success: true, value: vec![1; bytes].into() }
}

/// Accepts and answers the requests `numbers`, each with so many bytes.
fn settle(requests: &mut Requests, numbers: impl Iterator<Item = u64>, bytes: usize) {
    for number in numbers {
        requests.accept(id(number), CallId(number), Lsn(number), 7);
        assert_eq!(requests.answer(CallId(number), Lsn(number + 1), Timestamp(0), &answer(bytes)), Some(id(number)));
    }
    requests.check().expect("sound");
}

fn known(requests: &Requests, numbers: &[u64]) -> Vec<u64> {
    numbers.iter().copied().filter(|number| requests.get(&id(*number)).is_some()).collect()
}

#[test]
fn an_answer_belongs_to_the_request_of_its_call_and_to_one_only() {
    let mut requests = Requests::default();
    requests.accept(id(1), CallId(11), Lsn(5), 7);
    requests.accept(id(2), CallId(12), Lsn(5), 7);
    assert_eq!(requests.answer(CallId(13), Lsn(6), Timestamp(0), &answer(1)), None);
    assert_eq!(requests.answer(CallId(12), Lsn(6), Timestamp(0), &answer(1)), Some(id(2)));
    assert_eq!(requests.answer(CallId(12), Lsn(7), Timestamp(0), &answer(2)), None, "the first answer stays");
    assert_eq!(requests.get(&id(2)), Some(Request { accepted: Lsn(5), content: 7, answer: Some((Lsn(6), answer(1))) }));
    assert_eq!(requests.get(&id(1)), Some(Request { accepted: Lsn(5), content: 7, answer: None }));
    requests.check().expect("sound");
}

#[test]
fn beyond_so_many_results_the_oldest_are_forgotten_and_pending_requests_never() {
    let mut requests = Requests::default();
    requests.accept(id(0), CallId(0), Lsn(0), 7);
    let max = RESULTS_MAX as u64;
    settle(&mut requests, 1..=max, 0);
    assert_eq!(known(&requests, &[0, 1, 2, max]), [0, 1, 2, max]);
    settle(&mut requests, max + 1..=max + 2, 0);
    assert_eq!(known(&requests, &[0, 1, 2, 3, max + 2]), [0, 3, max + 2]);
    requests.answer(CallId(0), Lsn(9), Timestamp(0), &answer(0));
    assert_eq!(known(&requests, &[0, 3, 4]), [0, 4], "age counts from the answer");
}

#[test]
fn beyond_so_many_bytes_of_results_the_oldest_are_forgotten() {
    let mut requests = Requests::default();
    settle(&mut requests, 1..=4, RESULTS_BYTES_MAX / 4);
    assert_eq!(known(&requests, &[1, 2, 3, 4]), [1, 2, 3, 4]);
    settle(&mut requests, 5..=5, 1);
    assert_eq!(known(&requests, &[1, 2, 3, 4, 5]), [2, 3, 4, 5]);
}

#[test]
fn the_latest_result_is_kept_however_large() {
    let mut requests = Requests::default();
    settle(&mut requests, 1..=2, 1);
    settle(&mut requests, 3..=3, RESULTS_BYTES_MAX + 1);
    assert_eq!(known(&requests, &[1, 2, 3]), [3]);
    settle(&mut requests, 4..=4, 1);
    assert_eq!(known(&requests, &[3, 4]), [4]);
}

#[test]
#[should_panic(expected = "a request is accepted once")]
fn a_request_is_not_accepted_twice() {
    let mut requests = Requests::default();
    requests.accept(id(1), CallId(1), Lsn(1), 7);
    requests.accept(id(1), CallId(2), Lsn(2), 7);
}

#[test]
fn results_older_than_an_hour_are_forgotten() {
    let mut requests = Requests::default();
    for (number, time) in [(1, 0), (2, 1), (3, RESULTS_AGE_NS_MAX + 1)] {
        requests.accept(id(number), CallId(number), Lsn(number), 7);
        requests.answer(CallId(number), Lsn(number), Timestamp(time), &answer(0));
    }
    assert_eq!(known(&requests, &[1, 2, 3]), [2, 3]);
}

#[test]
fn what_an_operator_has_kept_is_kept_and_less_is_forgotten_at_once() {
    let mut requests = Requests::default();
    let more = Retention { count: 200_000, bytes: RETENTION_BYTES_MAX, age_s: 7 * 3600 };
    requests.retain(more, Timestamp(0));
    for (number, hours) in [(1, 0), (2, 2), (3, 7)] {
        requests.accept(id(number), CallId(number), Lsn(number), 7);
        requests.answer(CallId(number), Lsn(number), Timestamp(hours * 3_600_000_000_000), &answer(1));
    }
    assert_eq!(known(&requests, &[1, 2, 3]), [1, 2, 3]);
    let now = Timestamp(7 * 3_600_000_000_000 + 1);
    requests.retain(more, now);
    assert_eq!(known(&requests, &[1, 2, 3]), [2, 3], "by its age");
    requests.retain(Retention { count: 1, ..more }, now);
    assert_eq!(known(&requests, &[1, 2, 3]), [3], "by their count");
    settle(&mut requests, 4..=4, 0);
    assert_eq!(known(&requests, &[3, 4]), [4]);
    requests.retain(Retention { count: 9, bytes: 10, ..more }, now);
    settle(&mut requests, 5..=7, 5);
    assert_eq!(known(&requests, &[4, 5, 6, 7]), [6, 7], "by their bytes");
}

#[test]
fn a_checkpoint_of_more_results_than_are_kept_is_refused() {
    let mut requests = Requests::default();
    requests.retain(Retention { count: 200_000, ..Retention::default() }, Timestamp(0));
    settle(&mut requests, 1..=RESULTS_MAX as u64 + 1, 0);
    let read = resumed(&requests).expect("it is one");
    assert!(read.check().is_err(), "by default fewer are kept");
    assert_eq!(read.with_retention(requests.retention).check(), Ok(()));
}

#[test]
fn the_digest_depends_on_what_is_remembered_and_on_nothing_else() {
    let mut requests = Requests::default();
    settle(&mut requests, 1..=5, RESULTS_BYTES_MAX / 4);
    let mut same = Requests::default();
    settle(&mut same, 2..=5, RESULTS_BYTES_MAX / 4);
    assert_eq!(requests.sum(), same.sum(), "the first was forgotten");
    requests.accept(id(9), CallId(9), Lsn(9), 7);
    assert_ne!(requests.sum(), same.sum());
    same.accept(id(9), CallId(9), Lsn(9), 7);
    assert_eq!(requests.sum(), same.sum());
    requests.answer(CallId(9), Lsn(10), Timestamp(0), &answer(1));
    assert_ne!(requests.sum(), same.sum());
}

#[test]
fn requests_of_one_hash_are_told_apart() {
    let mut requests = Requests::default();
    let max = 70_000; // more than there are hashes in a test
    (1..=max).for_each(|number| requests.accept(id(number), CallId(number), Lsn(number), 7));
    for number in 1..=max {
        assert_eq!(requests.get(&id(number)), Some(Request { accepted: Lsn(number), content: 7, answer: None }));
    }
    assert_eq!(requests.get(&id(max + 1)), None);
    for number in 1..=max {
        let answered = requests.answer(CallId(number), Lsn(max + number), Timestamp(0), &answer(number as usize % 5));
        assert_eq!(answered, Some(id(number)));
    }
    requests.check().expect("sound");
    for number in 1..=max {
        let answer = Some((Lsn(max + number), answer(number as usize % 5)));
        assert_eq!(requests.get(&id(number)), Some(Request { accepted: Lsn(number), content: 7, answer }));
    }
}

#[test]
fn requests_resumed_are_the_same_and_go_on_alike() {
    let mut requests = Requests::default();
    settle(&mut requests, 1..=RESULTS_MAX as u64 + 5, 3);
    requests.accept(id(0), CallId(0), Lsn(8), 7);
    let mut resumed = resumed(&requests).expect("it was just written");
    resumed.check().expect("sound");
    assert_eq!(resumed, requests);
    assert_eq!(resumed.sum(), requests.sum());
    for requests in [&mut requests, &mut resumed] {
        requests.answer(CallId(0), Lsn(9), Timestamp(1), &answer(4));
        settle(requests, 200_000..=200_100, 1);
        assert_eq!(known(requests, &[6, 105, 106, 107, 108, 0]), [108, 0]);
    }
    assert_eq!(resumed, requests);
    assert_eq!(resumed.sum(), requests.sum());
}

#[test]
fn a_checkpoint_that_holds_a_request_twice_is_refused() {
    let mut requests = Requests::default();
    settle(&mut requests, 1..=3, 0);
    let second = id(2);
    let answered = Answered { id: second.as_bytes(), time: Timestamp(5), value: b"", ..requests.results.at(0) };
    let mut twice = Results::default();
    for one in [&requests.results.at(0), &answered, &answered] {
        twice.push(one);
    }
    assert_eq!(resumed(&Requests { results: twice, ..Requests::default() }), None);
    let mut both = requests.clone();
    both.pending.insert(CallId(9), Pending { id: id(2), accepted: Lsn(1), content: 7 });
    assert_eq!(resumed(&both), None, "answered and pending");
    assert!(resumed(&requests).is_some());
}
