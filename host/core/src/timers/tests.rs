use super::*;

fn timers(all: &[(u64, u64)]) -> Timers {
    let mut timers = Timers::default();
    for (id, due) in all {
        assert!(timers.set(CallId(*id), Timestamp(*due)));
        timers.check().expect("sound");
    }
    timers
}

fn due(timers: &Timers, now: u64) -> Vec<u64> {
    timers.due(Timestamp(now)).map(|id| id.0).collect()
}

#[test]
fn timers_are_due_in_the_order_of_time_and_then_of_id() {
    let timers = timers(&[(3, 10), (1, 30), (2, 10), (4, 20)]);
    assert_eq!(due(&timers, 9), [0; 0]);
    assert_eq!(due(&timers, 10), [2, 3]);
    assert_eq!(due(&timers, 99), [2, 3, 4, 1]);
    assert_eq!(timers.next_due(), Some(Timestamp(10)));
}

#[test]
fn setting_a_timer_again_moves_it() {
    let timers = timers(&[(1, 10), (1, 20), (1, 5)]);
    assert_eq!(due(&timers, 99), [1]);
    assert_eq!(timers.next_due(), Some(Timestamp(5)));
}

#[test]
fn a_cancelled_timer_is_gone_and_an_unknown_one_does_no_harm() {
    let mut timers = timers(&[(1, 10), (2, 10)]);
    timers.cancel(CallId(1));
    timers.cancel(CallId(1));
    timers.check().expect("sound");
    assert_eq!(due(&timers, 99), [2]);
    timers.cancel(CallId(2));
    assert_eq!((timers.next_due(), timers), (None, Timers::default()));
}

#[test]
fn there_are_so_many_timers_and_no_more() {
    let mut timers = Timers::default();
    for id in 1..=TIMERS_MAX as u64 {
        assert!(timers.set(CallId(id), Timestamp(id)));
    }
    assert!(!timers.set(CallId(0xffff_ffff), Timestamp(1)));
    assert!(timers.set(CallId(7), Timestamp(1)), "one that is set may be moved");
    timers.check().expect("sound");
    timers.cancel(CallId(8));
    assert!(timers.set(CallId(0xffff_ffff), Timestamp(1)));
}
