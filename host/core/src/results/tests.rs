use super::*;

fn answered<'a>(id: &'a [u8], lsn: u64, value: &'a [u8]) -> Answered<'a> {
    let (accepted, time) = (Lsn(lsn - 1), Timestamp(lsn * 10));
    Answered { id, accepted, time, lsn: Lsn(lsn), content: 7, success: lsn.is_multiple_of(2), value }
}

/// Results of many sizes, larger than a block among them.
fn some() -> (Results, Vec<Place>, Vec<Vec<u8>>) {
    let values: Vec<_> = (0..200_usize).map(|n| vec![n as u8; if n % 50 == 7 { 100_000 } else { n * 11 }]).collect();
    let mut results = Results::default();
    let push = |(n, value): (usize, &Vec<u8>)| results.push(&answered(b"id", n as u64 + 1, value));
    let places = values.iter().enumerate().map(push).collect();
    (results, places, values)
}

fn encoded(results: &Results) -> Vec<u8> {
    let mut out = SharedState::default();
    results.share(&mut out);
    out.to_vec()
}

#[test]
fn every_result_is_found_where_it_was_put_until_it_is_forgotten() {
    let (mut results, places, values) = some();
    for forgotten in 0..values.len() {
        assert_eq!(results.oldest().map(|(place, _)| place), Some(places[forgotten]));
        for at in forgotten..values.len() {
            let expected = answered(b"id", at as u64 + 1, &values[at]);
            assert_eq!(results.at(places[at]), expected);
            let Answer { success, value } = results.answer_at(places[at]);
            assert_eq!((success, &value[..]), (expected.success, expected.value));
        }
        assert!(results.iter().map(|(place, _)| place).eq(places[forgotten..].iter().copied()));
        let bytes = values[forgotten..].iter().map(Vec::len).sum::<usize>();
        assert_eq!((results.len(), results.value_bytes()), (values.len() - forgotten, bytes));
        results.check().expect("sound");
        results.forget_oldest();
    }
    assert_eq!((results.oldest(), results.len(), results.value_bytes()), (None, 0, 0));
    assert_eq!(encoded(&results), b"");
    results.check().expect("sound");
}

#[test]
fn what_is_forgotten_is_not_kept_in_memory_for_long() {
    let (mut results, ..) = some();
    let held = |results: &Results| results.blocks.iter().map(|block| block.bytes.len()).sum::<usize>();
    while results.len() > 0 {
        let needed = encoded(&results).len();
        assert!(held(&results) + results.open.len() < needed + BLOCK_BYTES_FULL, "{needed}");
        results.forget_oldest();
    }
}

#[test]
fn what_a_checkpoint_holds_is_read_back_and_shared() {
    let (mut results, ..) = some();
    for _ in 0..150 {
        let bytes = Bytes::from(encoded(&results));
        let mut reader = BytesReader(&bytes);
        let mut read = Results::read(&mut reader, &bytes, results.len() as u32).expect("it was just written");
        assert!(reader.0.is_empty());
        read.check().expect("sound");
        assert!(read.iter().map(|(_, answered)| answered).eq(results.iter().map(|(_, answered)| answered)));
        assert!(read.blocks.iter().all(|block| bytes.as_ptr_range().contains(&block.bytes.as_ptr())));
        assert_eq!(encoded(&read), bytes);
        read.push(&answered(b"next", 999, b"value"));
        assert_eq!(encoded(&read)[..bytes.len()], bytes);
        results.forget_oldest();
    }
}

#[test]
fn bytes_that_are_no_results_are_refused() {
    let mut one = Results::default();
    one.push(&answered(b"id", 5, b"value"));
    let bytes = encoded(&one);
    let read = |bytes: &[u8]| {
        let whole = Bytes::copy_from_slice(bytes);
        Results::read(&mut BytesReader(&whole), &whole, 1).is_some()
    };
    assert!(read(&bytes));
    assert!((0..bytes.len()).all(|length| !read(&bytes[..length])));
    let changed = |at: usize, byte| [&bytes[..at], &[byte], &bytes[at + 1..]].concat();
    assert!(!read(&[&[0], &bytes[3..]].concat()), "an id has a byte at least");
    assert!(!read(&changed(1 + 2 + 32, 2)), "true or false");
    assert!(!read(&[&[129], &[7; 129][..], &bytes[3..]].concat()), "an id has so many bytes at most");
}
