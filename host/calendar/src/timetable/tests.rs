use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;

fn method(cron: &str, zone: &str, missed: Missed) -> Method {
    let schedule = Schedule { cron: cron.to_owned(), zone: zone.to_owned(), missed };
    Method { schedule: Some(schedule), ..Method::without_types("report".to_owned(), Vec::new(), true) }
}

fn timetable(cron: &str, zone: &str, missed: Missed) -> Timetable {
    Timetable::of(&method(cron, zone, missed)).expect("it can be kept")
}

fn at(text: &str) -> Timestamp {
    let time: jiff::Timestamp = text.parse().expect("a time");
    Timestamp(u64::try_from(time.as_nanosecond()).expect("after 1970"))
}

fn shown(time: Timestamp) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(time.0)).expect("a time").to_string()
}

/// The next times after that one.
fn next(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let timetable = timetable(cron, zone, Missed::One);
    let mut time = at(after);
    let mut times = Vec::new();
    while times.len() < count {
        time = timetable.next_after(time).expect("there is one");
        times.push(shown(time));
    }
    times
}

/// What is due of `0 3 * * *` in UTC.
fn daily(missed: Missed, done: &str, now: &str) -> (Vec<String>, bool) {
    let due = timetable("0 3 * * *", "", missed).due(at(done), at(now));
    (due.times.into_iter().map(shown).collect(), due.leaves_out)
}

#[test]
fn a_day_is_one_of_the_zone() {
    let expected = ["2026-03-28T02:00:00Z", "2026-03-29T01:00:00Z", "2026-03-30T01:00:00Z"];
    assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-03-28T01:59:59.5Z", 3), expected);
    assert_eq!(next("0 3 * * *", "", "2026-03-28T03:00:00Z", 1), ["2026-03-29T03:00:00Z"], "not the same again");
    assert_eq!(next("30 6 1 1 *", "Asia/Kolkata", "2026-03-28T03:00:00Z", 1), ["2027-01-01T01:00:00Z"]);
    assert_eq!(
        next("*/10 * * * * *", "", "2026-03-28T03:00:51.25Z", 2),
        ["2026-03-28T03:01:00Z", "2026-03-28T03:01:10Z"]
    );
}

#[test]
fn a_time_that_a_change_of_the_clocks_leaves_out_is_the_moment_of_it() {
    let expected = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3), expected);
    let expected = ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"];
    assert_eq!(next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 3), expected, "half an hour is that");
}

#[test]
fn a_time_that_a_change_of_the_clocks_brings_twice_is_the_first_of_the_two() {
    let expected = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    assert_eq!(next("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", 3), expected);
    let expected = ["2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z"];
    assert_eq!(next("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", 4), expected, "half an hour is that");
}

#[test]
fn what_was_missed_runs_once_or_as_often_or_not_at_all() {
    let (done, now) = ("2026-05-01T03:00:00Z", "2026-05-04T12:00:00Z");
    assert_eq!(daily(Missed::One, done, now), (vec!["2026-05-04T03:00:00Z".into()], true));
    let all: Vec<_> = ["02", "03", "04"].map(|day| format!("2026-05-{day}T03:00:00Z")).into();
    assert_eq!(daily(Missed::All, done, now), (all, false));
    assert_eq!(daily(Missed::None, done, now), (Vec::new(), true));
    for missed in [Missed::One, Missed::All, Missed::None] {
        assert_eq!(daily(missed, "2026-05-04T03:00:00Z", now), (Vec::new(), false), "it is done");
    }
}

#[test]
fn what_a_takeover_delays_is_late_and_not_missed() {
    for missed in [Missed::One, Missed::All, Missed::None] {
        let due = daily(missed, "2026-05-03T03:00:00Z", "2026-05-04T03:00:59Z");
        assert_eq!(due, (vec!["2026-05-04T03:00:00Z".into()], false), "{missed:?}");
    }
    let late = "2026-05-04T03:00:00Z".to_owned();
    assert_eq!(
        daily(Missed::One, "2026-05-01T03:00:00Z", "2026-05-04T03:00:59Z"),
        (vec![late], true),
        "one run makes up for all of them"
    );
    let each = timetable("* * * * * *", "", Missed::One);
    let due = each.due(at("2026-05-04T03:00:00Z"), at("2026-05-04T03:00:59.9Z"));
    assert_eq!((due.times.len(), due.leaves_out), (59, false), "each second of a minute");
}

#[test]
fn what_was_missed_for_years_is_bounded_and_is_the_newest() {
    let (done, now) = (at("1990-05-04T03:00:00Z"), at("2026-05-04T03:00:30Z"));
    let each = timetable("* * * * * *", "", Missed::All).due(done, now);
    assert_eq!((each.times.len(), each.leaves_out), (MISSED_MAX + 60, true));
    assert_eq!((each.times[0].0, each.times.last()), (now.0 - (59 + MISSED_MAX as u64) * SECOND, Some(&now)));
}

#[test]
fn what_can_not_be_kept_is_told() {
    let error = |cron: &str, zone: &str| {
        Timetable::of(&method(cron, zone, Missed::One)).expect_err("it can't be kept").to_string()
    };
    for cron in ["", "3", "* * * *", "61 * * * *", "* * * * * * *", "* * * * monday-ish"] {
        let told = error(cron, "");
        assert!(told.contains(&format!("`report` is to run at {cron:?}")) && told.contains("can't be read"), "{told}");
    }
    assert!(error("0 0 30 2 *", "").contains("never comes"));
    assert!(error("0 3 * * *", "Europe/Atlantis").contains("\"Europe/Atlantis\", which is not known here"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// From either side of a change of the clocks the same times are seen forwards and backwards, so that what is missed is what
    /// would have come.
    #[test]
    fn times_are_the_same_forwards_and_backwards(
        cron in prop::sample::select(vec![
            "30 2 * * *", "0 3 * * *", "*/30 * * * *", "15 */2 * * *", "0 2-3 * * *", "0,30 2 * * 0", "0 12 1 * *", "59 59 * * * *",
        ]),
        zone in prop::sample::select(vec!["", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
        minutes in 0..525_600_u64,
        hours in 0..72_u64,
    ) {
        let timetable = timetable(cron, zone, Missed::All);
        let done = Timestamp(at("2026-01-01T00:00:00Z").0 + minutes * MINUTE);
        let now = Timestamp(done.0 + hours * 60 * MINUTE + LATE_MAX.as_nanos() as u64);
        let mut forwards = Vec::new();
        let mut time = done;
        while let Some(next) = timetable.next_after(time).filter(|next| *next <= now) {
            forwards.push(next);
            time = next;
        }
        prop_assume!(forwards.len() <= MISSED_MAX);
        let due = timetable.due(done, now);
        prop_assert_eq!((due.times, due.leaves_out), (forwards, false));
    }
}
