//! The schedules of one instance while this replica is its primary.

use std::{collections::BTreeMap, time::Duration};

use ambrosia_core::{MethodId, Timestamp};
use ambrosia_methods::{Methods, Schedule};

use crate::timetable::{Due, ScheduleError, Timetable};

/// So often the time is looked at at least: a wait does not count the time in which the machine was suspended.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// No wait is shorter: a time that has come is not to be polled.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The schedules of one instance.
#[derive(Debug, Default)]
pub struct Calendar {
    entries: Vec<Entry>,
    /// When the first of them is due.
    next: Option<Timestamp>,
}

#[derive(Debug)]
struct Entry {
    method: MethodId,
    name: String,
    schedule: Schedule,
    timetable: Timetable,
    /// All times up to this one have been seen to.
    seen: Timestamp,
    next: Option<Timestamp>,
    /// The last time that was told to be due, until the method has run for it.
    told: Option<Timestamp>,
}

/// When a method runs next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upcoming<'a> {
    /// The method.
    pub method: MethodId,
    /// What it is called.
    pub name: &'a str,
    /// When it runs.
    pub schedule: &'a Schedule,
    /// Which time that is next; `None` if none comes.
    pub next: Option<Timestamp>,
}

/// A method is due.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The method.
    pub method: MethodId,
    /// What it is called.
    pub name: String,
    /// The times.
    pub due: Due,
}

impl Calendar {
    /// The schedules of these methods. All times up to that one which `seen` says for each have been seen to.
    ///
    /// Those that can't be kept here come beside it, and are left out.
    pub fn new(
        methods: &Methods,
        mut seen: impl FnMut(MethodId, &Timetable) -> Timestamp,
    ) -> (Calendar, Vec<ScheduleError>) {
        let (mut entries, mut errors) = (Vec::new(), Vec::new());
        for method in methods.iter() {
            let Some(schedule) = &method.schedule else { continue };
            match Timetable::of(method) {
                Ok(timetable) => {
                    let (name, schedule, seen) = (method.name.clone(), schedule.clone(), seen(method.id, &timetable));
                    let next = timetable.next_after(seen);
                    entries.push(Entry { method: method.id, name, schedule, timetable, seen, next, told: None });
                }
                Err(error) => errors.push(error),
            }
        }
        let mut calendar = Calendar { entries, next: None };
        calendar.look_ahead();
        (calendar, errors)
    }

    /// Another module runs from here on. What it has otherwise than the one before it counts from now; the rest goes on.
    pub fn follow(&mut self, methods: &Methods, now: Timestamp) -> Vec<ScheduleError> {
        let before = std::mem::take(&mut self.entries);
        let same =
            |entry: &Entry| before.iter().find(|old| old.method == entry.method && old.schedule == entry.schedule);
        let (mut calendar, errors) = Calendar::new(methods, |_, _| now);
        for entry in &mut calendar.entries {
            if let Some(old) = same(entry) {
                (entry.seen, entry.next, entry.told) = (old.seen, old.next, old.told);
            }
        }
        calendar.look_ahead();
        *self = calendar;
        errors
    }

    /// Whether anything may be due at that time.
    pub fn is_due(&self, now: impl FnOnce() -> Option<Timestamp>) -> bool {
        self.next.is_some_and(|next| now().is_some_and(|now| next <= now))
    }

    /// What is due, where `done` says until when each method has run. A method that has not run for what was told before is not told
    /// again, so no more than one such piece of it waits.
    pub fn take_due(&mut self, now: Timestamp, done: &BTreeMap<MethodId, Timestamp>) -> Vec<Told> {
        let mut all = Vec::new();
        for entry in &mut self.entries {
            let ran = done.get(&entry.method).copied();
            if entry.told <= ran {
                entry.told = None;
            }
            if entry.told.is_some() || entry.next.is_none_or(|next| next > now) {
                continue;
            }
            let due = entry.timetable.due(entry.seen.max(ran.unwrap_or_default()), now);
            (entry.seen, entry.next, entry.told) = (now, entry.timetable.next_after(now), due.times.last().copied());
            if due != Due::default() {
                all.push(Told { method: entry.method, name: entry.name.clone(), due });
            }
        }
        self.look_ahead();
        all
    }

    /// Notes when the first of them is due.
    fn look_ahead(&mut self) {
        self.next = self.entries.iter().filter_map(|entry| entry.next).min();
    }

    /// How long nothing is due; `None` if nothing ever is. A method that has yet to run for what was told before is not waited for: when
    /// it runs is another matter.
    pub fn wake_after(&self, now: Timestamp, done: &BTreeMap<MethodId, Timestamp>) -> Option<Duration> {
        let runs = |entry: &&Entry| entry.told <= done.get(&entry.method).copied();
        let next = self.entries.iter().filter(runs).filter_map(|entry| entry.next).min()?;
        let wait = Duration::from_nanos(next.0.saturating_sub(now.0));
        Some(wait.clamp(WAIT_MIN, WAIT_MAX))
    }

