use super::*;

#[test]
fn what_is_large_is_shared_and_the_whole_is_in_order() {
    let (small, large) = (Bytes::from(vec![1; 10]), Bytes::from(vec![2; SHARED_BYTES_MIN]));
    let mut state = SharedState::default();
    state.put(&[0]);
    state.share(&small);
    state.share(&large);
    state.share(&large);
    state.put(&[3]);
    assert_eq!(state.pieces.len(), 3);
    assert!(state.pieces[1..].iter().all(|piece| piece.as_ptr() == large.as_ptr()), "nothing was copied");
    let whole = [&[0][..], &small, &large, &large, &[3]].concat();
    assert_eq!((state.to_vec(), state.bytes()), (whole.clone(), whole.len()));
    assert_eq!(state, SharedState::from(whole.clone()));
    assert_ne!(state, SharedState::from(whole[1..].to_vec()));
    assert_eq!(Bytes::from(state), whole);
}
