//! Windows, and what they may hold together.

use std::sync::{Arc, Mutex};

use super::{
    super::window::{Budget, Window},
    *,
};

/// What was granted, in order.
type Grants = Arc<Mutex<Vec<(StreamNumber, u64)>>>;

fn window(number: u64, budget: &Budget) -> (Arc<Window>, Grants) {
    let grants = Grants::default();
    let there = Arc::clone(&grants);
    let grant = move |stream, until| there.lock().expect("nobody panics").push((stream, until));
    (Window::open(stream(number), budget.clone(), Arc::new(grant)), grants)
}

fn last(grants: &Grants) -> u64 {
    grants.lock().expect("nobody panics").last().expect("a stream has credit from the beginning").1
}

/// Sends and uses as much as there is credit for, so often. Returns the size of the window after that.
fn use_up(window: &Arc<Window>, grants: &Grants, sent: &mut u64, times: usize) -> u64 {
    for _ in 0..times {
        let granted = last(grants);
        let share = window.receive(granted - *sent).expect("there is credit");
        *sent = granted;
        drop(share);
    }
    last(grants) - *sent
}

#[test]
fn a_window_grows_while_it_is_used_and_no_further_than_its_limit() {
    let (window, grants) = window(1, &Budget::new());
    let mut sent = 0;
    let sizes: Vec<u64> = (0..10).map(|_| use_up(&window, &grants, &mut sent, 1)).collect();
    assert_eq!(sizes[..3], [WINDOW_BYTES_MIN * 2, WINDOW_BYTES_MIN * 4, WINDOW_BYTES_MIN * 8]);
    assert_eq!(sizes[9], WINDOW_BYTES_MAX);
}

#[test]
fn what_nobody_uses_keeps_the_window_as_it_is() {
    let (window, grants) = window(1, &Budget::new());
    let _held = window.receive(WINDOW_BYTES_MIN).expect("there is credit");
    assert!(window.receive(1).is_err());
    assert_eq!(grants.lock().expect("nobody panics").len(), 1);
}

#[test]
fn a_frame_larger_than_the_window_comes_in_and_nothing_behind_it() {
    let (window, grants) = window(1, &Budget::new());
    let huge = window.receive(100 << 20).expect("it begins within the credit");
    let overrun = StreamError::Overrun { stream: stream(1), received: 100 << 20, granted: WINDOW_BYTES_MIN };
    assert_eq!(window.receive(1).err(), Some(overrun));
    drop(huge);
    assert_eq!(last(&grants), (100 << 20) + 2 * WINDOW_BYTES_MIN);
    assert!(window.receive(1).is_ok());
}

#[test]
fn small_parts_are_granted_again_together() {
    let (window, grants) = window(1, &Budget::new());
    let part = WINDOW_BYTES_MIN / 64;
    for _ in 0..64 {
        drop(window.receive(part).expect("there is credit"));
    }
    assert!(grants.lock().expect("nobody panics").len() <= 3, "not one for each frame");
}

#[test]
fn windows_of_one_connection_have_a_limit_together_and_give_back_what_they_had() {
    let budget = Budget::new();
    let full = usize::try_from(WINDOWS_BYTES_MAX / (WINDOW_BYTES_MAX - WINDOW_BYTES_MIN)).expect("small");
    let mut windows = Vec::new();
    for number in 1..=full as u64 + 8 {
        let (window, grants) = window(number, &budget);
        let size = use_up(&window, &grants, &mut 0, 20);
        windows.push((window, size));
    }
    assert!(windows[..full].iter().all(|(_, size)| *size == WINDOW_BYTES_MAX));
    assert_eq!(windows.last().expect("there are some").1, WINDOW_BYTES_MIN, "it goes on with the least");
    let beyond: u64 = windows.iter().map(|(_, size)| size - WINDOW_BYTES_MIN).sum();
    assert_eq!(beyond, WINDOWS_BYTES_MAX);
    windows.clear();
    let (window, grants) = window(1000, &budget);
    assert_eq!(use_up(&window, &grants, &mut 0, 20), WINDOW_BYTES_MAX);
}