    /// When each method runs next, in the order in which they are described.
    pub fn upcoming(&self) -> impl Iterator<Item = Upcoming<'_>> {
        self.entries.iter().map(|Entry { method, name, schedule, next, .. }| Upcoming {
            method: *method,
            name,
            schedule,
            next: *next,
        })
    }
}

#[cfg(test)]
mod tests {
    use ambrosia_methods::{Method, Missed};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn methods(all: &[(&str, &str)]) -> Methods {
        let method = |(name, cron): &(&str, &str)| {
            let schedule = Schedule { cron: (*cron).to_owned(), zone: String::new(), missed: Missed::One };
            let schedule = (!cron.is_empty()).then_some(schedule);
            Method { schedule, ..Method::without_types((*name).to_owned(), Vec::new(), true) }
        };
        Methods::new(all.iter().map(method).collect())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * SECOND)
    }

    fn calendar(all: &[(&str, &str)], seen: u64) -> Calendar {
        let (calendar, errors) = Calendar::new(&methods(all), |_, _| at(seen));
        assert_eq!(errors, []);
        calendar
    }

    /// Takes what is due and has it run: names and seconds.
    fn run(calendar: &mut Calendar, now: u64, done: &mut BTreeMap<MethodId, Timestamp>) -> Vec<(String, Vec<u64>)> {
        let told = calendar.take_due(at(now), done);
        for Told { method, due, .. } in &told {
            let last = *due.times.last().expect("something is due");
            assert!(done.insert(*method, last).is_none_or(|before| before < last), "never the same again");
        }
        let seconds = |due: Due| due.times.iter().map(|time| time.0 / SECOND).collect();
        told.into_iter().map(|told| (told.name, seconds(told.due))).collect()
    }

    #[test]
    fn each_time_is_told_once_when_it_has_come() {
        let mut calendar = calendar(&[("plain", ""), ("often", "*/2 * * * * *"), ("minute", "* * * * *")], 60);
        let mut done = BTreeMap::new();
        assert_eq!(calendar.wake_after(at(60), &done), Some(WAIT_MAX));
        assert_eq!(calendar.wake_after(Timestamp(62 * SECOND - 5), &done), Some(WAIT_MIN), "it is not polled");
        assert!(!calendar.is_due(|| Some(at(61))) && calendar.is_due(|| Some(at(62))));
        assert_eq!(run(&mut calendar, 61, &mut done), []);
        assert_eq!(run(&mut calendar, 62, &mut done), [("often".into(), vec![62])]);
        assert_eq!(run(&mut calendar, 62, &mut done), []);
        let expected = [("often".into(), (64..=120).step_by(2).collect()), ("minute".into(), vec![120])];
        assert_eq!(run(&mut calendar, 121, &mut done), expected);
        let next: Vec<_> = calendar.upcoming().map(|upcoming| (upcoming.name, upcoming.next)).collect();
        assert_eq!(next, [("often", Some(at(122))), ("minute", Some(at(180)))]);
        assert!(!super::Calendar::default().is_due(|| panic!("nobody asks for the time where nothing is ever due")));
    }

    #[test]
    fn a_method_that_has_not_run_is_not_told_more() {
        let mut calendar = calendar(&[("often", "* * * * * *")], 60);
        let mut done = BTreeMap::new();
        let told = calendar.take_due(at(61), &done);
        assert_eq!(told.len(), 1);
        assert_eq!(calendar.take_due(at(65), &done), [], "it is told, and has not run");
        assert_eq!(calendar.wake_after(at(65), &done), None, "and it is not polled whether it has");
        done.insert(told[0].method, at(61));
        assert_eq!(calendar.wake_after(at(61), &done), Some(WAIT_MAX));
        assert_eq!(run(&mut calendar, 65, &mut done), [("often".into(), vec![62, 63, 64, 65])]);
    }

    #[test]
    fn what_another_module_has_otherwise_counts_from_when_it_takes_over() {
        let mut calendar = calendar(&[("daily", "0 3 * * *"), ("other", "* * * * *"), ("gone", "* * * * *")], 0);
        let mut done = BTreeMap::new();
        let after = methods(&[("daily", "0 3 * * *"), ("other", "*/30 * * * * *"), ("new", "* * * * *")]);
        assert_eq!(calendar.follow(&after, at(4 * 3600 + 1)), []);
        let daily = ("daily".to_owned(), vec![3 * 3600]);
        assert_eq!(run(&mut calendar, 4 * 3600 + 2, &mut done), [daily], "what stays the same is not forgotten");
        let expected = [("other".into(), vec![4 * 3600 + 30, 4 * 3600 + 60]), ("new".into(), vec![4 * 3600 + 60])];
        assert_eq!(run(&mut calendar, 4 * 3600 + 60, &mut done), expected);
    }

    #[test]
    fn what_can_not_be_kept_here_is_left_out_and_told() {
        let (calendar, errors) = Calendar::new(&methods(&[("bad", "x"), ("good", "* * * * *")]), |_, _| at(0));
        assert_eq!((calendar.upcoming().count(), errors.len()), (1, 1));
    }
}
