//! One schedule in its time zone.

use std::time::Duration;

use ambrosia_core::Timestamp;
use ambrosia_methods::{Method, Missed, Schedule};
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{Zoned, tz::TimeZone};

/// A time that is behind by no more than this is late and not missed: a takeover takes less.
pub const LATE_MAX: Duration = Duration::from_secs(60);

/// A method runs at most for so many times that were missed, the newest ones.
pub const MISSED_MAX: usize = 100;

/// Why a schedule can't be kept. Each names the method.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The expression can't be read.
    #[error(
        "the method `{method}` is to run at {cron:?}, which can't be read ({why}): write minute, hour, day of the month, month and \
         day of the week, with a second before them if it matters, as in \"0 3 * * *\""
    )]
    Expression {
        /// The method.
        method: String,
        /// The expression.
        cron: String,
        /// What is wrong with it.
        why: String,
    },
    /// No time is ever like that.
    #[error("the method `{method}` is to run at {cron:?}, and that never comes")]
    Never {
        /// The method.
        method: String,
        /// The expression.
        cron: String,
    },
    /// Nobody knows the time zone.
    #[error(
        "the method `{method}` is to run in the time zone {zone:?}, which is not known here: write its IANA name, as in \
         \"Europe/Berlin\", or install the data of time zones (tzdata)"
    )]
    Zone {
        /// The method.
        method: String,
        /// The zone.
        zone: String,
    },
}

/// What of a schedule is due.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// The times for which the method runs now, in order.
    pub times: Vec<Timestamp>,
    /// Whether there are times that were missed for which it does not run.
    pub leaves_out: bool,
}

/// One schedule in its time zone.
#[derive(Clone, Debug)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
    missed: Missed,
}

impl Timetable {
    /// That of a method which has a schedule.
    ///
    /// # Errors
    /// If it can't be kept.
    ///
    /// # Panics
    /// If it has none.
    pub fn of(method: &Method) -> Result<Timetable, ScheduleError> {
        let Schedule { cron, zone, missed } = method.schedule.clone().expect("the method has a schedule");
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let method = || method.name.clone();
        let parsed = parser.parse(&cron).map_err(|error| ScheduleError::Expression {
            method: method(),
            cron: cron.clone(),
            why: error.to_string().trim_end_matches('.').to_owned(),
        })?;
        let found = if zone.is_empty() { Some(TimeZone::UTC) } else { TimeZone::get(&zone).ok() };
        let zone = found.ok_or_else(|| ScheduleError::Zone { method: method(), zone: zone.clone() })?;
        let timetable = Timetable { cron: parsed, zone, missed };
        match timetable.next_after(Timestamp(0)) {
            Some(_) => Ok(timetable),
            None => Err(ScheduleError::Never { method: method(), cron }),
        }
    }

    /// The first time after that one; `None` if none comes.
    ///
    /// A time of the day that a change of the clocks leaves out is the moment of that change; one that it brings twice is the first of the
    /// two. Of expressions that mean an interval (with `*` or `*/n` in their seconds, minutes or hours) the times that are left out do
    /// not come, and those that are there twice come twice.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&self.zoned(time)?, false).ok()?;
        let found = timestamp(&found)?;
        assert!(found > time, "the next time is a later one");
        Some(found)
    }

    /// The last time that is not after that one.
    fn last_until(&self, time: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&self.zoned(time)?, true).ok()?;
        let found = timestamp(&found)?;
        assert!(found <= time, "an earlier time is no later one");
        Some(found)
    }

    /// What is due: of the times after `done` until `now`.
    pub fn due(&self, done: Timestamp, now: Timestamp) -> Due {
        let late_from = Timestamp(now.0.saturating_sub(LATE_MAX.as_nanos() as u64));
        let mut late = Vec::new();
        let mut time = done.max(late_from);
        while let Some(next) = self.next_after(time).filter(|next| *next <= now) {
            late.push(next);
            time = next;
        }
        let (mut times, leaves_out) = self.missed_between(done, late_from, !late.is_empty());
        times.append(&mut late);
        assert!(times.is_sorted() && times.iter().all(|time| *time > done && *time <= now), "what is due is in order");
        Due { times, leaves_out }
    }

    /// The missed times for which the method runs.
    fn missed_between(&self, done: Timestamp, until: Timestamp, runs_anyway: bool) -> (Vec<Timestamp>, bool) {
        let wanted = match self.missed {
            Missed::All => MISSED_MAX,
            Missed::One if !runs_anyway => 1,
            Missed::One | Missed::None => 0,
        };
        let (mut times, mut before) = (Vec::new(), until);
        while let Some(time) = self.last_until(before).filter(|time| *time > done) {
            if times.len() == wanted {
                return (reversed(times), true);
            }
            times.push(time);
            before = Timestamp(time.0 - 1);
        }
        (reversed(times), false)
    }

    /// The second in which that moment lies, as clocks in the zone show it.
    fn zoned(&self, time: Timestamp) -> Option<Zoned> {
        let second = i64::try_from(time.0 / 1_000_000_000).ok()?;
        Some(jiff::Timestamp::from_second(second).ok()?.to_zoned(self.zone.clone()))
    }
}

/// `None` before 1970, and after 2554.
fn timestamp(zoned: &Zoned) -> Option<Timestamp> {
    u64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp)
}

fn reversed(mut times: Vec<Timestamp>) -> Vec<Timestamp> {
    times.reverse();
    times
}

#[cfg(test)]
mod tests;
