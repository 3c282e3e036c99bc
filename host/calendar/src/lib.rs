//! When methods run by themselves: what a schedule means in a calendar, and what of it is due.
//!
//! Whoever is primary knows this and nobody else: that a method is due, and when it was, goes into the log. So replicas may have
//! other data of time zones.
//!
//! **Architecture Invariant:** it reads no clock: what time it is, it is told. Of files it reads those of time zones alone.

mod calendar;
mod timetable;

pub use calendar::{Calendar, Told, Upcoming};
pub use timetable::{Due, LATE_MAX, MISSED_MAX, ScheduleError, Timetable};

use ambrosia_methods::Methods;

/// Whether all schedules of these methods can be kept here.
///
/// # Errors
/// Which of them can't, and why.
pub fn check_schedules(methods: &Methods) -> Result<(), ScheduleError> {
    methods.iter().filter(|method| method.schedule.is_some()).try_for_each(|method| Timetable::of(method).map(|_| ()))
}
